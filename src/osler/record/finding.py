"""Findings: one statement about a case, who says so, how sure, and on what evidence.

Ground truth is a finding too, whose source is a person.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.record.code import Code
from osler.record.item import Deferred, Image, Laterality


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


class _Voxels:
    """Descriptor of a mask's arrays: takes an array or a ``Deferred``, gives an array."""

    def __init__(self, *, optional: bool) -> None:
        self._optional = optional

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    @overload
    def __get__(self, mask: None, owner: type) -> None: ...
    @overload
    def __get__(self, mask: object, owner: type) -> NDArray[Any]: ...
    def __get__(self, mask: object | None, owner: type) -> NDArray[Any] | None:
        if mask is None:
            if self._optional:
                return None  # the data class's default
            raise AttributeError(self._name[1:])  # so that it sees none
        held = mask.__dict__[self._name]
        if not isinstance(held, Deferred):
            given: NDArray[Any] = held
            return given
        array = held.load()
        if array.shape != held.shape:
            raise InputError(
                f"mask '{getattr(mask, 'id', '')}' was announced as {held.shape} and its file gave "
                f"{array.shape}; the file has changed: load it again"
            )
        array.setflags(write=False)
        return array

    def __set__(self, mask: object, value: "NDArray[Any] | Deferred | None") -> None:
        mask.__dict__[self._name] = value


@dataclass(eq=False, kw_only=True, repr=False)
class Mask(Finding):
    """The pixels of a structure, in the native grid of its item.

    Both arrays may be given as a ``Deferred``. They are then decoded each time they are asked for
    and cannot be written to, so that a case of a hundred segments needs the memory of one.

    Attributes:
        mask: boolean ``(H, W)`` or ``(D, H, W)``.
        probabilities: the same shape, 0 to 1 in ``float16``, where the source gives them.
        category: the kind of thing, such as an anatomical structure (DICOM CID 7150).
    """

    mask: _Voxels = _Voxels(optional=False)
    probabilities: _Voxels = _Voxels(optional=True)
    category: Code | None = None

    def __repr__(self) -> str:
        return f"Mask({self.id!r}, {' x '.join(str(n) for n in self.shape)})"

    @property
    def shape(self) -> tuple[int, ...]:
        """``(H, W)`` or ``(D, H, W)`` in pixels; decodes nothing."""
        return tuple(self.__dict__["_mask"].shape)

    @property
    def fractional(self) -> bool:
        """Whether there are probabilities; decodes nothing."""
        return self.__dict__["_probabilities"] is not None


@dataclass(slots=True, eq=False, kw_only=True)
class Point(Finding):
    """A place in an item.

    Attributes:
        position: index ``(h, w)`` or ``(d, h, w)`` in pixels, 0 at the centre of the first pixel.
    """

    position: tuple[float, ...]


@dataclass(slots=True, eq=False, kw_only=True)
class Contour(Finding):
    """Lines around or through a structure, where no grid is at hand to fill them in.

    Attributes:
        rings: one array a line, ``(N, 2)`` or ``(N, 3)``: indices ``(h, w)`` or ``(d, h, w)`` of
            ``item``, or, with a ``frame``, LPS millimetres ``(x, y, z)``.
        closed: whether each line ends where it starts and stands for the area inside.
        frame: DICOM FrameOfReferenceUID of the millimetres; empty for indices.
    """

    rings: tuple[NDArray[np.float64], ...]
    closed: bool = True
    frame: str = ""


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
class Markers(Finding):
    """Moments or stretches of time in a signal, such as heart beats and changes of rhythm.

    Attributes:
        times: ``(N,)`` seconds from the signal's first sample, in ``float64``.
        labels: what happens at each, in the source's own symbols or words.
        durations: seconds that each lasts, 0 for a moment; empty where all are moments.
        channels: index of the channel that each is about, -1 for all; empty where all are.
        notes: words to each, empty for one without; empty where none has any.
        meanings: label to the words for it, such as ``{"V": "premature ventricular beat"}``.
    """

    times: NDArray[np.float64]
    labels: tuple[str, ...]
    durations: tuple[float, ...] = ()
    channels: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Finding.__post_init__(self)
        count = len(self.labels)
        lists = (self.durations, self.channels, self.notes)
        if self.times.shape != (count,) or any(one and len(one) != count for one in lists):
            raise InputError(
                f"finding '{self.id}' has {self.times.shape} times and {count} labels; give each "
                "moment one of everything"
            )


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
        contributions: of an answer from several inputs: input to how much it moved ``probability``
            (Shapley value); with the probability without any input (the share among the teaching
            cases, where that is known) they sum to it. Empty where it was not asked.
        without: input to what ``probability`` would have been, had that input been missing.
        span: of a statement taken from a text, its first character in the text ``item`` and one
            past its last.
    """

    value: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    prediction_set: tuple[str, ...] = ()
    coverage: float | None = None
    meanings: Mapping[str, str] = field(default_factory=dict)
    contributions: Mapping[str, float] = field(default_factory=dict)
    without: Mapping[str, float] = field(default_factory=dict)
    span: tuple[int, int] | None = None

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
        span: of a number taken from a text, as for `Label`.
    """

    value: float | None
    unit: str
    method: str = ""
    reason: str = ""
    structure: str = ""
    region: str = ""
    span: tuple[int, int] | None = None

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
        section: ``"findings"``, ``"impression"``, ``"quality"``, ``"advice"`` or ``"history"``.
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
        interval: lower and upper end of ``value`` at ``level``; None where they are not known.
        level: of the interval, such as 0.95.
        contributions: as for `Label`, of ``value``.
        without: as for `Label`, of ``value``.
    """

    value: float
    horizon_days: float | None = None
    interval: tuple[float, float] | None = None
    level: float | None = None
    contributions: Mapping[str, float] = field(default_factory=dict)
    without: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True, eq=False, kw_only=True)
class Heatmap(Finding):
    """Where in an item a statement comes from.

    Attributes:
        values: ``(H, W)`` or ``(D, H, W)`` in the native grid, 0 to 1.
        method: how it was made.
    """

    values: NDArray[np.float16]
    method: str = ""


@dataclass(slots=True, eq=False, kw_only=True)
class Transform(Finding):
    """A map between the grids of two items: where each place of one lies in the other.

    Attributes:
        matrix: homogeneous matrix from an index of ``item`` to an index of ``target``.
        target: name of the other item.
        displacement: what is added to where ``matrix`` leads, one vector a voxel of ``item``:
            ``(2, H, W)`` or ``(3, D, H, W)``, its components along the axes of ``item``'s grid in
            ``unit``. Beyond the grid the vector of the nearest voxel holds. None for a map that
            ``matrix`` tells in full.
        unit: UCUM unit of ``displacement``: ``"mm"``, or ``"[pix_i]"`` between images without a
            scale.
    """

    matrix: NDArray[np.float64]
    target: str
    displacement: NDArray[np.float32] | None = None
    unit: str = "mm"


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
