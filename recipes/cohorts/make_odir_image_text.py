"""Make odir-image-text.csv beside this file from the data folder (``$OSLER_DATA``).

Each eye of ODIR's 400 patients with its diagnostic keywords. Patients with glaucoma, pathological
myopia or a cataract in either eye are the part ``unseen``: they neither teach nor tune, so that a
network can be asked for what it was never shown. The others are dealt out by patient.
The photographs are for research only: no weight that is handed on may be trained on them.

    python recipes/cohorts/make_odir_image_text.py
"""

import csv
import random
from pathlib import Path

from osler.data.cohort import data_folder

HERE = Path(__file__).parent
UNSEEN = ("glaucoma", "myopi", "cataract")
SHARES = (("test", 0.22), ("tune", 0.13))


def parts(patients: list[dict[str, str]], *, seed: int) -> dict[str, str]:
    """The part of each patient by id."""
    words = {one["patient_id"]: f"{one['left_keywords']},{one['right_keywords']}".lower()
             for one in patients}  # fmt: skip
    seen = sorted(name for name, said in words.items() if not any(w in said for w in UNSEEN))
    random.Random(seed).shuffle(seen)
    out = dict.fromkeys(words, "unseen") | dict.fromkeys(seen, "train")
    begin = 0
    for part, share in SHARES:
        count = round(share * len(seen))
        out |= dict.fromkeys(seen[begin : begin + count], part)
        begin += count
    return out


def write(path: Path, root: Path, *, seed: int) -> None:
    """The table with the deal of a seed."""
    with (root / "odir/patients.csv").open(newline="", encoding="utf-8") as stream:
        patients = list(csv.DictReader(stream))
    part = parts(patients, seed=seed)
    columns = ["case_id", "patient_id", "split", "photo", "label:keywords"]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for one in patients:
            for side in ("left", "right"):
                name = one["patient_id"]
                writer.writerow({
                    "case_id": f"odir-{name}-{side}", "patient_id": f"odir-{name}",
                    "split": part[name], "photo": f"odir/{one[f'{side}_image']}",
                    "label:keywords": one[f"{side}_keywords"],
                })  # fmt: skip


if __name__ == "__main__":
    write(HERE / "odir-image-text.csv", data_folder(), seed=1)
