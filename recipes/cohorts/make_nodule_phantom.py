"""Make a phantom of lung nodules: spheres beside branching vessels in noise, and the table of them.

No patient is in it. Each of 40 volumes of 48 x 80 x 80 voxels of 1.25 x 0.8 x 0.8 mm holds, in
Hounsfield units:

- lung of -850, uneven by 30 over centimetres;
- six vessels of 20, tubes that wind and taper from a radius of 0.8 to 2.4 mm, each with a branch:
  cut across, and where they branch, they look like small nodules;
- none to three nodules (a tenth of the volumes has none): balls of 4 to 12 mm across and of -450
  to 50, so that the faint and small ones are hard, 4 mm apart from each other but free to touch
  vessels;
- noise with a standard deviation of 60, correlated over two voxels as after a reconstruction.

What a voxel holds of a ball or tube counts in proportion. The boxes enclose the balls. Every number
follows from the seed and the volume's own.

    python recipes/cohorts/make_nodule_phantom.py [FOLDER]
"""

import csv
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from osler.io.nifti_out import write_nifti
from osler.record import Image

HERE = Path(__file__).parent
SEED = 20261122
CASES, FOLDS = 40, 5
SHAPE = (48, 80, 80)
SPACING = np.array([1.25, 0.8, 0.8])  # mm
LUNG, VESSEL, NOISE = -850.0, 20.0, 60.0  # HU
GAP = 4.0  # mm between two nodules
EMPTY = 0.1


def balls(rng: np.random.Generator) -> list[tuple[np.ndarray, float, float]]:
    """Centres (voxels), radii (mm) and values of the nodules."""
    found: list[tuple[np.ndarray, float, float]] = []
    count = 0 if rng.random() < EMPTY else int(rng.integers(1, 4))
    while len(found) < count:
        radius, value = float(rng.uniform(2, 6)), float(rng.uniform(-450, 50))
        margin = radius / SPACING + 1
        centre = rng.uniform(margin, np.array(SHAPE) - 1 - margin)
        if all(
            np.linalg.norm((centre - other) * SPACING) > radius + its + GAP
            for other, its, _ in found
        ):
            found.append((centre, radius, value))
    return found


def vessel(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places (mm) along a vessel and its branch, and the radius at each."""
    size = np.array(SHAPE) * SPACING
    place, way = rng.uniform(0, size), rng.normal(size=3)
    radius = float(rng.uniform(1.4, 2.4))
    parts: list[tuple[np.ndarray, float]] = []

    def walk(place: np.ndarray, way: np.ndarray, radius: float, steps: int) -> None:
        for _ in range(steps):
            way = way / np.linalg.norm(way) + rng.normal(0, 0.12, 3)
            place = place + 0.5 * way / np.linalg.norm(way)
            radius = max(0.8, radius * 0.994)
            parts.append((place, radius))

    walk(place, way, radius, 160)
    fork, thickness = parts[int(rng.integers(30, 100))]
    walk(fork, way + rng.normal(size=3) * np.linalg.norm(way), 0.8 * thickness, 80)
    return np.array([one for one, _ in parts]), np.array([one for _, one in parts])


def tubes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Which share of each voxel is vessel."""
    share = np.zeros(SHAPE)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) * SPACING
    for _ in range(count):
        places, radii = vessel(rng)
        for place, radius in zip(places, radii, strict=True):
            low = np.maximum(np.floor((place - radius - 1.5) / SPACING).astype(int), 0)
            high = np.ceil((place + radius + 1.5) / SPACING).astype(int) + 1
            if (high <= 0).any() or (low >= SHAPE).any():
                continue
            part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            away = np.linalg.norm(grid[part] - place, axis=-1)
            share[part] = np.maximum(share[part], np.clip(radius - away + 0.5, 0, 1))
    return share


def volume(number: int) -> tuple[np.ndarray, list[str]]:
    """Values (HU) and the boxes of the nodules, as a cohort writes them."""
    rng = np.random.default_rng((SEED, number))
    uneven = ndimage.gaussian_filter(rng.normal(size=SHAPE), 12 / SPACING, mode="reflect")
    values = LUNG + 30 * uneven / uneven.std()
    share = tubes(rng, 6)
    values += share * (VESSEL - values)
    cells = []
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    for centre, radius, value in balls(rng):
        away = np.linalg.norm((index - centre) * SPACING, axis=-1)
        inside = np.clip(radius - away + 0.5, 0, 1)
        # a vessel in a faint nodule stays as dense as it is
        values += inside * (np.maximum(value, values) - values)
        start = np.floor(centre + 0.5 - radius / SPACING).astype(int)
        stop = np.ceil(centre + 0.5 + radius / SPACING).astype(int)
        cells.append(";".join(str(n) for n in (*start, *stop)))
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), 0.7)
    return np.round(values + NOISE * noise / noise.std()), cells


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.zeros((4, 4))  # index (d, h, w) to LPS (x, y, z)
    affine[[2, 1, 0], [0, 1, 2]] = SPACING
    affine[3, 3] = 1
    rows, nodules = [], 0
    for number in range(CASES):
        values, cells = volume(number)
        image = Image(
            "ct", values.astype(np.int16)[None], "CT", spacing=tuple(SPACING.tolist()),
            affine=affine,
        )  # fmt: skip
        name = f"phantom-{number:02d}"
        write_nifti(image, folder / f"{name}.nii.gz")
        rows.append([name, name, number % FOLDS, f"{name}.nii.gz", " ".join(cells) or "none"])
        nodules += len(cells)
    with (folder / "cohort.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["case_id", "patient_id", "fold", "ct", "label:nodule"])
        writer.writerows(rows)
    print(f"{CASES} volumes, {nodules} nodules in '{folder}'")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "lung-nodule-phantom")
