"""Make the cohort tables beside this file from the data folder (``$OSLER_DATA``).

Patients are kept together: the two eyes of a CHASE_DB1 child share a number, HRF has one photo a
patient, and IDRiD photographs that are the same picture under another number (within the grading
set, or between it and the lesion set) are found by comparing the pictures and share a patient.

The disc that a person drew goes before a pseudo-label of the same photograph.

Every photograph whose lesions were drawn has some, so a network learns from them that every eye
has: photographs without any teach it otherwise, of eyes graded 0 in IDRiD and of healthy ones that
other cameras took. They are in a fold of their own, and so teach whichever fold is held out.

    python recipes/cohorts/make.py
"""

import csv
import random
from pathlib import Path

import numpy as np
from fovea import place_file
from PIL import Image

from osler.data.cohort import data_folder
from osler.tasks.canvas import draw, plan
from osler.tasks.field import find_field

HERE = Path(__file__).parent
FOLDS = 5
NEGATIVES = 30  # photographs of IDRiD that are graded 0; few, for whoever teaches judges no grader
CHILDREN = tuple(f"chase-{child:02d}" for child in range(1, 8))  # both eyes of each
HEALTHY = ("hrf-01_h", "hrf-02_h", "hrf-03_h", "hrf-04_h")
DISC = (0.10, 0.25)  # diameters of a disc that a pseudo-label can have, of the photograph's height
SAME = 0.99  # correlation of two 64-pixel canvases above which two files show one photograph
# IDRiD_102 of the grading set is IDRiD_01 of the lesion set, and IDRiD_397 is IDRiD_013 in another
# light ('osler data check' found it), which the small canvases do not show
MISSED = {"idrid-101": "idrid-413", "idrid-396": "idrid-012"}


def signature(path: Path) -> np.ndarray:
    pixels = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
    canvas = draw(pixels, plan(find_field(pixels), diameter=64))[1][:64, :64].astype(float)
    square = np.zeros((64, 64))
    square[: canvas.shape[0], : canvas.shape[1]] = canvas
    square -= square.mean()
    return (square / np.linalg.norm(square)).ravel()


