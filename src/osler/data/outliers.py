"""Images that stand out among their like, by simple measures.

Source: Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers", the modified z-score; where
half of the values are equal, the mean deviation stands for the median one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from osler.data.scanning import Scan

FAR: Final = 6.0
"""Modified z-score from which an image stands out; 3.5 in the source, for one measure of few."""

MEASURES: Final[dict[str, Callable[[Scan], float | None]]] = {
    "number of pixels": lambda s: float(np.log(max(np.prod(s.shape, dtype=float), 1))),
    "shape": lambda s: float(np.log(s.shape[-1] / max(s.shape[-2], 1))),
    "spacing": lambda s: float(np.log(np.prod(s.spacing))) if s.spacing else None,
    "mean value": lambda s: s.values["mean"],
    "spread of values": lambda s: s.values["std"],
    "darkest values": lambda s: s.values["p1"],
    "brightest values": lambda s: s.values["p99"],
    "share of one value": lambda s: s.values["commonest"],
    "sharpness": lambda s: s.sharpness,
}
"""What is measured; sizes and spacings by their logarithm, so that a half is as far as a double."""

_LOGARITHMS = {"number of pixels", "shape", "spacing"}


@dataclass(frozen=True, slots=True)
class Outlier:
    """An image that stands out.

    Attributes:
        scan: its number among the scans.
        measure: by what it stands out most.
        value: what it is there.
        median: what the others are.
        z: modified z-score, negative below.
    """

    scan: int
    measure: str
    value: float
    median: float
    z: float


def find_outliers(scans: Sequence[Scan]) -> list[Outlier]:
    """One an image, by the measure in which it is farthest, the farthest first."""
    best: dict[int, Outlier] = {}
    items = dict.fromkeys(s.item for s in scans)
    for item in items:
        numbers = [k for k, s in enumerate(scans) if s.item == item and not s.error]
        for measure, of in MEASURES.items():
            pairs = [(k, v) for k in numbers if (v := of(scans[k])) is not None]
            if len(pairs) < 5:  # too few to say what is usual
                continue
            values = np.array([v for _, v in pairs])
            middle = float(np.median(values))
            least = _least(measure, [scans[k] for k in numbers])
            for (k, value), z in zip(pairs, scores(values, least=least), strict=True):
                if abs(z) >= FAR and abs(z) > abs(best[k].z if k in best else 0):
                    said, usual = (
                        (np.exp(value), np.exp(middle))
                        if measure in _LOGARITHMS
                        else (value, middle)
                    )
                    best[k] = Outlier(k, measure, float(said), float(usual), float(z))
    return sorted(best.values(), key=lambda o: (-abs(o.z), o.scan))


def scores(
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]", *, least: float = 0.0
) -> list[float]:
    """Modified z-scores; all 0 where the values are equal.

    Args:
        values: of one measure.
        least: standard deviation below which differences are no matter.
    """
    away = values - np.median(values)
    middle, mean = float(np.median(np.abs(away))), float(np.abs(away).mean())
    deviation = max(1.4826 * middle if middle > 0 else 1.2533 * mean, least)
    return [float(z) for z in away / deviation] if deviation > 0 else [0.0] * len(values)


def _least(measure: str, scans: Sequence[Scan]) -> float:
    """A fiftieth: of the size itself, or of the usual range of values."""
    if measure in _LOGARITHMS or measure == "share of one value":
        return 0.02
    if measure == "sharpness":
        return 0.02 * float(np.median([s.sharpness for s in scans]))
    return 0.02 * float(np.median([s.values["p99"] - s.values["p1"] for s in scans]))
