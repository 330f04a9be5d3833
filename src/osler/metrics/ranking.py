"""Areas under curves, from how the scores of positives and negatives interleave.

Exact for every dtype, with ties, without drawing the curve: only the distinct scores of the
positives matter. ``float16`` scores are counted by their 65,536 bit patterns (half a second for 20
megapixels), all others are sorted (two to three seconds).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.arguments import binary, finite, same_shape

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Interleaving:
    """How positives and negatives interleave.

    Attributes:
        positives: how many positives have each distinct score of a positive, scores ascending.
        below: how many negatives score less than it.
        tied: how many negatives score the same.
        negatives: how many negatives there are.
    """

    positives: NDArray[np.int64]
    below: NDArray[np.int64]
    tied: NDArray[np.int64]
    negatives: int


def interleave(truth: ArrayLike, scores: ArrayLike) -> Interleaving:
    """Count how positives and negatives interleave.

    Args:
        truth: 0 or 1, any shape.
        scores: the same shape, greater for what is more likely positive.

    Raises:
        InputError: shapes differ, ``truth`` is not binary, or a score is not finite.
    """
    positive = binary(truth, name="truth")
    values = finite(scores, name="scores")
    same_shape(truth=positive, scores=values)
    if values.dtype == np.float16:
        return _counted(positive.ravel(), values.ravel())
    return _sorted(positive.ravel(), values.ravel())


def tally(truth: ArrayLike, scores: ArrayLike) -> NDArray[np.int64]:
    """Count negatives and positives at each ``float16`` score, so that images can be pooled.

    The tally of several images is the sum of theirs: a figure over all their pixels, and its
    resampling over patients, need no image any more.

    Args:
        truth: 0 or 1, any shape.
        scores: the same shape, rounded to ``float16``.

    Returns:
        ``(2, 65536)``: negatives and positives, in ascending order of the scores.

    Raises:
        InputError: as for `interleave`.
    """
    positive = binary(truth, name="truth")
    values = finite(scores, name="scores").astype(np.float16)
    same_shape(truth=positive, scores=values)
    return _tallied(positive.ravel(), values.ravel())


def interleave_tally(counts: NDArray[np.int64]) -> Interleaving:
    """How the positives and negatives of a `tally`, or of a sum of several, interleave."""
    upto = np.cumsum(counts[0])
    found = counts[1] > 0
    tied = counts[0][found]
    return Interleaving(counts[1][found], upto[found] - tied, tied, int(upto[-1]))


def area_under_roc(of: Interleaving) -> float | None:
    """The share of (positive, negative) pairs in the right order, ties counting half [1]_.

    None where there is no positive or no negative.

    References:
        .. [1] Hanley & McNeil, "The meaning and use of the area under a receiver operating
           characteristic (ROC) curve", Radiology 143:29-36, 1982.
    """
    hits = int(of.positives.sum())
    if hits == 0 or of.negatives == 0:
        return None
    # twice the number, so that it stays an integer
    twice = int((of.positives * (2 * of.below + of.tied)).sum())
    return twice / (2 * hits * of.negatives)


def average_precision(of: Interleaving) -> float | None:
    """The step-wise area under the precision–recall curve [1]_.

    The sum over distinct scores, descending, of the precision at that score times the gain in
    recall. Nothing is interpolated, which would be too hopeful [2]_. None where there is no
    positive.

    References:
        .. [1] Zhu, "Recall, precision and average precision", University of Waterloo, 2004.
        .. [2] Davis & Goadrich, "The relationship between precision-recall and ROC curves",
           ICML 2006, section 4.
    """
    total = int(of.positives.sum())
    if total == 0:
        return None
    hits = np.cumsum(of.positives[::-1])[::-1]
    alarms = of.negatives - of.below
    return float((of.positives / total * (hits / (hits + alarms))).sum())


def _sorted(positive: NDArray[np.bool_], values: NDArray[Any]) -> Interleaving:
    levels, hits = np.unique(values[positive], return_counts=True)
    rest = np.sort(values[~positive])
    below = np.searchsorted(rest, levels, side="left")
    upto = np.searchsorted(rest, levels, side="right")
    return Interleaving(hits.astype(np.int64), below, upto - below, rest.size)


def _counted(positive: NDArray[np.bool_], values: NDArray[np.float16]) -> Interleaving:
    return interleave_tally(_tallied(positive, values))


def _tallied(positive: NDArray[np.bool_], values: NDArray[np.float16]) -> NDArray[np.int64]:
    counts = np.zeros((2, 1 << 16), np.int64)
    for start in range(0, values.size, _CHUNK):
        bits = values[start : start + _CHUNK].view(np.uint16)
        ordered = _ordered(bits)
        part = positive[start : start + _CHUNK]
        counts[0] += np.bincount(ordered[~part], minlength=1 << 16)
        counts[1] += np.bincount(ordered[part], minlength=1 << 16)
    return counts


def _ordered(bits: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Bit patterns of ``float16`` such that greater values have greater patterns; -0 is 0."""
    negative = bits > 0x8000
    ordered = np.where(negative, ~bits, bits | np.uint16(0x8000))
    return np.asarray(ordered, dtype=np.uint16)
