"""Make ``gbsg2.csv`` beside this file: 686 women with node-positive breast cancer.

The German Breast Cancer Study Group's second trial: time to recurrence or death (Schumacher et al.,
Journal of Clinical Oncology 12:2086-2093, 1994; Sauerbrei & Royston, Journal of the Royal
Statistical Society A 162:71-94, 1999), as lifelines ships it (MIT; scikit-survival ships the same).
lifelines is not needed to use Osler: ``pip install lifelines``, run this once.

    python recipes/cohorts/make_survival.py
"""

import csv
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

FOLDS = 5
COLUMNS = ("horTh", "age", "menostat", "tsize", "tgrade", "pnodes", "progrec", "estrec")


def main(table: Path | None = None) -> None:
    if table is None:
        table = Path(str(distribution("lifelines").locate_file("lifelines/datasets/gbsg2.csv")))
    with table.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    order = np.random.default_rng(1).permutation(len(lines))
    # dealt out events first, so that each fold has its share of them
    order = sorted(order, key=lambda n: lines[n]["cens"] != "1")
    fold = {int(number): place % FOLDS for place, number in enumerate(order)}
    rows = [
        {"case_id": f"gbsg2-{n:03d}", "patient_id": f"gbsg2-{n:03d}", "fold": fold[n],
         **{name: line[name] for name in COLUMNS},
         "label:days": line["time"], "label:event": line["cens"]}
        for n, line in enumerate(lines)
    ]  # fmt: skip
    with (Path(__file__).parent / "gbsg2.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
