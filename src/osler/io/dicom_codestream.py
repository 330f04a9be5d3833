"""What a compressed frame says about itself, read before anything is decoded.

A codestream's own header decides how much memory a decoder takes, so it is compared with the
data set's first. Sources: ITU-T T.81 annex B (JPEG), T.87 annex C (JPEG-LS), T.800 annex A
(JPEG 2000) and T.814 (its high-throughput form).
"""

import struct
from dataclasses import dataclass

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA})
_JPEG_LS_FRAME, _SCAN = 0xF7, 0xDA
_JFIF, _ADOBE = 0xE0, 0xEE
_JP2_SIGNATURE = b"\0\0\0\x0cjP  "


@dataclass(frozen=True, slots=True)
class Codestream:
    """The header of one compressed frame.

    Attributes:
        kind: ``"JPEG"``, ``"JPEG-LS"`` or ``"JPEG 2000"``.
        rows: height in pixels.
        columns: width in pixels.
        components: samples a pixel.
        bits: of each sample.
        signed: whether the samples are signed; None where the format cannot say.
        lossless: whether it is a lossless JPEG (process 14), whose colours are never transformed.
        colour: ``"RGB"`` or ``"YBR"`` as a JPEG decoder sees three components; empty elsewhere.
        certain: whether markers of the stream say so, and not a decoder's habit.
        high_throughput: whether it is a high-throughput JPEG 2000.
        transformed: whether a JPEG 2000 names its colour transform; None where it does not say.
    """

    kind: str
    rows: int
    columns: int
    components: int
    bits: int
    signed: bool | None = None
    lossless: bool = False
    colour: str = ""
    certain: bool = False
    high_throughput: bool = False
    transformed: bool | None = None


def parse(stream: bytes) -> Codestream | None:
    """The header of a codestream; None where it is none, damaged, or of a kind not decoded."""
    try:
        if stream[:2] == b"\xff\xd8":
            return _jpeg(stream)
        if stream[:12].startswith(_JP2_SIGNATURE):
            start = stream.find(b"\xff\x4f\xff\x51", 0, 65_536)
            return _jpeg2000(stream, start) if start >= 0 else None
        if stream[:4] == b"\xff\x4f\xff\x51":
            return _jpeg2000(stream, 0)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg(stream: bytes) -> Codestream | None:
    jfif, adobe, at = False, -1, 2
    while at + 4 <= len(stream):
        marker = stream[at + 1]
        if stream[at] != 0xFF:
            return None
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", stream, at + 2)
        body = stream[at + 4 : at + 2 + length]
        if marker == _JPEG_LS_FRAME:
            bits, rows, columns, components = struct.unpack_from(">BHHB", body)
            return Codestream("JPEG-LS", rows, columns, components, bits)
        if marker in _JPEG_FRAMES:
            return _jpeg_frame(marker, body, jfif=jfif, adobe=adobe)
        if marker == _SCAN or length < 2:
            return None
        jfif = jfif or (marker == _JFIF and body[:4] == b"JFIF")
        if marker == _ADOBE and body[:5] == b"Adobe" and len(body) > 11:
            adobe = body[11]
        at += 2 + length
    return None


def _jpeg_frame(marker: int, body: bytes, *, jfif: bool, adobe: int) -> Codestream | None:
    if marker not in _DECODED_FRAMES:
        return None
    bits, rows, columns, components = struct.unpack_from(">BHHB", body)
    ids = bytes(body[6 + 3 * i] for i in range(components))
    colour, certain = "", False
    if components == 3:
        # as libjpeg decides: JFIF, else Adobe's marker, else the component ids
        certain = jfif or adobe >= 0 or ids == b"RGB"
        rgb = not jfif and (adobe == 0 or (adobe < 0 and ids == b"RGB"))
        colour = "RGB" if rgb else "YBR"
    return Codestream(
        "JPEG",
        rows,
        columns,
        components,
        bits,
        lossless=marker == 0xC3,
        colour=colour,
        certain=certain,
    )


def _jpeg2000(stream: bytes, at: int) -> Codestream | None:
    capabilities, right, lower, left, upper = struct.unpack_from(">HIIII", stream, at + 6)
    tile_width, tile_height = struct.unpack_from(">II", stream, at + 24)
    (components,) = struct.unpack_from(">H", stream, at + 40)
    if not tile_width or not tile_height or not components or right <= left or lower <= upper:
        return None
    depth = stream[at + 42]
    return Codestream(
        "JPEG 2000",
        lower - upper,
        right - left,
        components,
        (depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        high_throughput=bool(capabilities & 0x4000),
        transformed=_transformed(stream, at + 2),
    )


def _transformed(stream: bytes, at: int) -> bool | None:
    """Whether the coding style (COD) of the main header asks for a colour transform."""
    while at + 9 <= len(stream):
        marker, length = struct.unpack_from(">HH", stream, at)
        if marker == 0xFF52:
            return bool(stream[at + 8])
        if marker == 0xFF90 or length < 2:
            return None
        at += 2 + length
    return None


def ends(stream: bytes) -> bool:
    """Whether a codestream has its end marker, but for the padding of the fragment."""
    return b"\xff\xd9" in stream[-64:]
