"""Overlays: drawings that lie over an image, read as masks apart from it.

Source: DICOM PS3.3 C.9.2 (overlay plane), PS3.5 8.1.2 (bits).
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.record import Mask, Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_KINDS = {"G": "graphics", "R": "region of interest"}


MOST_VOXELS = 1 << 28
"""No more than this many voxels of masks are made of one file's overlays."""


def too_large(dataset: "Dataset", *, shape: tuple[int, ...]) -> bool:
    """Whether the masks of all overlay planes would take more voxels than ``MOST_VOXELS``."""
    planes = sum((group, 0x3000) in dataset for group in range(0x6000, 0x6020, 2))
    return planes * math.prod(shape) > MOST_VOXELS


def overlays(dataset: "Dataset", *, item: str, shape: tuple[int, ...]) -> list[Mask]:
    """The overlay planes of a header as masks in the image's grid.

    Args:
        dataset: the header, overlay data included.
        item: the name of the image.
        shape: ``(H, W)`` or ``(D, H, W)``.

    Returns:
        One mask a plane, flagged ``"overlay-cut-off"`` where a plane reaches beyond the image.
        A plane whose bits are not there, or lie within the pixels (``dicom_overlays_embedded``),
        is passed over.
    """
    found = []
    for group in range(0x6000, 0x6020, 2):
        plane = _plane(dataset, group)
        if plane is None:
            continue
        bits, row, column, frame, kind = plane
        mask = np.zeros(shape if len(shape) == 3 else (1, *shape), np.bool_)
        outside = _paste(bits, mask, row=row, column=column, frame=frame)
        number = (group - 0x6000) // 2 + 1
        found.append(
            Mask(
                id=f"overlay-{number}" if item == "photo" else f"{item}.overlay-{number}",
                name=f"Overlay {number} ({_KINDS.get(kind, 'drawing')})",
                source=Source("algorithm", "dicom-overlay"),
                item=item,
                mask=mask if len(shape) == 3 else mask[0],
                flags=("overlay-cut-off",) if outside else (),
            )
        )
    return found


def _plane(dataset: "Dataset", group: int) -> tuple[NDArray[np.bool_], int, int, int, str] | None:
    """Bits ``(N, H, W)``, row, column and frame of the first, and the type."""

    def value(element: int, default: Any = None) -> Any:
        found = dataset.get((group, element))
        return default if found is None or found.value in (None, "") else found.value

    try:
        rows, columns = int(value(0x0010, 0)), int(value(0x0011, 0))
        count = max(1, int(value(0x0015, 1)))
        first = int(value(0x0051, 1)) - 1
        origin = [int(v) for v in value(0x0050, (1, 1))]
        data = value(0x3000)
        size = rows * columns * count
        if not isinstance(data, bytes) or size < 1 or len(data) * 8 < size or len(origin) != 2:
            return None
    except (TypeError, ValueError):
        return None
    big = getattr(dataset, "original_encoding", (None, True))[1] is False
    if big and dataset[group, 0x3000].VR == "OW":  # pairs of bytes the other way round (PS3.5 7.3)
        data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=size, bitorder="little")
    plane = bits.astype(np.bool_).reshape(count, rows, columns)
    return plane, origin[0] - 1, origin[1] - 1, first, str(value(0x0040, ""))


def _paste(
    bits: NDArray[np.bool_], mask: NDArray[np.bool_], *, row: int, column: int, frame: int
) -> bool:
    """Write the plane into the mask; whether some of it lies outside."""
    source, target = [], []
    for start, length, room in zip((frame, row, column), bits.shape, mask.shape, strict=True):
        first, last = max(0, start), min(room, start + length)
        if last <= first:
            return True
        target.append(slice(first, last))
        source.append(slice(first - start, last - start))
    mask[tuple(target)] = bits[tuple(source)]
    return any(s.stop - s.start < n for s, n in zip(source, bits.shape, strict=True))
