"""Overlays in the unused bits of the pixels (retired): read as masks, frame by frame.

Source: DICOM PS3.5 8.1.2 and PS3.3 C.9.2 of 2003: Overlay Bits Allocated is that of the pixels, and
Overlay Bit Position says which of their bits is the overlay.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from osler.io.dicom_frames import Frames
from osler.io.dicom_layout import Layout
from osler.io.dicom_pixels import samples_of
from osler.io.input_file import InputFile, decoding
from osler.record import Deferred, Mask, Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_KINDS = {"G": "graphics", "R": "region of interest"}


@dataclass(frozen=True, slots=True)
class _Plane:
    """Number of the group, bit, first and last frame, and the type."""

    number: int
    bit: int
    first: int
    last: int
    kind: str


def embedded(
    file: InputFile,
    dataset: "Dataset",
    layout: Layout,
    frames: Frames,
    *,
    depths: tuple[int, ...],
    item: str,
    shape: tuple[int, ...],
) -> tuple[list[Mask], tuple[str, ...]]:
    """The overlays whose bits lie in the pixels, as masks in the image's grid.

    Args:
        file: the opened file.
        dataset: the header.
        layout: how the samples are stored.
        frames: where they lie.
        depths: the depth of each frame.
        item: the name of the image.
        shape: ``(H, W)`` or ``(D, H, W)``.

    Returns:
        The masks, whose pixels are decoded when they are asked for; and ``"overlay-left-out"``
        where a bit is said to be an overlay that belongs to the values, or to no sample at all.
    """
    masks, flags = [], set()
    for plane in _planes(dataset, layout):
        if plane is None:
            flags.add("overlay-left-out")
            continue

        def load(plane: _Plane = plane) -> NDArray[np.bool_]:
            return _bits(file, layout, frames, plane, depths=depths, shape=shape)

        masks.append(
            Mask(
                id=f"overlay-{plane.number}"
                if item == "photo"
                else f"{item}.overlay-{plane.number}",
                name=f"Overlay {plane.number} ({_KINDS.get(plane.kind, 'drawing')})",
                source=Source("algorithm", "dicom-overlay"),
                item=item,
                mask=Deferred(shape, np.dtype(np.bool_), load),
            )
        )
    return masks, tuple(sorted(flags))


def hidden(dataset: "Dataset") -> bool:
    """Whether an overlay lies in the pixels by the header."""
    return any(_is_embedded(dataset, group) for group in range(0x6000, 0x6020, 2))


def _value(dataset: "Dataset", group: int, element: int, default: int) -> int:
    found = dataset.get((group, element))
    try:
        return default if found is None or found.value in (None, "") else int(found.value)
    except (TypeError, ValueError):
        return default


def _is_embedded(dataset: "Dataset", group: int) -> bool:
    known = any((group, element) in dataset for element in (0x0010, 0x0011, 0x0100, 0x0102))
    position = _value(dataset, group, 0x0102, 0)
    several = _value(dataset, group, 0x0100, 1) > 1
    return known and (group, 0x3000) not in dataset and (several or position > 0)


def _planes(dataset: "Dataset", layout: Layout) -> "list[_Plane | None]":
    """The planes; None for one that cannot be."""
    out: list[_Plane | None] = []
    used = range(layout.high + 1 - layout.stored, layout.high + 1)
    for group in range(0x6000, 0x6020, 2):
        if not _is_embedded(dataset, group):
            continue
        bit = _value(dataset, group, 0x0102, 0)
        size = tuple(
            _value(dataset, group, element, side)
            for element, side in ((0x0010, layout.rows), (0x0011, layout.columns))
        )
        allocated = _value(dataset, group, 0x0100, layout.allocated)
        first = _value(dataset, group, 0x0051, 1) - 1
        count = _value(dataset, group, 0x0015, layout.frames - max(first, 0))
        sound = (
            layout.samples == 1
            and not layout.real
            and 0 <= bit < layout.allocated == allocated
            and bit not in used
            and size == (layout.rows, layout.columns)
            and 0 <= first < layout.frames
            and count >= 1
        )
        kind = dataset.get((group, 0x0040))
        last = min(first + count, layout.frames) - 1
        number = (group - 0x6000) // 2 + 1
        said = "" if kind is None else str(kind.value)
        out.append(_Plane(number, bit, first, last, said) if sound else None)
    return out


def _bits(
    file: InputFile,
    layout: Layout,
    frames: Frames,
    plane: _Plane,
    *,
    depths: tuple[int, ...],
    shape: tuple[int, ...],
) -> NDArray[np.bool_]:
    out = np.zeros(shape if len(shape) == 3 else (1, *shape), np.bool_)
    with decoding(file, "dicom"), frames.reading() as read:
        for frame in range(plane.first, plane.last + 1):
            samples, _ = samples_of(file.name, read(frame), layout, frame=frame)
            whole = samples[..., 0]
            if not whole.dtype.isnative:
                whole = whole.astype(whole.dtype.newbyteorder("="))
            values = whole.view(f"u{whole.dtype.itemsize}")
            out[depths[frame]] = values >> values.dtype.type(plane.bit) & values.dtype.type(1)
    return out.reshape(shape)
