"""Arithmetic on many paths at once, kept one after another in one array.

``starts`` of shape ``(S + 1,)`` says where each path begins; every path has two points or more.
"""

import numpy as np
from numpy.typing import NDArray

from osler.retina.zones import BoolArray, FloatArray

IntArray = NDArray[np.int64]


def sum_each(values: FloatArray, starts: IntArray) -> FloatArray:
    """``(S,)`` sum over each path of ``(N,)`` values."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(total[starts[1:]] - total[starts[:-1]], dtype=np.float64)


def step_lengths(points: FloatArray, starts: IntArray) -> FloatArray:
    """``(N,)`` distance from each point to the next of its path; 0 at its last."""
    out = np.zeros(points.shape[0])
    if points.shape[0] > 1:
        step = np.diff(points, axis=0)
        out[:-1] = np.hypot(step[:, 0], step[:, 1])
    out[starts[1:] - 1] = 0.0
    return out


def median_each(values: FloatArray, starts: IntArray) -> FloatArray:
    """``(S,)`` median over each path of the values that are not NaN; NaN where there are none."""
    path = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    order = np.lexsort((values, path))  # NaN sorts last within its path
    ranked = values[order]
    count = np.bincount(path[~np.isnan(values)], minlength=starts.size - 1)
    out = np.full(starts.size - 1, np.nan)
    some = count > 0
    first, count = starts[:-1][some], count[some]
    out[some] = (ranked[first + (count - 1) // 2] + ranked[first + count // 2]) / 2
    return out


def directions(points: FloatArray, starts: IntArray) -> FloatArray:
    """``(N, 2)`` unit tangent by central differences; zero where the neighbours coincide."""
    index = np.arange(points.shape[0])
    lengths = np.diff(starts)
    first, last = np.repeat(starts[:-1], lengths), np.repeat(starts[1:] - 1, lengths)
    step = points[np.minimum(index + 1, last)] - points[np.maximum(index - 1, first)]
    norm = np.hypot(step[:, 0], step[:, 1])
    out: FloatArray = step / np.where(norm > 0, norm, 1.0)[:, None]
    return out


def smooth_paths(
    points: FloatArray, starts: IntArray, *, sigma: float, ring: BoolArray
) -> FloatArray:
    """Gaussian along each path, whose ends stay in place.

    An open path is continued by its own point reflection at either end, a ring by itself.

    Args:
        points: ``(N, 2)``.
        starts: ``(S + 1,)``.
        sigma: in points.
        ring: ``(S,)`` whether the last point is the first again.
    """
    from scipy import ndimage

    if points.shape[0] == 0:
        return points.copy()
    pad = int(np.ceil(3 * sigma))
    lengths = np.diff(starts)
    path = np.repeat(np.arange(lengths.size), lengths + 2 * pad)
    begin = starts[:-1] + 2 * pad * np.arange(lengths.size)
    local = np.arange(path.size) - begin[path] - pad
    reach = (lengths - 1)[path]
    loop = ring[path]
    turns = local // (2 * reach)
    within = local - 2 * reach * turns
    mirrored = (within > reach) & ~loop
    within = np.where(mirrored, 2 * reach - within, within)
    within = np.where(loop, local % reach, within)
    turns = np.where(loop, 0, turns)
    value = points[starts[:-1][path] + within]
    first, last = points[starts[:-1]][path], points[starts[1:] - 1][path]
    value = np.where(mirrored[:, None], 2 * last - value, value)
    value = value + 2 * turns[:, None] * (last - first)
    value = ndimage.convolve1d(value, _gaussian(sigma, pad), axis=0, mode="constant")
    out: FloatArray = value[(local >= 0) & (local <= reach)]
    return out


def smooth_values(values: FloatArray, starts: IntArray, *, sigma: float) -> FloatArray:
    """Gaussian along each path over the values that are not NaN; NaN stays NaN.

    Args:
        values: ``(N,)``.
        starts: ``(S + 1,)``.
        sigma: in points.
    """
    from scipy import ndimage

    pad = int(np.ceil(3 * sigma))
    lengths = np.diff(starts)
    # a gap of zeros between paths keeps one from leaking into the next
    at = np.arange(values.size) + pad * np.repeat(np.arange(lengths.size), lengths)
    known = ~np.isnan(values)
    padded = np.zeros((2, values.size + pad * max(lengths.size - 1, 0)))
    padded[0, at] = np.where(known, values, 0.0)
    padded[1, at] = known
    kernel = _gaussian(sigma, pad)
    mixed = ndimage.convolve1d(padded, kernel, axis=1, mode="constant")[:, at]
    out = np.full(values.size, np.nan)
    out[known] = mixed[0, known] / mixed[1, known]
    return out


def _gaussian(sigma: float, pad: int) -> FloatArray:
    kernel = np.exp(-0.5 * (np.arange(-pad, pad + 1) / sigma) ** 2)
    out: FloatArray = kernel / kernel.sum()
    return out
