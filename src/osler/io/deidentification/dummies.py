"""Values that stand where a value must stand and the true one must not."""

from typing import Any, Final

WORD: Final = "REMOVED"

_BY_VR: Final[dict[str, Any]] = {
    "AE": WORD,
    "AS": "000Y",
    "CS": WORD,
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "LO": WORD,
    "LT": WORD,
    "PN": WORD,
    "SH": WORD,
    "ST": WORD,
    "UC": WORD,
    "UT": WORD,
    "UR": "urn:removed",
    "DS": "0",
    "IS": "0",
    "US": 0,
    "UL": 0,
    "UV": 0,
    "SS": 0,
    "SL": 0,
    "SV": 0,
    "FL": 0.0,
    "FD": 0.0,
    "OB": b"\0\0",
    "OW": b"\0\0",
    "OF": b"\0\0\0\0",
    "OD": b"\0" * 8,
    "OL": b"\0\0\0\0",
    "OV": b"\0" * 8,
    "UN": b"\0\0",
}

LONGEST: Final = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240, "CS": 16, "AE": 16, "PN": 64}
"""Characters that a value of a VR has at most (PS3.5, table 6.2-1)."""


def dummy(vr: str) -> Any:
    """A value of a VR that says nothing, or None where the VR has none."""
    return _BY_VR.get(vr)
