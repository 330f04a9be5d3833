"""Accuracy of the shipped bundles on photographs that taught none of them.

    python benchmarks/accuracy.py            all of it
    python benchmarks/accuracy.py vessels    one part: vessels, grade, kind

The cards hold the figures on held-out folds; this measures what was kept apart altogether: DRIVE
(another camera, for vessels), ODIR (other cameras and another country, for grades), and pictures
that are, and are not, of a fundus. Needs the data folder (``$OSLER_DATA``) and the extra ``dev``.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from osler import bundles, io
from osler.data.cohort import data_folder
from osler.metrics import (
    auroc,
    bootstrap_interval,
    bootstrap_mean,
    cl_dice,
    dice,
    expected_calibration_error,
    macro_auroc,
    pixel_auroc,
)
from osler.retina import field
from osler.retina.pipeline import first_look
from osler.retina.predict import predict


def interval(values: list[float]) -> str:
    found = bootstrap_mean(values, seed=1)
    return f"{np.mean(values):.3f} ({found.low:.3f} to {found.high:.3f})"


def vessels(root: Path) -> None:
    bundle = bundles.load("retina-vessels")
    figures: dict[str, list[float]] = {"Dice": [], "AUROC": [], "clDice": []}
    fixed: list[float] = []
    for photo in sorted((root / "drive/images").iterdir()):
        case = io.load(photo)
        said = predict(bundle, case)
        name = photo.stem
        truth = np.asarray(Pillow.open(root / f"drive/vessels/{name}.png").convert("L")) > 127
        field = np.asarray(Pillow.open(root / f"drive/fov/{name}.png").convert("L")) > 127
        figures["Dice"].append(dice(truth, said.masks["vessel"], within=field) or 0.0)
        figures["AUROC"].append(pixel_auroc(truth, said.probability[0], within=field) or 0.0)
        figures["clDice"].append(cl_dice(truth, said.masks["vessel"], within=field) or 0.0)
        fixed.append(dice(truth, said.probability[0] >= 0.5, within=field) or 0.0)
    print(f"\nVessels, DRIVE test ({len(fixed)} photographs), inside the field, native size")
    print("| figure | mean (95 % interval over photographs) |\n|---|---|")
    for name, values in figures.items():
        print(f"| {name} | {interval(values)} |")
    print(f"| Dice at a fixed threshold of 0.5 | {interval(fixed)} |")


GRADE_OF = {
    "normal fundus": 0,
    "mild nonproliferative retinopathy": 1,
    "moderate non proliferative retinopathy": 2,
    "severe nonproliferative retinopathy": 3,
    "severe proliferative diabetic retinopathy": 4,
    "proliferative diabetic retinopathy": 4,
}


def grade(root: Path) -> None:
    bundle = bundles.load("retina-dr")
    truth, said, chance, patients = [], [], [], []
    with (root / "odir/patients.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            for eye in ("left", "right"):
                known = GRADE_OF.get(row[f"{eye}_keywords"])
                if known is None:  # another disease beside it, or another word
                    continue
                here = predict(bundle, io.load(root / "odir" / row[f"{eye}_image"]))
                truth.append(known)
                said.append(list(here.probabilities["grade"].values()))
                chance.append(here.probabilities["referable"]["yes"])
                patients.append(row["patient_id"])
    referable = (np.array(truth) >= 2).astype(int)
    asked = {
        "AUROC, referable": (auroc, (referable, np.array(chance))),
        "macro AUROC, grade": (macro_auroc, (np.array(truth), np.array(said))),
        "ECE, referable": (expected_calibration_error, (referable, np.array(chance))),
    }
    print(f"\nGrade, ODIR ({len(truth)} eyes at 288 pixels, another country and other cameras)")
    print("| figure | value (95 % interval over patients) |\n|---|---|")
    for name, (statistic, arrays) in asked.items():
        found = bootstrap_interval(statistic, *arrays, seed=1, groups=patients)
        print(f"| {name} | {found.value:.3f} ({found.low:.3f} to {found.high:.3f}) |")


def kind(root: Path) -> None:
    groups: dict[str, list[Path]] = {
        "ODIR, fundus (another set of cameras)": sorted((root / "odir/images").iterdir())[:100],
        "DRIVE, fundus": sorted((root / "drive/images").iterdir())[:10],
        "chest X-rays": sorted((root / "cxr-structures/images").iterdir()),
        "breast ultrasound": sorted((root / "busi").rglob("*.[pj][np]g"))[::4],
        "radiology (VQA-RAD)": sorted((root / "vqa-rad/images").iterdir())[::2],
        "everyday pictures (scikit-image)": everyday(),
    }
    print("\nKind of photograph, by the first two steps of the reading")
    print(
        "| pictures | number | called fundus | of these rejected | graded |\n|---|---|---|---|---|"
    )
    for name, paths in groups.items():
        fundus, rejected, graded = 0, 0, 0
        for path in paths:
            case = io.load(path)
            seen = field.locate_field(case)
            is_fundus, worth, gradable = first_look(case, seen)
            fundus += is_fundus
            rejected += is_fundus and worth == "reject"
            graded += is_fundus and worth != "reject" and gradable
        print(f"| {name} | {len(paths)} | {fundus} | {rejected} | {graded} |")


def everyday() -> list[Path]:
    """The pictures that scikit-image carries without a download."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return sorted(path for path in folder.iterdir() if path.suffix in {".png", ".jpg"})


PARTS = {"vessels": vessels, "grade": grade, "kind": kind}

if __name__ == "__main__":
    csv.field_size_limit(10_000_000)
    asked = sys.argv[1:] or list(PARTS)
    for part in asked:
        PARTS[part](data_folder())
