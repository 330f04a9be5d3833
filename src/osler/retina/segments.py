"""Arteries and veins decided for whole vessel segments, not pixel by pixel.

A vessel does not change its kind between two branchings. What the network says along a segment is
averaged, and the segment outvotes its pixels where it is of one mind.
"""

import numpy as np
from numpy.typing import NDArray

from osler.retina.graph import vessel_graph

_SHORTEST = 12  # segments of fewer centreline points do not outvote their pixels
_WEIGHT = 2.0  # of the segment's mean against the pixel's own margin


def settle(vessels: NDArray[np.bool_], margin: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which pixels of a vessel mask are artery.

    Args:
        vessels: ``(H, W)``, arteries and veins together.
        margin: ``(H, W)``, probability of artery less that of vein.

    Returns:
        ``(H, W)``, true for artery; false outside ``vessels``.
    """
    from scipy.spatial import cKDTree

    own = np.argwhere(vessels)
    votes = margin[vessels].astype(np.float32)
    if len(own) == 0:
        return np.zeros_like(vessels)
    graph = vessel_graph(vessels)
    counts = np.diff(graph.starts)
    if counts.sum():
        points = graph.points
        index = np.clip(np.rint(points).astype(int), 0, np.array(vessels.shape) - 1)
        along = margin[index[:, 0], index[:, 1]]
        sums = np.add.reduceat(along, graph.starts[:-1])
        mean = sums / np.maximum(counts, 1)
        mean[counts < _SHORTEST] = 0
        distance, nearest = cKDTree(points).query(own, distance_upper_bound=40.0, workers=1)
        found = np.isfinite(distance)
        segment = np.repeat(np.arange(len(counts)), counts)
        votes[found] += _WEIGHT * mean[segment[nearest[found]]].astype(np.float32)
    out = np.zeros_like(vessels)
    out[vessels] = votes >= 0
    return out
