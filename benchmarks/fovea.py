"""The fovea against the risk of macular oedema, which graders set by where exudates lie.

    python benchmarks/fovea.py

Nobody drew the fovea in the data, but IDRiD's graders said of each photograph whether hard exudates
lie within one disc diameter of the macula's centre (risk 2), or only farther out (1). So what
exudate is found within that distance of the found fovea must tell 2 from 1, and tells it the worse
the farther off the fovea is: the found one is held against the place that geometry alone names, and
against itself, moved by a known distance. Photographs that taught the lesion network are left out;
the risk taught neither network. Needs the data folder (``$OSLER_DATA``); takes ten minutes.
"""

import csv
import math
from pathlib import Path

import numpy as np

from osler import bundles, io
from osler.data.cohort import data_folder
from osler.metrics import auroc, bootstrap_interval, bootstrap_mean
from osler.record import Mask, Point
from osler.retina import anatomy, field
from osler.retina.predict import predict

COHORTS = Path(__file__).parent.parent / "recipes/cohorts"
DISTANCE, BELOW = 2.5, 0.25  # disc diameters from the disc, as recipes/cohorts/fovea.py has them
MOVED = (0.25, 0.5, 1.0, 1.5)  # disc diameters
DIRECTIONS = 16
EXUDATE = "hard exudate"


def rows() -> list[dict[str, str]]:
    """Photographs with exudates that taught no lesion network."""
    with (COHORTS / "lesions-with-negatives.csv").open(encoding="utf-8") as stream:
        taught = {row["patient_id"] for row in csv.DictReader(stream)}
    with (COHORTS / "grading.csv").open(encoding="utf-8") as stream:
        return [
            row for row in csv.DictReader(stream)
            if row["patient_id"] not in taught and row["label:dme-risk"] in ("1", "2")
        ]  # fmt: skip


def within(photo: Path) -> dict[str, list[tuple[float, bool]]] | None:
    """For each place the exudate expected within a disc diameter, in squared disc diameters, and
    whether any is marked there; None where disc or fovea is not found."""
    case = io.load(photo)
    seen = field.locate_field(case)
    net = bundles.load("retina-anatomy")
    anatomy.describe_anatomy(case, net, predict(net, case, field=seen))
    disc, fovea = case.get("disc", Mask), case.get("fovea", Point)
    if disc is None or not disc.mask.any() or fovea is None:
        return None
    said = predict(bundles.load("retina-lesions"), case, field=seen)
    assert said.probability is not None
    chance, mask = said.probability[said.labels.index(EXUDATE)], said.masks[EXUDATE]
    h, w = np.nonzero((chance > 0.05) | mask)
    chance, mask = chance[h, w], mask[h, w]
    centre, size = anatomy.centroid(disc.mask), 2 * math.sqrt(disc.mask.sum() / math.pi)
    side = math.copysign(1, fovea.position[1] - centre[1])
    turns = np.arange(DIRECTIONS) * 2 * math.pi / DIRECTIONS

    def at(row: float, column: float) -> tuple[float, bool]:
        near = np.hypot(h - row, w - column) <= size
        return float(chance[near].sum()) / size**2, bool(mask[near].any())

    row, column = fovea.position
    places = {
        "found": [(row, column)],
        "by geometry alone": [(centre[0] + BELOW * size, centre[1] + side * DISTANCE * size)],
    }
    for far in MOVED:
        places[f"found, moved by {far:g} DD"] = [
            (row + far * size * math.sin(turn), column + far * size * math.cos(turn))
            for turn in turns
        ]
    return {name: [at(*one) for one in some] for name, some in places.items()}


def share(values: np.ndarray) -> str:
    ends = bootstrap_mean(values.astype(float), seed=1)
    return f"{values.mean():.3f} ({ends.low:.3f} to {ends.high:.3f})"


def main() -> None:
    root = data_folder()
    known, risk = [], []
    asked = rows()
    for row in asked:
        if (one := within(root / row["photo"])) is not None:
            known.append(one)
            risk.append(int(row["label:dme-risk"]))
    two = np.array(risk) == 2
    print(f"{len(asked)} photographs; disc and fovea found in {len(known)}: "
          f"risk 2 in {two.sum()}, 1 in {(~two).sum()}\n")  # fmt: skip
    print(
        "| fovea | AUROC, risk 2 against 1 | any marked there, risk 2 | any marked there, risk 1 |"
    )
    print("|---|---|---|---|")
    for name in known[0]:
        table = np.array([one[name] for one in known])  # (photographs, places, 2)
        areas = [auroc(two, table[:, k, 0]) for k in range(table.shape[1])]
        shown = f"{np.mean(areas):.3f}"
        marked = table[:, :, 1]
        cells = [f"{marked[two].mean():.3f}", f"{marked[~two].mean():.3f}"]
        if len(areas) == 1:
            ends = bootstrap_interval(auroc, two, table[:, 0, 0], seed=1)
            shown += f" ({ends.low:.3f} to {ends.high:.3f})"
            cells = [share(marked[two, 0]), share(marked[~two, 0])]
        print(f"| {name} | {shown} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
