"""How much vessels wind.

With arc length L, chord length X and curvature k along a segment:

    tau1 = L / X - 1     tau2 = integral of |k| ds     tau3 = integral of k^2 ds
    tau4 = tau2 / L      tau5 = tau3 / L               tau6 = tau2 / X      tau7 = tau3 / X

Curvature is one over the radius of the circle through three consecutive points, after a Gaussian
along the path whose width the caller gives: it decides which windings count, and without it the
staircase of the pixels would be most of the result.

Sources:
    1. Ortin Vela et al., Nature Communications 15, 2024: tau1 to tau7, the median over segments.
    2. Grisan, Foracchia, Ruggeri, "A novel method for the automatic grading of retinal vessel
       tortuosity", IEEE Transactions on Medical Imaging 27, 2008: tortuosity density.
    3. Hart et al., "Measurement and classification of retinal vascular tortuosity", International
       Journal of Medical Informatics 53, 1999: the seven measures.
"""

from dataclasses import dataclass

import numpy as np

from osler.retina.graph import SMOOTHING, VesselGraph
from osler.retina.paths import smooth_paths, step_lengths, sum_each
from osler.retina.zones import BoolArray, FloatArray

SHORTEST = 10.0  # pixels: below it the ends of a segment decide its tortuosity
SHORTEST_IN_CALIBRES = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Windings:
    """Curvature measures of each segment, ``(S,)`` each.

    Attributes:
        tau2: radians.
        tau3: radians squared a pixel.
        arcs: arc length of the smoothed path, pixels.
        chords: pixels; 0 for a ring.
        density: Grisan's tortuosity density, a pixel.
    """

    tau2: FloatArray
    tau3: FloatArray
    arcs: FloatArray
    chords: FloatArray
    density: FloatArray

    @property
    def taus(self) -> dict[int, FloatArray]:
        """tau2 to tau7 by number; tau6 and tau7 are infinite for a ring."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                2: self.tau2,
                3: self.tau3,
                4: self.tau2 / self.arcs,
                5: self.tau3 / self.arcs,
                6: self.tau2 / self.chords,
                7: self.tau3 / self.chords,
            }


def measurable(graph: VesselGraph) -> BoolArray:
    """``(S,)`` which segments are long enough, and open.

    At least 10 pixels and three times as long as wide; a segment whose ends meet has no chord.
    """
    calibres = np.nan_to_num(graph.calibres)
    arcs, chords = graph.arcs, graph.chords
    out: BoolArray = (arcs >= np.maximum(SHORTEST, SHORTEST_IN_CALIBRES * calibres)) & (chords > 1)
    return out


def distance_factors(graph: VesselGraph) -> FloatArray:
    """tau1 of the measurable segments: arc over chord, less one (0 for a straight vessel) [1]."""
    keep = measurable(graph)
    out: FloatArray = np.maximum(graph.arcs[keep] / graph.chords[keep] - 1.0, 0.0)
    return out


def windings(graph: VesselGraph, *, scale: float, flat: float) -> Windings:
    """Curvature measures [1, 3] and tortuosity density [2] of every segment.

    Args:
        graph: the vessels.
        scale: standard deviation of the Gaussian along the path, pixels.
        flat: curvature below which a point belongs to the turn before it, 1/pixel; it keeps noise
            on a straight stretch from counting as inflections.
    """
    starts = graph.starts
    ring = (graph.ends < 0).all(axis=1) & (graph.chords == 0)
    points = graph.points
    missing = scale**2 - 2 * SMOOTHING**2  # the graph has been smoothed twice
    if missing > 0:
        points = smooth_paths(points, starts, sigma=float(np.sqrt(missing)), ring=ring)
    curvature, weight = _curvature(points, starts)
    steps = step_lengths(points, starts)
    ends = points[starts[1:] - 1] - points[starts[:-1]]
    return Windings(
        tau2=sum_each(np.abs(curvature) * weight, starts),
        tau3=sum_each(curvature**2 * weight, starts),
        arcs=sum_each(steps, starts),
        chords=np.hypot(ends[:, 0], ends[:, 1]),
        density=_density(points, steps, curvature, graph, flat=flat),
    )


def _curvature(points: FloatArray, starts: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """``(N,)`` signed curvature (1/pixel) and the length each point stands for (pixels)."""
    count = points.shape[0]
    curvature, weight = np.zeros(count), np.zeros(count)
    if count < 3:
        return curvature, weight
    before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
    a, b = np.hypot(*before.T), np.hypot(*after.T)
    c = np.hypot(*(points[2:] - points[:-2]).T)
    cross = before[:, 1] * after[:, 0] - before[:, 0] * after[:, 1]
    product = a * b * c
    curvature[1:-1] = 2.0 * cross / np.where(product > 0, product, 1.0)
    curvature[1:-1][product == 0] = 0.0
    weight[1:-1] = (a + b) / 2
    # a path's end has no circle: it takes the curvature beside it for the half step it stands for
    first, last = starts[:-1], starts[1:] - 1
    curvature[first], curvature[last] = 0.0, 0.0
    long = last - first >= 2
    first, last = first[long], last[long]
    curvature[first], curvature[last] = curvature[first + 1], curvature[last - 1]
    weight[starts[:-1]] = weight[starts[1:] - 1] = 0.0
    weight[first] = np.hypot(*(points[first + 1] - points[first]).T) / 2
    weight[last] = np.hypot(*(points[last] - points[last - 1]).T) / 2
    return curvature, weight


def _density(
    points: FloatArray, steps: FloatArray, curvature: FloatArray, graph: VesselGraph, *, flat: float
) -> FloatArray:
    """``(S,)`` (n - 1)/n * 1/L * sum of (L_i/X_i - 1) over the n turns of one sign [2]."""
    starts, segment = graph.starts, graph.segment_of
    if points.shape[0] == 0:
        return np.zeros(len(graph))
    sign = np.where(np.abs(curvature) > flat, np.sign(curvature), 0.0)
    index = np.arange(points.shape[0])
    last_signed = np.maximum.accumulate(np.where(sign != 0, index, 0))
    known = (sign[last_signed] != 0) & (last_signed >= starts[segment])
    carried = np.where(known, sign[last_signed], 0.0)
    turn = np.zeros(points.shape[0], dtype=bool)
    turn[1:] = (carried[1:] * carried[:-1] < 0) & (segment[1:] == segment[:-1])
    turn[starts[:-1]] = True
    begin = np.flatnonzero(turn)
    of = segment[begin]
    stop = np.append(begin[1:], points.shape[0] - 1)
    stop = np.minimum(stop, starts[1:][of] - 1)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    arc = travelled[stop] - travelled[begin]
    chord = np.hypot(*(points[stop] - points[begin]).T)
    excess = np.where(chord > 0, arc / np.where(chord > 0, chord, 1.0) - 1.0, 0.0)
    turns = np.bincount(of, minlength=len(graph))
    total = np.bincount(of, weights=excess, minlength=len(graph))
    length = sum_each(steps, starts)
    out: FloatArray = (turns - 1) / turns * total / np.where(length > 0, length, 1.0)
    return np.maximum(out, 0.0)
