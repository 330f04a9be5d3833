"""The Basic Profile as data: what becomes of each attribute, by ``profile.csv``.

Edition 2026d of DICOM PS3.15, table E.1-1; ``make_profile.py`` says where the table came from.
"""

import csv
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Final

from osler.io.deidentification.options import Options

EDITION: Final = "2026d"

_HERE: Final = Path(__file__).parent


class Action(Enum):
    """What is done to an attribute; the letters of PS3.15 table E.1-1 where it has one."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    KEEP = "K"
    CLEAN = "C"
    REMAP = "U"
    SHIFT = "shift"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; a column that says nothing is empty."""

    tag: str
    name: str
    basic: str
    retain_uids: str
    retain_device: str
    retain_institution: str
    retain_patient: str
    full_dates: str
    modified_dates: str
    clean_descriptors: str
    clean_structured: str
    clean_graphics: str
    since: str


# Of "X/Z" and the like, the one that keeps an object valid whatever the type of the attribute is.
_SAFEST: Final = {
    "X": Action.REMOVE,
    "Z": Action.EMPTY,
    "D": Action.DUMMY,
    "U": Action.REMAP,
    "X/Z": Action.EMPTY,
    "X/D": Action.DUMMY,
    "Z/D": Action.DUMMY,
    "X/Z/D": Action.DUMMY,
    "X/Z/U*": Action.REMAP,
}


@cache
def table() -> dict[str, Row]:
    """All rows by tag, eight capital hexadecimal digits (``50XXXXXX`` stands for all of 50xx)."""
    with (_HERE / "profile.csv").open(encoding="utf-8", newline="") as stream:
        return {row["tag"]: Row(**row) for row in csv.DictReader(stream)}


def row_of(tag: int) -> Row | None:
    """The row of an attribute, or None where the table has none."""
    rows = table()
    found = rows.get(f"{tag:08X}")
    if found is None and tag >> 24 == 0x50 and tag >> 16 & 1 == 0:
        return rows["50XXXXXX"]
    if found is None and tag >> 24 == 0x60 and tag >> 16 & 1 == 0:
        return rows.get(f"60XX{tag & 0xFFFF:04X}")
    return found


def action_of(row: Row, options: Options) -> Action:
    """What is done to an attribute under these options."""
    asked = (
        (options.uids, row.retain_uids),
        (options.device, row.retain_device),
        (options.institution, row.retain_institution),
        (options.patient, row.retain_patient),
        (options.dates == "keep", row.full_dates),
        (options.descriptors, row.clean_descriptors),
        (options.structured, row.clean_structured),
        (options.graphics, row.clean_graphics),
    )
    said = {cell for wanted, cell in asked if wanted and cell}
    if options.dates == "shift" and row.modified_dates:
        return Action.SHIFT
    if "C" in said:
        return Action.CLEAN
    return Action.KEEP if "K" in said else _SAFEST[row.basic]


@cache
def safe_private() -> dict[tuple[int, str, int], str]:
    """Group, creator and last two digits of the safe private attributes, to what they hold."""
    with (_HERE / "safe_private.csv").open(encoding="utf-8", newline="") as stream:
        return {
            (int(row["group"], 16), row["creator"].strip(), int(row["element"], 16)): row["name"]
            for row in csv.DictReader(stream)
        }
