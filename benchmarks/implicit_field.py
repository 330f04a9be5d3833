"""Fields of coordinates against what needs no network: ``python benchmarks/implicit_field.py``.

A slice of 64 pixels from few parallel-beam projections with 1 % of noise, of the phantom of Shepp
and Logan and of the CT in the data folder, against filtered back-projection and SART of
scikit-image; and a beating and breathing phantom in 4-D of which every fourth time was measured,
against linear interpolation in time. Settings were chosen on the phantom at 16 views; those of the
moving one were not chosen by any result. Writes ``learning/implicit-fields.json``: PSNR in dB
within the circle (values 0 to 1), and seconds of the processor.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.data import shepp_logan_phantom
from skimage.transform import iradon, iradon_sart, radon, resize

from osler.learn.implicit_field import FieldSettings, ask, circle, fit_samples, grid, reconstruct

SIZE = 64
STATIC = FieldSettings(scales=3.0, rate=5e-3, steps=400)
MOVING = FieldSettings(
    scales=(2.0, 2.0, 2.0, 0.15, 0.15), period=1.0, rate=5e-3, steps=500, batch=4096, width=96,
)  # fmt: skip
TIMES = 16


def psnr(said: NDArray[Any], truth: NDArray[Any], inside: NDArray[Any]) -> float:
    away = np.clip(said, 0, 1) - truth
    return float(-10 * np.log10(np.mean(away[inside] ** 2)))


def timed(work: Callable[[], NDArray[Any]]) -> tuple[NDArray[Any], float]:
    began = time.process_time()
    out = work()
    return out, time.process_time() - began


def ct_slice() -> NDArray[np.float64]:
    """The middle slice of the CT, -1000 to 1000 HU as 0 to 1, the middle square of it."""
    import osler

    path = Path(os.environ["OSLER_DATA"]) / "ct-example" / "example_ct.nii.gz"
    volume = np.asarray(osler.load(path).image("volume").array)[0]
    plane = volume[volume.shape[0] // 2].astype(float)
    side = min(plane.shape)
    h, w = (plane.shape[0] - side) // 2, (plane.shape[1] - side) // 2
    plane = np.clip((plane[h : h + side, w : w + side] + 1000) / 2000, 0, 1)
    return np.asarray(resize(plane, (SIZE, SIZE), anti_aliasing=True)) * circle(SIZE)


def moving(seed: int) -> NDArray[np.float32]:
    """An ellipsoid with a cavity that beats, beside a ball that goes up and down; ``(T, D, H, W)``.

    One turn of 16 times; edges are a voxel wide.
    """
    rng = np.random.default_rng(seed)
    shape = (16, 32, 32)
    d, h, w = grid(shape).reshape(*shape, 3).transpose(3, 0, 1, 2)
    heart, ball = rng.uniform(-0.2, 0, 3), rng.uniform(0.45, 0.6, 3)
    phase, depth = rng.uniform(0, 1), rng.uniform(0.15, 0.25)
    out = []
    for t in range(TIMES):
        beat = 1 - depth * (1 - np.cos(2 * np.pi * (t / TIMES + phase))) / 2
        up = 0.15 * np.sin(2 * np.pi * t / TIMES)
        away = np.sqrt((d - heart[0]) ** 2 / 0.4 + (h - heart[1]) ** 2 / 0.3
                       + (w - heart[2]) ** 2 / 0.25)  # fmt: skip
        other = np.sqrt((d - ball[0] - up) ** 2 + (h - ball[1]) ** 2 + (w - ball[2]) ** 2)

        def edge(x: NDArray[Any]) -> NDArray[Any]:
            return 1 / (1 + np.exp(-x * 32))

        wall = 0.7 * edge(beat - away) - 0.4 * edge(0.6 * beat**2 - away)
        out.append(np.clip(0.15 + wall + 0.5 * edge(0.2 - other), 0, 1))
    return np.asarray(out, np.float32)


def sparse_views() -> list[dict[str, Any]]:
    inside, out = circle(SIZE), []
    phantom = np.asarray(resize(shepp_logan_phantom(), (SIZE, SIZE), anti_aliasing=True)) * inside
    for name, truth in (("CT", ct_slice()), ("Shepp and Logan", phantom)):
        for views in (8, 16):
            angles = np.arange(views) * 180 / views
            rng = np.random.default_rng(views)
            clean = radon(truth, angles, circle=True)
            measured = clean + rng.normal(0, 0.01 * clean.mean(), clean.shape)

            def sart(measured: Any = measured, angles: Any = angles) -> NDArray[Any]:
                image = None
                for _ in range(10):
                    image = iradon_sart(measured, angles, image=image)
                return np.asarray(image)

            ways: dict[str, Callable[[], NDArray[Any]]] = {
                "filtered back-projection": lambda m=measured, a=angles: iradon(m, a, circle=True),
                "SART, 10 rounds": sart,
                "field": lambda m=measured, a=angles: reconstruct(m, list(a), STATIC),
            }
            for way, work in ways.items():
                said, seconds = timed(work)
                out.append({"object": name, "views": views, "way": way,
                            "psnr": round(psnr(said, truth, inside), 2),
                            "seconds": round(seconds, 2)})  # fmt: skip
                print(out[-1], flush=True)
    return out


def organ(seed: int) -> list[dict[str, Any]]:
    truth = moving(seed)
    known = np.arange(0, TIMES, 4)
    missing = np.setdiff1d(np.arange(TIMES), known)
    everywhere = np.ones(truth[missing].shape, bool)

    def linear() -> NDArray[Any]:
        out = []
        for t in missing:
            before = t // 4
            share = t / 4 - before
            first, second = truth[known[before]], truth[known[(before + 1) % len(known)]]
            out.append((1 - share) * first + share * second)
        return np.array(out)

    def field() -> NDArray[Any]:
        places = grid(truth.shape[1:])

        def at(t: int) -> NDArray[np.float32]:
            when = np.full((len(places), 1), t / TIMES, np.float32)
            return np.concatenate([places, when], axis=1)

        fitted = fit_samples(
            np.concatenate([at(int(t)) for t in known]), truth[known].reshape(-1), MOVING
        )
        return np.array([ask(fitted, at(int(t))).reshape(truth.shape[1:]) for t in missing])

    nearest = lambda: truth[known[np.rint(missing / 4).astype(int) % len(known)]]  # noqa: E731
    out = []
    for way, work in (("nearest time", nearest), ("linear in time", linear), ("field", field)):
        said, seconds = timed(work)
        out.append({"object": f"moving phantom {seed}", "way": way,
                    "psnr": round(psnr(said, truth[missing], everywhere), 2),
                    "seconds": round(seconds, 2)})  # fmt: skip
        print(out[-1], flush=True)
    return out


def main() -> None:
    path = Path(__file__).parent / "learning" / "implicit-fields.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    for name, work in (("moving", lambda: organ(2)), ("views", sparse_views)):
        if name not in record:  # delete the file to measure everything anew
            record[name] = work()
            path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
