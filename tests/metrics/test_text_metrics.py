"""Oracles write the formulas out; worked examples are those of the papers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import InputError
from osler.metrics import (
    bleu,
    bleu_counts,
    bleu_of,
    cider,
    exact_match,
    relaxed_match,
    rouge_l,
    rouge_n,
    tokens,
)

WORDS = st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join)
CASES = st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=3), WORDS), min_size=1, max_size=4)


def test_tokens_of_english_and_chinese() -> None:
    assert tokens("Cup/disc ratio: 0.65, T2-weighted.") == (
        "cup", "disc", "ratio", "0.65", "t2", "weighted",
    )  # fmt: skip
    assert tokens("右眼可见出血，大小1.5 mm（轻度）。") == (
        "右", "眼", "可", "见", "出", "血", "大", "小", "1.5", "mm", "轻", "度",
    )  # fmt: skip
    assert tokens("ＯＣＴ２") == tokens("oct2") == ("oct2",)
    assert tokens(" ,.;") == ()


def slow_grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[k : k + n]) for k in range(len(words) - n + 1)]


def slow_bleu(cases: list, order: int) -> float:
    product, c, r = 1.0, 0, 0
    for texts, said in cases:
        c += len(said.split())
        lengths = sorted(len(text.split()) for text in texts)
        r += min(lengths, key=lambda n: abs(n - len(said.split())))  # the first is the shorter
    for n in range(1, order + 1):
        right = whole = 0
        for texts, said in cases:
            mine = slow_grams(said, n)
            whole += len(mine)
            for gram in set(mine):
                right += min(mine.count(gram), max(slow_grams(t, n).count(gram) for t in texts))
        product *= right / whole if whole else 0
    if not c or not product:
        return 0.0
    return product ** (1 / order) * (1 if c > r else math.exp(1 - r / c))


@given(CASES)
def test_bleu_is_that_of_counting(cases: list) -> None:
    ours = bleu([texts for texts, _ in cases], [text for _, text in cases])
    assert ours == pytest.approx([slow_bleu(cases, n) for n in range(1, 5)])


def test_bleu_by_the_paper() -> None:
    """Papineni's examples: clipped unigrams 2/7, and candidate 1 with 17 of 18 unigrams."""
    the = bleu([["the cat is on the mat", "there is a cat on the mat"]], ["the " * 7], order=1)
    assert the == (pytest.approx(2 / 7),)
    references = [
        "It is a guide to action that ensures that the military will forever heed Party commands",
        "It is the guiding principle which guarantees the military forces always being under the "
        "command of the Party",
        "It is the practical guide for the army always to heed the directions of the party",
    ]
    first = (
        "It is a guide to action which ensures that the military always obeys the commands of "
        "the party"
    )
    assert bleu([references], [first], order=2) == pytest.approx(
        (17 / 18, math.sqrt(17 / 18 * 10 / 17))
    )
    assert bleu([["a b"]], ["a b"]) == (1, 1, 0, 0)
    assert bleu([["a b"]], ["a b"], smooth=True) == (1, 1, 1, 1)
    assert bleu([["a b"]], [""]) == (0, 0, 0, 0)
    assert bleu([], []) is None


def slow_common(one: list[str], other: list[str]) -> int:
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1, j + 1] = (
                table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
            )
    return int(table[-1, -1])


@given(st.lists(WORDS, min_size=1, max_size=3), WORDS, st.sampled_from([1.0, 1.2]))
def test_rouge_is_that_of_the_whole_table(texts: list[str], said: str, beta: float) -> None:
    scores = []
    for text in (t for t in texts if t):
        common = slow_common(text.split(), said.split())
        p, r = common / max(len(said.split()), 1), common / len(text.split())
        scores.append((1 + beta**2) * p * r / (r + beta**2 * p) if common else 0)
    assert rouge_l(texts, said, beta=beta) == pytest.approx(max(scores, default=None))


def test_rouge_by_the_paper() -> None:
    assert rouge_l(["police killed the gunman"], "police kill the gunman") == 0.75
    assert rouge_l(["police killed the gunman"], "the gunman kill police") == 0.5
    assert rouge_l(["双眼未见异常"], "双眼异常") == pytest.approx(2 * 1 * (4 / 6) / (1 + 4 / 6))
    assert rouge_l([""], "a") is None
    assert rouge_l(["a"], "") == 0


def slow_cider(cases: list, sigma: float | None) -> list[float]:
    out = []
    for texts, said in cases:
        score = 0.0
        for n in range(1, 5):
            every = sorted({g for ts, c in cases for t in [*ts, c] for g in slow_grams(t, n)})
            if not every:
                continue
            df = np.array(
                [sum(any(g in slow_grams(t, n) for t in ts) for ts, _ in cases) for g in every]
            )
            idf = np.log(len(cases) / np.maximum(df, 1))
            mine = np.array([slow_grams(said, n).count(g) for g in every]) * idf
            for text in texts:
                theirs = np.array([slow_grams(text, n).count(g) for g in every]) * idf
                size = np.linalg.norm(mine) * np.linalg.norm(theirs)
                if not size:
                    continue
                held = np.minimum(mine, theirs) if sigma else mine
                gap = len(said.split()) - len(text.split())
                weight = np.exp(-(gap**2) / (2 * sigma**2)) if sigma else 1
                score += weight * (held @ theirs) / size / len(texts)
        out.append(10 * score / 4)
    return out


