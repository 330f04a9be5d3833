"""Make ``visual-fields.csv`` beside this file from the visual-field series of the data folder.

The University of Washington's Humphrey visual fields (Montesano et al., Translational Vision
Science & Technology 11(1):2, 2022; BSD-3-Clause) lie there as one line a series: the values of its
first field, its length, and the line through its mean deviations. So a case is an eye with at least
four fields: the first field, the days to the last one, and as its truth what the eye's own line
says on that day, which is steadier than a single field would be. Both eyes of a patient are in one
fold.

    python recipes/cohorts/make_visual_fields.py
"""

import csv
from pathlib import Path

import numpy as np

from osler.data.cohort import data_folder

FOLDS = 5
DAYS = 365.25


def main() -> None:
    with (data_folder() / "visual-fields/Series_Summary.csv").open(newline="") as stream:
        lines = [line for line in csv.DictReader(stream) if line["Slope_MTD"] not in ("", "NA")]
    patients = sorted({int(line["PatID"]) for line in lines})
    order = np.random.default_rng(1).permutation(len(patients))
    fold = {patients[n]: place % FOLDS for place, n in enumerate(order)}
    rows = []
    for line in sorted(lines, key=lambda one: (int(one["PatID"]), one["Eye"])):
        years = float(line["Follow_up_length"])
        if years <= 0:
            continue

        def at_end(name: str, line: dict[str, str] = line, years: float = years) -> str:
            return f"{float(line[f'Intercept_{name}']) + float(line[f'Slope_{name}']) * years:.2f}"

        patient = int(line["PatID"])
        rows.append({
            "case_id": f"uwhvf-{patient}-{line['Eye'].lower()}", "patient_id": f"uwhvf-{patient}",
            "fold": fold[patient], "age": f"{float(line['Baseline_Age']):.1f}",
            "interval": round(years * DAYS),
            **{f"{name.lower()}@1": f"{float(line[f'Baseline_{name}']):.2f}"
               for name in ("MTD", "MS", "PSD")},
            **{f"cluster{k}@1": f"{float(line[f'Baseline_MTD_Cluster{k}']):.2f}"
               for k in range(1, 7)},
            "label:mtd": at_end("MTD"), "label:ms": at_end("MS"),
        })  # fmt: skip
    with (Path(__file__).parent / "visual-fields.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
