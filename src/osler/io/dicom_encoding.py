"""Data elements as bytes, explicit VR little endian [1], for parts that repeat by the thousand.

1. DICOM PS3.5, section 7.1.2 and 7.5.
"""

import struct

_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"))


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element; text is padded with a space, a UID with a zero."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in _LONG:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def item(*elements: bytes) -> bytes:
    """An item of a sequence; its elements are in the order of their tags."""
    content = b"".join(elements)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def sequence(tag: int, *items: bytes) -> bytes:
    """A sequence of items of known length."""
    return element(tag, "SQ", b"".join(items))


def text(tag: int, vr: str, value: str) -> bytes:
    """An element with text of the default repertoire."""
    return element(tag, vr, value.encode("ascii"))


def decimals(tag: int, values: "tuple[float, ...]") -> bytes:
    """A DS element, each number as exact as 16 characters allow."""
    from pydicom.valuerep import format_number_as_ds

    return text(tag, "DS", "\\".join(format_number_as_ds(float(v)) for v in values))


def code(tag: int, value: str, scheme: str, meaning: str) -> bytes:
    """A code sequence of one item."""
    return sequence(
        tag,
        item(
            text(0x00080100, "SH", value),
            text(0x00080102, "SH", scheme),
            text(0x00080104, "LO", meaning),
        ),
    )
