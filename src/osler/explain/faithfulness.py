r"""How far a heatmap can be believed: deletion and insertion.

The parts of the picture are sorted by their heat. *Deletion* takes them away, the hottest first: a
faithful map makes the score fall at once. *Insertion* starts from a picture with nothing in it and
puts them back, the hottest first: a faithful map makes the score rise at once. Each curve runs over
the share of the picture, 0 to 1, and its area is taken by the trapezoidal rule [1]_. Low is good
for deletion, high for insertion.

An area alone says little: a score that never falls has the area 1 whatever the map. So the same
curves are drawn in random orders, and the figures to read are the differences.

The unit is a square (or cube) of a stated side. With a side of 1 this is the definition of [1]_;
but a model answers to a scatter of single pixels as to noise, and a coarse map does not order the
pixels within its own grain at all. Parts of equal heat come in an order drawn by the seed, so that
a constant map scores as a random one.

References:
    .. [1] Petsiuk, Das & Saenko, "RISE: randomized input sampling for explanation of black-box
       models", BMVC 2018, section 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.explain.occlusion import Score, sides, windows


@dataclass(frozen=True, slots=True)
class Curve:
    """A score over the share of the picture that was taken away or put back.

    Attributes:
        shares: 0 to 1, rising.
        scores: the score at each.
    """

    shares: tuple[float, ...]
    scores: tuple[float, ...]

    @property
    def area(self) -> float:
        """Area under it, by the trapezoidal rule."""
        return float(np.trapezoid(self.scores, self.shares))


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Deletion and insertion of a map, beside those of random orders.

    Attributes:
        deletion: the hottest parts go first.
        insertion: the hottest parts come first.
        random_deletion: mean of the curves of random orders.
        random_insertion: the same for insertion.
        orders: how many random orders there were.
        side: sides of the parts, pixels of the model's input.
    """

    deletion: Curve
    insertion: Curve
    random_deletion: Curve
    random_insertion: Curve
    orders: int
    side: tuple[int, ...]

    @property
    def deletion_gain(self) -> float:
        """How much smaller the area of deletion is than a random order's; above 0 is good."""
        return self.random_deletion.area - self.deletion.area

    @property
    def insertion_gain(self) -> float:
        """How much greater the area of insertion is than a random order's; above 0 is good."""
        return self.insertion.area - self.random_insertion.area

    @property
    def better_than_random(self) -> bool:
        """Whether the map beats the random orders in both."""
        return self.deletion_gain > 0 and self.insertion_gain > 0


def faithfulness(
    score: Score,
    image: ArrayLike,
    heat: ArrayLike,
    *,
    absent: ArrayLike,
    side: int | Sequence[int] = 1,
    steps: int = 20,
    orders: int = 3,
    within: ArrayLike | None = None,
    batch: int = 8,
    seed: int = 0,
) -> Faithfulness:
    """Delete and insert a picture in the order of a map, and in random orders.

    Args:
        score: the model and what is asked of it, best a probability.
        image: ``(C, H, W)`` or ``(C, D, H, W)``, as the model takes it.
        heat: ``([D,] H, W)``; only its order counts.
        absent: the shape of the image, what a pixel shows that was taken away.
        side: sides of the parts that go together, pixels.
        steps: points of a curve after its first.
        orders: random orders; their curves are averaged.
        within: ``([D,] H, W)``, the pixels that there are; parts without any are left alone.
        batch: images that the model takes at once.
        seed: of the random orders and of the order of equal parts.

    Raises:
        InputError: shapes differ, the map is not finite, or nothing is within.
    """
    array, gone = np.asarray(image, np.float32), np.asarray(absent, np.float32)
    map_ = np.asarray(heat, np.float64)
    if gone.shape != array.shape or map_.shape != array.shape[1:]:
        raise InputError(
            f"the image has shape {array.shape}, absent {gone.shape} and the map {map_.shape}; "
            "give them on one grid"
        )
    if not np.isfinite(map_).all():
        raise InputError("the map holds NaN or infinite values; a part without heat has 0")
    size = sides(side, map_.shape, "side")
    parts, heats = _parts(map_, size, within)
    gone = np.where(parts >= 0, gone, array)  # what is outside is there in every picture
    random = np.random.default_rng(seed)
    own = np.lexsort((random.permutation(len(heats)), -heats))
    drawn = [random.permutation(len(heats)) for _ in range(max(1, orders))]

    def walk(
        order: NDArray[np.intp], start: NDArray[np.float32], end: NDArray[np.float32]
    ) -> Curve:
        return _walk(score, parts, order, start, end, min(steps, len(heats)), batch)

    return Faithfulness(
        deletion=walk(own, array, gone),
        insertion=walk(own, gone, array),
        random_deletion=_mean([walk(order, array, gone) for order in drawn]),
        random_insertion=_mean([walk(order, gone, array) for order in drawn]),
        orders=len(drawn),
        side=size,
    )


def _parts(
    heat: NDArray[np.float64], size: tuple[int, ...], within: ArrayLike | None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The number of each pixel's part, -1 outside, and the mean heat of each part."""
    inside = np.ones(heat.shape, bool) if within is None else np.asarray(within, bool)
    if inside.shape != heat.shape:
        raise InputError(f"within has shape {inside.shape} and the map {heat.shape}")
    numbers = np.full(heat.shape, -1, np.intp)
    heats: list[float] = []
    for place in _tiles(heat.shape, size):
        chosen = inside[place]
        if chosen.any():
            numbers[place][chosen] = len(heats)
            heats.append(float(heat[place][chosen].mean()))
    if not heats:
        raise InputError("no pixel is within; there is nothing to take away")
    return numbers, np.array(heats)


def _tiles(shape: tuple[int, ...], size: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """Tiles without overlap; the last of an axis is what is left of it."""
    padded = tuple(-(-n // s) * s for n, s in zip(shape, size, strict=True))
    return list(windows(padded, size, size))


def _walk(
    score: Score,
    parts: NDArray[np.intp],
    order: NDArray[np.intp],
    start: NDArray[np.float32],
    end: NDArray[np.float32],
    steps: int,
    batch: int,
) -> Curve:
    """The score on the way from one image to the other, part after part."""
    rank = np.empty(len(order) + 1, np.intp)
    rank[order] = np.arange(len(order))
    rank[-1] = len(order)  # what is outside never changes: its part is -1
    at = rank[parts]
    counts = np.unique(np.rint(np.linspace(0, len(order), steps + 1)).astype(int))
    scores: list[float] = []
    for first in range(0, len(counts), batch):
        some = counts[first : first + batch]
        stack = np.stack([np.where((at < n) & (parts >= 0), end, start) for n in some])
        scores += [float(value) for value in score(stack.astype(np.float32))]
    return Curve(tuple(float(n / len(order)) for n in counts), tuple(scores))


def _mean(curves: Sequence[Curve]) -> Curve:
    scores = np.mean([curve.scores for curve in curves], axis=0)
    return Curve(curves[0].shares, tuple(float(value) for value in scores))
