"""Make a phantom of pneumonia in CT as COVID-19 shows it, and the table of it.

No patient is in it. Each of 30 chests of 32 x 56 x 72 voxels of 8 x 6 x 6 mm holds, in Hounsfield
units:

- a trunk of 40 with fat of -100 under the skin, a spine of 300 and a heart;
- two lungs of -870 in front to -780 at the back, where blood gathers, with vessels as small balls;
- in five of six chests, lesions within the lungs: ground glass of -650 to -350 in patches that
  prefer the rim and the back, of 0 to about 50 % of the lungs, and in the middle of large patches
  consolidation of -50 to 30. Every sixth chest has none: a share of zero has to be said too;
- noise with a standard deviation of 35, correlated as after a reconstruction.

The truth is what was drawn: the lungs with their lesions, and the lesions (ground glass and
consolidation together). Every number follows from the seed and the chest's own.

    python recipes/cohorts/make_covid_phantom.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from phantom_volumes import blend, clouds, ellipsoid, places, write_table, write_volume
from scipy import ndimage

HERE = Path(__file__).parent
SEED, CASES = 20261124, 30
SHAPE, SPACING = (32, 56, 72), (8.0, 6.0, 6.0)
NOISE = 35.0


def chest(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (HU), the lungs, the lesions."""
    rng = np.random.default_rng((SEED, number))
    at = places(SHAPE, SPACING)
    long = 10_000.0  # the trunk goes on above and below
    wide = rng.uniform(0.92, 1.05)
    values = np.full(SHAPE, -1000.0)
    values = blend(values, ellipsoid(at, (0, 0, 0), (long, 150 * wide, 205 * wide)), -100)
    values = blend(values, ellipsoid(at, (0, 0, 0), (long, 128 * wide, 180 * wide)), 40)
    values = blend(values, ellipsoid(at, (0, 95, 0), (long, 22, 22)), 300)
    lungs = np.zeros(SHAPE)
    for side in (-1, 1):
        radii = rng.uniform((100, 82, 55), (118, 98, 66)) * wide
        lungs = np.maximum(lungs, ellipsoid(at, (0, 0, side * 88 * wide), radii, 6))
    heart = ellipsoid(at, (40, -30, -25), (55, 45, 55), 6)
    lungs *= 1 - heart
    air = -825 + 45 * at[1] / 100
    values = blend(values, lungs, air)
    vessels = clouds(rng, at, 4.0) > 2.2
    values = blend(values, 0.7 * vessels * lungs, 20)
    lesions = np.zeros(SHAPE, bool)
    if number % 6 != 5:
        inside = ndimage.distance_transform_edt(lungs > 0.5, sampling=SPACING)
        liking = clouds(rng, at, 16.0) - 0.02 * inside + 0.006 * at[1]
        wanted = 0.5 * rng.beta(1.2, 2)
        within = liking[lungs > 0.5]
        level = np.quantile(within, 1 - max(wanted, 0.01))
        share = np.clip(4 * (liking - level) + 0.5, 0, 1) * lungs
        values = blend(values, share, rng.uniform(-650, -350) + 40 * clouds(rng, at, 8.0))
        dense = np.clip(4 * (liking - level - 0.9) + 0.5, 0, 1) * lungs
        values = blend(values, dense, rng.uniform(-50, 30))
        lesions = share >= 0.5
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), 0.6)
    values = values + NOISE * noise / noise.std()
    return np.round(values).astype(np.int16), (lungs >= 0.5) | lesions, lesions


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(CASES):
        name = f"phantom-{number:02d}"
        values, lungs, lesions = chest(number)
        masks = {"lung": lungs.astype(np.uint8), "lesion": lesions.astype(np.uint8)}
        rows.append({
            "case_id": name,
            "ct": write_volume(values, folder / f"{name}-ct.nii.gz", SPACING, item="ct"),
            **{
                f"label:{key}": write_volume(
                    mask, folder / f"{name}-{key}.nii.gz", SPACING, item=key
                )
                for key, mask in masks.items()
            },
        })  # fmt: skip
    write_table(folder, rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "covid-phantom")
