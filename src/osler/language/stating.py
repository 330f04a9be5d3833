"""What a text states, as findings of its case: labels and measurements with their characters."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from osler import __version__
from osler.language.assertion_words import Status
from osler.language.extraction import Statement, extract
from osler.language.findings_vocabulary import vocabulary
from osler.language.quantities import quantities, size
from osler.language.sentences import sentences, without_controls
from osler.record import Case, Code, Finding, Label, Laterality, Measurement, Source, Text, vocab

if TYPE_CHECKING:
    from osler.models.text_encoder import TextEncoder

SOURCE: Final = Source("algorithm", "osler.language.extraction", __version__)

_MEANINGS: Final = {
    "en": {
        "present": "present",
        "absent": "absent",
        "possible": "possible",
        "history": "in the past",
        "hypothetical": "asked for, not found",
        "family": "in a relative",
    },
    "zh": {
        "present": "有",
        "absent": "无",
        "possible": "可能",
        "history": "既往",
        "hypothetical": "待查，未见描述",
        "family": "亲属",
    },
}
GRADES: Final = {
    "dr-grade-1": ("1", "mild non-proliferative retinopathy"),
    "dr-grade-2": ("2", "moderate non-proliferative retinopathy"),
    "dr-grade-3": ("3", "severe non-proliferative retinopathy"),
    "dr-grade-4": ("4", "proliferative retinopathy"),
}
"""Concept of a grade to its ICDR value and words."""

_LOINC: Final = {
    "hba1c": {"%": "4548-4", "mmol/mol": "59261-8"},
    "systolic": {"mm[Hg]": "8480-6"},
    "diastolic": {"mm[Hg]": "8462-4"},
    "creatinine": {"mg/dL": "2160-0", "umol/L": "14682-9"},
    "temperature": {"Cel": "8310-5"},
}
_SIZED: Final = ("nodule", "mass", "cyst", "aneurysm", "lymphadenopathy", "granuloma")
_LOUDEST: Final[tuple[Status, ...]] = (
    "present",
    "possible",
    "absent",
    "history",
    "hypothetical",
    "family",
)


def state(
    case: Case,
    *,
    item: str | None = None,
    place: str = "eye",
    encoder: "TextEncoder | None" = None,
) -> list[Finding]:
    """Add what the case's texts state, as ``ITEM.CONCEPT`` and ``ITEM.CONCEPT.R`` or ``.L``.

    A label's value is ``"present"``, ``"absent"``, ``"possible"``, ``"history"``,
    ``"hypothetical"`` or ``"family"``; a grade of retinopathy that is there is ``ITEM.dr-grade``
    with its ICDR value. What a text says twice is one finding; what it both says and denies has the
    flag ``text-contradicts-itself``. The report's own words stay in the item: a finding has the
    characters.

    Args:
        case: findings are added to it.
        item: one text; by default all of them.
        place: where words such as "haemorrhage" are, if nothing in the text says it.
        encoder: also finds near misses: names that the vocabulary lacks, with the flag
            ``near-miss`` and never more than ``possible``.

    Returns:
        The findings that were added.

    Raises:
        KeyError: there is no such item.
    """
    texts = [case.items[item]] if item is not None else list(case.items.values())
    added: list[Finding] = []
    for text in texts:
        if isinstance(text, Text):
            added += [case.add(f) for f in _labels(case, text, place, encoder)]
            added += [case.add(f) for f in _measurements(case, text)]
    return added


def _labels(case: Case, text: Text, place: str, encoder: "TextEncoder | None") -> Iterator[Label]:
    said = extract(text.text, place=place)
    if encoder is not None:
        from osler.language.near_misses import with_near_misses

        said = with_near_misses(text.text, said, encoder)
    by_key: dict[tuple[str, Laterality | None], list[Statement]] = {}
    for one in said.statements:
        sides: tuple[Laterality | None, ...] = ("R", "L") if one.side == "B" else (one.side,)
        for side in sides:
            by_key.setdefault((one.concept, side), []).append(one)
    for (concept, side), statements in by_key.items():
        loudest = min(statements, key=lambda s: _LOUDEST.index(s.status))
        flags = [*said.flags, *loudest.flags]
        if {"present", "absent"} <= {s.status for s in statements}:
            flags.append("text-contradicts-itself")
        yield _label(case, text, concept, side, loudest, tuple(flags))


def _label(
    case: Case,
    text: Text,
    id: str,
    side: Laterality | None,
    statement: Statement,
    flags: tuple[str, ...],
) -> Label:
    concept = vocabulary().concept(id)
    codes = concept.codes
    value, meanings = statement.status, _MEANINGS["zh" if text.language == "zh" else "en"]
    name, code = id, codes[0] if codes else vocab.local(id, concept.en)
    words = {str(value): meanings[value]}
    if id in GRADES and statement.status == "present":
        grade, meaning = GRADES[id]
        name, code = "dr-grade", vocab.DR_GRADE
        return Label(
            id=_free(case, text.name, name, side),
            name=concept.name("en"),
            source=SOURCE,
            code=code,
            item=text.name,
            laterality=side,
            evidence=(text.name,),
            flags=flags,
            note=_note(statement, codes),
            value=grade,
            meanings={grade: meaning},
            span=(statement.start, statement.stop),
        )
    return Label(
        id=_free(case, text.name, name, side),
        name=concept.name("zh" if text.language == "zh" else "en"),
        source=SOURCE,
        code=code,
        item=text.name,
        laterality=side,
        evidence=(text.name,),
        flags=flags,
        note=_note(statement, codes),
        value=value,
        meanings=words,
        span=(statement.start, statement.stop),
    )


def _note(statement: Statement, codes: tuple[Code, ...]) -> str:
    """Where it stands, and its code of the ICD-10: nothing of the text itself."""
    icd = next((f"; ICD-10 {c.value}" for c in codes if c.scheme == "I10"), "")
    where = f" of section '{statement.section}'" if statement.section else ""
    return f"Stated in characters {statement.start} to {statement.stop}{where}{icd}"


def _measurements(case: Case, text: Text) -> Iterator[Measurement]:
    plain = without_controls(text.text)
    found = extract(text.text).statements
    seen: set[tuple[str, str | None, float]] = set()
    for start, stop in sentences(plain):
        for one in quantities(plain, start, stop):
            key = (one.id, one.side, one.value)
            if key in seen or len(seen) > 500:
                continue
            seen.add(key)
            loinc = _LOINC.get(one.id, {}).get(one.unit)
            yield Measurement(
                id=_free(case, text.name, one.id, one.side),
                name=one.name,
                source=SOURCE,
                code=Code(loinc, "LN", one.name) if loinc else vocab.local(one.id, one.name),
                item=text.name,
                laterality=one.side,
                evidence=(text.name,),
                value=one.value,
                unit=one.unit,
                method="as the text states it",
                span=(one.start, one.stop),
            )
    for statement in found:
        if statement.concept not in _SIZED or statement.status != "present":
            continue
        largest = size(plain, *_near(statement))
        if largest is None:
            continue
        concept = vocabulary().concept(statement.concept)
        side = statement.side if statement.side in ("R", "L") else None
        yield Measurement(
            id=_free(case, text.name, f"size.{statement.concept}", None),
            name=f"Largest diameter, {concept.en.lower()}",
            source=SOURCE,
            item=text.name,
            laterality=side,
            evidence=(text.name,),
            value=largest.value,
            unit="mm",
            method="as the text states it",
            structure=statement.concept,
            span=(largest.start, largest.stop),
        )


def _near(statement: Statement) -> tuple[int, int]:
    """The stretch of its sentence in which a finding's size may stand."""
    first, last = statement.sentence
    return max(first, statement.start - 60), min(last, statement.stop + 60)


def _free(case: Case, item: str, name: str, side: str | None) -> str:
    id = ".".join([item, name, *([side] if side else [])])
    number, free = 1, id
    while free in case:
        number += 1
        free = f"{id}-{number}"
    return free
