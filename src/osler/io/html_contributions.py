"""What each input contributed to an answer, as the report prints it: signed bars and a table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from osler.io.wording import chance
from osler.record import Case, Finding, Label, Risk

WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "title": "What each input contributed",
        "input": "Input",
        "moved": "Moved the probability by",
        "without": "Without it",
        "means": "Shapley values: with what is said without any input they add up to the "
        "probability. They tell what the model used, not what caused the disease.",
        "sampled": "Estimated from some orders of the inputs, not from all.",
        "within": "within {days:g} days",
    },
    "zh": {
        "title": "各输入的贡献",
        "input": "输入",
        "moved": "使概率改变",
        "without": "缺少该输入时",
        "means": "Shapley 值：与无任何输入时的概率相加即为所述概率。它说明模型用了什么，而非病因。",
        "sampled": "由部分输入顺序估计，而非全部顺序。",
        "within": "{days:g} 天内",
    },
}


@dataclass(frozen=True, slots=True)
class Moved:
    """One input of one answer.

    Attributes:
        name: of the input.
        by: its contribution, as printed.
        without: the probability without it, as printed.
        start, width: of its bar, per cent from the left; the middle is none.
        against: whether it spoke against the answer.
    """

    name: str
    by: str
    without: str
    start: str
    width: str
    against: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with its inputs, the strongest first."""

    name: str
    value: str
    chance: str
    rows: tuple[Moved, ...]
    sampled: bool


def answers_of(case: Case, *, language: str) -> list[Answer]:
    """The answers of a case that say what their inputs contributed."""
    return [_answer(one, language) for one in attributed(case)]


def attributed(case: Case) -> Iterator[Label | Risk]:
    """The findings that say what their inputs contributed."""
    return (f for f in case.findings.values() if isinstance(f, Label | Risk) and f.contributions)


def probability_of(finding: Label | Risk) -> float | None:
    """The probability that contributions are of."""
    return finding.value if isinstance(finding, Risk) else finding.probability


def _answer(finding: Label | Risk, language: str) -> Answer:
    said = probability_of(finding)
    value = finding.meaning if isinstance(finding, Label) else _within(finding, language)
    most = max((abs(one) for one in finding.contributions.values()), default=0.0) or 1.0
    order = sorted(finding.contributions.items(), key=lambda pair: -abs(pair[1]))
    rows = tuple(_moved(name, by, finding.without, most) for name, by in order)
    sampled = "contributions-sampled" in finding.flags
    return Answer(finding.name, value, "" if said is None else chance(said), rows, sampled)


def _within(finding: Risk, language: str) -> str:
    days = finding.horizon_days
    return "" if days is None else WORDS[language]["within"].format(days=days)


def _moved(name: str, by: float, without: Mapping[str, float], most: float) -> Moved:
    width = 50 * abs(by) / most
    start = 50.0 if by >= 0 else 50 - width
    less = without.get(name)
    return Moved(
        name, signed(by), "" if less is None else chance(less), f"{start:.1f}%", f"{width:.1f}%",
        against=by < 0,
    )  # fmt: skip


def signed(by: float) -> str:
    """A change of a probability, with its sign."""
    return f"{by:+.2f}".replace("-", "\u2212")


def sentences(finding: Finding) -> list[str]:
    """A line an input, in plain text: what it moved, and what would be said without it."""
    if not isinstance(finding, Label | Risk) or not finding.contributions:
        return []
    order = sorted(finding.contributions.items(), key=lambda pair: -abs(pair[1]))
    wide = max(len(name) for name, _ in order)
    return [
        f"{name.ljust(wide)}  {by:+.3f}"
        + (f"  without it {finding.without[name]:.3f}" if name in finding.without else "")
        for name, by in order
    ]
