"""Make a phantom of whole-body CT with ten organs, and the table of it.

No patient is in it. Each of 24 trunks of 56 x 32 x 44 voxels of 10 x 10 x 10 mm (the first axis
from the pelvis up) holds, in Hounsfield units, fat of -100 under the skin, soft tissue of 45, and
as ellipsoids and tubes that differ in place and size from trunk to trunk: two lungs (-830), the
heart, the liver, the spleen, two kidneys, the bladder, the spine and the aorta. Contrast medium is
at one of three times: none, arterial (aorta 300, kidneys 180) or venous (liver 110). Bowel of -50
to 60 fills the rest at random. Noise has a standard deviation of 25. Every number follows from the
seed and the trunk's own.

    python recipes/cohorts/make_body_phantom.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from phantom_volumes import blend, clouds, ellipsoid, places, write_table, write_volume

HERE = Path(__file__).parent
SEED, CASES = 20261126, 24
SHAPE, SPACING = (56, 32, 44), (10.0, 10.0, 10.0)
ORGANS = {  # centre and radii, mm: up, to the back, to the patient's left
    "lung-right": ((125, -5, -85), (110, 80, 58)), "lung-left": ((125, -5, 85), (110, 80, 54)),
    "heart": ((95, -40, 25), (52, 42, 52)), "liver": ((10, -15, -75), (62, 72, 78)),
    "spleen": ((15, 45, 105), (48, 34, 28)), "kidney-right": ((-45, 45, -62), (52, 25, 26)),
    "kidney-left": ((-30, 45, 66), (54, 25, 26)), "bladder": ((-215, -25, 0), (35, 34, 44)),
    "aorta": ((40, 40, 14), (190, 12, 12)), "spine": ((0, 78, 0), (2000, 24, 24)),
}  # fmt: skip
PHASES = {
    "none": (40, 55, 50, 30, 30, 40), "arterial": (200, 65, 110, 180, 180, 300),
    "venous": (130, 110, 120, 170, 170, 140),
}  # fmt: skip
NOISE = 25.0


def trunk(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Values (HU) and the label map, organs numbered from 1 in their order."""
    rng = np.random.default_rng((SEED, number))
    at = places(SHAPE, SPACING)
    wide = rng.uniform(0.92, 1.06)
    heart, liver, spleen, right, left, aorta = PHASES[list(PHASES)[number % 3]]
    hu = {
        "lung-right": -830, "lung-left": -830, "heart": heart, "liver": liver, "spleen": spleen,
        "kidney-right": right, "kidney-left": left, "bladder": rng.uniform(0, 15),
        "aorta": aorta, "spine": 320,
    }  # fmt: skip
    long = 10_000.0
    values = np.full(SHAPE, -1000.0)
    values = blend(values, ellipsoid(at, (0, 0, 0), (long, 140 * wide, 205 * wide), 10), -100)
    values = blend(values, ellipsoid(at, (0, 0, 0), (long, 118 * wide, 180 * wide), 10), 45)
    bowel = ellipsoid(at, (-120, -25, 0), (110, 65, 120), 10) * (clouds(rng, at, 18.0) > 0.3)
    values = blend(values, bowel, rng.uniform(-50, 60))
    labels = np.zeros(SHAPE, np.uint8)
    for n, (name, (centre, radii)) in enumerate(ORGANS.items(), 1):
        moved = np.array(centre) * wide + rng.normal(0, (8, 4, 5))
        grown = np.array(radii) * wide * rng.uniform(0.9, 1.12, 3)
        share = ellipsoid(at, moved, grown, 10)
        values = blend(values, share, hu[name])
        labels[share >= 0.5] = n
    return np.round(values + rng.normal(0, NOISE, SHAPE)).astype(np.int16), labels


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(CASES):
        name = f"phantom-{number:02d}"
        values, labels = trunk(number)
        ct = write_volume(values, folder / f"{name}-ct.nii.gz", SPACING, item="ct")
        map_ = write_volume(labels, folder / f"{name}-organs.nii.gz", SPACING, item="organs")
        organs = {f"label:{key}": f"{map_}#{n}" for n, key in enumerate(ORGANS, 1)}
        rows.append({"case_id": name, "ct": ct, **organs})
    write_table(folder, rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "body-phantom")
