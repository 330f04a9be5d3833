"""Items: the pieces of evidence that a case holds, each with when it was acquired."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError

Laterality = Literal["R", "L"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an item came from.

    Attributes:
        path: the file as the user named it.
        sha256: hexadecimal digest of the file's bytes.
        format: the reader's name for the content, such as ``"jpeg"`` or ``"dicom"``.
        dicom: the data set's header in the DICOM JSON model (PS3.18 F.2), pixel data left out;
            empty for other formats.
    """

    path: str
    sha256: str
    format: str
    dicom: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Image:
    """An image in its native grid.

    Attributes:
        name: the item's name in its case, such as ``"photo"``.
        array: ``(C, H, W)`` or ``(C, D, H, W)``. Colour is sRGB ``uint8`` with ``C = 3``; a grey
            image has ``C = 1`` and keeps stored units.
        modality: DICOM modality code, such as ``"OP"`` for a fundus photograph.
        spacing: millimetres from pixel centre to pixel centre along ``([D,] H, W)``, or None
            where the file does not say. It is never guessed.
        affine: ``(4, 4)``, maps the index ``(d, h, w)`` of a voxel centre to LPS millimetres, or
            None for an image without a place in the patient.
        laterality: the eye or side that the file states, or None.
        acquired: when the image was taken, as far as the file states it.
        origin: where it came from.
        flags: named doubts of the reader, such as ``"cmyk-converted"``.
    """

    name: str
    array: NDArray[Any]
    modality: str
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    laterality: Laterality | None = None
    acquired: datetime | None = None
    origin: Origin | None = None
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4):
            raise InputError(
                f"image '{self.name}' has shape {self.array.shape}; expected (C, H, W) or "
                "(C, D, H, W): add the channel axis with array[None]"
            )
        if self.spacing is not None and len(self.spacing) != self.array.ndim - 1:
            raise InputError(
                f"image '{self.name}' has {self.array.ndim - 1} spatial axes but "
                f"{len(self.spacing)} spacings {self.spacing}; give one a spatial axis, or None"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape, ``(H, W)`` or ``(D, H, W)``, in pixels."""
        return tuple(self.array.shape[1:])


@dataclass(slots=True, eq=False)
class Signal:
    """Sampled channels over time.

    Attributes:
        name: the item's name in its case.
        array: ``(C, T)``.
        rate: samples a second (Hz).
        channels: a name for each channel.
        units: UCUM unit for each channel.
    """

    name: str
    array: NDArray[Any]
    rate: float
    channels: tuple[str, ...]
    units: tuple[str, ...]
    acquired: datetime | None = None
    origin: Origin | None = None
    flags: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Table:
    """Named values of one patient; a missing value is an absent key.

    Attributes:
        name: the item's name in its case.
        values: variable name to value.
        units: variable name to UCUM unit, for those that have one.
    """

    name: str
    values: Mapping[str, Any]
    units: Mapping[str, str] = field(default_factory=dict)
    acquired: datetime | None = None
    origin: Origin | None = None
    flags: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Text:
    """A passage of the record.

    Attributes:
        name: the item's name in its case.
        text: the whole text.
        language: BCP 47 tag, such as ``"en"`` or ``"zh"``.
        sections: section name (``"findings"``, ``"impression"``) to text, where recognised.
    """

    name: str
    text: str
    language: str = "en"
    sections: Mapping[str, str] = field(default_factory=dict)
    acquired: datetime | None = None
    origin: Origin | None = None
    flags: tuple[str, ...] = ()


Item = Image | Signal | Table | Text
