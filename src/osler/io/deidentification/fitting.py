"""Whether a value is of the kind that its attribute holds: where numbers belong, a name leaks."""

import re
from typing import Any, Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

_NUMBERS: Final = frozenset(
    ("AT", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "OF", "OD")
)
_WORDS: Final = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_BYTES: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN", "US", "SS"))
_MOMENTS: Final = frozenset(("DA", "DT", "TM"))

# What a value is written with, several of them and padding too (PS3.5, table 6.2-1).
_SIGNS: Final = {
    "DS": re.compile(rb"(?:[0-9eE+\-. \\\0]|nan|inf)*", re.I),
    "IS": re.compile(rb"[0-9+\-. \\\0]*"),
    "AS": re.compile(rb"[0-9]{0,4}[DWMY]?[ \0]*", re.I),
    "UI": re.compile(rb"[0-9. \\\0]*"),
    "DA": re.compile(rb"[0-9.:\- \\\0]*"),
    "DT": re.compile(rb"[0-9.:+\- \\\0]*"),
    "TM": re.compile(rb"[0-9.:\- \\\0]*"),
}


def is_value(raw: DataElement | RawDataElement, vr: str) -> bool:
    """Whether a value is written with the signs of its VR alone; binary ones and words always are.

    Args:
        raw: the element, decoded or not.
        vr: its VR.
    """
    signs = _SIGNS.get(vr)
    if signs is None or raw.value is None:
        return True
    return signs.fullmatch(_written(raw.value)) is not None


def _written(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, list | tuple | MultiValue):
        return b"\\".join(str(v).encode("utf-8", "replace") for v in value)
    return str(value).encode("utf-8", "replace")


def is_kind(tag: BaseTag, vr: str) -> bool:
    """Whether a VR is one that the dictionary gives an attribute, or like it.

    ``LO`` for ``SH`` is, and ``OB`` for ``OW``; words where numbers belong are not.
    """
    if not dictionary_has_tag(tag):
        return True
    allowed = set(dictionary_VR(tag).split(" or "))
    return vr in allowed or any(
        vr in kinds and bool(allowed & kinds) for kinds in (_NUMBERS, _WORDS, _BYTES, _MOMENTS)
    )
