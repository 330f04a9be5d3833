"""Does ``retina-vessels`` still read the same in the coarse and in the enhanced photograph?

Each photograph of the held-out fold is made coarse as the bundle's settings say, enlarged by cubic
interpolation, and enhanced; all on the grid of the original. Dice of the vessel masks of the latter
two against the mask of the original, and the gain with its interval by patient.

    OSLER_DATA=... python benchmarks/enhancement.py runs/fundus-super-resolution/bundle [FOLD]
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from osler import bundles, metrics
from osler.bundles.answering import task_of
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.record import Case, DerivedImage, Source
from osler.retina.predict import predict

TABLE = Path(__file__).parent.parent / "recipes" / "cohorts" / "vessels.csv"


def main(place: str, fold: int = 0) -> None:
    bundle = bundles.load(Path(place))
    task = task_of(bundle.card)
    reader = bundles.load("retina-vessels")
    cohort = read_cohort(TABLE)
    said: dict[str, list[float]] = {"enlarged": [], "enhanced": []}
    patients = []
    for row in (row for row in cohort.rows if row.fold == fold):
        case = open_row(row, cohort)
        sample = task.encode(case, truth=True)
        outputs = task.run(bundle.run, sample)
        photo = case.image("photo")
        made = {
            "original": sample.targets["image"],
            "enlarged": sample.home["base"],
            "enhanced": outputs["made"],
        }
        masks = {}
        for name, array in made.items():
            found = task.decode(
                {"made": np.clip(array, 0, 1)}, sample, source=Source("bundle", "x")
            )
            (derived,) = found
            assert isinstance(derived, DerivedImage)
            image = replace(photo, array=derived.image.array)
            masks[name] = next(
                iter(predict(reader, Case("x", items={"photo": image})).masks.values())
            )
        for name, values in said.items():
            dice = metrics.dice(masks["original"], masks[name])
            values.append(float(dice if dice is not None else 1.0))
        patients.append(row.patient_id)
        print(
            row.case_id, *(f"{name} {values[-1]:.3f}" for name, values in said.items()), flush=True
        )
    gain = [a - b for a, b in zip(said["enhanced"], said["enlarged"], strict=True)]
    for name, values in {**said, "gain": gain}.items():
        done = metrics.summarise(values, seed=1, groups=patients).mean
        print(f"{name}: {done.value:.3f} ({done.low:.3f} to {done.high:.3f}), {len(values)} photos")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
