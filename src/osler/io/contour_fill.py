"""Closed lines in the planes of a grid, filled by the even-odd rule."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

OFF_PLANE = 0.1
"""How far from a plane of the grid a point of a line may lie, in planes."""


def fill(
    rings: Sequence[NDArray[np.float64]], shape: tuple[int, int, int]
) -> NDArray[np.bool_] | None:
    """The voxels whose centres are inside.

    A ring inside a ring is a hole. A centre on the line is inside at the start of a run and
    outside at its end, so that areas that touch share no voxel.

    Args:
        rings: ``(N, 3)`` indices ``(d, h, w)`` each.
        shape: ``(D, H, W)``.

    Returns:
        ``(D, H, W)``; None where a ring does not lie in a plane of the grid.
    """
    planes: dict[int, list[NDArray[np.float64]]] = {}
    for ring in rings:
        plane = int(np.rint(ring[:, 0].mean()))
        if np.abs(ring[:, 0] - plane).max() > OFF_PLANE or not 0 <= plane < shape[0]:
            return None
        planes.setdefault(plane, []).append(ring[:, 1:])
    out = np.zeros(shape, np.bool_)
    for plane, flat in planes.items():
        out[plane] = fill_plane(flat, (shape[1], shape[2]))
    return out


def fill_plane(rings: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centres are inside rings of ``(h, w)``; even-odd, as in ``fill``."""
    height, width = shape
    # every crossing of a row's centre line with an edge switches the pixels to its right
    switches = np.zeros((height, width + 1), np.uint8)
    for ring in rings:
        start, end = ring, np.roll(ring, -1, axis=0)
        for (h0, w0), (h1, w1) in zip(start, end, strict=True):
            low, high = (h0, h1) if h0 < h1 else (h1, h0)
            # half open, so that a corner counts once; rows outside are left out
            rows = np.arange(max(int(np.ceil(low)), 0), min(int(np.ceil(high)), height))
            if not rows.size:
                continue
            crossing = w0 + (rows - h0) * ((w1 - w0) / (h1 - h0))
            columns = np.clip(np.ceil(crossing), 0, width).astype(np.int64)
            np.bitwise_xor.at(switches, (rows, columns), 1)
    inside: NDArray[np.bool_] = np.bitwise_xor.accumulate(switches[:, :width], axis=1).astype(bool)
    return inside
