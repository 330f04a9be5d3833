"""Write disc-cup.csv: photographs whose disc and cup another program has marked.

They are the rows of anatomy.csv with both pseudo-labels, of HRF, CHASE_DB1 and the lesion
photographs of IDRiD, and of the graded ones of IDRiD every third; patients and folds stay.

    python recipes/cohorts/make_disc_cup.py
"""

import csv
from pathlib import Path

HERE = Path(__file__).parent
KEPT = ("case_id", "patient_id", "fold", "photo")


def main() -> None:
    with (HERE / "anatomy.csv").open(encoding="utf-8") as stream:
        rows = [
            row
            for row in csv.DictReader(stream)
            if row["label:disc-pseudo"] and row["label:cup-pseudo"]
        ]
    graded = [row for row in rows if row["photo"].startswith("idrid-grading/")]
    chosen = [row for row in rows if row not in graded] + graded[::3]
    with (HERE / "disc-cup.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*KEPT, "label:disc", "label:cup"])
        for row in chosen:
            marks = [row["label:disc-pseudo"], row["label:cup-pseudo"]]
            writer.writerow([*(row[key] for key in KEPT), *marks])
    print(f"{len(chosen)} photographs")


if __name__ == "__main__":
    main()
