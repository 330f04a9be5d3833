"""The outlines of a mask, along the edges of its pixels: ``contour_fill`` fills them exactly.

Lines through the midst of the edge pixels, as picture programs draw them, lose half a pixel all
round; lines along the edges enclose the area that the pixels have.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]


def rings_of(mask: NDArray[np.bool_]) -> list[Ring]:
    """Closed lines around the areas of a mask, and around the holes in them.

    Pixels that touch at a corner only get a line each. The first point of a line is not repeated
    at its end.

    Args:
        mask: ``(H, W)``.

    Returns:
        ``(N, 2)`` of ``(h, w)`` in pixels each: corners of pixels, so halves of whole numbers.
    """
    if not mask.any():
        return []
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    part = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    ahead = _edges(part)
    shift = np.array([top - 1.5, left - 1.5])
    return [np.array(ring, np.float64) + shift for ring in _walks(ahead)]


def keyholed(rings: Sequence[Ring]) -> list[Ring]:
    """The rings of ``rings_of`` without holes: each is reached through a channel of no width.

    The lines of one structure set may not say which of them are holes; this is how it has always
    been done (PS3.3 C.8.8.6.3), and both ways of filling see the hole. A channel runs along a row
    of pixels, a quarter off their centres.
    """
    done = [ring for ring in rings if _turn(ring) > 0]
    holes = [ring for ring in rings if _turn(ring) <= 0]
    for hole in sorted(holes, key=lambda ring: float(ring[:, 1].min())):
        start, at = _leftmost(hole)
        number, edge, left = _next_on_the_left(done, at)
        outer = done[number]
        channel = np.array([(at[0], left), at])
        around = np.roll(hole, -(start + 1), axis=0)
        parts = (outer[: edge + 1], channel, around, channel[::-1], outer[edge + 1 :])
        done[number] = np.concatenate(parts)
    return done


def _turn(ring: Ring) -> float:
    """Twice the area inside; negative where the line runs round a hole."""
    h, w = ring.T
    return float(np.sum(w * np.roll(h, -1) - np.roll(w, -1) * h))


def _leftmost(ring: Ring) -> tuple[int, tuple[float, float]]:
    """The number of an upright side that lies furthest left, and a point on it."""
    ahead = np.roll(ring, -1, axis=0)
    upright = np.flatnonzero(ring[:, 1] == ahead[:, 1])
    side = int(upright[np.argmin(ring[upright, 1])])
    return side, (min(ring[side, 0], ahead[side, 0]) + 0.75, float(ring[side, 1]))


def _next_on_the_left(rings: Sequence[Ring], at: tuple[float, float]) -> tuple[int, int, float]:
    """The ring, its side, and where on the row of a point the nearest line lies left of it."""
    best = (0, 0, -np.inf)
    for number, ring in enumerate(rings):
        ahead = np.roll(ring, -1, axis=0)
        low, high = np.minimum(ring[:, 0], ahead[:, 0]), np.maximum(ring[:, 0], ahead[:, 0])
        crossed = np.flatnonzero((low < at[0]) & (at[0] < high) & (ring[:, 1] < at[1]))
        for side in crossed.tolist():
            if ring[side, 1] > best[2]:
                best = (number, side, float(ring[side, 1]))
    return best


Corner = tuple[int, int]


def _edges(part: NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """From each corner where to go on, the inside on the right hand."""
    ahead: dict[Corner, list[Corner]] = {}
    # an edge above, on the right of, below or on the left of a pixel: where it starts and ends
    for shift, axis, start, end in (
        (1, 0, (0, 0), (0, 1)),
        (-1, 1, (0, 1), (1, 1)),
        (-1, 0, (1, 1), (1, 0)),
        (1, 1, (1, 0), (0, 0)),
    ):
        edge = part & ~np.roll(part, shift, axis)
        for h, w in np.argwhere(edge).tolist():
            ahead.setdefault((h + start[0], w + start[1]), []).append((h + end[0], w + end[1]))
    return ahead


def _walks(ahead: dict[Corner, list[Corner]]) -> Iterator[list[Corner]]:
    while ahead:
        first = next(iter(ahead))
        here, before = first, None
        ring: list[Corner] = []
        while True:
            ways = ahead[here]
            way = ways[0]
            if len(ways) == 2 and before is not None:
                # two pixels touch here: turn right, round the one that the line came along
                step = (here[0] - before[0], here[1] - before[1])
                right = (here[0] + step[1], here[1] - step[0])
                way = right if right in ways else way
            ways.remove(way)
            if not ways:
                del ahead[here]
            if before is None or _turns(before, here, way):
                ring.append(here)
            before, here = here, way
            if here == first:
                break
        if not _turns(before, here, ring[1]):
            ring.pop(0)  # the start lies amid a straight side
        yield ring


def _turns(before: Corner, here: Corner, after: Corner) -> bool:
    return (here[0] - before[0]) * (after[1] - here[1]) != (here[1] - before[1]) * (
        after[0] - here[0]
    )
