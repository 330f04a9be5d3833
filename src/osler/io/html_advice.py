"""The section of a report that holds advice: its words, its citations, and what it is not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from osler.record import Case, Label, Passage

SECTION: Final = "advice"

WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "title": "Advice for primary care",
        "urgency": "Referral",
        "table": "By {name} {version}",
        "notice": (
            "Guidelines in our own words, put to these findings by rule. This is no medical device "
            "and no prescription: a clinician who knows the patient decides."
        ),
        "phrasing-rejected": "The language engine changed it; the guideline's words stand.",
        "engine-failed": "The language engine did not answer; the guideline's words stand.",
        "guidelines-out-of-date": "The guidelines are due for review.",
    },
    "zh": {
        "title": "基层管理建议",
        "urgency": "转诊",
        "table": "依据 {name} {version}",
        "notice": (
            "以上为按规则将指南内容（自行表述）对应到本次结果。本软件不是医疗器械，亦非处方："
            "应由了解患者情况的医生决定。"
        ),
        "phrasing-rejected": "语言引擎改变了该建议的内容，已保留指南表述。",
        "engine-failed": "语言引擎未应答，已保留指南表述。",
        "guidelines-out-of-date": "指南表需要复审。",
    },
}


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of advice as it is printed."""

    text: str
    citations: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """The section.

    Attributes:
        words: of its frame.
        pieces: of advice, the most urgent first.
        urgency: of the referral, in words; empty where it is not known.
        urgent: whether it can not wait.
        table: whose rules they are.
    """

    words: Mapping[str, str]
    pieces: tuple[Piece, ...]
    urgency: str
    urgent: bool
    table: str


def told(passage: Passage) -> str:
    """The words of a passage for a format without notes: advice goes nowhere without its source."""
    if passage.section != SECTION or not passage.note:
        return passage.text
    return f"{passage.text} [{passage.note}]"


def notice(passages: Iterable[Passage]) -> str:
    """What advice is not, where there is advice; else empty."""
    languages = [p.language for p in passages if p.section == SECTION]
    return WORDS["zh" if languages[0] == "zh" else "en"]["notice"] if languages else ""


def advice_of(case: Case, *, language: str) -> Section | None:
    """The advice in a case; None where it has none."""
    words = WORDS["zh" if language == "zh" else "en"]
    passages = [p for p in case.of(Passage) if p.section == SECTION]
    if not passages:
        return None
    label = case.get("advice-urgency", Label)
    source = passages[0].source
    return Section(
        words,
        tuple(
            Piece(p.text, p.note, tuple(words[flag] for flag in p.flags if flag in words))
            for p in passages
        ),
        label.meaning if label else "",
        label is not None and label.value in ("emergency", "urgent"),
        words["table"].format(name=source.name.rpartition(".")[2], version=source.version),
    )
