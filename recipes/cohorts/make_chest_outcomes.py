"""The table of patients with a chest X-ray of whom intensive care is known: ``chest-outcomes.csv``.

Of each patient the earliest frontal image, age and laboratory values (``cxr-outcomes`` of
``$OSLER_DATA``); one image a patient, so that no patient counts twice. Five
folds of patients, those with intensive care spread evenly.

    python recipes/cohorts/make_chest_outcomes.py [--notes]

With ``--notes`` the clinical notes become a column as well, without the sentences that tell the
outcome or a treatment that follows from it, in ``chest-outcomes-notes.csv``. Their licences differ,
so that table is not kept here.
"""

import csv
import random
import re
import sys
from pathlib import Path

from osler.data.cohort import data_folder

HERE = Path(__file__).parent
FOLDS, SEED = 5, 7
VALUES = ("age", "temperature", "pO2_saturation", "neutrophil_count", "lymphocyte_count")
OUTCOME = re.compile(
    r"\b(died|dead|deaths?|deceased|demise|fatal\w*|passed away|mortal\w*|expired|surviv\w*"
    r"|discharg\w*|recover\w*|icu|itu|intensive|critical care|intubat\w*|extubat\w*|ventilat\w*"
    r"|ecmo|niv|cpap|tube|tracheo\w*|deteriorat\w*|worsen\w*|absorbed|resol\w*|follow[- ]?up)\b",
    re.IGNORECASE,
)  # fmt: skip


def main(*, notes: bool) -> None:
    with (data_folder() / "cxr-outcomes/images.csv").open(
        encoding="utf-8", errors="replace"
    ) as file:
        rows = [row for row in csv.DictReader(file) if row["view"] != "L" and row["went_icu"]]
    of: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        of.setdefault(row["patientid"], []).append(row)
    ill = {one: any(row["went_icu"] == "Y" for row in own) for one, own in of.items()}
    order = sorted(of)
    random.Random(SEED).shuffle(order)
    order.sort(key=lambda one: ill[one])
    name = "chest-outcomes-notes.csv" if notes else "chest-outcomes.csv"
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        more = ["note"] if notes else []
        out.writerow(
            ["case_id", "patient_id", "fold", "image", *VALUES, *more, "label:intensive care"]
        )
        for rank, one in enumerate(order):
            first = min(of[one], key=lambda row: float(row["offset"] or 0))
            cells = [first[value] for value in VALUES]
            if notes:
                parts = re.split(r"(?<=[.;!?])\s+", first["clinical_notes"])
                cells.append(" ".join(part for part in parts if not OUTCOME.search(part)))
            image = f"cxr-outcomes/{first['image']}"
            said = "yes" if ill[one] else "no"
            out.writerow([f"chest-{one}", f"chest-{one}", rank % FOLDS, image, *cells, said])


if __name__ == "__main__":
    main(notes="--notes" in sys.argv)
