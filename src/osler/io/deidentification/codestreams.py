"""Compressed frames without words: what JPEG, JPEG-LS and JPEG 2000 carry beside the picture.

Comments, EXIF and the like are overwritten with zeros where they stand, as is what follows the end
of a picture: lengths, offsets and the picture's own bytes stay.
"""

import re
from collections.abc import Iterator
from typing import Final

_SCAN_MARKER: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_JPEG_WORDS: Final = frozenset((*range(0xE0, 0xF0), 0xFE))
_J2K_COMMENT: Final = 0x64
_JP2: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_JP2_NEEDED: Final = (b"jP  ", b"ftyp", b"jp2h")
# Application data that decoders need: of JFIF and Adobe (colours), of HP's JPEG-LS and of SPIFF.
_NEEDED: Final = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12), 0xE8: (b"mrfx", 5)}
# What encoders say of themselves.
_ENCODERS: Final = re.compile(
    rb"(?:Created by OpenJPEG version |Kakadu-v?s?|Creator: JasPer Version )[0-9.]{1,12}\0?|"
    rb"Kdu-Layer-Info: log_2\{Delta-D\(squared-error\)/Delta-L\(bytes\)\}, L\(bytes\)\n"
    rb"[0-9eE+\-., \n\0]*"
)

Span = tuple[int, int]


def words(data: bytes) -> list[Span]:
    """Where a codestream holds bytes that are not the picture's; what is none has no such.

    Args:
        data: one frame.

    Returns:
        Start and end of each.
    """
    if data.startswith(b"\xff\xd8"):
        return list(_jpeg(data))
    if data.startswith(b"\xff\x4f\xff\x51"):
        return list(_jpeg_2000(data))
    if data.startswith(_JP2):
        return list(_boxes(data))
    return []


def _boxes(data: bytes) -> Iterator[Span]:
    """What a JP2 file, which some devices write as a frame, holds beside its codestream."""
    at = 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        start = at + (16 if length == 1 else 8)
        length = int.from_bytes(data[at + 8 : at + 16]) if length == 1 else length
        end = min(at + length, len(data)) if length else len(data)
        if kind == b"jp2c":
            yield from ((start + a, start + b) for a, b in _jpeg_2000(data[start:end]))
        elif kind not in _JP2_NEEDED and start < end:
            yield start, end
        if end <= at:
            return  # damaged: the decoder says so
        at = end


def _jpeg(data: bytes) -> Iterator[Span]:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return  # damaged: the decoder says so
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker in _JPEG_WORDS:
            start = at + 4
            begins, length = _NEEDED.get(marker, (b"\xff", 0))
            if data.startswith(begins, start):
                start += length
            if start < end:
                yield start, min(end, len(data))
        if marker == 0xDA:  # the picture's own bytes follow, up to the next marker
            found = _SCAN_MARKER.search(data, end)
            end = found.start() if found else len(data)
        at = end
    if data[at : at + 2] == b"\xff\xd9" and at + 2 < len(data):
        yield at + 2, len(data)


def _jpeg_2000(data: bytes) -> Iterator[Span]:
    at = 2
    while at + 4 <= len(data):
        marker = int.from_bytes(data[at : at + 2])
        length = int.from_bytes(data[at + 2 : at + 4])
        if marker == 0xFF90:  # a part of a tile: its length is stated, 0 for "to the end"
            stated = int.from_bytes(data[at + 6 : at + 10])
            end = at + stated if stated else max(data.rfind(b"\xff\xd9"), at + 12)
            yield from _comments(data, at + 12, end)
            at = end
        elif marker == 0xFFD9 or marker < 0xFF00:
            break
        else:
            end = min(at + 2 + length, len(data))
            if marker & 0xFF == _J2K_COMMENT and not _ENCODERS.fullmatch(data[at + 6 : end]):
                yield at + 6, end
            at = end
    if data[at : at + 2] == b"\xff\xd9" and at + 2 < len(data):
        yield at + 2, len(data)


def _comments(data: bytes, at: int, end: int) -> Iterator[Span]:
    """Comments in the header of a part of a tile, which ends with SOD."""
    while at + 4 <= end and data[at] == 0xFF and data[at + 1] != 0x93:
        stop = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] == _J2K_COMMENT:
            yield at + 6, min(stop, end)
        at = stop


def without_words(value: bytes, frames: int) -> bytes:
    """Encapsulated pixels without words in their frames and offsets (PS3.5, A.4).

    Args:
        value: of Pixel Data: items, of which the first is the table of offsets.
        frames: how many there are.

    Returns:
        The same bytes where there is nothing to remove; else as many, or fewer by the table.

    Raises:
        ValueError: it is no row of items.
    """
    items = list(_items(value))
    if not items:
        raise ValueError("pixels that should be compressed are not")
    out = bytearray(value)
    for group in _grouped(value, items[1:], frames):
        joined = b"".join(value[a:b] for a, b in group)
        for start, end in words(joined):
            _zero(out, group, start, end)
    table, first = items[0], items[0][1]
    offsets = [int.from_bytes(value[i : i + 4], "little") for i in range(table[0], table[1] - 3, 4)]
    starts = {a - 8 - first for a, _ in items[1:]}
    if (table[1] - table[0]) % 4 or not set(offsets) <= starts:
        out[4 : table[1]] = bytes(4)  # readers then take frames by their fragments
    return bytes(out)


def _items(value: bytes) -> Iterator[Span]:
    at = 0
    while at + 8 <= len(value):
        tag, length = value[at : at + 4], int.from_bytes(value[at + 4 : at + 8], "little")
        if tag == b"\xfe\xff\xdd\xe0":
            return
        if tag != b"\xfe\xff\x00\xe0" or at + 8 + length > len(value):
            raise ValueError("its compressed pixels are damaged")
        yield at + 8, at + 8 + length
        at += 8 + length


def _grouped(value: bytes, fragments: list[Span], frames: int) -> Iterator[list[Span]]:
    """The fragments of each frame."""
    if len(fragments) == frames:
        yield from ([fragment] for fragment in fragments)
        return
    group: list[Span] = []
    for fragment in fragments:
        if group and value.startswith((b"\xff\xd8", b"\xff\x4f", _JP2), fragment[0]):
            yield group
            group = []
        group.append(fragment)
    if group:
        yield group


def _zero(out: bytearray, group: list[Span], start: int, end: int) -> None:
    """Overwrite a part of a frame, wherever its fragments lie."""
    before = 0
    for a, b in group:
        low, high = max(start - before, 0), min(end - before, b - a)
        if low < high:
            out[a + low : a + high] = bytes(high - low)
        before += b - a
