"""Make odir-keywords.csv beside this file from the data folder (``$OSLER_DATA``).

Each eye of ODIR's 400 patients with its diagnostic keywords; both eyes of a patient share a fold.
The photographs are for research only: no weight that is handed on may be trained on them.

    python recipes/cohorts/make_odir.py
"""

import csv
import random
from pathlib import Path

from osler.data.cohort import data_folder

HERE = Path(__file__).parent
FOLDS = 5


def main() -> None:
    root = data_folder()
    with (root / "odir/patients.csv").open(newline="", encoding="utf-8") as stream:
        patients = list(csv.DictReader(stream))
    order = sorted(one["patient_id"] for one in patients)
    random.Random(1).shuffle(order)
    fold = {name: number % FOLDS for number, name in enumerate(order)}
    columns = ["case_id", "patient_id", "fold", "photo", "label:keywords"]
    with (HERE / "odir-keywords.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for one in patients:
            for side in ("left", "right"):
                name = one["patient_id"]
                writer.writerow({
                    "case_id": f"odir-{name}-{side}", "patient_id": f"odir-{name}",
                    "fold": fold[name], "photo": f"odir/{one[f'{side}_image']}",
                    "label:keywords": one[f"{side}_keywords"],
                })  # fmt: skip


if __name__ == "__main__":
    main()
