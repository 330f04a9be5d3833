"""Make ``hippocampus-pairs.csv`` beside this file: pairs of subjects within each of five folds.

No subject is in two folds, so none that is judged has taught. Within a fold each subject is the
fixed image of ``PER_SUBJECT`` pairs.

    python recipes/cohorts/pairs.py
"""

import csv
from pathlib import Path

import numpy as np

from osler.data.cohort import data_folder

FOLDS, PER_SUBJECT = 5, 2
NAMES = {"anterior": 1, "posterior": 2}


def main() -> None:
    images = sorted((data_folder() / "hippocampus/imagesTr").glob("*_0000.nii.gz"))
    subjects = [path.name.removesuffix("_0000.nii.gz") for path in images]
    order = np.random.default_rng(1).permutation(len(subjects))
    rows = []
    for fold in range(FOLDS):
        members = [subjects[k] for k in order[fold::FOLDS]]
        for place, fixed in enumerate(members):
            for step in range(1, PER_SUBJECT + 1):
                moving = members[(place + step) % len(members)]
                row = {"case_id": f"{fixed}-{moving}", "patient_id": fixed, "fold": fold}
                for role, subject in (("fixed", fixed), ("moving", moving)):
                    row[role] = f"hippocampus/imagesTr/{subject}_0000.nii.gz"
                    for name, value in NAMES.items():
                        labels = f"hippocampus/labelsTr/{subject}.nii.gz"
                        row[f"label:{role} {name}"] = f"{labels}#{value}"
                rows.append(row)
    with (Path(__file__).parent / "hippocampus-pairs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
