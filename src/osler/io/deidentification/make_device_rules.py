"""Write ``device_rules.csv`` anew, from the rules that came with ``deid`` (PyPI, MIT).

    python make_device_rules.py deid/data/deid.dicom

Those rules were collected from RSNA's Clinical Trial Processor and from hospitals: they say where
which device burns text into its pictures. Only rules with coordinates are taken.
"""

import csv
import re
import sys
from pathlib import Path
from typing import Final

_TEST: Final = re.compile(r"(contains|equals|missing|empty)\s+(\w+)\s*(.*)")


def rules(source: str) -> list[dict[str, str]]:
    """Each rule's name, tests (``A~pattern``, ``A=value``, joined by & and OR), and boxes."""
    found = []
    for block in re.split(r"^LABEL\s+", source, flags=re.MULTILINE)[1:]:
        lines = [line.split("#")[0].strip() for line in block.splitlines()]
        tests, boxes = [], []
        for line in lines[1:]:
            place = re.match(r"(ctp)?coordinates\s+(.*)", line)
            if place:
                a, b, c, d = (int(n) for n in place[2].split(","))
                boxes.append((a, b, a + c, b + d) if place[1] else (a, b, c, d))
            elif line.startswith(("contains", "equals", "missing", "empty", "+")):
                tests.append(_tests(line.lstrip("+ ")))
        if boxes and tests:
            text = ";".join(" ".join(map(str, box)) for box in boxes)
            found.append({"name": lines[0], "when": " & ".join(tests), "boxes": text})
    return found


def _tests(line: str) -> str:
    parts = []
    for part in line.split("||"):
        match = _TEST.match(part.strip())
        if match:
            sign = {"contains": "~", "equals": "="}.get(match[1], "!")
            parts.append(f"{match[2]}{sign}{match[3].strip()}")
    return " OR ".join(parts)


def main(path: str) -> None:
    """Write the table beside this file."""
    target = Path(__file__).with_name("device_rules.csv")
    with target.open("w", encoding="utf-8", newline="") as stream:
        out = csv.DictWriter(stream, ("name", "when", "boxes"), lineterminator="\n")
        out.writeheader()
        out.writerows(rules(Path(path).read_text("utf-8")))


if __name__ == "__main__":
    main(sys.argv[1])