def write(name: str, rows: list[dict[str, object]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (HERE / name).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def dealt() -> dict[str, int]:
    """The folds of patients that have one: once networks were judged by them, they stay."""
    folds: dict[str, int] = {}
    for name in ("grading.csv", "lesions.csv"):
        if (HERE / name).exists():
            with (HERE / name).open(encoding="utf-8") as stream:
                folds |= {row["patient_id"]: int(row["fold"]) for row in csv.DictReader(stream)}
    return folds


def relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.exists() else ""


def vessels(root: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for photo in sorted((root / "chase-db1/images").iterdir()):
        child = int(photo.stem.removeprefix("Image_")[:2])
        rows.append({
            "case_id": f"chase-{photo.stem}", "patient_id": f"chase-{child:02d}",
            "fold": child % FOLDS, "photo": relative(root, photo),
            "label:vessel": relative(root, root / f"chase-db1/vessels/{photo.stem}.png"),
        })  # fmt: skip
    for photo in sorted((root / "hrf/images").iterdir()):
        rows.append({
            "case_id": f"hrf-{photo.stem}", "patient_id": f"hrf-{photo.stem}",
            "fold": int(photo.stem[:2]) % FOLDS, "photo": relative(root, photo),
            "label:vessel": relative(root, root / f"hrf/vessels/{photo.stem}.png"),
            "label:artery-vein": relative(root, root / f"hrf/artery_vein/{photo.stem}.png"),
        })  # fmt: skip
    return rows


def idrid(root: Path) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    with (root / "idrid-grading/labels.csv").open() as stream:
        labels = list(csv.DictReader(stream))
    graded = [root / "idrid-grading" / line["image"] for line in labels]
    drawn = sorted((root / "idrid-lesions/images").iterdir())
    signs = np.stack([signature(path) for path in [*graded, *drawn]])
    same = signs @ signs.T > SAME
    patient = [f"idrid-{np.flatnonzero(row)[0]:03d}" for row in same]
    for i, row in enumerate(same):  # a chain of equal pictures is one patient
        for j in np.flatnonzero(row):
            patient[j] = min(patient[i], patient[j])
    patient = [MISSED.get(name, name) for name in patient]
    grade = {p: int(line["dr_grade"]) for p, line in zip(patient, labels, strict=False)}
    rng = np.random.default_rng(20)
    before = dealt()
    unique = sorted(sorted(set(patient)), key=lambda p: (grade.get(p, 9), rng.random()))
    fold = {name: before.get(name, i % FOLDS) for i, name in enumerate(unique)}
    grading = [
        {
            "case_id": path.stem, "patient_id": name, "fold": fold[name],
            "photo": relative(root, path), "label:dr-grade": line["dr_grade"],
            "label:dme-risk": line["dme_risk"],
        }
        for path, name, line in zip(graded, patient, labels, strict=False)
    ]  # fmt: skip
    short = {"microaneurysm": "MA", "haemorrhage": "HE", "hard exudate": "EX",
             "soft exudate": "SE", "optic disc": "OD"}  # fmt: skip
    lesions = [
        {
            "case_id": f"lesions-{path.stem}", "patient_id": name, "fold": fold[name],
            "photo": relative(root, path),
            **{f"label:{label}": relative(root, root / f"idrid-lesions/masks/{key}/{path.stem}.png")
               for label, key in short.items()},
        }
        for path, name in zip(drawn, patient[len(graded):], strict=True)
    ]  # fmt: skip
    return grading, lesions


def negatives(
    lesions: list[dict[str, object]],
    grading: list[dict[str, object]],
    vessel: list[dict[str, object]],
) -> list[dict[str, object]]:
    """Photographs without lesions, in a fold of their own."""
    drawn = {row["patient_id"] for row in lesions}
    graded: dict[str, dict[str, object]] = {}
    for row in grading:
        if row["label:dr-grade"] == row["label:dme-risk"] == "0" and row["patient_id"] not in drawn:
            graded.setdefault(str(row["patient_id"]), row)
    patients = sorted(graded)
    random.Random(0).shuffle(patients)
    healthy = [row for row in vessel if row["case_id"] in HEALTHY or row["patient_id"] in CHILDREN]
    chosen = [graded[patient] for patient in sorted(patients[:NEGATIVES])]
    return [
        {"case_id": f"none-{row['case_id']}", "patient_id": row["patient_id"], "fold": FOLDS,
         "photo": row["photo"]}
        for row in [*chosen, *healthy]
    ]  # fmt: skip


def whole_disc(mask: Path) -> bool:
    """Whether a pseudo-label is a disc: about 20 are empty, fragments, or bright lesions."""
    pixels = np.asarray(Image.open(mask).convert("L")) > 0
    diameter = float(np.sqrt(4 * pixels.sum() / np.pi)) / pixels.shape[0]
    return DISC[0] <= diameter <= DISC[1]


def anatomy(root: Path, *tables: list[dict[str, object]]) -> list[dict[str, object]]:
    rows = []
    drawn = {row["patient_id"] for row in tables[0] if row.get("label:optic disc")}
    for row in [row for table in tables for row in table]:
        group, _, name = str(row["photo"]).partition("/images/")
        stem = Path(name).stem
        disc = root / f"disc-cup-pseudo/disc/{group}/{stem}.png"
        cup = root / f"disc-cup-pseudo/cup/{group}/{stem}.png"
        whole = whole_disc(disc)
        again = group == "idrid-grading" and row["patient_id"] in drawn
        fovea = place_file(root / str(row["photo"]), disc) if whole else None
        rows.append({
            "case_id": f"{group}-{stem}", "patient_id": row["patient_id"], "fold": row["fold"],
            "photo": row["photo"], "label:optic disc": row.get("label:optic disc", ""),
            "label:disc-pseudo": relative(root, disc) if whole and not again else "",
            "label:cup-pseudo": relative(root, cup) if whole and not again else "",
            "label:fovea-pseudo": f"{fovea[0]:.1f};{fovea[1]:.1f}" if fovea else "",
        })  # fmt: skip
    return rows


if __name__ == "__main__":
    data = data_folder()
    vessel_rows = vessels(data)
    grading_rows, lesion_rows = idrid(data)
    write("vessels.csv", vessel_rows)
    write("artery-vein.csv", [r for r in vessel_rows if r.get("label:artery-vein")])
    write("grading.csv", grading_rows)
    drawn_rows = [{k: v for k, v in row.items() if k != "label:optic disc"} for row in lesion_rows]
    write("lesions.csv", drawn_rows)
    without = negatives(lesion_rows, grading_rows, vessel_rows)
    write("lesions-with-negatives.csv", [*drawn_rows, *without])
    write("anatomy.csv", anatomy(data, lesion_rows, grading_rows, vessel_rows))
    shared = {r["patient_id"] for r in lesion_rows} & {r["patient_id"] for r in grading_rows}
    print(f"{len(shared)} of {len(lesion_rows)} lesion photographs are among the graded ones")
    print(f"{len({r['patient_id'] for r in grading_rows})} different graded photographs")
