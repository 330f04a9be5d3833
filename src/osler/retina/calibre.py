"""How wide vessels are, one by one and summed up near the disc.

Sources:
    1. Ortin Vela et al., Nature Communications 15, 2024: median of segment medians, standard
       deviation of the diameters, CVMe.
    2. Knudtson et al., "Revised formulas for summarizing retinal vessel diameters", Current Eye
       Research 27, 2003: six widest vessels, widest paired with narrowest, 0.88 and 0.95.
    3. Hubbard et al., "Methods for evaluation of retinal microvascular abnormalities associated
       with hypertension/sclerosis in the ARIC study", Ophthalmology 106, 1999: formulas in um.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from osler.errors import InputError
from osler.retina.graph import VesselGraph
from osler.retina.paths import IntArray, smooth_values, sum_each
from osler.retina.zones import FloatArray

WIDEST = 6  # vessels that an equivalent is made of [2]
KNUDTSON = {"artery": 0.88, "vein": 0.95}
FEWEST_POINTS = 5  # of a segment, below which its median diameter is chance


@dataclass(frozen=True, slots=True, eq=False)
class Crossings:
    """Where vessels cross a circle.

    Attributes:
        points: ``(K, 2)`` places ``(h, w)``, pixels.
        widths: ``(K,)`` diameters there, pixels.
    """

    points: FloatArray
    widths: FloatArray


def segment_medians(graph: VesselGraph) -> FloatArray:
    """Median diameter of each segment with at least 5 measured points, pixels."""
    measured = np.isfinite(graph.diameters).astype(np.float64)
    enough = sum_each(measured, graph.starts) >= FEWEST_POINTS
    out: FloatArray = graph.calibres[enough]
    return out


def diameter_std(graph: VesselGraph) -> float | None:
    """Standard deviation of all point diameters, pixels [1]; None where none was measured."""
    known = graph.diameters[~np.isnan(graph.diameters)]
    return float(known.std()) if known.size else None


def cvme(graph: VesselGraph) -> float | None:
    """Mean absolute deviation of the point diameters from their median, over the median [1]."""
    known = graph.diameters[~np.isnan(graph.diameters)]
    if known.size == 0:
        return None
    middle = np.median(known)
    return float(np.abs(known - middle).mean() / middle)


def crossings(
    graph: VesselGraph, *, centre: tuple[float, float], radius: float, reach: float
) -> Crossings:
    """The vessels that cross a circle, each segment once, at its widest crossing.

    Args:
        graph: the vessels.
        centre: ``(h, w)``, pixels.
        radius: pixels.
        reach: standard deviation of the Gaussian over the diameters along the path, pixels; a
            width stands for a stretch of vessel and not for one row of pixels.
    """
    return crossings_of(graph, centre=centre, radii=[radius], reach=reach)[0]


def crossings_of(
    graph: VesselGraph, *, centre: tuple[float, float], radii: Sequence[float], reach: float
) -> list[Crossings]:
    """``crossings`` for several circles round one centre."""
    away = np.hypot(*(graph.points - centre).T)
    widths = smooth_values(graph.diameters, graph.starts, sigma=max(reach, 1.0))
    segment = graph.segment_of
    return [_on_circle(graph.points, away - radius, widths, segment) for radius in radii]


def _on_circle(
    points: FloatArray, beyond: FloatArray, widths: FloatArray, segment: IntArray
) -> Crossings:
    same = segment[1:] == segment[:-1]
    known = ~np.isnan(widths[1:]) & ~np.isnan(widths[:-1])
    at = np.flatnonzero(same & known & ((beyond[1:] >= 0) != (beyond[:-1] >= 0)))
    share = (beyond[at] / (beyond[at] - beyond[at + 1]))[:, None]
    places = points[at] * (1 - share) + points[at + 1] * share
    wide = (widths[at] + widths[at + 1]) / 2
    order = np.argsort(-wide, kind="stable")
    _, first = np.unique(segment[at][order], return_index=True)
    keep = np.sort(order[first])
    return Crossings(points=places[keep], widths=wide[keep])


def paired(widths: Sequence[float], combine: Callable[[float, float], float]) -> float:
    """Reduce widths to one by joining widest with narrowest until one is left [2].

    The middle one of an odd number waits for the next round.

    Args:
        widths: one or more, in any order.
        combine: called with (narrower, wider).

    Raises:
        InputError: there is nothing to reduce.
    """
    if not len(widths):
        raise InputError("widths is empty; an equivalent needs at least one vessel")
    left = sorted(float(w) for w in widths)
    while len(left) > 1:
        half = len(left) // 2
        joined = [combine(left[i], left[-1 - i]) for i in range(half)]
        left = sorted([*joined, *left[half : len(left) - half]])
    return left[0]


def knudtson(widths: Sequence[float], *, kind: str) -> float:
    """Central retinal equivalent of the six widest vessels [2], in the unit of ``widths``.

    Args:
        widths: diameters; with fewer than six all of them count.
        kind: ``"artery"`` or ``"vein"``.

    Raises:
        InputError: ``widths`` is empty or ``kind`` unknown.
    """
    if kind not in KNUDTSON:
        raise InputError(f"kind is '{kind}'; expected 'artery' or 'vein'")
    factor = KNUDTSON[kind]
    widest = sorted(widths)[-WIDEST:]
    return paired(widest, lambda a, b: factor * float(np.hypot(a, b)))


def hubbard(widths: Sequence[float], *, kind: str) -> float | None:
    """Central retinal equivalent of the six widest vessels by Hubbard's formulas [3].

    Args:
        widths: diameters in micrometres: the formulas' constants hold for no other unit.
        kind: ``"artery"`` or ``"vein"``.

    Returns:
        Micrometres, or None where the arteries are too thin for the formula (its square root
        would be of a negative number).

    Raises:
        InputError: ``widths`` is empty or ``kind`` unknown.
    """
    if kind not in KNUDTSON:
        raise InputError(f"kind is '{kind}'; expected 'artery' or 'vein'")

    def artery(a: float, b: float) -> float:
        return float(np.sqrt(max(0.87 * a * a + 1.01 * b * b - 0.22 * a * b - 10.76, 0.0)))

    def vein(a: float, b: float) -> float:
        return float(np.sqrt(0.72 * a * a + 0.91 * b * b + 450.05))

    value = paired(sorted(widths)[-WIDEST:], artery if kind == "artery" else vein)
    return value if value > 0 else None


def equivalent(
    circles: Sequence[Crossings], formula: Callable[[list[float]], float | None]
) -> float | int:
    """The median of an equivalent over the circles that six vessels or more cross.

    Args:
        circles: the vessels of one type on each circle of a zone.
        formula: widths to an equivalent.

    Returns:
        The equivalent as a float; or, where fewer than half of the circles have six vessels, the
        median number of vessels on a circle as an int.
    """
    enough = [c.widths.tolist() for c in circles if c.widths.size >= WIDEST]
    values = [v for v in map(formula, enough) if v is not None]
    if 2 * len(values) < len(circles) or not values:
        return int(np.median([c.widths.size for c in circles])) if circles else 0
    return float(np.median(values))
