"""Make a phantom of brain tumours in four MR sequences, and the table of it.

No patient is in it. Each of 30 heads of 32 x 48 x 48 voxels of 4 x 3.5 x 3.5 mm has

- a brain without skull: grey matter in folds around white matter, and two ventricles;
- a tumour of 12 to 26 mm radius in one half, uneven at its rim: oedema outside (with the rest
  the *whole*), the *core* in it, which is necrotic in the middle, and around that an *enhancing*
  rim; every sixth tumour does not enhance;
- up to five spots of 4 to 7 mm that are bright in FLAIR and T2, as old age leaves them: no tumour.

Each tissue has its brightness in each sequence: fluid is dark in T1 and FLAIR and bright in T2,
oedema is bright in T2 and FLAIR, and only the rim differs between T1 before and after contrast.
Each sequence of each head has a gain of its own (0.8 to 1.25), a bias field of 10 % over
centimetres, and the noise of a magnitude image (Rice, deviation 6). Every number follows from the
seed and the head's own.

    python recipes/cohorts/make_brain_tumour_phantom.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from phantom_volumes import blend, clouds, ellipsoid, places, write_table, write_volume

HERE = Path(__file__).parent
SEED, CASES = 20261123, 30
SHAPE, SPACING = (32, 48, 48), (4.0, 3.5, 3.5)
SEQUENCES = ("t1", "t1c", "t2", "flair")
TISSUES = {  # brightness in each of them
    "grey": (70, 72, 100, 95), "white": (100, 102, 72, 75), "fluid": (30, 30, 170, 20),
    "oedema": (62, 64, 145, 155), "core": (55, 58, 120, 115), "necrosis": (38, 40, 155, 55),
    "rim": (66, 160, 115, 125), "spot": (75, 77, 130, 150),
}  # fmt: skip
NOISE, SMALLEST = 6.0, 0.5


def head(number: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Values of each sequence and the masks."""
    rng = np.random.default_rng((SEED, number))
    at = places(SHAPE, SPACING)
    brain = ellipsoid(at, (0, 0, 0), rng.uniform((50, 66, 56), (58, 76, 66)))
    folds = clouds(rng, at, 5.0)
    depth = np.sqrt(sum((at[k] / (54, 70, 60)[k]) ** 2 for k in range(3)))
    white = np.clip(3 * (0.8 - depth) + 0.6 * folds, 0, 1)
    parts = [("grey", brain), ("white", brain * white)]
    for side in (-1, 1):
        parts.append(
            ("fluid", ellipsoid(at, (4, -4, side * 13), rng.uniform((8, 20, 4), (14, 30, 8))))
        )
    for _ in range(int(rng.integers(0, 6))):
        centre = rng.uniform((-25, -40, -35), (25, 40, 35))
        parts.append(("spot", ellipsoid(at, centre, (rng.uniform(4, 7),) * 3)))
    radius, side = rng.uniform(12, 26), rng.choice([-1, 1])
    centre = np.array([rng.uniform(-18, 18), rng.uniform(-30, 30), side * rng.uniform(18, 32)])
    uneven = 1 + 0.12 * clouds(rng, at, 9.0)
    away = np.sqrt(sum((at[k] - centre[k]) ** 2 for k in range(3))) * uneven
    core, rim = radius * rng.uniform(0.5, 0.75), max(5.0, 0.3 * radius)
    enhances = number % 6 != 5

    def ball(reach: float) -> np.ndarray:
        return np.asarray(np.clip((reach - away) / 3 + 0.5, 0, 1) * brain)

    parts += [("oedema", ball(radius)), ("core", ball(core))]
    inner = ball(core - rim)
    if enhances:
        parts.append(("rim", ball(core)))
    parts.append(("necrosis", inner))
    images = {}
    for k, name in enumerate(SEQUENCES):
        values = np.zeros(SHAPE)
        for tissue, share in parts:
            values = blend(values, share, TISSUES[tissue][k])
        values *= rng.uniform(0.8, 1.25) * (1 + 0.1 * clouds(rng, at, 60.0))
        noisy = np.hypot(values + rng.normal(0, NOISE, SHAPE), rng.normal(0, NOISE, SHAPE))
        images[name] = np.round(noisy).astype(np.int16)
    masks = {"whole": ball(radius) >= SMALLEST, "core": ball(core) >= SMALLEST}
    masks["enhancing"] = masks["core"] & (inner < SMALLEST) & enhances
    return images, masks


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(CASES):
        name = f"phantom-{number:02d}"
        images, masks = head(number)
        row = {"case_id": name}
        for key, values in images.items():
            path = folder / f"{name}-{key}.nii.gz"
            row[key] = write_volume(values, path, SPACING, item=key)
        for key, mask in masks.items():
            path = folder / f"{name}-{key}.nii.gz"
            row[f"label:{key}"] = write_volume(mask.astype(np.uint8), path, SPACING, item=key)
        rows.append(row)
    write_table(folder, rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "brain-tumour-phantom")
