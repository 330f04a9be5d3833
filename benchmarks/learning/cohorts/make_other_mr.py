"""MR crops of the hippocampus as another scanner might give them: ``python
benchmarks/learning/cohorts/make_other_mr.py OUT``.

No data set at hand has masks in two kinds of MR, so the second kind is **made**: the same T1 crops
with another curve of brightness (the intensity, 0 to 1 over the crop, to the power 2.5), a bias
field and Rician noise. ``OUT/cohort.csv`` has 16 subjects as they are, with masks, and 16 others
changed, without; 8 as they are to tune on; 20 others changed to test on. No subject is in two.
"""

import csv
import os
import sys
from pathlib import Path

import nibabel
import numpy as np

from osler.learn.corruptions import bias_field, rician_noise

root = Path(os.environ["OSLER_DATA"])
out = Path(sys.argv[1])
(out / "images").mkdir(parents=True, exist_ok=True)
gate = Path(__file__).resolve().parents[3] / "recipes" / "cohorts" / "hippocampus-gate.csv"
with gate.open(encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
teach = [row for row in rows if row["split"] == "train"]
known = {row["case_id"] for row in teach[:16]}
lines = []
for number, row in enumerate(rows):
    other = row["split"] == "test" or (row["split"] == "train" and row["case_id"] not in known)
    row["site"] = "other" if other else "own"
    row["mr"] = str(root / row["mr"])
    for label in ("anterior", "posterior"):
        blank = row["split"] == "train" and other
        row[f"label:{label}"] = "" if blank else str(root / row[f"label:{label}"])
    if other:
        image = nibabel.load(row["mr"])
        values = np.asarray(image.dataobj, np.float64)
        rng = np.random.default_rng(number)
        curve = ((values - values.min()) / (values.max() - values.min())) ** 2.5
        changed = rician_noise(bias_field(curve[None], 3, rng), 2, rng)[0]
        place = out / "images" / Path(row["mr"]).name
        nibabel.save(nibabel.Nifti1Image((1000 * changed).astype(np.float32), image.affine), place)
        row["mr"] = f"images/{place.name}"
    lines.append(row)
with (out / "cohort.csv").open("w", newline="", encoding="utf-8") as stream:
    writer = csv.DictWriter(stream, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
