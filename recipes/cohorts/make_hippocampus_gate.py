"""Make ``hippocampus-gate.csv`` beside this file: 60 of the subjects, drawn once, in three parts.

python recipes/cohorts/make_hippocampus_gate.py
"""

import csv
from pathlib import Path

import numpy as np

from osler.data.cohort import data_folder

PARTS = {"train": 32, "tune": 8, "test": 20}
NAMES = {"anterior": 1, "posterior": 2}


def main() -> None:
    images = sorted((data_folder() / "hippocampus/imagesTr").glob("*_0000.nii.gz"))
    subjects = [path.name.removesuffix("_0000.nii.gz") for path in images]
    order = np.random.default_rng(7).permutation(len(subjects))
    parts = [part for part, count in PARTS.items() for _ in range(count)]
    rows = [
        {
            "case_id": subjects[k],
            "patient_id": subjects[k],
            "split": part,
            "mr": f"hippocampus/imagesTr/{subjects[k]}_0000.nii.gz",
            **{
                f"label:{name}": f"hippocampus/labelsTr/{subjects[k]}.nii.gz#{value}"
                for name, value in NAMES.items()
            },
        }
        for k, part in zip(order, parts, strict=False)
    ]
    with (Path(__file__).parent / "hippocampus-gate.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
