"""Where a device burns text into its pictures, by what the header says of it."""

import csv
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset


class Box(NamedTuple):
    """A rectangle of pixels.

    Attributes:
        left: first column.
        top: first row.
        right: column after the last.
        bottom: row after the last.
    """

    left: int
    top: int
    right: int
    bottom: int


@cache
def _rules() -> list[tuple[str, str, tuple[Box, ...]]]:
    with (Path(__file__).parent / "device_rules.csv").open(encoding="utf-8", newline="") as stream:
        return [
            (
                row["name"],
                row["when"],
                tuple(Box(*map(int, box.split())) for box in row["boxes"].split(";")),
            )
            for row in csv.DictReader(stream)
        ]


def boxes(dataset: Dataset) -> list[Box]:
    """Rectangles that a rule names for a device, before its header is cleaned."""
    return [box for _, when, places in _rules() if _fits(dataset, when) for box in places]


def _fits(dataset: Dataset, when: str) -> bool:
    return all(
        any(_is(dataset, test) for test in tests.split(" OR ")) for tests in when.split(" & ")
    )


def _is(dataset: Dataset, test: str) -> bool:
    match = re.match(r"(\w+)([~=!])(.*)", test)
    if match is None:
        return False
    value = dataset.get(match[1])
    text = "" if value is None else str(value)
    if match[2] == "!":
        return not text
    if match[2] == "=":
        return text.strip() == match[3]
    return re.search(match[3], text, re.IGNORECASE) is not None


def outside_regions(dataset: Dataset) -> list[Box]:
    """What of an ultrasound picture lies outside the regions that it says hold ultrasound.

    Returns:
        Rectangles that together cover everything around the regions; none where it states none.
    """
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    inside = []
    for region in dataset.get("SequenceOfUltrasoundRegions") or ():
        corner = [
            region.get(f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")
        ]
        if None not in corner:
            x0, y0, x1, y1 = (int(n) for n in corner)
            inside.append(Box(max(x0, 0), max(y0, 0), min(x1 + 1, columns), min(y1 + 1, rows)))
    inside = [box for box in inside if box.right > box.left and box.bottom > box.top]
    if not inside:
        return []
    ys = sorted({0, rows, *(y for box in inside for y in (box.top, box.bottom))})
    return [box for top, bottom in pairwise(ys) for box in _gaps(inside, top, bottom, columns)]


def _gaps(inside: list[Box], top: int, bottom: int, columns: int) -> list[Box]:
    """What of a band of rows no region covers."""
    gaps, at = [], 0
    for box in sorted(b for b in inside if b.top <= top and b.bottom >= bottom):
        if box.left > at:
            gaps.append(Box(at, top, box.left, bottom))
        at = max(at, box.right)
    if at < columns:
        gaps.append(Box(at, top, columns, bottom))
    return gaps
