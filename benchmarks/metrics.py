"""Dice, HD95 and NSD of ten labels on 256 x 256 x 128: Osler, MONAI and surface-distance.

    python benchmarks/metrics.py [--repeats 3] [--shape 128 256 256] [--shift 25] [--missed]

Each runs in a process of its own on the same two label maps (ten ellipsoids; the prediction is
shifted and swollen by a voxel or two, differently for each), with one thread. Their values are
compared: Osler's and MONAI's must be equal (float32's rounding apart). surface-distance weighs by
the area of a triangulated surface, so its values are printed beside. Seconds are processor time;
memory is the peak above what the process held with the maps and its libraries loaded.
surface-distance is not installed with Osler: ``pip install surface-distance``, or name the folder
of an unpacked wheel with ``--surface-distance FOLDER``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

WAYS = ("osler", "monai", "surface-distance")
SPACING, TOLERANCE, LABELS = (1.5, 0.8, 0.8), 2.0, range(1, 11)


def maps(shape: tuple[int, ...], *, missed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Ten ellipsoids on a lattice of 2 x 5, and what a fair model makes of them."""
    generator = np.random.default_rng(0)
    out = np.zeros((2, *shape), np.uint8)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    for label in LABELS:
        row, column = divmod(label - 1, 5)
        centre = np.array([0.5, 0.27 + 0.46 * row, 0.1 + 0.2 * column]) * shape
        radii = np.array([0.3, 0.18, 0.085]) * shape * generator.uniform(0.7, 1, 3)
        for which in range(2):
            if which and missed and label == 10:
                continue
            moved = centre + which * generator.normal(0, 1, 3)
            sized = radii + which * generator.uniform(-1, 1.5, 3)
            inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, moved, sized, strict=True))
            out[which][inside < 1] = label
    return out[0], out[1]


def by_osler(truth: np.ndarray, prediction: np.ndarray) -> list[list[float]]:
    from osler.metrics import label_scores

    found = label_scores(
        truth, prediction, spacing=SPACING, labels=tuple(LABELS), tolerance=TOLERANCE
    )
    return [[one.dice, one.hd95, one.nsd] for one in found.values()]


def by_monai(truth: np.ndarray, prediction: np.ndarray) -> list[list[float]]:
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
    from monai.networks.utils import one_hot

    one, other = (
        one_hot(torch.from_numpy(a)[None, None], num_classes=11) for a in (truth, prediction)
    )
    figures = (
        compute_dice(other, one, include_background=False),
        compute_hausdorff_distance(other, one, percentile=95, spacing=SPACING),
        compute_surface_dice(other, one, class_thresholds=[TOLERANCE] * 10, spacing=SPACING),
    )
    return torch.cat([f.double() for f in figures]).T.tolist()


def by_surface_distance(truth: np.ndarray, prediction: np.ndarray) -> list[list[float]]:
    import surface_distance as sd

    out = []
    for label in LABELS:
        one, other = truth == label, prediction == label
        distances = sd.compute_surface_distances(one, other, SPACING)
        out.append([
            float(sd.compute_dice_coefficient(one, other)),
            float(sd.compute_robust_hausdorff(distances, 95)),
            float(sd.compute_surface_dice_at_tolerance(distances, TOLERANCE)),
        ])  # fmt: skip
    return out


def peak_memory(*, reset: bool = False) -> float:
    """The most memory this process has held, MB, on Linux; counted anew from now on if reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def once(way: str, folder: Path) -> None:
    """One measurement, printed as JSON; a first small call loads the libraries."""
    warnings.simplefilter("ignore")
    score = {"osler": by_osler, "monai": by_monai, "surface-distance": by_surface_distance}[way]
    if way == "monai":
        import torch

        torch.set_num_threads(1)
    score(*maps((16, 40, 60), missed=False))
    truth, prediction = np.load(folder / "truth.npy"), np.load(folder / "prediction.npy")
    held = peak_memory(reset=True)
    start, clock = time.process_time(), time.perf_counter()
    values = score(truth, prediction)
    spent = time.process_time() - start, time.perf_counter() - clock
    peak = peak_memory() - held
    print(json.dumps({"cpu": spent[0], "wall": spent[1], "peak": peak, "values": values}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shape", type=int, nargs=3, default=(128, 256, 256))
    parser.add_argument("--shift", type=int, default=0, help="move the prediction, voxels")
    parser.add_argument("--missed", action="store_true", help="the model misses the tenth label")
    parser.add_argument("--surface-distance", metavar="FOLDER", help="where its wheel is unpacked")
    parser.add_argument("--once", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.surface_distance:
        sys.path.append(options.surface_distance)
    if options.once:
        once(options.once[0], Path(options.once[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        truth, prediction = maps(options.shape, missed=options.missed)
        np.save(Path(folder, "truth.npy"), truth)
        np.save(Path(folder, "prediction.npy"), np.roll(prediction, options.shift, axis=2))
        runs: dict[str, list[dict]] = {way: [] for way in WAYS}
        for _ in range(options.repeats):
            for way in WAYS:
                command = [sys.executable, __file__, "--once", way, folder]
                if options.surface_distance:
                    command += ["--surface-distance", options.surface_distance]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"{way}: {done.stderr.strip().splitlines()[-1]}")
                    continue
                runs[way].append(json.loads(done.stdout))
    ours = runs["osler"][0]
    for way, found in runs.items():
        if not found:
            continue
        spent = statistics.median(run["cpu"] for run in found)
        ratio = spent / statistics.median(run["cpu"] for run in runs["osler"])
        wall = statistics.median(run["wall"] for run in found)
        peak = max(run["peak"] for run in found)
        gaps = np.abs(np.array(found[0]["values"], float) - np.array(ours["values"], float))
        largest = ", ".join(f"{gap:.1e}" for gap in gaps.max(axis=0))
        means = ", ".join(f"{mean:.4f}" for mean in np.mean(found[0]["values"], axis=0))
        print(
            f"{way:18}{spent:7.2f} s processor ({ratio:.1f} times ours) {wall:7.2f} s wall "
            f"{peak:6.0f} MB; Dice, HD95, NSD {means}; largest gap to ours {largest}"
        )


if __name__ == "__main__":
    main()
