"""What the grade becomes when photographs get smaller: ``python benchmarks/fewer_pixels.py``.

20 referable and 20 other photographs of IDRiD, made smaller, read by ``retina-dr``.
They taught it, so only the change tells. Needs the data folder (``$OSLER_DATA``).
"""

import csv

import numpy as np
from PIL import Image as Pillow

from osler import bundles
from osler.data.cohort import data_folder
from osler.metrics import auroc, expected_calibration_error
from osler.record import Case, Image
from osler.retina.predict import predict

SIDES = (1072, 576, 432, 288)
COUNT = 20


def main() -> None:
    """Print a row a size."""
    root = data_folder() / "idrid-grading"
    with (root / "labels.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    rng = np.random.default_rng(0)
    chosen = []
    for referable in (True, False):
        kind = [row for row in rows if (int(row["dr_grade"]) >= 2) == referable]
        chosen += [kind[n] for n in rng.permutation(len(kind))[:COUNT]]
    truth = np.array([int(int(row["dr_grade"]) >= 2) for row in chosen])
    bundle = bundles.load("retina-dr")
    for side in SIDES:
        said = []
        for row in chosen:
            photo = Pillow.open(root / row["image"]).convert("RGB")
            part = side / max(photo.size)
            size = (round(photo.width * part), round(photo.height * part))
            pixels = np.asarray(photo.resize(size, Pillow.Resampling.LANCZOS))
            image = Image("photo", np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), modality="OP")
            found = predict(bundle, Case("one", items={"photo": image}))
            said.append(found.probabilities["referable"]["yes"])
        chance = np.array(said)
        print(
            f"{side} pixels: AUROC {auroc(truth, chance):.3f}, calibration error "
            f"{expected_calibration_error(truth, chance):.3f}, mean probability of those that are "
            f"not referable {chance[truth == 0].mean():.2f}"
        )


if __name__ == "__main__":
    main()
