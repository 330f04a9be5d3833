"""Arteries and veins decided for whole vessel segments, not pixel by pixel.

A vessel does not change its kind between two branchings, and seldom where it runs straight on
through one. What the network says along a segment is averaged; segments that continue each other
agree with each other as far as the network lets them; and the segment outvotes its pixels.
"""

import numpy as np
from numpy.typing import NDArray

from osler.retina.graph import VesselGraph, vessel_graph

_AHEAD = 12  # centreline points over which a segment's direction at its end is taken
_WEIGHT = 2.0  # of the segment's opinion against the pixel's own margin
_TIE = 40.0  # how strongly segments that continue each other agree, in centreline points
_NEAR = 40.0  # a pixel farther from every centreline than this keeps its own opinion, pixels


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
    votes = margin[vessels].astype(np.float64)
    out = np.zeros_like(vessels)
    if len(own) == 0:
        return out
    graph = vessel_graph(vessels)
    if len(graph.points):
        opinion = _opinions(graph, margin)
        distance, nearest = cKDTree(graph.points).query(own, distance_upper_bound=_NEAR)
        near = np.isfinite(distance)
        segment = np.repeat(np.arange(len(opinion)), np.diff(graph.starts))
        votes[near] += _WEIGHT * opinion[segment[nearest[near]]]
    out[vessels] = votes >= 0
    return out


def _opinions(graph: VesselGraph, margin: NDArray[np.float32]) -> NDArray[np.float64]:
    """One value a segment, above 0 for artery.

    The least of ``sum_s n_s (x_s - m_s)^2 + tie * sum_st w_st (x_s - x_t)^2``, where ``m`` is the
    mean margin of the ``n`` points of a segment and ``w`` how straight two segments continue each
    other at a node, 0 to 1: a sparse linear system.
    """
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    counts = np.diff(graph.starts).astype(np.float64)
    index = np.clip(np.rint(graph.points).astype(int), 0, np.array(margin.shape) - 1)
    along = margin[index[:, 0], index[:, 1]].astype(np.float64)
    total = np.add.reduceat(along, graph.starts[:-1])
    first, second, weight = _continuations(graph)
    size = len(counts)
    ties = sparse.coo_matrix((_TIE * weight, (first, second)), shape=(size, size)).tocsr()
    ties = ties + ties.T
    degree = np.asarray(ties.sum(axis=1)).ravel()
    system = sparse.diags(counts + degree) - ties
    return np.asarray(spsolve(system.tocsc(), total))


def _continuations(
    graph: VesselGraph,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of segments that meet at a node, and how straight one continues the other."""
    starts, stops = graph.starts[:-1], graph.starts[1:] - 1
    ahead = np.minimum(starts + _AHEAD, stops)
    behind = np.maximum(stops - _AHEAD, starts)
    leaving = np.stack(
        [graph.points[ahead] - graph.points[starts], graph.points[behind] - graph.points[stops]], 1
    )
    leaving /= np.maximum(np.linalg.norm(leaving, axis=2, keepdims=True), 1e-9)
    ends = graph.ends.ravel()
    segment = np.repeat(np.arange(len(starts)), 2)
    leaving = leaving.reshape(-1, 2)
    pairs: list[tuple[int, int, float]] = []
    order = np.argsort(ends, kind="stable")
    order = order[ends[order] >= 0]
    for group in np.split(order, np.flatnonzero(np.diff(ends[order])) + 1):
        for i, one in enumerate(group):
            for other in group[i + 1 :]:
                straight = -float(leaving[one] @ leaving[other])
                if segment[one] != segment[other] and straight > 0:
                    pairs.append((int(segment[one]), int(segment[other]), straight**2))
    if not pairs:
        none = np.zeros(0, np.int64)
        return none, none, np.zeros(0)
    first, second, weight = zip(*pairs, strict=True)
    return np.array(first), np.array(second), np.array(weight)