@given(CASES, st.sampled_from([6.0, None]))
def test_cider_is_that_of_whole_vectors(cases: list, sigma: float | None) -> None:
    ours = cider([texts for texts, _ in cases], [text for _, text in cases], sigma=sigma)
    if len(cases) < 2:
        assert ours is None
    else:
        assert ours == pytest.approx(slow_cider(cases, sigma), abs=1e-9)


def test_cider_of_what_is_said_of_everyone_is_nothing() -> None:
    references = [["no acute finding a b c"], ["no acute finding d e f"]]
    found = cider(references, ["no acute finding a b c", "no acute finding"])
    assert found == [pytest.approx(10), 0]


@pytest.mark.parametrize(
    ("reference", "answer", "exact", "relaxed"),
    [
        ("Left lung", "left lung.", True, True),
        ("left lung", "It is in the left lung", False, True),
        ("left lung", "the lung on the left", False, False),
        ("yes", "Yes, there is", False, True),
        ("no", "yes, no doubt", False, False),
        ("no", "there is nothing", False, False),
        ("100", "105", False, True),
        ("100", "106", False, False),
        ("100", "100 ", True, True),
        ("1.5 mm", "1.45 mm", False, True),
        ("1.5 mm", "1.5 cm", False, False),
        ("-2", "2", False, False),
        ("\u22122.00", "-2.00", True, True),
        ("sphere -2.25", "sphere 2.25", False, False),
        ("T2-3", "T2 3", True, True),
        ("0", "0.01", False, False),
        ("出血", "可见出血灶", False, True),
        ("是", "否", False, False),
        ("", "anything", False, False),
    ],
)
def test_matches(reference: str, answer: str, exact: bool, relaxed: bool) -> None:
    assert exact_match(reference, answer) == exact
    assert relaxed_match(reference, answer) == relaxed


def test_wrong_arguments_are_named() -> None:
    for metric in (bleu, cider):
        with pytest.raises(InputError, match="not a text"):
            metric(["a b"], ["a b"])  # type: ignore[list-item]
        with pytest.raises(InputError, match="1 cases have references"):
            metric([["a"]], [])
        with pytest.raises(InputError, match="no reference"):
            metric([[]], ["a"])
    with pytest.raises(InputError, match="'order'"):
        bleu([["a"]], ["a"], order=0)
    with pytest.raises(InputError, match="'sigma'"):
        cider([["a"]], ["a"], sigma=0)
    with pytest.raises(InputError, match="'beta'"):
        rouge_l(["a"], "a", beta=0)
    with pytest.raises(InputError, match="'tolerance'"):
        relaxed_match("1", "1", tolerance=-1)


def test_figures_are_those_of_the_packages_that_papers_use() -> None:
    """`make_text_reference.py` asked rouge-score, sacreBLEU and pycocoevalcap."""
    known = json.loads((Path(__file__).with_name("text_reference.json")).read_text("utf-8"))
    references = [texts for texts, _ in known["cases"]]
    candidates = [text for _, text in known["cases"]]
    assert bleu(references, candidates) == pytest.approx(known["bleu"])
    assert cider(references, candidates) == pytest.approx(known["cider_d"])
    for n in (1, 2):
        ours = [rouge_n(*case, n=n) or 0.0 for case in known["cases"]]
        assert ours == pytest.approx(known[f"rouge{n}"])
    assert [rouge_l(*case) for case in known["cases"]] == pytest.approx(known["rougeL"])


@given(CASES)
def test_bleu_of_summed_counts_is_bleu(cases: list) -> None:
    references, candidates = [texts for texts, _ in cases], [text for _, text in cases]
    counts = bleu_counts(references, candidates)
    assert bleu_of(counts.sum(axis=0)) == bleu(references, candidates)
    alone = [bleu(references[n : n + 1], candidates[n : n + 1]) for n in range(len(cases))]
    assert [bleu_of(row) for row in counts] == alone


@given(st.lists(WORDS, min_size=1, max_size=3), WORDS, st.integers(1, 3))
def test_rouge_n_is_that_of_counting(texts: list[str], said: str, n: int) -> None:
    best = None
    for text in texts:
        theirs, mine = slow_grams(text, n), slow_grams(said, n)
        if theirs:
            both = sum(min(theirs.count(g), mine.count(g)) for g in set(theirs))
            best = max(best or 0.0, 2 * both / (len(theirs) + len(mine)))
    assert rouge_n(texts, said, n=n) == (None if best is None else pytest.approx(best))
