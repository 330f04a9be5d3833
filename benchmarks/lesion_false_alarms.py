"""How often lesions are marked in photographs of eyes that have none, and of eyes that have some.

    python benchmarks/lesion_false_alarms.py             all that taught no lesion network
    python benchmarks/lesion_false_alarms.py --most 40   as many a group

Nobody drew lesions in these photographs, but IDRiD's graders said of each eye whether it has
retinopathy (grade 0: no lesion at all; 1: microaneurysms alone; 2 and more: haemorrhages too) and
whether hard exudates are seen (risk of oedema 0: none). DRIVE and the eyes of CHASE_DB1 and HRF are
of other cameras; CHASE_DB1's are healthy children's, HRF's ``_h`` are healthy, and of DRIVE's 20
patients a few have mild retinopathy. Photographs that taught the lesion network are left out.
Needs the data folder (``$OSLER_DATA``).
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from osler import bundles, io
from osler.data.cohort import data_folder
from osler.metrics import bootstrap_mean
from osler.retina import field
from osler.retina.predict import predict

COHORTS = Path(__file__).parent.parent / "recipes/cohorts"
KINDS = ("microaneurysm", "haemorrhage", "hard exudate", "soft exudate")


def table(name: str) -> list[dict[str, str]]:
    with (COHORTS / name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def photographs(root: Path) -> Iterator[tuple[str, str]]:
    """Group and photograph."""
    taught = {row["patient_id"] for row in table("lesions-with-negatives.csv")}
    for row in table("grading.csv"):
        if row["patient_id"] not in taught:
            grade, risk = row["label:dr-grade"], row["label:dme-risk"]
            group = f"grade {grade}" if grade in "01" else f"grade 2 to 4, risk {risk}"
            yield f"IDRiD, {group}", row["photo"]
    for row in table("vessels.csv"):
        healthy = row["case_id"].startswith("chase-") or row["case_id"].endswith("_h")
        if healthy and row["patient_id"] not in taught:
            yield "CHASE_DB1 and HRF, healthy", row["photo"]
    for path in sorted((root / "drive/images").iterdir()):
        yield "DRIVE", path.relative_to(root).as_posix()


def marked(photo: Path) -> list[int]:
    """How many connected parts of each kind are marked."""
    case = io.load(photo)
    masks = predict(bundles.load("retina-lesions"), case, field=field.locate_field(case)).masks
    return [int(ndimage.label(masks[kind], np.ones((3, 3)))[1]) for kind in KINDS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=10**6, help="photographs of a group")
    most = parser.parse_args().most
    root = data_folder()
    counts: dict[str, list[list[int]]] = {}
    for group, photo in photographs(root):
        if len(some := counts.setdefault(group, [])) < most:
            some.append(marked(root / photo))
    print(f"| photographs | number | {' | '.join(kind + 's' for kind in KINDS)} |")
    print("|---|---|" + "---|" * len(KINDS))
    for group in sorted(counts):
        found = np.array(counts[group])
        cells = []
        for column in found.T:
            share = bootstrap_mean((column > 0).astype(float), seed=1)
            cells.append(
                f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f}), {np.median(column):g}"
            )
        print(f"| {group} | {len(found)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
