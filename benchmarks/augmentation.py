"""Augmentation of one volume: Osler, MONAI and TorchIO, the same kinds of change in one run.

    python benchmarks/augmentation.py [--repeats 7] [--threads 1] [--shape 128 128 128]

The volume is a part of the real CT among the data, with a mask of what is denser than water, tiled
to the shape; without data it is made up. Each way makes, with probability one, the same kinds of
change: a flip, a turn by up to 15 degrees about each axis, a scale of 0.85 to 1.15, a bending,
a gamma of 0.7 to 1.5, noise and a blur of 0.5 to 1 voxel. The ways take turns, so that other work
on the machine falls on all alike. Seconds are processor time of all threads; wall seconds stand
beside them. Ratios are medians over rounds of one way's seconds by Osler's of the same round, with
the smallest and the largest.

MONAI is measured in two ways: as its dictionary transforms are usually listed (an affine map and
an elastic one, each with an interpolation), and with ``Rand3DElasticd``, which turns, scales and
bends in one interpolation as Osler does. MONAI bends by a smoothed random field; TorchIO by cubic
B-splines of 7 control points an axis, as Osler here. With two threads each way changes two volumes
at once: Osler as a batch, the others in two threads of Python, in each of which torch and ITK take
one, as two workers of a loader would; the seconds are then those of the pair.

TorchIO is not installed with Osler: ``pip install torchio``.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from osler.learn.augmenting import Augmentation, augment

DEGREES, SCALE, GAMMA, SIGMA, NOISE = 15.0, (0.85, 1.15), (0.7, 1.5), (0.5, 1.0), 0.1


def volume(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, str]:
    """An image ``(1, *shape)`` z-scored, a mask uint8, and what they are."""
    path = Path(os.environ.get("OSLER_DATA", "../shared/data"), "ct-example", "example_ct.nii.gz")
    if path.exists():
        import nibabel

        raw = np.asarray(nibabel.load(path).dataobj, np.float32)
        what = f"ct-example {raw.shape}"
    else:
        raw = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 300
        what = "made up"
    repeats = [-(-n // m) for n, m in zip(shape, raw.shape, strict=True)]
    raw = np.tile(raw, repeats)[tuple(slice(0, n) for n in shape)]
    mask = torch.from_numpy((raw > 0).astype(np.uint8))[None]
    return torch.from_numpy((raw - raw.mean()) / raw.std())[None].contiguous(), mask, what


def osler(image: Tensor, mask: Tensor, *, at_once: int) -> Callable[[], object]:
    one = {"probability": 1}
    spacing = max(image.shape) / 4
    settings = Augmentation.model_validate({
        "flip": one,
        "rotate": {**one, "in_plane": DEGREES, "through_plane": DEGREES},
        "scale": {**one, "factor": SCALE},
        "elastic": {**one, "spacing": spacing, "displacement": 7.5},
        "blur": {**one, "sigma": SIGMA},
        "noise": {**one, "deviation": (NOISE, NOISE)},
        "gamma": {**one, "gamma": GAMMA, "inverted": 0},
    })  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    images, masks = (t[None].repeat(at_once, 1, 1, 1, 1) for t in (image, mask))
    return lambda: augment(images, masks, settings, generator)


def at_once(make: Callable[[], Callable[[], object]], count: int) -> Callable[[], object]:
    """Several of one way, each in a thread of its own."""
    if count == 1:
        return make()
    runs = [make() for _ in range(count)]
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    return lambda: list(pool.map(lambda run: run(), runs))


def monai(image: Tensor, mask: Tensor, *, together: bool) -> Callable[[], object]:
    from monai import transforms as mt

    keys, modes = ["image", "mask"], ["bilinear", "nearest"]
    turn = {"rotate_range": [np.radians(DEGREES)] * 3, "scale_range": [0.15] * 3}
    bend = {"sigma_range": (5, 7), "magnitude_range": (50, 150)}
    edge = {"mode": modes, "padding_mode": "border", "prob": 1}
    both = mt.Rand3DElasticd(keys, **bend, **turn, **edge)
    apart = [mt.RandAffined(keys, **turn, **edge), mt.Rand3DElasticd(keys, **bend, **edge)]
    made = mt.Compose([
        *[mt.RandFlipd(keys, prob=1, spatial_axis=axis) for axis in range(3)],
        *([both] if together else apart),
        mt.RandGaussianSmoothd(
            ["image"], sigma_x=SIGMA, sigma_y=SIGMA, sigma_z=SIGMA, prob=1
        ),
        mt.RandGaussianNoised(["image"], std=NOISE, prob=1),
        mt.RandAdjustContrastd(["image"], gamma=GAMMA, prob=1),
    ])  # fmt: skip
    made.set_random_state(0)
    return lambda: made({"image": image, "mask": mask})


def torchio(image: Tensor, mask: Tensor) -> Callable[[], object]:
    import torchio as tio

    subject = tio.Subject(image=tio.ScalarImage(tensor=image), mask=tio.LabelMap(tensor=mask))
    made = tio.Compose([
        tio.RandomFlip(axes=(0, 1, 2), flip_probability=1),
        tio.RandomAffine(scales=0.15, degrees=DEGREES, default_pad_value="minimum"),
        tio.RandomElasticDeformation(num_control_points=7, max_displacement=7.5),
        tio.RandomBlur(std=SIGMA),
        tio.RandomNoise(std=(NOISE, NOISE)),
        tio.RandomGamma(log_gamma=(-0.36, 0.4)),
    ])  # fmt: skip
    torch.manual_seed(0)
    return lambda: made(subject)


def measure(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[list[float]]]:
    """Processor and wall seconds of each round."""
    found: dict[str, list[list[float]]] = {name: [] for name in ways}
    for nth in range(repeats + 1):
        for name, run in ways.items():
            wall, own = time.perf_counter(), time.process_time()
            run()
            if nth:  # the first round warms up
                found[name].append([time.process_time() - own, time.perf_counter() - wall])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", type=int, nargs=3, default=(128, 128, 128))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    count = arguments.threads
    image, mask, what = volume(tuple(arguments.shape))
    ways = {
        "Osler": osler(image, mask, at_once=count),
        "MONAI, one interpolation": at_once(lambda: monai(image, mask, together=True), count),
        "MONAI, two interpolations": at_once(lambda: monai(image, mask, together=False), count),
    }
    try:
        ways["TorchIO"] = at_once(lambda: torchio(image, mask), count)
    except ImportError:
        print("TorchIO is not here: pip install torchio")
    found = measure(ways, arguments.repeats)
    print(f"{what} as {tuple(image.shape[1:])}, {count} at once")
    print("| way | processor s | wall s | times Osler's processor s | times Osler's wall s |")
    print("|---|---|---|---|---|")
    for name, rounds in found.items():
        cells = [_spread([r[k] for r in rounds]) for k in range(2)]
        for k in range(2):
            ratios = [r[k] / o[k] for r, o in zip(rounds, found["Osler"], strict=True)]
            cells.append(_spread(ratios))
        print(f"| {name} | {' | '.join(cells)} |")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    main()
