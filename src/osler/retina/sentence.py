"""A sentence of the narrative in both languages, and what its rules share."""

from dataclasses import dataclass
from typing import Final, Literal

from osler.io.wording import chance, chance_of
from osler.record import Case, Label, Measurement

# Finding id, one and several in English, Chinese.
LESIONS: Final = (
    ("microaneurysms", "microaneurysm", "microaneurysms", "微动脉瘤"),
    ("haemorrhages", "haemorrhage", "haemorrhages", "出血"),
    ("hard-exudates", "hard exudate", "hard exudates", "硬性渗出"),
    ("soft-exudates", "soft exudate", "soft exudates", "软性渗出"),
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence in both languages, and the ids of what it restates."""

    section: Literal["quality", "findings", "impression", "history"]
    en: str
    zh: str
    evidence: tuple[str, ...]


def measured_value(case: Case, id: str) -> Measurement | None:
    """A measurement that has a value."""
    measurement = case.get(id, Measurement)
    return measurement if measurement and measurement.value is not None else None


def present(case: Case, *ids: str) -> tuple[str, ...]:
    """Those of the ids that the case has findings for."""
    return tuple(id for id in ids if id in case.findings)


def probability_words(label: Label, value: str) -> tuple[str, str]:
    """The probability of a value in brackets, English and Chinese; empty where it has none."""
    p = chance_of(label, value)
    return ("", "") if p is None else (f" (probability {chance(p)})", f"（概率 {chance(p)}）")
