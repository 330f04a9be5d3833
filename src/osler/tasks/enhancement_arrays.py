"""Making images worse in a stated way, and finer: the arithmetic of enhancement."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def degraded(
    array: NDArray[np.float32], *, case: str, factors: Sequence[int], noise: float, seed: int
) -> NDArray[np.float32]:
    """An image as a coarser and noisier device would have given it, the same for a case each time.

    Args:
        array: ``(C, [D,] H, W)``, sides divisible by the factors.
        case: the case's id, which with ``seed`` says which noise.
        factors: pixels of each axis whose mean is one pixel of the result.
        noise: standard deviation of the Gaussian noise that is added after that, in the array's
            values.
        seed: another seed gives other noise.
    """
    out = coarse(array, factors)
    if noise:
        digest = hashlib.sha256(f"{seed}/{case}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        out = out + np.float32(noise) * rng.standard_normal(out.shape, np.float32)
    return np.ascontiguousarray(out, np.float32)


def divisible(array: NDArray[Any], factors: Sequence[int]) -> NDArray[Any]:
    """``(C, ...)`` without the last pixels of axes that the factors do not divide."""
    cut = (slice(0, n - n % f) for n, f in zip(array.shape[1:], factors, strict=True))
    return array[(slice(None), *cut)]


def coarse(array: NDArray[np.float32], factors: Sequence[int]) -> NDArray[np.float32]:
    """The means of blocks of pixels: what a coarser detector gathers."""
    if all(f == 1 for f in factors):
        return array
    split: list[int] = [len(array)]
    for n, f in zip(array.shape[1:], factors, strict=True):
        split += [n // f, f]
    blocks = array.reshape(split)
    return np.asarray(blocks.mean(axis=tuple(range(2, len(split), 2)), dtype=np.float32))


def enlarged(array: NDArray[np.float32], factors: Sequence[int]) -> NDArray[np.float32]:
    """An image on a grid finer by the factors, the outer edges kept together.

    Pictures by cubic convolution (a = -0.5, Pillow's "bicubic"), volumes by cubic splines.
    """
    if all(f == 1 for f in factors):
        return array
    if len(factors) == 2:
        from PIL import Image as Pillow

        size = (array.shape[2] * factors[1], array.shape[1] * factors[0])
        planes = [
            np.asarray(Pillow.fromarray(plane).resize(size, Pillow.Resampling.BICUBIC))
            for plane in np.ascontiguousarray(array, np.float32)
        ]
        return np.stack(planes)
    from scipy.ndimage import zoom

    planes = [
        zoom(one, list(map(float, factors)), order=3, mode="nearest", grid_mode=True)
        for one in array
    ]
    return np.asarray(np.stack(planes), np.float32)


def unfolded(array: Any, factors: Sequence[int]) -> Any:
    """Channels as finer pixels: ``(B, C f1 f2, h, w)`` to ``(B, C, h f1, w f2)``.

    Of an array or a tensor, for two or three axes; the channel of block place ``(i, j)`` of output
    channel c is ``(c f1 + i) f2 + j``, as in Shi et al. 2016, "Real-time single image
    super-resolution using an efficient sub-pixel convolutional neural network", CVPR.
    """
    if all(f == 1 for f in factors):
        return array
    batch, channels, *sides = array.shape
    axes = len(factors)
    count = channels
    for f in factors:
        count //= f
    split = array.reshape(batch, count, *factors, *sides)
    order = [0, 1]
    for axis in range(axes):
        order += [2 + axes + axis, 2 + axis]
    turned = split.permute(*order) if hasattr(split, "permute") else split.transpose(order)
    fine = [n * f for n, f in zip(sides, factors, strict=True)]
    return turned.reshape(batch, count, *fine)


def finer_affine(affine: NDArray[np.float64], factors: Sequence[int]) -> NDArray[np.float64]:
    """The affine of the finer grid that `enlarged` gives: outer edges stay where they are.

    Args:
        affine: ``(4, 4)``, index ``(d, h, w)`` of a voxel centre to millimetres.
        factors: of ``([D,] H, W)``.
    """
    three = (1, *factors) if len(factors) == 2 else tuple(factors)
    step = np.eye(4)
    for axis, f in enumerate(three):
        step[axis, axis] = 1 / f
        step[axis, 3] = 0.5 / f - 0.5
    return np.asarray(affine @ step)


def table_of(
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]], *, low: float, high: float, bins: int = 64
) -> list[float]:
    """The mean target value for each of so many intervals of the input's value.

    What a table of intensities can do without looking at a pixel's neighbours: the baseline that a
    transfer from one sequence to another must beat.

    Args:
        pairs: inputs and targets of one shape.
        low: least of the input's values; what is below counts for the first interval.
        high: greatest, likewise.
        bins: number of intervals.
    """
    count, total = np.zeros(bins), np.zeros(bins)
    for given, wanted in pairs:
        place = _bins(given, low, high, bins).ravel()
        count += np.bincount(place, minlength=bins)
        total += np.bincount(place, np.asarray(wanted, np.float64).ravel(), minlength=bins)
    known = np.flatnonzero(count)
    mean = np.interp(np.arange(bins), known, total[known] / count[known])
    return [float(one) for one in mean]


def looked_up(
    array: NDArray[Any], table: Sequence[float], *, low: float, high: float
) -> NDArray[np.float32]:
    """Values by the table of `table_of`."""
    return np.asarray(table, np.float32)[_bins(array, low, high, len(table))]


def _bins(array: NDArray[Any], low: float, high: float, bins: int) -> NDArray[np.intp]:
    place = np.floor((np.asarray(array, np.float64) - low) / (high - low) * bins)
    return np.asarray(np.clip(place, 0, bins - 1), np.intp)
