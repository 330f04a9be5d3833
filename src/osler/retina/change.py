"""What changed between two photographs of one eye: lesions, measures, the grade.

The earlier photograph is brought onto the later one by its vessels; where that fails nothing is
compared, for then nothing shows that the two are of one eye. All findings are about the later
photograph and in its grid.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from osler import __version__
from osler.errors import InputError
from osler.io.wording import known_language
from osler.record import (
    Case,
    Finding,
    Image,
    Label,
    Mask,
    Measurement,
    Passage,
    Source,
    Transform,
    vocab,
)
from osler.record.case import Event
from osler.retina.change_words import told
from osler.retina.narrative import NOT_FUNDUS, check_language
from osler.retina.sentence import LESIONS
from osler.retina.turnover import Turnover, turnover
from osler.tasks.fundus_registration import register_fundus
from osler.tasks.registration_warp import warped, warped_labels

ITEM: Final = "photo"
PREVIOUS: Final = "previous"
SOURCE: Final = Source("algorithm", "osler.retina.change", __version__)
REACH: Final = 0.006
"""Of the field's diameter: about 70 micrometres of a field of 45 degrees, half a microaneurysm."""
FAINT: Final = 0.15
"""Probability from which a lesion that is in one mask only was seen in the other too."""
MEASURES: Final = (
    "cdr.vertical", "avr.knudtson", "tortuosity.artery", "tortuosity.vein",
    "fractal-dimension.all",
)  # fmt: skip
_YEAR: Final = 365.25
_CODES: Final = {
    "microaneurysms": vocab.MICROANEURYSM,
    "haemorrhages": vocab.HAEMORRHAGE,
    "hard-exudates": vocab.HARD_EXUDATE,
    "soft-exudates": vocab.SOFT_EXUDATE,
}
_DOUBT: Final = "two-readings"
_RATES: Final = "of those counted in the common field, divided by the years between (Nunes 2009)"


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two photographs that lie on each other."""

    before: Case
    after: Case
    transform: Transform
    common: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
    reach: float
    days: float | None
    faint: float

    @property
    def images(self) -> tuple[Image, Image]:
        """The earlier and the later photograph."""
        return self.before.image(ITEM), self.after.image(ITEM)


def compare(
    before: Case,
    after: Case,
    *,
    days: float | None = None,
    language: str = "en",
    faint: float = FAINT,
    seed: int = 0,
) -> list[Finding]:
    """Add to the later case what changed since the earlier one.

    Args:
        before: the earlier photograph, interpreted.
        after: the later one, interpreted; gets the earlier photograph as item ``previous``, and
            the findings.
        days: between the two; None takes it from the dates that the files state.
        language: of the sentences, ``"en"`` or ``"zh"``.
        faint: probability from which a lesion that one mask lacks was seen there too.
        seed: of the registration's trials.

    Returns:
        The registration; for each kind of lesion masks of what is new and gone, their numbers,
        and the change of area; a label of the grade's change; differences of measurements; and
        passages of the section ``history``.

    Raises:
        InputError: one of them was not read or is no fundus photograph, the two are not in the
            order of their dates, or they cannot be brought onto each other.
    """
    check_language(language)
    begun = time.perf_counter()
    pair = _registered(before, after, days, faint, seed)
    rows = [
        *_time(pair),
        *(one for row in LESIONS for one in _lesions(pair, row[0], row[2])),
        *_grade(pair),
        *_measures(pair),
    ]
    found: list[Finding] = [pair.transform, *rows]
    after.items[PREVIOUS] = replace(pair.images[0], name=PREVIOUS)
    for finding in found:
        after.add(finding)
    for number, sentence in enumerate(told(after), 1):
        words = sentence.zh if known_language(language) == "zh" else sentence.en
        passage = Passage(
            id=f"change-{number}", name="Statement", source=SOURCE, item=ITEM, text=words,
            language=known_language(language), section=sentence.section,
            evidence=sentence.evidence,
        )  # fmt: skip
        found.append(after.add(passage))
    seconds = round(time.perf_counter() - begun, 3)
    after.history.append(Event("retina.change", f"osler {__version__}", seconds))
    return found


def _registered(before: Case, after: Case, days: float | None, faint: float, seed: int) -> _Pair:
    for name, case in (("earlier", before), ("later", after)):
        kind = case.get("photograph", Label)
        if "field" not in case or kind is None:
            raise InputError(f"the {name} photograph was not read yet; read it with osler.read")
        if kind.value == NOT_FUNDUS:
            raise InputError(f"the {name} photograph is not a fundus photograph")
    if PREVIOUS in after:
        raise InputError(f"case '{after.id}' was compared already; read it again")
    days = _days(before, after) if days is None else days
    if days is not None and days < 0:
        raise InputError(
            "the photograph given as the earlier one was taken after the other; exchange the two"
        )
    one, other = before.image(ITEM), after.image(ITEM)
    found = register_fundus(other, one, seed=seed)
    if found.transform is None:
        raise InputError(
            f"the two photographs could not be brought onto each other: {found.reason}. Nothing "
            "was compared"
        )
    then, now = before.get("field", Mask), after.get("field", Mask)
    assert then is not None
    assert now is not None
    field = now.mask
    earlier = warped_labels(then.mask, found.transform, onto=other, moving=one)
    across = 2 * float(np.sqrt(field.sum() / np.pi))
    transform = replace(found.transform, id="registration", target=PREVIOUS)
    share = found.figures["common-field"]
    transform.note = f"{100 * share:.0f} % of the later field is in the earlier photograph too"
    return _Pair(before, after, transform, field & earlier, REACH * across, days, faint)


def _days(before: Case, after: Case) -> float | None:
    one, other = before.image(ITEM).acquired, after.image(ITEM).acquired
    if one is None or other is None:
        return None
    if (one.tzinfo is None) != (other.tzinfo is None):  # one of them without its zone
        one, other = one.replace(tzinfo=None), other.replace(tzinfo=None)
    return (other - one).total_seconds() / 86400


def _time(pair: _Pair) -> Iterator[Finding]:
    reason = "" if pair.days is not None else "a file does not state when it was taken"
    yield Measurement(
        id="change.days", name="Time between", source=SOURCE, item=ITEM, unit="d", reason=reason,
        value=None if pair.days is None else round(pair.days, 2),
    )  # fmt: skip


def _lesions(pair: _Pair, kind: str, several: str) -> Iterator[Finding]:
    one, other = pair.before.get(kind, Mask), pair.after.get(kind, Mask)
    if one is None or other is None:
        return
    seen = _turnover(pair, one, other)
    evidence = (kind, "registration")
    for word, mask, flags in (("new", seen.new, ()), ("gone", seen.gone, ("earlier",))):
        if mask.any():
            yield Mask(
                id=f"{word}-{kind}", name=f"{word.capitalize()} {several}", source=SOURCE,
                code=_CODES[kind], site=vocab.RETINA, item=ITEM, evidence=evidence, mask=mask,
                flags=flags,
            )  # fmt: skip

    def number(
        what: str, name: str, value: float | None, unit: str, method: str, reason: str = ""
    ) -> Measurement:
        return Measurement(
            id=f"change.{what}.{kind}", name=f"{several.capitalize()}, {name}", source=SOURCE,
            item=ITEM, evidence=evidence, value=value, unit=unit, method=method, reason=reason,
            structure=several, region="common field", flags=(_DOUBT,),
        )  # fmt: skip

    reach = f"within {pair.reach:.1f} pixels"
    yield number("new", "new", seen.came, "1", f"no earlier one {reach}, nor seen faintly")
    yield number("gone", "gone", seen.went, "1", f"no later one {reach}, nor seen faintly")
    yield number("stayed", "in both", seen.stayed, "1", f"an earlier one {reach}")
    yield number(
        "unsure", "unsure", seen.unsure, "1",
        f"in one photograph, and with a probability of {pair.faint:g} or more in the other",
    )  # fmt: skip
    growth = None if not seen.before else round(100 * (seen.after / seen.before - 1), 1)
    yield number(
        "area", "change of area", growth, "%", "area now over the area then, less 1",
        "" if seen.before else "there was none then",
    )  # fmt: skip
    if kind == "microaneurysms" and pair.days:
        years = pair.days / _YEAR
        for what, name, count in (
            ("formation", "formation a year", seen.came),
            ("turnover", "turnover a year", seen.came + seen.went),
        ):
            yield number(what, name, round(count / years, 2), "/a", _RATES)


def _turnover(pair: _Pair, one: Mask, other: Mask) -> Turnover:
    before, after = pair.images
    earlier = warped_labels(one.mask, pair.transform, onto=after, moving=before)
    chances = None
    if one.probabilities is not None and other.probabilities is not None:
        values = Image("chance", np.asarray(one.probabilities, np.float32)[None])
        moved = warped(values, pair.transform, onto=after).array[0]
        chances = (moved, np.asarray(other.probabilities, np.float32))
    return turnover(
        earlier, other.mask, pair.common, reach=pair.reach, faint=pair.faint, chances=chances
    )


def _grade(pair: _Pair) -> Iterator[Finding]:
    one, other = (case.get("dr-grade", Label) for case in (pair.before, pair.after))
    if one is None or other is None:
        return
    steps = int(other.value) - int(one.value)
    unsure = bool({*one.prediction_set} & {*other.prediction_set})
    yield Label(
        id="change.dr-grade", name="Change of the grade of retinopathy", source=SOURCE, item=ITEM,
        evidence=("dr-grade",), value="same" if not steps else "worse" if steps > 0 else "better",
        flags=("within-uncertainty",) if steps and unsure else (),
        note=f"grade {one.value} then, {other.value} now",
    )  # fmt: skip
    yield Measurement(
        id="change.dr-grade-steps", name="Steps of the grade", source=SOURCE, item=ITEM,
        evidence=("dr-grade",), value=steps, unit="1", method="the later grade less the earlier",
    )  # fmt: skip


def _measures(pair: _Pair) -> Iterator[Finding]:
    for id in MEASURES:
        one, other = (case.get(id, Measurement) for case in (pair.before, pair.after))
        if one is None or other is None or one.value is None or other.value is None:
            continue
        if one.unit == other.unit:
            yield Measurement(
                id=f"change.{id}", name=f"Change of {other.name}", source=SOURCE, item=ITEM,
                evidence=(id,), value=float(f"{other.value - one.value:.4g}"), unit=other.unit,
                structure=other.structure, region=other.region,
                method=f"now less then ({one.value:.4g})", flags=other.flags,
            )  # fmt: skip
