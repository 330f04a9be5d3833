"""Figures of written texts: likeness to a reference, answers that are right, findings named."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.metrics import exact_match, relaxed_match, tokens
from osler.record import Case, Text
from osler.tasks.labels import label_of
from osler.tasks.task import Figure, Row
from osler.tasks.writing_agreement import is_there, named
from osler.tasks.writing_settings import NamedFinding

_CLOSED = frozenset({"yes", "no"})

Column = tuple[str, Sequence[float | None], str]


class Compared(Protocol):
    """What of a task's settings the figures need."""

    @property
    def prompt(self) -> str | None:
        """What was read; None where it was a picture alone."""

    @property
    def commonest(self) -> str:
        """The commonest text of the teaching cases."""

    @property
    def by_start(self) -> Mapping[str, str]:
        """The same by the first words of the prompt."""

    @property
    def findings(self) -> Mapping[str, NamedFinding]:
        """What a text may name."""


def commonest(texts: Counter[str]) -> str:
    """The commonest of some texts; of two as common the first by the alphabet."""
    return min(texts, key=lambda text: (-texts[text], text))


def likeness(rows: Sequence[Row]) -> float:
    """Mean ROUGE-L over cases; an exact answer of one word has 1."""
    return float(np.mean([metrics.rouge_l([row["reference"]], row["said"]) or 0.0 for row in rows]))


def target_of(case: Case, name: str) -> str:
    """The text that is to be written: of a label's column, or of a text item."""
    said = label_of(case, name)
    item = case.items.get(name)
    return item.text if said is None and isinstance(item, Text) else said or ""


def present_in(case: Case, text: str, findings: Mapping[str, NamedFinding]) -> dict[str, bool]:
    """Which findings are there: by their columns, else by what the reference names."""
    by_text = named(text, findings)
    return {
        name: bool(by_text[name])
        if one.column is None
        else is_there(label_of(case, one.column) or "")
        for name, one in findings.items()
    }


def starts_with(prompt: str) -> str:
    """The first two words of a prompt, which tell the kind of a question."""
    return " ".join(tokens(prompt)[:2])


def figures_of(
    rows: Sequence[Row], patients: Sequence[str], settings: Compared, *, seed: int,
    replicates: int,
) -> list[Figure]:  # fmt: skip
    """The figures of the texts, and of two that look at no picture and no more than two words."""
    ways = [
        ("", [row["said"] for row in rows]),
        ("always the commonest text: ", [settings.commonest] * len(rows)),
    ]
    if settings.prompt is not None:
        by_start = [
            settings.by_start.get(starts_with(row["prompt"]), settings.commonest) for row in rows
        ]
        ways.append(("commonest text to such a prompt: ", by_start))
    out: list[Figure] = []
    for prefix, texts in ways:
        columns = _columns(rows, texts)
        if settings.findings:
            columns += _agreement(rows, texts, settings)
        for name, values, how in columns:
            done = metrics.summarise(
                values, seed=seed, groups=list(patients), replicates=replicates
            )
            out.append(Figure(prefix + name, done.mean, done.cases, how, done.left_out))
        out += _bleu(prefix, rows, texts, patients, seed=seed, replicates=replicates)
        if settings.findings:
            out += _f1(prefix, rows, texts, settings, patients, seed=seed, replicates=replicates)
    return out


def _columns(rows: Sequence[Row], texts: Sequence[str]) -> list[Column]:
    references = [row["reference"] for row in rows]
    pairs = list(zip(references, texts, strict=True))
    right = [float(exact_match(*pair)) for pair in pairs]
    closed = [" ".join(tokens(one)) in _CLOSED for one in references]
    numbers = [_numbers_right(*pair) for pair in pairs]
    liked = metrics.cider([[one] for one in references], texts)
    out: list[Column] = [("exact", right, "the same words in the same order")]
    if any(closed):
        near = [float(relaxed_match(*pair)) for pair in pairs]
        out += [
            ("exact, closed", _among(right, closed), "of those whose reference is yes or no"),
            ("exact, open", _among(right, [not one for one in closed]), "of the others"),
            ("relaxed", near, "also a number within 5 %, or the reference among other words"),
        ]
    if any(one is not None for one in numbers):
        out.append(("numbers right", numbers, "F1 per case of the numbers that stand in it"))
    return [
        *out,
        *(
            (f"ROUGE-{n}", [metrics.rouge_n([a], b, n=n) for a, b in pairs], "F1 per case")
            for n in (1, 2)
        ),
        ("ROUGE-L", [metrics.rouge_l([a], b) for a, b in pairs], "F1 per case"),
        ("CIDEr-D", liked or [None] * len(pairs), "document frequencies of these cases"),
    ]


