"""Parts of TIFF pages, tile by tile or strip by strip, without decoding the rest [1].

[1] TIFF 6.0, Adobe, 1992, sections 3 (strips) and 15 (tiles).
"""

import math
import struct
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import UnreadableError

# none, LZW, deflate, JPEG, deflate (old), PackBits, zstd, JPEG 2000 (Aperio and registered)
READ: Final = frozenset({1, 5, 7, 8, 32773, 32946, 50000, 33003, 33004, 33005, 34712})
_JPEG_2000: Final = frozenset({33003, 33004, 33005, 34712})
_JPEG: Final = 7
_MOST_OF_A_BYTE: Final = 100_000  # no compression here makes more of one, so the rest is made up


def lies_in_file(page: Any, size: int) -> bool:
    """Whether each tile or strip is there, and there are as many as the size needs."""
    offsets, counts = page.dataoffsets, page.databytecounts
    down, across = _tile(page)
    if min(down, across, page.imagelength, page.imagewidth) < 1:
        return False
    number = math.ceil(page.imagelength / down) * math.ceil(page.imagewidth / across)
    number *= page.samplesperpixel if page.planarconfig == 2 else 1
    return (
        len(offsets) == len(counts) == number
        and all(o > 0 and n > 0 and o + n <= size for o, n in zip(offsets, counts, strict=True))
        and sum(counts) * (1 if page.compression == 1 else _MOST_OF_A_BYTE) >= page.nbytes
    )


def _tile(page: Any) -> tuple[int, int]:
    """Rows and columns of a tile; a strip is as wide as the page."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def window(page: Any, stream: BinaryIO, rows: slice, columns: slice, *, name: str) -> NDArray[Any]:
    """Part of a page, ``(H, W, S)`` with all samples.

    Args:
        page: a page of tifffile's, or a frame with its key frame.
        stream: the open file.
        rows: within the page, step 1.
        columns: within the page, step 1.
        name: the file, for messages.

    Raises:
        UnreadableError: a tile is of another size than the page says.
    """
    key = page.keyframe
    down, across = _tile(key)
    grid_width = math.ceil(key.imagewidth / across)
    planes = key.samplesperpixel if key.planarconfig == 2 else 1
    a_plane = math.ceil(key.imagelength / down) * grid_width
    shape = (rows.stop - rows.start, columns.stop - columns.start, key.samplesperpixel)
    out = np.zeros(shape, key.dtype)
    for plane in range(planes):
        for i in range(rows.start // down, math.ceil(rows.stop / down)):
            for j in range(columns.start // across, math.ceil(columns.stop / across)):
                index = plane * a_plane + i * grid_width + j
                stream.seek(page.dataoffsets[index])
                data = stream.read(page.databytecounts[index])
                tile = _decoded(key, data, index, name)
                top, left = i * down, j * across
                samples = slice(plane, plane + 1) if planes > 1 else slice(None)
                _place(out[..., samples], tile, top - rows.start, left - columns.start)
    return out


def _decoded(key: Any, data: bytes, index: int, name: str) -> NDArray[Any]:
    """One tile, ``(H, W, S)``."""
    _check_stated_size(key, data, name)
    tile, _, _ = key.decode(data, index, jpegtables=key.jpegtables)
    if tile is None or tile.ndim != 4:
        raise UnreadableError(f"'{name}' has a tile without content; copy it again from its source")
    plain: NDArray[Any] = tile[0]
    return plain


def _place(out: NDArray[Any], tile: NDArray[Any], top: int, left: int) -> None:
    """Copy the part of a tile at ``(top, left)`` that lies inside."""
    height, width = out.shape[:2]
    inside = tile[max(0, -top) : height - top, max(0, -left) : width - left]
    y, x = max(0, top), max(0, left)
    out[y : y + inside.shape[0], x : x + inside.shape[1]] = inside


def _check_stated_size(key: Any, data: bytes, name: str) -> None:
    """A tile whose own header states more than the page says would take the memory for that."""
    size: tuple[int, int] | None = None
    if key.compression == _JPEG:
        size = _jpeg_size(data)
    elif key.compression in _JPEG_2000:
        size = _jpeg_2000_size(data)
    else:
        return
    down, across = _tile(key)
    if size is None or size[0] > down or size[1] > across:
        raise UnreadableError(
            f"'{name}' has a tile of another size than its page says; export it again"
        )


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in the frame header (T.81 B.2.2)."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _jpeg_2000_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in the SIZ marker segment (T.800 A.5.1)."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 24 > len(data):
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
    return bottom - top, right - left
