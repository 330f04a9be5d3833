"""Items: the pieces of evidence that a case holds, each with when it was acquired."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError

Laterality = Literal["R", "L"]
Region = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an item came from.

    Attributes:
        path: the file as the user named it.
        sha256: hexadecimal digest of the file's bytes; empty where a file is read piece by piece
            and never as a whole.
        format: the reader's name for the content, such as ``"jpeg"`` or ``"dicom"``.
        dicom: the data set's header in the DICOM JSON model (PS3.18 F.2), pixel data left out;
            empty for other formats.
        files: all the files, where there are several, in the order of their planes.
    """

    path: str
    sha256: str
    format: str
    dicom: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deferred:
    """Pixels that stay in their file until somebody asks for them.

    Attributes:
        shape: ``(C, H, W)`` or ``(C, D, H, W)``, known from the header.
        dtype: of the values that ``load`` gives.
        load: reads all of them.
        region: reads the part that slices along ``([D,] H, W)`` (step 1, within the shape) cut
            out, all channels, where the file allows it without reading the rest; None where it
            does not.

    It may be pickled, for another process to load: then ``load`` and ``region`` say where the
    pixels are. Where they cannot be pickled themselves, the pixels are loaded and go along.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], NDArray[Any]]
    region: Callable[[Region], NDArray[Any]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickle.dumps((self.load, self.region))
        except (pickle.PicklingError, AttributeError, TypeError):
            # a closure, or what holds an open file: no other process could call it
            held = _Loaded(self.load())
            return Deferred, (self.shape, self.dtype, held, held.region)
        return Deferred, (self.shape, self.dtype, self.load, self.region)

    def __copy__(self) -> "Deferred":
        return self

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "Deferred":
        return self  # a reference that never changes


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Pixels that came along; called, it gives a copy, as a file would."""

    array: NDArray[Any]

    def __call__(self) -> NDArray[Any]:
        return self.array.copy()

    def region(self, slices: Region) -> NDArray[Any]:
        return self.array[(slice(None), *slices)].copy()


class _Pixels:
    """Descriptor of ``Image.array``: takes an array or a ``Deferred``, gives an array."""

    @overload
    def __get__(self, image: None, owner: type) -> "_Pixels": ...
    @overload
    def __get__(self, image: object, owner: type) -> NDArray[Any]: ...
    def __get__(self, image: object | None, owner: type) -> "NDArray[Any] | _Pixels":
        if image is None:
            raise AttributeError("array")  # so that the data class sees no default
        held = image.__dict__["_held"]
        if isinstance(held, Deferred):
            array = held.load()
            if array.shape != held.shape or array.dtype != held.dtype:
                raise InputError(
                    f"image '{image.__dict__['name']}' was announced as {held.shape} {held.dtype} "
                    f"and its file gave {array.shape} {array.dtype}; the file has changed or its "
                    "header is wrong: load it again"
                )
            image.__dict__["_held"] = held = array
        pixels: NDArray[Any] = held
        return pixels

    def __set__(self, image: object, value: "NDArray[Any] | Deferred") -> None:
        image.__dict__["_held"] = value


