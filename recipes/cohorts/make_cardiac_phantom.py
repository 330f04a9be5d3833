"""Make a phantom of beating hearts in short-axis cine MR, and the table of it.

No patient is in it. Each of 30 hearts has 10 frames of a beat (0.09 s apart) of 8 slices of 64 x 64
pixels, 10 x 2.5 x 2.5 mm:

- a left ventricle: half an ellipsoid of blood, its cavity 20 to 28 mm in radius at the end of
  diastole and 70 mm long, in a wall that thickens as the cavity shrinks (the wall's volume stays),
  with two papillary muscles, which count as cavity;
- its ejection fraction is drawn from 15 to 75 %. The volume falls over the first five frames as
  half a cosine, is least in frame 4, and rises in two steps (filling, a pause, the atria);
- a right ventricle around one side, lungs and a chest wall;
- brightness as in balanced steady-state sequences: blood 200, muscle 90, fat 170, lung 25, with a
  gain of 0.8 to 1.25, blood that flickers by 5 % from frame to frame, a bias field and Rice noise.

The truth is the cavity of frame 0 (the end of diastole) and of frame 4 (the end of systole) and the
muscle of frame 0. Every number follows from the seed and the heart's own.

    python recipes/cohorts/make_cardiac_phantom.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from phantom_volumes import blend, clouds, ellipsoid, places, write_table, write_volume

HERE = Path(__file__).parent
SEED, CASES = 20261125, 30
SHAPE, SPACING = (8, 64, 64), (10.0, 2.5, 2.5)
FRAMES, SYSTOLE, STEP = 10, 4, 0.09
NOISE = 9.0


def volumes(fraction: float) -> np.ndarray:
    """The cavity's volume in each frame, 1 at the end of diastole."""
    time = np.arange(FRAMES)
    fallen = np.where(time <= SYSTOLE, (1 - np.cos(np.pi * time / SYSTOLE)) / 2, 0.0)
    back = [0.75, 0.4, 0.25, 0.22, 0.08]
    fallen[SYSTOLE + 1 :] = back
    return np.asarray(1 - fraction * fallen)


def heart(number: int) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Values ``(T, D, H, W)``, the masks, and the ejection fraction that was drawn."""
    rng = np.random.default_rng((SEED, number))
    at = places(SHAPE, SPACING)
    fraction = float(rng.uniform(0.15, 0.75))
    radius, wall = rng.uniform(20, 28), rng.uniform(8, 12)
    centre = np.array([-38.0, *rng.uniform(-8, 8, 2)])
    length, oval = rng.uniform(68, 76), rng.uniform(0.92, 1.08)
    angle, gain = rng.uniform(-0.4, 0.4), rng.uniform(0.8, 1.25)
    bias = 1 + 0.1 * clouds(rng, at, 60.0)
    frames, masks = [], {}
    for n, volume in enumerate(volumes(fraction)):
        inner = radius * volume ** (1 / 2.6)
        tall = length * (1 - 0.15 * (1 - volume))
        # the wall keeps its volume: outer area less inner area as in the first frame
        outer = np.sqrt(inner**2 + (radius + wall) ** 2 - radius**2)
        cavity = ellipsoid(at, centre, (tall, inner * oval, inner / oval), 2.5)
        muscle = ellipsoid(at, centre, (tall + wall, outer * oval, outer / oval), 2.5)
        beside = centre + 34 * np.array([0, np.sin(angle), -np.cos(angle)])
        other = ellipsoid(at, beside, (60, 26 * volume**0.3, 30 * volume**0.3), 2.5)
        values = np.full(SHAPE, 110.0)
        values = blend(values, ellipsoid(at, (0, 20, 35), (300, 45, 38), 5), 25)
        values = blend(values, ellipsoid(at, (0, -72, 0), (300, 14, 90), 5), 170)
        blood = 200 * rng.uniform(0.95, 1.05)
        values = blend(values, other, blood)
        values = blend(values, muscle, 90)
        values = blend(values, cavity, blood)
        for turn in (0.8, 2.6):
            off = 0.62 * inner * np.array([0, np.sin(turn + angle), np.cos(turn + angle)])
            values = blend(values, ellipsoid(at, centre + off + [15, 0, 0], (30, 4, 4), 2.5), 95)
        values = values * gain * bias
        noisy = np.hypot(values + rng.normal(0, NOISE, SHAPE), rng.normal(0, NOISE, SHAPE))
        frames.append(np.round(noisy).astype(np.int16))
        if n == 0:
            masks["diastole"] = cavity >= 0.5
            masks["muscle"] = (muscle >= 0.5) & (cavity < 0.5)
        if n == SYSTOLE:
            masks["systole"] = cavity >= 0.5
    return np.stack(frames), masks, fraction


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    times = tuple(round(STEP * n, 3) for n in range(FRAMES))
    for number in range(CASES):
        name = f"phantom-{number:02d}"
        values, masks, fraction = heart(number)
        cine = write_volume(
            values, folder / f"{name}-cine.nii.gz", SPACING, item="cine", times=times
        )
        row = {"case_id": name, "cine": cine, "drawn_ejection_fraction": round(fraction, 3)}
        for key, mask in sorted(masks.items()):
            path = folder / f"{name}-{key}.nii.gz"
            row[f"label:{key}"] = write_volume(mask.astype(np.uint8), path, SPACING, item=key)
        rows.append(row)
    write_table(folder, rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "cardiac-phantom")
