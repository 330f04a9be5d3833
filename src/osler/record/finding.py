"""Findings: one statement about a case, who says so, how sure, and on what evidence.

Ground truth is a finding too, whose source is a person.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.record.code import Code
from osler.record.item import Image, Laterality


class Status(StrEnum):
    """How settled a finding is, as in HL7 FHIR R4 ``Observation.status``."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"


@dataclass(frozen=True, slots=True)
class Source:
    """Who says so.

    Attributes:
        kind: a trained ``bundle``, a published ``algorithm``, or a ``person``.
        name: the bundle's name, the algorithm's name, or the person's role (never a name).
        version: the bundle's or the program's version.
    """

    kind: Literal["bundle", "algorithm", "person"]
    name: str
    version: str = ""


@dataclass(slots=True, eq=False, kw_only=True)
class Finding:
    """What every finding has.

    Attributes:
        id: unique in its case, such as ``"vessels"`` or ``"tortuosity.artery"``.
        name: what a reader sees, such as ``"Retinal vessels"``.
        source: who says so.
        code: the concept, in a shared vocabulary.
        item: the name of the item that the statement is about.
        site: the body part, where ``code`` does not say it.
        laterality: the side it is about.
        probability: calibrated probability that the statement holds, 0 to 1.
        evidence: ids of the findings it stands on.
        status: how settled it is.
        flags: named doubts and failures, such as ``"pseudo-label"`` or ``"disc-not-found"``.
        note: one sentence for the reader.
    """

    id: str
    name: str
    source: Source
    code: Code | None = None
    item: str | None = None
    site: Code | None = None
    laterality: Laterality | None = None
    probability: float | None = None
    evidence: tuple[str, ...] = ()
    status: Status = Status.PRELIMINARY
    flags: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if self.probability is not None and not 0.0 <= self.probability <= 1.0:
            raise InputError(
                f"finding '{self.id}' has probability {self.probability}; expected 0 to 1"
            )


@dataclass(slots=True, eq=False, kw_only=True)
class Mask(Finding):
    """The pixels of a structure, in the native grid of its item.

    Attributes:
        mask: boolean ``(H, W)`` or ``(D, H, W)``.
        probabilities: the same shape, 0 to 1 in ``float16``, where the source gives them.
    """

    mask: NDArray[np.bool_]
    probabilities: NDArray[np.float16] | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Point(Finding):
    """A place in an item.

    Attributes:
        position: index ``(h, w)`` or ``(d, h, w)`` in pixels, 0 at the centre of the first pixel.
    """

    position: tuple[float, ...]


@dataclass(slots=True, eq=False, kw_only=True)
class Box(Finding):
    """An axis-aligned box in an item.

    Attributes:
        start: first index ``(h, w)`` or ``(d, h, w)`` inside, pixels.
        stop: first index beyond it on each axis, pixels.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]


@dataclass(slots=True, eq=False, kw_only=True)
class Label(Finding):
    """One value out of a set.

    Attributes:
        value: the value that is said.
        probabilities: value to calibrated probability; empty for a label without them.
        prediction_set: the values that cannot be excluded at ``coverage`` (conformal), in the
            order of ``probabilities``.
        coverage: the level of ``prediction_set``, such as 0.9.
        meanings: value to the words for it, such as ``{"2": "moderate"}``.
    """

    value: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    prediction_set: tuple[str, ...] = ()
    coverage: float | None = None
    meanings: Mapping[str, str] = field(default_factory=dict)

    @property
    def meaning(self) -> str:
        """The words for the value, or the value itself."""
        return self.meanings.get(self.value, self.value)


@dataclass(slots=True, eq=False, kw_only=True)
class Measurement(Finding):
    """A number with a unit.

    Attributes:
        value: the number, or None where it was not computed (``reason`` says why).
        unit: UCUM unit: ``"1"`` for a ratio, ``"[pix_i]"`` pixels, ``"um"``, ``"deg"``, ``"%"``;
            ``"{DD}"`` is disc diameters.
        method: the definition in one line with its source.
        reason: why there is no value; empty where there is one.
        structure: what was measured, such as ``"artery"``; empty where there is only one.
        region: where, such as ``"zone B"``; empty for the whole image.
    """

    value: float | None
    unit: str
    method: str = ""
    reason: str = ""
    structure: str = ""
    region: str = ""

    def __post_init__(self) -> None:
        # slots=True rebuilds the class, so zero-argument super() would not find it here
        Finding.__post_init__(self)
        if self.value is not None and not np.isfinite(self.value):
            raise InputError(
                f"measurement '{self.id}' has value {self.value}; use None and say the reason"
            )
        if self.value is None and not self.reason:
            raise InputError(f"measurement '{self.id}' has neither a value nor a reason")


@dataclass(slots=True, eq=False, kw_only=True)
class Passage(Finding):
    """A sentence or section in words; ``evidence`` names the findings that it restates.

    Attributes:
        text: the words.
        language: BCP 47 tag.
        section: ``"findings"``, ``"impression"`` or ``"quality"``.
    """

    text: str
    language: str = "en"
    section: str = "findings"


@dataclass(slots=True, eq=False, kw_only=True)
class Risk(Finding):
    """The chance of an event within a time.

    Attributes:
        value: probability, 0 to 1.
        horizon_days: the time it is about, in days; None where it has no limit.
    """

    value: float
    horizon_days: float | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Heatmap(Finding):
    """Where in an item a statement comes from.

    Attributes:
        values: ``(H, W)`` in the native grid, 0 to 1.
        method: how it was made.
    """

    values: NDArray[np.float16]
    method: str = ""


@dataclass(slots=True, eq=False, kw_only=True)
class Transform(Finding):
    """A map between the grids of two items.

    Attributes:
        matrix: homogeneous matrix from an index of ``item`` to an index of ``target``.
        target: name of the other item.
    """

    matrix: NDArray[np.float64]
    target: str


@dataclass(slots=True, eq=False, kw_only=True)
class DerivedImage(Finding):
    """An image made from an item."""

    image: Image


def describe(finding: Finding) -> dict[str, Any]:
    """The scalar fields of a finding as plain values, arrays left out (for JSON and logs)."""
    out: dict[str, Any] = {"kind": type(finding).__name__.lower()}
    for cls in type(finding).__mro__:
        for slot in getattr(cls, "__slots__", ()):
            value = getattr(finding, slot)
            if not isinstance(value, np.ndarray | Image):
                out.setdefault(slot, value)
    return out