def _numbers_right(reference: str, text: str) -> float | None:
    """F1 of the numbers of both, each as often as it stands there; None where neither has any."""
    one, other = (Counter(t for t in tokens(said) if t[-1].isdigit()) for said in (reference, text))
    if not one and not other:
        return None
    return 2 * (one & other).total() / (one.total() + other.total())


def _agreement(rows: Sequence[Row], texts: Sequence[str], settings: Compared) -> list[Column]:
    """Per case: findings whose presence is told as it is, and nothing false among them."""
    agree: list[float | None] = []
    false: list[float | None] = []
    for row, text in zip(rows, texts, strict=True):
        said = named(text, settings.findings)
        pairs = [(bool(said[name]), row["present"][name]) for name in settings.findings]
        agree.append(float(np.mean([a == b for a, b in pairs])))
        told = [
            b == a for (a, b), name in zip(pairs, settings.findings, strict=True)
            if said[name] is not None
        ]  # fmt: skip
        false.append(None if not told else 1.0 - float(np.mean(told)))
    return [
        ("findings told as they are", agree, "share of the findings, unnamed ones told as absent"),
        ("statements that are false", false, "share of the findings that the text names"),
    ]


def _f1(
    prefix: str, rows: Sequence[Row], texts: Sequence[str], settings: Compared,
    patients: Sequence[str], *, seed: int, replicates: int,
) -> list[Figure]:  # fmt: skip
    """Precision, recall and F1 of findings named as there, over all findings of all cases."""
    names = list(settings.findings)
    truth = np.array([[bool(row["present"][name]) for name in names] for row in rows])
    said = np.array([[bool(named(text, settings.findings)[n]) for n in names] for text in texts])

    def of(which: int) -> Callable[[NDArray[np.int64]], float | None]:
        def statistic(drawn: NDArray[np.int64]) -> float | None:
            both = float((truth[drawn] & said[drawn]).sum())
            told, there = float(said[drawn].sum()), float(truth[drawn].sum())
            below = (told, there, (told + there) / 2)[which]
            return both / below if below else None

        return statistic

    out = []
    for which, name in enumerate(("precision", "recall", "F1")):
        interval = metrics.bootstrap_interval(
            of(which), np.arange(len(rows)), seed=seed, groups=np.array(patients),
            replicates=replicates,
        )  # fmt: skip
        how = "findings named as there against those that are, all cases together"
        out.append(Figure(f"{prefix}findings named, {name}", interval, len(rows), how))
    return out


def _bleu(
    prefix: str, rows: Sequence[Row], texts: Sequence[str], patients: Sequence[str], *, seed: int,
    replicates: int,
) -> list[Figure]:  # fmt: skip
    counts = metrics.bleu_counts([[row["reference"]] for row in rows], texts)

    def corpus(order: int) -> Callable[[NDArray[np.int64]], float | None]:
        return lambda drawn: metrics.bleu_of(counts[drawn].sum(axis=0))[order - 1]

    out = []
    for order in (1, 4):
        interval = metrics.bootstrap_interval(
            corpus(order), np.arange(len(rows)), seed=seed, groups=np.array(patients),
            replicates=replicates,
        )  # fmt: skip
        out.append(Figure(f"{prefix}BLEU-{order}", interval, len(rows), "of the corpus"))
    return out


def _among(right: Sequence[float], wanted: Sequence[bool]) -> list[float | None]:
    return [value if there else None for value, there in zip(right, wanted, strict=True)]
