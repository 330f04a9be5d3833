"""What the makers of phantoms share: drawn bodies, noise, and the files of a cohort.

A phantom is drawn from formulas and a seed. No patient is in it, every file of it has ``phantom``
in its name, and a figure on it says that a recipe works, not how well it works on patients.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from osler.io.nifti_out import write_nifti
from osler.record import Image

FOLDS = 5


def places(shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    """Millimetres of each voxel's centre from the middle of the volume, ``(3, D, H, W)``."""
    steps = np.array(spacing)[:, None, None, None]
    middle = (np.array(shape)[:, None, None, None] - 1) / 2
    return (np.indices(shape) - middle) * steps


def ellipsoid(
    at: np.ndarray, centre: Sequence[float], radii: Sequence[float], blur: float = 3.0
) -> np.ndarray:
    """Which share of each voxel an ellipsoid takes: 1 inside, falling to 0 over ``blur`` mm."""
    away = np.sqrt(sum(((at[k] - centre[k]) / radii[k]) ** 2 for k in range(3)))
    return np.clip((1 - away) * min(radii) / blur + 0.5, 0, 1)


def blend(values: np.ndarray, share: np.ndarray, value: Any) -> np.ndarray:
    """Values with something else in a share of each voxel."""
    return values + share * (value - values)


def clouds(rng: np.random.Generator, at: np.ndarray, length: float) -> np.ndarray:
    """A smooth random field of mean 0 and deviation 1; ``length`` in mm."""
    steps = [float(np.diff(at[k], axis=k).flat[0]) for k in range(3)]
    field = ndimage.gaussian_filter(
        rng.normal(size=at.shape[1:]), [length / step for step in steps], mode="reflect"
    )
    return np.asarray((field - field.mean()) / field.std())


def write_volume(
    values: np.ndarray, path: Path, spacing: Sequence[float], *, item: str,
    times: tuple[float, ...] = (),
) -> str:  # fmt: skip
    """A NIfTI of ``(D, H, W)`` values, or ``(T, D, H, W)`` with times; gives the file's name."""
    affine = np.zeros((4, 4))  # index (d, h, w) to LPS (x, y, z)
    affine[[2, 1, 0], [0, 1, 2]] = spacing
    affine[3, 3] = 1
    array = values if values.ndim == 4 else values[None]
    image = Image(item, array, "OT", spacing=tuple(map(float, spacing)), affine=affine, times=times)
    write_nifti(image, path)
    return path.name


def write_table(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """The cohort, a case a row, dealt out to folds in turn."""
    listed = [
        {"case_id": row["case_id"], "patient_id": row["case_id"], "fold": n % FOLDS, **row}
        for n, row in enumerate(rows)
    ]
    with (folder / "cohort.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, listed[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)
    print(f"{len(listed)} cases in '{folder}'")
