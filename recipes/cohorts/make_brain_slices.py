"""Make the table of slices of one brain beside this file from the data folder (``$OSLER_DATA``).

Four MR series of one patient lie in one frame. Each slice of T1 (before contrast) is a case, with
the slice of T2 at the same place beside it. The column ``patient_id`` holds the slab that a slice
is of, not a person: there is one person, and slabs are kept apart only so that no slice is judged
whose neighbour taught. Slices between a slab that teaches and one that tests are left out.

    python recipes/cohorts/make_brain_slices.py
"""

import csv
from pathlib import Path

import numpy as np
import pydicom

from osler.data.cohort import data_folder

HERE = Path(__file__).parent
ROOM = "brain-mr-dicom"
SERIES = {"t1": "26401-T1prereg-52906", "t2": "37830-T2reg-78532"}
TEST = ((5, 8), (13, 16))  # slices from the lowest, first to last


def places(folder: Path) -> list[tuple[float, Path]]:
    """Height of each slice along the normal, mm, and its file, from the lowest."""
    out = []
    for path in sorted(folder.glob("*.dcm")):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        along = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        normal = np.cross(along[0], along[1])
        out.append((float(normal @ np.array(header.ImagePositionPatient, float)), path))
    return sorted(out)


def slab(number: int) -> tuple[str, str] | None:
    """Slab and part of a slice; None between two."""
    for k, (first, last) in enumerate(TEST):
        if first <= number <= last:
            return f"slab-{2 * k + 2}", "test"
        if number in (first - 1, last + 1):
            return None
    return f"slab-{1 + 2 * sum(number > last for _, last in TEST)}", "train"


def main() -> None:
    root = data_folder()
    series = {name: places(root / ROOM / folder) for name, folder in SERIES.items()}
    apart = max(
        abs(a - b) for (a, _), (b, _) in zip(series["t1"], series["t2"], strict=True)
    )  # fmt: skip
    if apart > 0.1:
        raise SystemExit(f"slices of the two series lie {apart:.2f} mm apart")
    rows = []
    for number, ((_, t1), (_, t2)) in enumerate(zip(series["t1"], series["t2"], strict=True)):
        found = slab(number)
        if found is None:
            continue
        rows.append({
            "case_id": f"slice-{number:02d}", "patient_id": found[0], "split": found[1],
            "t1": t1.relative_to(root).as_posix(), "t2": t2.relative_to(root).as_posix(),
        })  # fmt: skip
    with (HERE / "brain-slices.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
