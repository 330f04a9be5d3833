"""Crops of fundus photographs with and without the optic disc: ``python
benchmarks/learning/cohorts/make_disc_crops.py OUT``.

Of each photograph of IDRiD with a drawn disc two crops of 640 pixels, made 80: one that shows the
disc somewhere, and one from elsewhere on the retina. ``OUT/crops.csv`` has the masks;
``OUT/boxes.csv`` has, of the cases that teach, the boxes around them, filled, instead.
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

CROP, SIZE, JUDGED = 640, 80, ("0", "1")

root = Path(os.environ["OSLER_DATA"])
out = Path(sys.argv[1])
(out / "images").mkdir(parents=True, exist_ok=True)
lesions = Path(__file__).resolve().parents[3] / "recipes" / "cohorts" / "lesions.csv"
with lesions.open() as file:
    rows = list(csv.DictReader(file))
head = ["case_id", "patient_id", "fold", "photo", "label:disc", "variable:shows"]
tables = {"crops": [head], "boxes": [head]}
for number, row in enumerate(rows):
    name = Path(row["photo"]).stem
    drawn = root / "idrid-lesions" / "masks" / "OD" / f"{name}.png"
    if not drawn.exists():
        continue
    photo = np.asarray(Image.open(root / row["photo"]).convert("RGB"))
    disc = np.asarray(Image.open(drawn)) > 0
    if not disc.any():
        continue
    rng = np.random.default_rng(number)
    h, w = np.argwhere(disc).mean(axis=0)
    height, width = disc.shape

    def corner(at, side):
        return int(np.clip(at - CROP / 2, 0, side - CROP))

    there = corner(h + rng.uniform(-180, 180), height), corner(w + rng.uniform(-180, 180), width)
    far = width / 2 + (width / 2 - w) * rng.uniform(0.3, 0.8)
    away = corner(height / 2 + rng.uniform(-250, 250), height), corner(far, width)
    for kind, (top, left) in (("disc", there), ("none", away)):
        cut = slice(top, top + CROP), slice(left, left + CROP)
        if kind == "none" and disc[cut].any():
            continue
        case = f"{name}-{kind}"
        small = Image.fromarray(photo[cut]).resize((SIZE, SIZE), Image.Resampling.BOX)
        small.save(out / "images" / f"{case}.png")
        files = {"crops": "", "boxes": ""}
        if kind == "disc":
            share = Image.fromarray(disc[cut].astype(np.uint8) * 255)
            mask = np.asarray(share.resize((SIZE, SIZE), Image.Resampling.BOX)) >= 128
            box = np.zeros_like(mask)
            rows_, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            box[rows_[0] : rows_[-1] + 1, columns[0] : columns[-1] + 1] = True
            for table, picture in (("crops", mask), ("boxes", box)):
                files[table] = f"images/{case}.{table}.png"
                Image.fromarray(picture.astype(np.uint8) * 255).save(out / files[table])
            if row["fold"] in JUDGED:
                files["boxes"] = files["crops"]
        for table, lines in tables.items():
            lines.append([case, row["patient_id"], row["fold"], f"images/{case}.png",
                          files[table], kind])  # fmt: skip
for table, lines in tables.items():
    with (out / f"{table}.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
print({table: len(lines) - 1 for table, lines in tables.items()})
