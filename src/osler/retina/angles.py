"""The angle between the temporal vessel arcades, seen from the disc.

Source:
    1. Ortin Vela et al., Nature Communications 15, 2024, and its code: six circles round the disc,
       on each the angle between a pair of vessels of one type, 75 degrees at least, and a vote
       between the circles (tolerance 15 degrees, three votes). Its circles have radii in pixels of
       one camera; here they are shares of the distance from disc to fovea.
"""

from collections.abc import Sequence

import numpy as np

from osler.retina.calibre import Crossings
from osler.retina.zones import Axis

CIRCLES = tuple(0.45 + 0.02 * i for i in range(6))  # of the distance from disc to fovea
SMALLEST = 75.0  # degrees
TOLERANCE = 15.0  # degrees
VOTES = 3


def arcade_angle(circle: Crossings, axis: Axis) -> float | None:
    """The angle at the disc between the widest pair of vessels, one above and one below the axis.

    Only the temporal half of the circle counts, and pairs at least 75 degrees apart.

    Args:
        circle: vessels of one type on a circle round the disc.
        axis: from the disc to the fovea.

    Returns:
        Degrees, or None where there is no such pair.
    """
    at = axis.along(circle.points)
    angle = np.degrees(np.arctan2(at[:, 1], at[:, 0]))
    temporal = np.abs(angle) <= 90.0
    above, below = np.flatnonzero(temporal & (angle > 0)), np.flatnonzero(temporal & (angle < 0))
    if not above.size or not below.size:
        return None
    apart = angle[above][:, None] - angle[below][None, :]
    wide = circle.widths[above][:, None] + circle.widths[below][None, :]
    wide = np.where(apart >= SMALLEST, wide, -np.inf)
    best = np.unravel_index(int(np.argmax(wide)), wide.shape)
    return float(apart[best]) if np.isfinite(wide[best]) else None


def temporal_angle(circles: Sequence[Crossings], axis: Axis) -> float | None:
    """The mean of the angles that agree, degrees; None where fewer than three do [1]."""
    angles = np.array([a for a in (arcade_angle(c, axis) for c in circles) if a is not None])
    if angles.size < VOTES:
        return None
    agree = np.abs(angles[:, None] - angles[None, :]) <= TOLERANCE
    voters = agree[int(np.argmax(agree.sum(axis=1)))]
    return float(angles[voters].mean()) if voters.sum() >= VOTES else None
