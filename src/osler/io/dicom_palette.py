"""Palettes: indices to colours, plain and segmented.

Source: DICOM PS3.3 C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9.2 (segmented).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from osler.errors import UnreadableError
from osler.io.colour import to_bytes

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_COLOURS = ("Red", "Green", "Blue")
_MOST_SEGMENTS = 65_536
_MOST_SEGMENT_BYTES = 4 * 65_536


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by index.

    Attributes:
        first: the index of the first colour; lower ones take it too, higher ones the last.
        colours: packed RGB, 3 bytes each.
    """

    first: int
    colours: bytes

    def through(self, indices: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Indices ``(H, W)`` as RGB ``(H, W, 3)``."""
        table = np.frombuffer(self.colours, np.uint8).reshape(-1, 3)
        rows = np.clip(indices.astype(np.int64) - self.first, 0, len(table) - 1)
        return table[rows]


def palette_of(name: str, dataset: "Dataset", *, signed: bool, big: bool) -> Palette:
    """The palette of a data set.

    Args:
        name: the file, for messages.
        dataset: the header.
        signed: whether indices are signed.
        big: whether words are big-endian.

    Raises:
        UnreadableError: it is missing, damaged or contradicts itself.
    """
    if "RedPaletteColorLookupTableDescriptor" not in dataset:
        raise UnreadableError(f"'{name}' is PALETTE COLOR without a palette; export it again")
    try:
        tables = [_table(dataset, colour, big=big) for colour in _COLOURS]
        first = int(dataset["RedPaletteColorLookupTableDescriptor"].value[1])
        bits = int(dataset["RedPaletteColorLookupTableDescriptor"].value[2])
        colours = np.stack(tables, axis=-1)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError):
        raise UnreadableError(
            f"'{name}' has a damaged palette (PaletteColorLookupTable); export it again"
        ) from None
    if signed and first > 32767:
        first -= 65536
    # some writers say 16 bits and fill the lower 8 alone
    bits = 8 if bits <= 8 or colours.max() < 256 else 16
    return Palette(first, to_bytes(colours, bits=bits).tobytes())


def _table(dataset: "Dataset", colour: str, *, big: bool) -> NDArray[np.uint16]:
    word = ">u2" if big else "<u2"
    count, _, bits = (int(v) for v in dataset[f"{colour}PaletteColorLookupTableDescriptor"].value)
    count = count % 65536 or 65536
    segmented = dataset.get(f"Segmented{colour}PaletteColorLookupTableData")
    if segmented:
        if len(segmented) > _MOST_SEGMENT_BYTES:
            raise ValueError
        wide = bits > 8
        values = np.frombuffer(segmented[: len(segmented) // 2 * 2], word if wide else np.uint8)
        table = np.asarray(_expanded([int(v) for v in values], count, wide=wide), np.uint16)
    else:
        data = dataset[f"{colour}PaletteColorLookupTableData"].value
        wide = len(data) >= 2 * count
        table = np.frombuffer(data[: len(data) // 2 * 2 if wide else None], word if wide else "u1")
        table = table.astype(np.uint16)
    if len(table) < count:
        raise ValueError
    return table[:count]


def _expanded(values: list[int], count: int, *, wide: bool) -> list[int]:
    """Segments to entries: discrete (0), linear (1) and indirect (2); no more than ``count``."""
    out: list[int] = []
    left = [_MOST_SEGMENTS]
    _expand(values, 0, len(values), out, count, wide=wide, nested=False, left=left)
    return out


def _expand(
    values: list[int],
    at: int,
    end: int,
    out: list[int],
    count: int,
    *,
    wide: bool,
    nested: bool,
    left: list[int],
) -> None:
    """Expand segments; ``left`` counts down how many may still come, repeated ones too."""
    while at + 1 < end and len(out) < count:
        kind, length = values[at], values[at + 1]
        left[0] -= 1
        if left[0] < 0:
            raise ValueError
        if kind == 0:
            out.extend(values[at + 2 : at + 2 + length])
            at += 2 + length
        elif kind == 1:
            last, start = values[at + 2], out[-1]
            out.extend(round(start + (last - start) * (i + 1) / length) for i in range(length))
            at += 3
        elif kind == 2 and not nested:
            width = 2 if wide else 4
            low_first = values[at + 2 : at + 2 + width]
            offset = sum(v << ((16 if wide else 8) * i) for i, v in enumerate(low_first))
            # the offset counts bytes, and the values here are entries of one or two bytes
            start = offset // 2 if wide else offset
            if not 0 <= start < at:
                raise ValueError
            left[0] -= length
            stop = _end(values, start, length)
            _expand(values, start, stop, out, count, wide=wide, nested=True, left=left)
            at += 2 + width
        else:
            raise ValueError


def _end(values: list[int], at: int, segments: int) -> int:
    """Where a number of segments, none of them indirect, ends."""
    for _ in range(segments):
        if values[at] not in (0, 1):
            raise ValueError
        at += 2 + values[at + 1] if values[at] == 0 else 3
    return at
