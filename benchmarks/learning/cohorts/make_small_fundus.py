"""All fundus photographs at hand, small: ``python
benchmarks/learning/cohorts/make_small_fundus.py OUT``.

The field of each photograph is cut out and resized to a square of 128 pixels. ``OUT/grades.csv``
has the photographs of IDRiD with their grade; ``OUT/others.csv`` those of ODIR with their keywords,
and of HRF and CHASE_DB1 without. DRIVE only ever tests. The lesion photographs of IDRiD are among
its graded ones in part, and are left out.
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from osler.tasks.field import find_field

SIDE = 128

root = Path(os.environ["OSLER_DATA"])
out = Path(sys.argv[1])
cohorts = Path(__file__).resolve().parents[3] / "recipes" / "cohorts"


def small(photo: Path, name: str) -> str:
    """Write the field of a photograph, and return its file's name."""
    place = out / "images" / f"{name}.png"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photo) as opened:
            opened.draft("RGB", (512, 512))  # a JPEG is decoded small
            pixels = np.asarray(opened.convert("RGB"))
        h0, w0, h1, w1 = find_field(np.ascontiguousarray(pixels.transpose(2, 0, 1))).box
        cut = pixels[h0:h1, w0:w1]
        Image.fromarray(cut).resize((SIDE, SIDE), Image.Resampling.BOX).save(place)
    return f"images/{place.name}"


def rows_of(name: str) -> list[dict[str, str]]:
    """A cohort's rows."""
    with (cohorts / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


grades = [["case_id", "patient_id", "fold", "photo", "label:dr-grade"]]
for row in rows_of("grading.csv"):
    grades.append([row["case_id"], row["patient_id"], row["fold"],
                   small(root / row["photo"], row["case_id"]), row["label:dr-grade"]])  # fmt: skip
others = [["case_id", "patient_id", "split", "photo", "keywords"]]
for row in rows_of("odir-keywords.csv"):
    others.append([row["case_id"], row["patient_id"], "train",
                   small(root / row["photo"], row["case_id"]), row["label:keywords"]])  # fmt: skip
for folder in ("hrf", "chase-db1"):
    for photo in sorted((root / folder / "images").iterdir()):
        name = f"{folder}-{photo.stem}"
        others.append([name, name, "train", small(photo, name), ""])
for table, rows in (("grades", grades), ("others", others)):
    with (out / f"{table}.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
    print(f"{table}: {len(rows) - 1} photographs")
