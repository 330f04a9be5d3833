"""Make chest-structures.csv beside this file from the data folder (``$OSLER_DATA``).

80 chest X-rays with outlines of structures. Who the patients are is not said, so each picture
counts as a person of its own but for the two that 'osler data check' found to show the same.

    python recipes/cohorts/make_chest.py
"""

import csv
import random
from pathlib import Path

from osler.data.cohort import data_folder

HERE = Path(__file__).parent
STRUCTURES = ("left_lung", "right_lung", "cardiomediastinum", "airways")
FOLDS = 5
SAME = {"cxr_018": "cxr_015"}


def main() -> None:
    root = data_folder()
    with (root / "cxr-structures/images.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    names = sorted({SAME.get(name, name) for name in (Path(line["image"]).stem for line in lines)})
    random.Random(1).shuffle(names)
    fold = {name: number % FOLDS for number, name in enumerate(names)}
    columns = ["case_id", "patient_id", "fold", "xray", *(f"label:{one}" for one in STRUCTURES)]
    with (HERE / "chest-structures.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for line in lines:
            image = Path("cxr-structures") / line["image"]
            patient = SAME.get(image.stem, image.stem)
            row = {"case_id": image.stem, "patient_id": patient, "fold": fold[patient],
                   "xray": image.as_posix()}  # fmt: skip
            for structure in STRUCTURES:
                found = sorted((root / "cxr-structures/masks" / structure).glob(f"{image.stem}.*"))
                if found:
                    row[f"label:{structure}"] = found[0].relative_to(root).as_posix()
            writer.writerow(row)


if __name__ == "__main__":
    main()