@dataclass(eq=False, repr=False)
class Image:
    """An image in its native grid; its pixels may stay in the file until they are asked for.

    Attributes:
        name: the item's name in its case, such as ``"photo"``.
        array: ``(C, H, W)`` or ``(C, D, H, W)``. Colour is sRGB ``uint8`` with ``C = 3``; a grey
            image has ``C = 1`` and keeps stored units. Given as an array or as a ``Deferred``.
        modality: DICOM modality code, such as ``"OP"`` for a fundus photograph.
        spacing: millimetres from pixel centre to pixel centre along ``([D,] H, W)``, or None
            where the file does not say. It is never guessed.
        affine: ``(4, 4)``, maps the index ``(d, h, w)`` of a voxel centre to LPS millimetres, or
            None for an image without a place in the patient. A plane has ``d = 0``.
        laterality: the eye or side that the file states, or None.
        acquired: when the image was taken, as far as the file states it.
        origin: where it came from.
        flags: named doubts of the reader, such as ``"cmyk-converted"``.
        units: UCUM unit of the values, such as ``"[hnsf'U]"``; empty where there is none.
        channels: a name for each channel, where the file names them or they are points in time.
        times: seconds since the first, one for each frame of a cine (along ``D``) or each channel
            of a volume over time; empty where there is no time axis.
        window: ``(centre, width)`` that the file proposes for display, in the values' units.
        header: what else the file says, by the format's own names, kept for writing it back.
    """

    name: str
    array: _Pixels = _Pixels()
    modality: str = "OT"
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    laterality: Laterality | None = None
    acquired: datetime | None = None
    origin: Origin | None = None
    flags: tuple[str, ...] = ()
    units: str = ""
    channels: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    window: tuple[float, float] | None = None
    header: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self._held_shape()
        if len(shape) not in (3, 4):
            raise InputError(
                f"image '{self.name}' has shape {shape}; expected (C, H, W) or "
                "(C, D, H, W): add the channel axis with array[None]"
            )
        if self.spacing is not None and len(self.spacing) != len(shape) - 1:
            raise InputError(
                f"image '{self.name}' has {len(shape) - 1} spatial axes but "
                f"{len(self.spacing)} spacings {self.spacing}; give one a spatial axis, or None"
            )

    def __repr__(self) -> str:
        held = "" if self.loaded else ", not loaded"
        size = " x ".join(str(n) for n in self._held_shape())
        return f"Image({self.name!r}, {self.modality}, {size} {self.dtype}{held})"

    def _held_shape(self) -> tuple[int, ...]:
        return tuple(self.__dict__["_held"].shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape, ``(H, W)`` or ``(D, H, W)``, in pixels; loads nothing."""
        return self._held_shape()[1:]

    @property
    def channel_count(self) -> int:
        """``C``; loads nothing."""
        return self._held_shape()[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values; loads nothing."""
        kind: np.dtype[Any] = self.__dict__["_held"].dtype
        return kind

    @property
    def loaded(self) -> bool:
        """Whether the pixels are in memory."""
        return not isinstance(self.__dict__["_held"], Deferred)

    def region(self, *slices: slice) -> NDArray[Any]:
        """A part of the image, read alone where its file allows that.

        Args:
            slices: one a spatial axis, ``([D,] H, W)``, with step 1.

        Returns:
            ``(C, ...)``, all channels.

        Raises:
            InputError: not one slice an axis, or a step other than 1.
        """
        if len(slices) != len(self.shape) or any(s.step not in (None, 1) for s in slices):
            raise InputError(
                f"a region of image '{self.name}' takes {len(self.shape)} slices of step 1, "
                f"one an axis; got {slices}"
            )
        held = self.__dict__["_held"]
        whole = zip(slices, self.shape, strict=True)
        exact = tuple(slice(*s.indices(size)[:2]) for s, size in whole)
        if isinstance(held, Deferred) and held.region is not None:
            return held.region(exact)
        part: NDArray[Any] = self.array[(slice(None), *exact)]
        return part


@dataclass(slots=True, eq=False)
class Signal:
    """Sampled channels over time.

    Attributes:
        name: the item's name in its case.
        array: ``(C, T)``.
        rate: samples a second (Hz).
        channels: a name for each channel.
        units: UCUM unit for each channel.
        header: what else the file says, by the format's own names, kept for writing it back.
    """

    name: str
    array: NDArray[Any]
    rate: float
    channels: tuple[str, ...]
    units: tuple[str, ...]
    acquired: datetime | None = None
    origin: Origin | None = None
    flags: tuple[str, ...] = ()
    header: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Table:
    """Named values of one patient; a missing value is an absent key.

    Attributes:
        name: the item's name in its case.
        values: variable name to value.
        units: variable name to UCUM unit, for those that have one.
        matrix: ``(S, F)``, samples by features, for omics; None for a plain table. NaN where a
            value is missing.
        samples: a name for each row of ``matrix``.
        features: a name for each column of ``matrix``, such as a gene.
        header: what else the file says, such as the ``codes`` of the variables.
    """

    name: str
    values: Mapping[str, Any]
    units: Mapping[str, str] = field(default_factory=dict)
    matrix: NDArray[Any] | None = None
    samples: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    acquired: datetime | None = None
    origin: Origin | None = None
    flags: tuple[str, ...] = ()
    header: Mapping[str, Any] = field(default_factory=dict)


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
