"""Unique identifiers: each is replaced by a keyed hash of itself, those of the standard stay."""

from typing import Final

from pydicom._uid_dict import UID_dictionary

from osler.io.deidentification.key import Key

_STANDARD: Final = "1.2.840.10008."

# Attributes that name a class, a coding scheme or a table, and never an instance.
_CLASS_WORDS: Final = (
    "SOPClass",
    "TransferSyntax",
    "CodingScheme",
    "ContextUID",
    "MappingResource",
)


def is_standard(uid: str) -> bool:
    """Whether a UID is one that the standard defines, and so nobody's."""
    return uid.startswith(_STANDARD) or uid in UID_dictionary


def names_a_class(keyword: str) -> bool:
    """Whether an attribute holds the UID of a class or scheme, by its keyword."""
    return any(word in keyword for word in _CLASS_WORDS)


def replaced(uid: str, key: Key) -> str:
    """The UID that stands for another one: 2.25 and a UUID of version 8 [1, 2].

    The same UID gives the same replacement in every file, so references stay whole.

    1. DICOM PS3.5, annex B.2 (UUID derived UIDs).
    2. RFC 9562, section 5.8 (UUID version 8).
    """
    uid = uid.strip("\0 ")
    if not uid or is_standard(uid):
        return uid
    number = int.from_bytes(key.digest("uid", uid)[:16])
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return f"2.25.{number}"
