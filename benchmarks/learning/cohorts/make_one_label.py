"""Chest structures of which each case that teaches marks one: ``python
benchmarks/learning/cohorts/make_one_label.py``."""

import csv
from pathlib import Path

LABELS = ("left_lung", "right_lung", "cardiomediastinum")
JUDGED = ("0", "1")  # folds that test and tune keep all masks

here = Path(__file__).resolve().parent
with (here.parents[2] / "recipes" / "cohorts" / "chest-structures.csv").open() as file:
    rows = list(csv.DictReader(file))
taught = 0
for row in rows:
    del row["label:airways"]
    if row["fold"] in JUDGED:
        continue
    for place, label in enumerate(LABELS):
        if place != taught % len(LABELS):
            row[f"label:{label}"] = ""
    taught += 1
with (here / "chest-one-label.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
