"""Colour profiles (ICC.1) without their texts: numbers that make colours stay."""

import struct
from typing import Final

_HEADER: Final = 128
_TEXTS: Final = (b"text", b"desc", b"mluc", b"dtim", b"sig ", b"dict", b"pseq", b"psid")


def without_text(profile: bytes) -> bytes:
    """The profile, as long as before, with its texts and dates blanked.

    Returns:
        An empty profile where this one is damaged.
    """
    if len(profile) < _HEADER + 4 or profile[36:40] != b"acsp":
        return b""
    out = bytearray(profile)
    out[24:36] = b"\0" * 12  # when it was made
    out[80:100] = b"\0" * 20  # who made it, and its digest
    (count,) = struct.unpack_from(">I", profile, _HEADER)
    if _HEADER + 4 + 12 * count > len(profile):
        return b""
    for i in range(count):
        _, start, size = struct.unpack_from(">4sII", profile, _HEADER + 4 + 12 * i)
        if start + size > len(profile) or size < 8:
            return b""
        if profile[start : start + 4] in _TEXTS:
            out[start + 8 : start + size] = b"\0" * (size - 8)
    return bytes(out)
