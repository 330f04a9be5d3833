"""A grey image or volume for the quick look: made smaller, packed, with its planes and windows.

The page slices and windows it by itself, so that three planes cost the bytes of one volume.
"""

import base64
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.io.inventory import orientation
from osler.record import Image, Mask

LONGEST: Final = 1024
MOST_VOXELS: Final = 4_000_000
MOST_MASKS: Final = 40
_AT_ONCE: Final = 100_000_000
_HU: Final = (
    ("soft tissue", 40, 400),
    ("lung", -600, 1500),
    ("bone", 400, 1800),
    ("brain", 40, 80),
)
_AWAY: Final = frozenset("RAS")
_OPPOSITE: Final = dict(zip("LRPASI", "RLAPIS", strict=True))
COLOURS: Final = (
    "#ff5a5f", "#3ddc97", "#4aa8ff", "#ffd23f", "#c792ff", "#ff9f43", "#2ee6d6", "#f78fb3",
    "#a6e22e", "#9aa7ff", "#e8a87c", "#7fdbda",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plane:
    """One way to cut a volume.

    Attributes:
        title: what it is called.
        fixed: axis that the slider moves along.
        rows: axis from top to bottom.
        columns: axis from left to right.
        flip_rows: whether the first row is the last index.
        flip_columns: whether the first column is the last index.
        edges: letters at the left, right, top and bottom; empty where nothing is known.
    """

    title: str
    fixed: int
    rows: int
    columns: int
    flip_rows: bool = False
    flip_columns: bool = False
    edges: tuple[str, ...] = ()


def grid_of(image: Image, masks: Sequence[Mask], *, most: int = MOST_VOXELS) -> dict[str, Any]:
    """What the page needs to show a grey image, ready for JSON.

    Args:
        image: ``(C, [D,] H, W)``; the first channel is shown.
        masks: of its shape; the first 40 are shown.
        most: voxels that the page may hold of it.
    """
    shape = (1, *image.shape) if len(image.shape) == 2 else image.shape
    steps = _steps(shape, most)
    values = _smaller(image, shape, steps, exact=image.modality == "SEG")
    packed, offset, scale = _packed(values)
    spacing = image.spacing or (1.0,) * len(image.shape)
    spacing = (1.0, *spacing) if len(spacing) == 2 else spacing
    return {
        "shape": list(values.shape),
        "size": list(shape),
        "steps": list(steps),
        "spacing": [s * n for s, n in zip(spacing, steps, strict=True)],
        "offset": offset,
        "scale": scale,
        "data": gzipped(packed.astype("<u2").tobytes()),
        "planes": [_as_dict(plane) for plane in planes_of(image)],
        "windows": windows_of(image, values),
        "range": [float(values.min()), float(values.max())],
        "masks": [
            {
                "name": mask.name,
                "colour": COLOURS[number % len(COLOURS)],
                "data": gzipped(_small_mask(mask, shape, steps).tobytes()),
            }
            for number, mask in enumerate(masks[:MOST_MASKS])
        ],
    }


def _as_dict(plane: Plane) -> dict[str, Any]:
    return {name: getattr(plane, name) for name in Plane.__slots__}


def _steps(shape: Sequence[int], most: int) -> tuple[int, ...]:
    """How many voxels of each axis become one."""
    steps = [math.ceil(n / LONGEST) for n in shape]
    while math.prod(math.ceil(n / s) for n, s in zip(shape, steps, strict=True)) > most:
        counts = [n / s for n, s in zip(shape, steps, strict=True)]
        # axes that are about as long shrink together
        steps = [s + (n > 0.8 * max(counts)) for n, s in zip(counts, steps, strict=True)]
    return tuple(steps)


def _smaller(
    image: Image, shape: Sequence[int], steps: Sequence[int], *, exact: bool
) -> NDArray[Any]:
    """The first channel, each block of voxels as its mean (or its first, for labels)."""
    deep = len(image.shape) == 3
    whole = image.loaded or math.prod(shape) <= _AT_ONCE
    array = image.array[0].reshape(shape) if whole else None
    slabs = []
    for start in range(0, shape[0], steps[0]):
        stop = min(shape[0], start + steps[0])
        if array is not None:
            slab = array[start:stop]
        else:
            rest = (slice(None), slice(None))
            region = image.region(slice(start, stop), *rest) if deep else image.region(*rest)
            slab = region[0].reshape(stop - start, *shape[1:])
        if exact or tuple(steps) == (1, 1, 1):
            slabs.append(slab[0, :: steps[1], :: steps[2]])
        else:
            slabs.append(_mean(slab, steps[1], steps[2]))
    values: NDArray[Any] = np.nan_to_num(np.stack(slabs), posinf=0.0, neginf=0.0)
    return values


def _mean(slab: NDArray[Any], rows: int, columns: int) -> NDArray[np.float32]:
    plane = slab.astype(np.float32).mean(axis=0)
    starts = np.arange(0, plane.shape[0], rows), np.arange(0, plane.shape[1], columns)
    total = np.add.reduceat(np.add.reduceat(plane, starts[0], axis=0), starts[1], axis=1)
    counts = [np.diff(np.append(s, n)) for s, n in zip(starts, plane.shape, strict=True)]
    mean: NDArray[np.float32] = (total / np.outer(*counts)).astype(np.float32)
    return mean


def _small_mask(mask: Mask, shape: Sequence[int], steps: Sequence[int]) -> NDArray[np.uint8]:
    voxels = mask.mask.reshape(shape)
    for axis, step in enumerate(steps):
        if step > 1:  # what is smaller than a voxel of the page stays visible
            voxels = np.logical_or.reduceat(voxels, np.arange(0, shape[axis], step), axis=axis)
    return np.ascontiguousarray(voxels).astype(np.uint8)


def _packed(values: NDArray[Any]) -> tuple[NDArray[np.uint16], float, float]:
    """Values as 16 bits, with the offset and the scale that give them back."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "ui" and high - low <= 65535:
        return (values.astype(np.int64) - int(low)).astype(np.uint16), low, 1.0
    scale = (high - low) / 65535 or 1.0
    # noise finer than a four-thousandth of the range is not worth its bytes
    coarse = np.round((values.astype(np.float64) - low) / (scale * 16))
    return np.clip(coarse, 0, 4095).astype(np.uint16), low, scale * 16


def gzipped(data: bytes) -> str:
    """Bytes packed as the page unpacks them."""
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")


def planes_of(image: Image) -> list[Plane]:
    """How a volume is cut: as radiologists look at it where its place is known."""
    names = ("slices", "rows", "columns")
    if len(image.shape) == 2 or image.shape[0] == 1:
        return [Plane("", 0, 1, 2)]
    letters = orientation(image.affine) if image.affine is not None else []
    if len({"LRPASI".index(letter) // 2 for letter in letters}) < 3:
        pairs = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
        return [Plane(f"across {names[fixed]}", fixed, r, c) for fixed, r, c in pairs]
    planes = []
    for fixed in range(3):
        first, second = (axis for axis in range(3) if axis != fixed)
        # what runs from head to foot, else from front to back, runs downwards
        rows, columns = sorted((first, second), key=lambda axis: "SIAPLR".index(letters[axis]))
        left, right = _edges(letters[columns])
        top, bottom = _edges(letters[rows])
        kind = "LRPASI".index(letters[fixed]) // 2
        planes.append(
            Plane(
                ("sagittal", "coronal", "axial")[kind],
                fixed,
                rows,
                columns,
                letters[rows] in _AWAY,
                letters[columns] in _AWAY,
                (left, right, top, bottom),
            )
        )
    return planes


def _edges(letter: str) -> tuple[str, str]:
    """Letters at the start and the end of an axis once it is turned the usual way."""
    end = _OPPOSITE[letter] if letter in _AWAY else letter
    return _OPPOSITE[end], end


def windows_of(image: Image, values: NDArray[Any]) -> list[tuple[str, float, float]]:
    """Windows to choose from, the first for the start: name, centre, width."""
    out: list[tuple[str, float, float]] = []
    if image.window is not None and image.window[1] > 0:
        out.append(("of the file", *image.window))
    if image.units == "[hnsf'U]":
        out += _HU
    inside = values[values != values.flat[0]] if image.modality != "SEG" else values
    some = inside if inside.size else values
    low, high = (float(v) for v in np.percentile(some, (1, 99)))
    if high > low:
        out.append(("automatic", (low + high) / 2, high - low))
    low, high = float(values.min()), float(values.max())
    out.append(("everything", (low + high) / 2, max(high - low, 1e-6)))
    return out
