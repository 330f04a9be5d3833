"""How a vessel tree fills the plane: generalised dimensions by box counting.

Boxes have sides of 2, 4, 8 ... pixels, up to a quarter of the longer side of the box round the
mask. The count of a size is the smallest over four grids, half a box apart: the definition asks
for the fewest boxes that cover the set, and a fixed grid counts too many. Every box that holds a
pixel counts, full ones too.

Sources:
    1. Falconer, "Fractal Geometry", chapter 3: box-counting dimension.
    2. Stosic and Stosic, "Multifractal analysis of human retinal vessels", IEEE Transactions on
       Medical Imaging 25, 2006: D0, D1, D2 of retinal vessels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.retina.zones import BoolArray, box_of

FEWEST_SIZES = 4


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Generalised dimensions, without unit.

    Attributes:
        d0: box-counting dimension.
        d1: information dimension.
        d2: correlation dimension.
    """

    d0: float
    d1: float
    d2: float


def dimensions(mask: BoolArray) -> Dimensions | None:
    """Dimensions of an ``(H, W)`` mask, or None where it is empty or under 32 pixels long [1, 2].

    Slopes of least-squares lines against log(1/size): of log N, of -sum p log p and, negated, of
    log sum p^2, with p the share of the mask's pixels in each box.
    """
    box = box_of(mask)
    if box is None:
        return None
    counts = np.ascontiguousarray(mask[box]).view(np.uint8)
    longest = max(counts.shape)
    sizes: list[int] = []
    rows: list[tuple[float, float, float]] = []
    size = 2
    while size <= longest / 4:
        shifted = [_halved(counts, h, w) for h in (0, 1) for w in (0, 1)]
        best = min(shifted, key=np.count_nonzero)
        shares = best[best > 0].astype(np.float64)
        shares /= shares.sum()
        rows.append(
            (
                float(np.log(shares.size)),
                float(-(shares * np.log(shares)).sum()),
                float(-np.log((shares**2).sum())),
            )
        )
        sizes.append(size)
        counts, size = shifted[0], 2 * size
    if len(sizes) < FEWEST_SIZES:
        return None
    slopes = np.polyfit(-np.log(sizes), np.array(rows), 1)[0]
    return Dimensions(*(float(s) for s in slopes))


def _halved(counts: NDArray[np.unsignedinteger], h: int, w: int) -> NDArray[np.unsignedinteger]:
    """Sum blocks of two by two, after ``h`` rows and ``w`` columns of zeros."""
    rows, columns = ((n + s + 1) // 2 for n, s in zip(counts.shape, (h, w), strict=True))
    # four boxes of the largest count must fit in the type
    wider = np.uint32 if counts.itemsize > 1 or int(counts.max()) > 63 else np.uint8
    padded = np.zeros((2 * rows, 2 * columns), dtype=wider)
    padded[h : h + counts.shape[0], w : w + counts.shape[1]] = counts
    paired = padded[0::2] + padded[1::2]
    out: NDArray[np.unsignedinteger] = paired[:, 0::2] + paired[:, 1::2]
    return out
