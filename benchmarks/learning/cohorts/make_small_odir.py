"""Both eyes of the patients of ODIR, small, some of them missing: ``python
benchmarks/learning/cohorts/make_small_odir.py OUT``.

The field of each photograph is cut out and resized to a square of 64 pixels. A third of the
patients, drawn once, keeps both eyes, a third the left one alone and a third the right one:
``seen`` says which. Folds and diseases are those of ``recipes/cohorts/odir-fusion.csv``.
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from osler.tasks.field import find_field

SIDE = 64

root = Path(os.environ["OSLER_DATA"])
out = Path(sys.argv[1])
table = Path(__file__).resolve().parents[3] / "recipes" / "cohorts" / "odir-fusion.csv"


def small(photo: Path) -> str:
    """Write the field of a photograph, and return its file's name."""
    place = out / "images" / f"{photo.stem}.png"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photo) as opened:
            opened.draft("RGB", (256, 256))  # a JPEG is decoded small
            pixels = np.asarray(opened.convert("RGB"))
        h0, w0, h1, w1 = find_field(np.ascontiguousarray(pixels.transpose(2, 0, 1))).box
        cut = Image.fromarray(pixels[h0:h1, w0:w1])
        cut.resize((SIDE, SIDE), Image.Resampling.BOX).save(place)
    return f"images/{place.name}"


with table.open(encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
draws = np.random.default_rng(1).permutation(np.arange(len(rows)) % 3)
for row, draw in zip(rows, draws, strict=True):
    row["seen"] = ("both eyes", "left eye", "right eye")[draw]
    row["left"] = "" if draw == 2 else small(root / row["left"])
    row["right"] = "" if draw == 1 else small(root / row["right"])
with (out / "cohort.csv").open("w", newline="", encoding="utf-8") as stream:
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
print(f"{len(rows)} patients")
