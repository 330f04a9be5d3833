"""Two visits of one patient: what changed in the findings, with both values.

A difference of two measurements is a change only where it is larger than what measuring the same
eye twice would give: the repeatability coefficient of Bland and Altman [1]_, 1.96 times the
standard deviation of the differences of repeated measurements. Where it is not known, it is said
that it is not known. A label has changed where the prediction sets of the two have no value in
common.

References:
    .. [1] Bland & Altman, "Statistical methods for assessing agreement between two methods of
       clinical measurement", Lancet 327:307-310, 1986.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from osler.errors import InputError
from osler.io.wording import name_of, quantity
from osler.language.facts import bounded
from osler.record import Case, Finding, Image, Label, Mask, Measurement

MOST_CHANGES: Final = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One finding at two visits.

    Attributes:
        id: the finding's, the same at both.
        name: what a reader calls it.
        before: the value then, as words with its unit.
        after: the value now.
        difference: of two numbers of one unit, now less then; None for others.
        unit: UCUM unit of ``difference``.
        changed: True where it is more than doubt allows, False where it is not, None where that
            is not known.
        why: how ``changed`` was decided.
    """

    id: str
    name: str
    before: str
    after: str
    difference: float | None = None
    unit: str = ""
    changed: bool | None = None
    why: str = ""


def changes(
    now: Case,
    then: Case,
    *,
    language: str = "en",
    repeatability: Mapping[str, float] | None = None,
) -> list[Change]:
    """What the findings of two visits say, for those that both have.

    Args:
        now: the later visit.
        then: the earlier one.
        language: of names and values, ``"en"`` or ``"zh"``.
        repeatability: measurement id to its repeatability coefficient, in the measurement's unit.

    Raises:
        InputError: they are of different patients or eyes, or the dates are the other way round.
    """
    check(now, then)
    known = repeatability or {}
    found = (_changed(f, then.findings.get(f.id), language, known) for f in now.findings.values())
    return [one for one in found if one is not None]


def check(now: Case, then: Case) -> None:
    """Refuse two cases that are not visits of one eye in their order.

    Raises:
        InputError: they are of different patients or eyes, or the dates are the other way round.
    """
    if now.patient_id and then.patient_id and now.patient_id != then.patient_id:
        raise InputError("the two visits are of different patients; name two of one patient")
    sides = [side(case) for case in (now, then)]
    if None not in sides and sides[0] != sides[1]:
        raise InputError("one visit shows the right eye and one the left; name two of one eye")
    passed = days_between(now, then)
    if passed is not None and passed < 0:
        raise InputError("the visit that was named as the earlier one is the later; swap the two")


def compare(
    now: Case, then: Case, *, about: str = "", language: str = "en"
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The changes as plain values, with the ids of the findings.

    Raises:
        InputError: as ``changes``.
    """
    wanted = about.casefold()
    found = [
        one
        for one in changes(now, then, language=language)
        if wanted in one.id.casefold() or wanted in one.name.casefold()
    ]
    kept = found[:MOST_CHANGES]
    rows = [
        {
            "id": bounded(one.id),
            "name": bounded(one.name),
            "before": bounded(one.before),
            "now": bounded(one.after),
            "difference": None if one.difference is None else float(f"{one.difference:.4g}"),
            "unit": one.unit,
            "changed": one.changed,
            "why": one.why,
        }
        for one in kept
    ]
    values = {"days": days_between(now, then), "changes": rows, "all": len(found)}
    return values, tuple(one.id for one in kept)


def days_between(now: Case, then: Case) -> float | None:
    """Days from the earlier visit to the later, where both state when they were."""
    dates = [_date(case) for case in (now, then)]
    if dates[0] is None or dates[1] is None:
        return None
    passed = dates[0].replace(tzinfo=None) - dates[1].replace(tzinfo=None)
    return round(passed.total_seconds() / 86400, 1)


def side(case: Case) -> str | None:
    """``"R"`` or ``"L"`` where the case says it without doubt."""
    label = case.get("laterality", Label)
    doubted = label is None or {"uncertain", "laterality-conflict"} & set(label.flags)
    if label is not None and not doubted and (label.probability or 1) >= 0.8:
        return label.value if label.value in ("R", "L") else None
    stated = {i.laterality for i in case.items.values() if isinstance(i, Image) and i.laterality}
    return stated.pop() if len(stated) == 1 else None


def _date(case: Case) -> datetime | None:
    dates = [item.acquired for item in case.items.values() if item.acquired]
    return min(dates, key=lambda date: date.replace(tzinfo=None)) if dates else None


def _changed(
    now: Finding, then: Finding | None, language: str, known: Mapping[str, float]
) -> Change | None:
    if type(now) is not type(then) or then is None:
        return None
    name = name_of(now, language=language)
    if isinstance(now, Label) and isinstance(then, Label):
        return _label(now, then, name)
    if isinstance(now, Mask) and isinstance(then, Mask):
        before, after = bool(then.mask.any()), bool(now.mask.any())
        if before == after:
            return None
        words = ("none found", "found")
        return Change(
            now.id, name, words[before], words[after], why="a mask alone does not tell doubt"
        )
    if isinstance(now, Measurement) and isinstance(then, Measurement):
        return _measurement(now, then, name, language, known.get(now.id))
    return None


def _label(now: Label, then: Label, name: str) -> Change:
    words = (_words(then), _words(now))
    if now.value == then.value:
        return Change(now.id, name, *words, changed=False, why="the same value")
    if not now.prediction_set or not then.prediction_set:
        return Change(now.id, name, *words, why="no prediction sets: doubt is not known")
    # each visit excludes what the other says: more than the doubt of either
    apart = not set(now.prediction_set) & set(then.prediction_set)
    why = "the prediction sets have no value in common" if apart else (
        "a value that neither visit excludes is in both prediction sets"
    )  # fmt: skip
    return Change(now.id, name, *words, changed=apart, why=why)


def _words(label: Label) -> str:
    return f"{label.value} ({label.meaning})" if label.meaning != label.value else label.value


def _measurement(
    now: Measurement, then: Measurement, name: str, language: str, coefficient: float | None
) -> Change | None:
    if now.value is None or then.value is None or now.unit != then.unit:
        return None
    difference = now.value - then.value
    words = (quantity(then, language=language), quantity(now, language=language))
    if coefficient is None:
        return Change(
            now.id, name, *words, difference, now.unit, None, "its repeatability is not known"
        )
    more = abs(difference) > coefficient
    why = f"the repeatability coefficient is {coefficient:.4g}"
    return Change(now.id, name, *words, difference, now.unit, more, why)
