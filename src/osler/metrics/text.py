r"""How like a reference a written report or answer is.

**Tokens.** Text is brought to Unicode's NFKC form and lower case; every Han character is a token,
so is a number with its decimals and its minus (``-1.5``), and any other run of letters and digits
(``t2``). Punctuation, spaces and other signs part tokens and are dropped. Chinese is so scored by
character, which needs no dictionary and gives higher n-gram figures than by word; figures of two
tokenisations are not comparable. Other scripts without spaces would need rules of their own.

Likeness of words is not truth: "no haemorrhage" and "haemorrhage" are alike. Read these beside the
accuracy of the findings.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
# a hyphen is a sign where nothing but space or an opening stands before it, and a digit after
_TOKEN = re.compile(rf"[{_HAN}]|(?<![^\s(:=,;{_HAN}])-\d+(?:\.\d+)?|\d+\.\d+|[^\W_{_HAN}]+")
_NUMBER = re.compile(r"\s*([-+]?\d+(?:\.\d+)?)\s*(.*)", re.DOTALL)
_OPPOSITES = {"yes": "no", "no": "yes", "是": "否", "否": "是"}

Grams = Counter[tuple[str, ...]]


def tokens(text: str) -> tuple[str, ...]:
    """The tokens of English, Chinese, or both mixed; the rule stands at the head of the module."""
    return tuple(_TOKEN.findall(_plain(text)))


def bleu(
    references: Sequence[Sequence[str]],
    candidates: Sequence[str],
    *,
    order: int = 4,
    smooth: bool = False,
) -> tuple[float, ...] | None:
    r"""BLEU-1 to BLEU-n of a corpus [1]_.

    :math:`\text{BP} \cdot \exp(\frac1n \sum_{k \le n} \ln p_k)` with :math:`p_k` the share of the
    candidates' k-grams that a reference holds, each counted at most as often as in the one of its
    references that has it most, summed over all cases before dividing;
    :math:`\text{BP} = \min(1, e^{1 - r/c})` with c the candidates' length and r that of the
    references nearest in length (of two as near, the shorter). A corpus figure: it is not the mean
    of those of its cases. Resample cases for an interval.

    Args:
        references: one or more a case.
        candidates: one a case.
        order: n.
        smooth: add 1 to both counts of k-grams from k = 2 on [2]_, for single sentences.

    Returns:
        n figures, 0 to 1. 0 where no k-gram of some length is right, and for empty candidates.
        None without cases.

    Raises:
        InputError: lengths differ, a case has no reference, or ``order`` is below 1.

    References:
        .. [1] Papineni et al., "BLEU: a method for automatic evaluation of machine translation",
           ACL 2002.
        .. [2] Lin & Och, "ORANGE: a method for evaluating automatic evaluation metrics for machine
           translation", COLING 2004.
    """
    counts = bleu_counts(references, candidates, order=order)
    return bleu_of(counts.sum(axis=0), smooth=smooth) if len(counts) else None


def bleu_counts(
    references: Sequence[Sequence[str]], candidates: Sequence[str], *, order: int = 4
) -> NDArray[np.int64]:
    """What BLEU counts in each case; the sum over cases is what `bleu_of` takes.

    Figures of many resamples of the same cases are so had without counting again.

    Args:
        references: one or more a case.
        candidates: one a case.
        order: n.

    Returns:
        ``(N, 2 n + 2)``: k-grams that are right and k-grams there are, for k from 1 to n, then the
        candidate's length and that of the reference nearest in length.

    Raises:
        InputError: as for `bleu`.
    """
    cases = _cases(references, candidates)
    if order < 1:
        raise InputError(f"'order' is {order}; expected 1 or more")
    out = np.zeros((len(cases), 2 * order + 2), np.int64)
    for row, (texts, given) in zip(out, cases, strict=True):
        for k in range(order):
            most: Grams = Counter()
            for text in texts:
                most |= _grams(text, k + 1)
            mine = _grams(given, k + 1)
            row[2 * k : 2 * k + 2] = (mine & most).total(), mine.total()
        row[-2] = len(given)
        row[-1] = min((abs(len(text) - len(given)), len(text)) for text in texts)[1]
    return out


def bleu_of(counts: NDArray[np.int64], *, smooth: bool = False) -> tuple[float, ...]:
    """BLEU-1 to BLEU-n of summed `bleu_counts`.

    Args:
        counts: ``(2 n + 2,)``.
        smooth: as for `bleu`.
    """
    order = len(counts) // 2 - 1
    length, wanted = int(counts[-2]), int(counts[-1])
    if not length:
        return (0.0,) * order
    brevity = min(1.0, math.exp(1 - wanted / length))
    out: list[float] = []
    logs = 0.0
    for k in range(order):
        extra = 1 if smooth and k else 0
        right, whole = (int(one) + extra for one in counts[2 * k : 2 * k + 2])
        if not right:
            return (*out, *(0.0,) * (order - k))
        logs += math.log(right / whole)
        out.append(brevity * math.exp(logs / (k + 1)))
    return tuple(out)


def rouge_n(references: Sequence[str], candidate: str, *, n: int = 1) -> float | None:
    r"""ROUGE-N of one case: F1 of the runs of n tokens that it shares with a reference [1]_.

    Each run is counted at most as often as it stands in both; of several references the greatest.
    0 for a candidate without such runs. Average over cases with `summarise`.

    Args:
        references: one or more.
        candidate: the text to score.
        n: tokens of a run.

    Returns:
        0 to 1, or None where no reference has n tokens.

    Raises:
        InputError: there is no reference, or ``n`` is below 1.

    References:
        .. [1] Lin, "ROUGE: a package for automatic evaluation of summaries", ACL workshop 2004.
    """
    if n < 1:
        raise InputError(f"'n' is {n}; expected 1 or more")
    ((texts, given),) = _cases([references], [candidate])
    wanted = [grams for text in texts if (grams := _grams(text, n))]
    if not wanted:
        return None
    mine = _grams(given, n)
    return max(2 * (mine & one).total() / (mine.total() + one.total()) for one in wanted)


def rouge_l(references: Sequence[str], candidate: str, *, beta: float = 1.0) -> float | None:
    r"""ROUGE-L of one case: how much of it is one common subsequence [1]_.

    With L the longest common subsequence, :math:`P = L / |c|`, :math:`R = L / |r|` and
    :math:`F = (1 + \beta^2) P R / (R + \beta^2 P)`; of several references the greatest F. 0 for an
    empty candidate. Average over cases with `summarise`.

    Args:
        references: one or more.
        candidate: the text to score.
        beta: above 1 weighs recall; COCO's captions use 1.2, most packages 1.

    Returns:
        0 to 1, or None where every reference is empty.

    Raises:
        InputError: there is no reference, or ``beta`` is not above 0.

    References:
        .. [1] Lin, "ROUGE: a package for automatic evaluation of summaries", ACL workshop 2004.
    """
    if not beta > 0:
        raise InputError(f"'beta' is {beta}; expected above 0")
    ((texts, given),) = _cases([references], [candidate])
    texts = [text for text in texts if text]
    if not texts:
        return None
    best = 0.0
    for text in texts:
        common = _common_subsequence(text, given)
        if common:
            precise, found = common / len(given), common / len(text)
            best = max(best, (1 + beta**2) * precise * found / (found + beta**2 * precise))
    return best


def cider(
    references: Sequence[Sequence[str]], candidates: Sequence[str], *, sigma: float | None = 6.0
) -> list[float] | None:
    r"""CIDEr-D of each case, or CIDEr [1]_: likeness in the n-grams that are rare in the corpus.

    For n from 1 to 4 each text is a vector of counts times :math:`\ln(N / \text{df})`, df the
    cases of N that have the n-gram in any reference (at least 1). CIDEr is the cosine, averaged
    over references and n, times 10. CIDEr-D clips the candidate's entries to the reference's, so
    that repeating pays nothing, and multiplies by :math:`e^{-(l_c - l_r)^2 / 2 \sigma^2}`, l in
    tokens. Words are not stemmed. It depends on the whole corpus; average it with `summarise`.

    Args:
        references: one or more a case, all cases.
        candidates: one a case.
        sigma: of CIDEr-D's penalty on length; None for CIDEr without clipping and penalty.

    Returns:
        One figure a case, 0 to 10 (a vector of zeros is like nothing: 0), or None with fewer than
        two cases, where nothing is rare.

    Raises:
        InputError: lengths differ, a case has no reference, or ``sigma`` is not above 0.

    References:
        .. [1] Vedantam, Zitnick & Parikh, "CIDEr: consensus-based image description evaluation",
           CVPR 2015.
    """
    cases = _cases(references, candidates)
    if sigma is not None and not sigma > 0:
        raise InputError(f"'sigma' is {sigma}; expected above 0, or None")
    if len(cases) < 2:
        return None
    seen: Grams = Counter()
    for texts, _ in cases:
        seen.update({gram for text in texts for n in range(1, 5) for gram in _grams(text, n)})
    scores = []
    for texts, given in cases:
        total = 0.0
        for n in range(1, 5):
            mine = _weighted(given, n, seen, len(cases))
            for text in texts:
                like = _likeness(mine, _weighted(text, n, seen, len(cases)), sigma is not None)
                if sigma is not None:
                    like *= math.exp(-((len(given) - len(text)) ** 2) / (2 * sigma**2))
                total += like
        scores.append(10 * total / (4 * len(texts)))
    return scores


def exact_match(reference: str, answer: str) -> bool:
    """Whether an answer has the reference's tokens, all of them and no others, in their order.

    Case, punctuation and width of characters do not count; two texts without tokens match.
    """
    return tokens(reference) == tokens(answer)


def relaxed_match(reference: str, answer: str, *, tolerance: float = 0.05) -> bool:
    """Whether an answer says the reference, among other words perhaps.

    Three ways: an exact match; a number within ``tolerance`` of the reference's own size, with the
    same unit behind it (as ChartQA does [1]_; 0 must be met exactly); or the reference's tokens as
    an unbroken run in the answer. A number is only matched as a number. To "yes" and "no" an
    answer that holds both does not match. It is lenient to long answers: report `exact_match`
    beside it.

    Args:
        reference: the right answer.
        answer: what was answered.
        tolerance: the share of the reference's size that a number may be off; equal is within.

    Raises:
        InputError: ``tolerance`` is below 0.

    References:
        .. [1] Masry et al., "ChartQA: a benchmark for question answering about charts", ACL
           Findings 2022 (after Methani et al., PlotQA, WACV 2020).
    """
    if not tolerance >= 0:
        raise InputError(f"'tolerance' is {tolerance}; expected 0 or more")
    one, other = _NUMBER.fullmatch(_plain(reference)), _NUMBER.fullmatch(_plain(answer))
    if one and other:
        wanted, got = float(one[1]), float(other[1])
        near = abs(wanted - got) <= tolerance * abs(wanted) * (1 + 1e-9)
        # "%" has no token, so units are compared as they are written
        return near and one[2].strip() == other[2].strip()
    if exact_match(reference, answer):
        return True
    run, given = tokens(reference), tokens(answer)
    if not run or (len(run) == 1 and _OPPOSITES.get(run[0]) in given):
        return False
    return any(given[n : n + len(run)] == run for n in range(len(given) - len(run) + 1))


def _plain(text: str) -> str:
    """One width, lower case, and one minus."""
    return unicodedata.normalize("NFKC", text).lower().replace("\u2212", "-")


def _cases(
    references: Sequence[Sequence[str]], candidates: Sequence[str]
) -> list[tuple[list[tuple[str, ...]], tuple[str, ...]]]:
    if isinstance(references, str) or any(isinstance(texts, str) for texts in references):
        raise InputError("'references' must be a list of texts for each case, not a text")
    if len(references) != len(candidates):
        raise InputError(f"{len(references)} cases have references, {len(candidates)} candidates")
    if not all(references):
        raise InputError("a case has no reference")
    return [
        ([tokens(text) for text in texts], tokens(candidate))
        for texts, candidate in zip(references, candidates, strict=True)
    ]


def _grams(text: tuple[str, ...], n: int) -> Grams:
    return Counter(text[k : k + n] for k in range(len(text) - n + 1))


def _weighted(
    text: tuple[str, ...], n: int, seen: Grams, cases: int
) -> dict[tuple[str, ...], float]:
    return {
        gram: count * math.log(cases / max(1, seen[gram]))
        for gram, count in _grams(text, n).items()
    }


def _likeness(
    mine: dict[tuple[str, ...], float], theirs: dict[tuple[str, ...], float], clip: bool
) -> float:
    sizes = [math.hypot(*vector.values()) for vector in (mine, theirs)]
    if not all(sizes):
        return 0.0
    shared = sum(
        (min(weight, theirs[gram]) if clip else weight) * theirs[gram]
        for gram, weight in mine.items()
        if gram in theirs
    )
    return shared / (sizes[0] * sizes[1])


def _common_subsequence(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """The length of the longest, a bit a token (Hyyrö, "Bit-parallel LCS-length", AWOCA 2004)."""
    places: dict[str, int] = {}
    for n, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << n
    full = (1 << len(one)) - 1
    row = full
    for token in other:
        met = row & places.get(token, 0)
        row = ((row + met) | (row - met)) & full
    return len(one) - row.bit_count()
