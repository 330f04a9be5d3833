"""Make odir-keywords.csv and odir-fusion.csv beside this file from the data (``$OSLER_DATA``).

odir-keywords.csv: each eye of ODIR's 400 patients with its diagnostic keywords. odir-fusion.csv:
each patient with both eyes, age and sex, and eight diseases as labels. Those labels were derived
from the keywords, so the keywords are no column of it: as an input they would tell the answer.
Both eyes of a patient share a fold, and a patient has the same one in both tables. The photographs
are for research only: no weight that is handed on may be trained on them.

    python recipes/cohorts/make_odir.py
"""

import csv
import random
from pathlib import Path

from osler.data.cohort import data_folder

HERE = Path(__file__).parent
FOLDS = 5
DISEASES = (
    "normal", "diabetes", "glaucoma", "cataract", "amd", "hypertension", "myopia", "other",
)  # fmt: skip


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
    write_patients(patients, fold)


def write_patients(patients: list[dict[str, str]], fold: dict[str, int]) -> None:
    """Write odir-fusion.csv: a patient a row, without the keywords."""
    labels = [f"label:{name}" for name in DISEASES]
    columns = ["case_id", "patient_id", "fold", "left", "right", "age", "sex", *labels]
    with (HERE / "odir-fusion.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for one in patients:
            name = one["patient_id"]
            writer.writerow({
                "case_id": f"odir-{name}", "patient_id": f"odir-{name}", "fold": fold[name],
                "left": f"odir/{one['left_image']}", "right": f"odir/{one['right_image']}",
                "age": one["age"], "sex": one["sex"],
                **{f"label:{disease}": one[disease] for disease in DISEASES},
            })  # fmt: skip


if __name__ == "__main__":
    main()
