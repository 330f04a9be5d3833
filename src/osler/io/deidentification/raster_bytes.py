"""JPEG and PNG streams without what they tell besides the picture; the picture's bytes stay."""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

from osler.errors import UnreadableError, UnsupportedError
from osler.io.deidentification import icc

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = frozenset(
    (
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"IEND",
        b"tRNS",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"sBIT",
        b"pHYs",
        b"bKGD",
    )
)
_ANIMATION: Final = frozenset((b"acTL", b"fcTL", b"fdAT"))
_ICC: Final = b"ICC_PROFILE\0"
_LARGEST_PROFILE: Final = 4 << 20  # bytes

Counts = Counter[tuple[str, str]]


def jpeg(data: bytes, counts: Counts) -> bytes:
    """A JPEG stream without EXIF, XMP, IPTC, comments, thumbnails and trailers.

    The orientation is kept, in an EXIF segment of nothing else.

    Raises:
        UnreadableError: the stream is damaged.
    """
    out = bytearray(b"\xff\xd8")
    for marker, body in _segments(data):
        name = f"JPEG segment APP{marker - 0xE0}" if 0xE0 <= marker <= 0xEF else "JPEG comment"
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            kept = body[:12] + b"\0\0"
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            kept = _orientation_only(body)
        elif marker == 0xE2 and body.startswith(_ICC) and body[12:14] == b"\x01\x01":
            profile = icc.without_text(body[14:])
            kept = _ICC + b"\x01\x01" + profile if profile else b""
        elif marker == 0xEE and body.startswith(b"Adobe"):
            kept = body[:12]
        elif 0xE0 <= marker <= 0xEF or marker == 0xFE:
            kept = b""
        elif marker == 0:
            out += body  # a scan
            continue
        else:
            out += bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body
            continue
        if kept != body:
            counts[name, "removed"] += 1
        if kept:
            out += bytes((0xFF, marker)) + struct.pack(">H", len(kept) + 2) + kept
    if len(data) > data.rfind(b"\xff\xd9") + 2:
        counts["bytes after the picture", "removed"] += 1
    return bytes(out) + b"\xff\xd9"


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment up to the end of the picture; a scan has marker 0."""
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if (len(data) < at + 4 and data[at : at + 2] != b"\xff\xd9") or data[
            at : at + 1
        ] != b"\xff":
            raise UnreadableError("the JPEG stream ends early")
        marker = data[at + 1]
        if marker == 0xD9:
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xDA:
            end = _end_of_scan(data, at + 2 + length)
            yield 0, data[at:end]
            at = end
        else:
            yield marker, data[at + 4 : at + 2 + length]
            at += 2 + length


def _end_of_scan(data: bytes, at: int) -> int:
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise UnreadableError("the JPEG stream ends early")
        if data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
            at += 2
        elif data[at + 1] == 0xFF:
            at += 1
        else:
            return at


def _orientation_only(exif: bytes) -> bytes:
    """An EXIF segment with the orientation alone; empty where it is the usual one."""
    from PIL import Image

    tags = Image.Exif()
    try:
        tags.load(exif)
        orientation = int(tags.get(0x0112, 1))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it goes
        return b""
    if orientation not in range(2, 9):
        return b""
    return orientation_segment(orientation)


def orientation_segment(orientation: int) -> bytes:
    """An EXIF segment that says how to turn the picture, and nothing else."""
    entry = struct.pack(">HHHIHH", 1, 0x0112, 3, 1, orientation, 0) + b"\0" * 4
    return b"Exif\0\0MM\0*" + struct.pack(">I", 8) + entry


_BLOCK: Final = 1 << 20
_ADAM7: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def png(data: bytes, counts: Counts) -> bytes:
    """A PNG stream without texts, times, EXIF and unknown chunks.

    Raises:
        UnreadableError: the stream is damaged.
        UnsupportedError: it moves; only its first picture would be searched.
    """
    out = bytearray(_PNG)
    at = len(_PNG)
    rows = _Rows()
    while True:
        if at + 12 > len(data):
            raise UnreadableError("the PNG stream ends early")
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        if len(body) < length:
            raise UnreadableError("the PNG stream ends early")
        at += 12 + length
        if kind in _ANIMATION:
            raise UnsupportedError("it is an animated PNG; save its pictures one by one")
        if kind == b"iCCP":
            body = _png_profile(body)
        if kind in (b"IHDR", b"IDAT"):
            rows.see(kind, body)
        if kind in _PNG_KEPT or (kind == b"iCCP" and body):
            out += struct.pack(">I", len(body)) + kind + body
            out += struct.pack(">I", zlib.crc32(kind + body))
        else:
            counts[f"PNG chunk {kind.decode('latin-1')}", "removed"] += 1
        if kind == b"IEND":
            break
    if at < len(data):
        counts["bytes after the picture", "removed"] += 1
    return bytes(out)


class _Rows:
    """The rows of a PNG picture as they come: nothing may lie behind the last one."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj()
        self._left = -1

    def see(self, kind: bytes, body: bytes) -> None:
        """Take the header, or one more part of the rows.

        Raises:
            UnreadableError: there is more than the header tells of, or no header.
        """
        if kind == b"IHDR":
            self._left = _png_bytes(body)
            return
        while body and self._left >= 0:
            try:
                self._left -= len(self._unpacker.decompress(body, _BLOCK))
            except zlib.error:
                raise UnreadableError("the PNG stream is damaged") from None
            body = self._unpacker.unconsumed_tail
        if self._left < 0 or self._unpacker.unused_data:
            raise UnreadableError("the PNG stream holds something after its last row")


def _png_bytes(header: bytes) -> int:
    """How many bytes the rows of a PNG take, each with the number of its filter [1].

    1. PNG (third edition), 8.1: Adam7 interlacing, seven pictures of every eighth, fourth... pixel.
    """
    if len(header) != 13:
        raise UnreadableError("the PNG stream has no proper header")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 4)
    steps = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in steps]
    return sum(h * (1 + (w * bits + 7) // 8) for w, h in sizes if w > 0 and h > 0)


def _png_profile(body: bytes) -> bytes:
    _, _, packed = body.partition(b"\0")
    try:
        unpacker = zlib.decompressobj()
        profile = unpacker.decompress(packed[1:], _LARGEST_PROFILE)
    except zlib.error:
        return b""
    clean = icc.without_text(profile)
    return b"ICC\0\0" + zlib.compress(clean) if clean else b""
