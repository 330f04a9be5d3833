"""Make vqa-rad.csv beside this file from the data folder (``$OSLER_DATA``).

Questions and answers of clinicians about 252 radiological pictures (VQA-RAD). All questions about a
picture share a fold; who the patients are is not said.

    python recipes/cohorts/make_vqa.py
"""

import csv
import random
from pathlib import Path

from osler.data.cohort import data_folder

HERE = Path(__file__).parent
FOLDS = 5


def main() -> None:
    root = data_folder()
    with (root / "vqa-rad/questions.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    pictures = sorted({line["image"] for line in lines})
    random.Random(1).shuffle(pictures)
    fold = {name: number % FOLDS for number, name in enumerate(pictures)}
    columns = [
        "case_id", "patient_id", "fold", "picture", "variable:question", "variable:organ",
        "label:answer",
    ]  # fmt: skip
    with (HERE / "vqa-rad.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for line in lines:
            if not line["answer"].strip() or not line["question"].strip():
                continue
            writer.writerow({
                "case_id": f"vqa-{line['qid']}", "patient_id": Path(line["image"]).stem,
                "fold": fold[line["image"]], "picture": f"vqa-rad/images/{line['image']}",
                "variable:question": " ".join(line["question"].split()),
                "variable:organ": line["organ"], "label:answer": " ".join(line["answer"].split()),
            })  # fmt: skip


if __name__ == "__main__":
    main()
