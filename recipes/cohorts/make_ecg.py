"""Make ``ecg-rhythm.csv`` beside this file: the 12-lead records whose rhythm is coded.

Records of the PhysioNet/CinC Challenge 2021 (CC BY 4.0) say their diagnoses as SNOMED CT codes in
their headers. Those with exactly one of the rhythms below are taken. Who a record is of is not
said, so records of one age and sex count as one patient's, who is in one fold.

    python recipes/cohorts/make_ecg.py
"""

import csv
from pathlib import Path

import numpy as np

from osler.data.cohort import data_folder

FOLDS = 5
RHYTHMS = {
    "426177001": "sinus bradycardia",
    "426783006": "sinus rhythm",
    "427084000": "sinus tachycardia",
}


def main() -> None:
    rows = []
    for header in sorted((data_folder() / "ecg/cinc2021").glob("*.hea")):
        lines = header.read_text().splitlines()
        codes = next(one for one in lines if "Dx:" in one).partition(":")[2].strip().split(",")
        said = [RHYTHMS[code] for code in codes if code in RHYTHMS]
        if len(said) == 1:
            path = f"ecg/cinc2021/{header.name}"
            age, sex = (next(one for one in lines if f"{key}:" in one).split(":")[1].strip()
                        for key in ("Age", "Sex"))  # fmt: skip
            rows.append({"case_id": header.stem, "patient_id": f"{age}-{sex.lower()}", "fold": 0,
                         "signal": path, "label:rhythm": said[0]})  # fmt: skip
    rng = np.random.default_rng(1)
    folds: dict[str, int] = {}
    for rhythm in RHYTHMS.values():  # dealt out one class after the other, to the emptiest fold
        members = [row for row in rows if row["label:rhythm"] == rhythm]
        for number in rng.permutation(len(members)):
            patient = str(members[number]["patient_id"])
            sizes = [
                sum(folds.get(str(row["patient_id"])) == k for row in rows) for k in range(FOLDS)
            ]
            folds.setdefault(patient, int(np.argmin(sizes)))
    for row in rows:
        row["fold"] = folds[str(row["patient_id"])]
    with (Path(__file__).parent / "ecg-rhythm.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
