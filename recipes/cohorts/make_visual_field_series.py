"""Make ``visual-field-series.csv`` beside this file: visits drawn about the lines of real eyes.

The data folder holds no single visits (see ``make_visual_fields.py``), so this table is a phantom.
Of each eye with five fields or more, its line of mean deviation, the length of its series and the
number of its fields are real. How far fields lie from the line is found from the line's p-value:
its standard error is slope / t, and t the quantile of that p; times are taken as evenly spaced.
Then every field is drawn anew about the line, normally. The last is the truth, those before it the
visits (the last five of them). Change is linear by construction, so a line through the visits is
as good a rule as there can be, but for its noise.

    python recipes/cohorts/make_visual_field_series.py
"""

import csv
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from osler.data.cohort import data_folder

FOLDS, DAYS, MOST, PATIENTS = 5, 365.25, 5, 700


def main() -> None:
    rng = np.random.default_rng(1)
    with (data_folder() / "visual-fields/Series_Summary.csv").open(newline="") as stream:
        lines = [
            line for line in csv.DictReader(stream)
            if line["Slope_MTD"] not in ("", "NA") and int(line["N_fields"]) >= 5
        ]  # fmt: skip
    patients = rng.permutation(sorted({int(line["PatID"]) for line in lines}))[:PATIENTS]
    fold = {int(patient): place % FOLDS for place, patient in enumerate(patients)}
    rows: list[dict[str, object]] = []
    for line in sorted(lines, key=lambda one: (int(one["PatID"]), one["Eye"])):
        patient, fields = int(line["PatID"]), int(line["N_fields"])
        if patient not in fold:
            continue
        years = np.linspace(0, float(line["Follow_up_length"]), fields)
        slope = float(line["Slope_MTD"])
        quantile = float(student.isf(float(line["pvalue_MTD"]) / 2, fields - 2))
        error = abs(slope) / max(quantile, 1e-3)
        spread = min(error * float(np.sqrt(np.square(years - years.mean()).sum())), 5.0)
        drawn = float(line["Intercept_MTD"]) + slope * years + rng.normal(0, spread, fields)
        days = np.round(years * DAYS).astype(int)
        row: dict[str, object] = {
            "case_id": f"uwhvf-{patient}-{line['Eye'].lower()}", "patient_id": f"uwhvf-{patient}",
            "fold": fold[patient], "interval": days[-1] - days[-2],
        }  # fmt: skip
        first = max(0, fields - 1 - MOST)
        for place in range(MOST):
            there = first + place < fields - 1
            row[f"mtd@{place + 1}"] = f"{drawn[first + place]:.2f}" if there else ""
            row[f"day@{place + 1}"] = days[first + place] if there else ""
        row["label:mtd"] = f"{drawn[-1]:.2f}"
        rows.append(row)
    with (Path(__file__).parent / "visual-field-series.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
