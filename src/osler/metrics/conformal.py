"""Sets of labels that hold the truth as often as promised: split conformal prediction.

A score says how badly a label fits a case. On cases that the model has not seen, the quantile of
the scores of the true labels is kept; afterwards every label with a score up to it belongs to the
set. Where the new case is exchangeable with those cases, the set holds the truth with at least the
promised chance, whatever the model [1]_. Another camera or population breaks that promise.

Two scores: ``"lac"``, 1 minus the probability of the label, whose sets are the smallest on average
[2]_; ``"aps"``, the probability of the label and of all that are more probable, whose sets adapt to
how hard a case is [3]_ (here without the random last label, so a little larger).

References:
    .. [1] Vovk, Gammerman & Shafer, "Algorithmic learning in a random world", Springer, 2005.
    .. [2] Sadinle, Lei & Wasserman, "Least ambiguous set-valued classifiers with bounded error
       levels", Journal of the American Statistical Association 114:223-234, 2019.
    .. [3] Romano, Sesia & Candès, "Classification with valid and adaptive coverage", NeurIPS 2020.
"""

import math
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import binary, classes, distributions, same_length

Score = Literal["lac", "aps"]


def conformal_quantile(
    truth: ArrayLike, probabilities: ArrayLike, *, coverage: float, score: Score = "lac"
) -> float:
    r"""The quantile of the true labels' scores to keep.

    The :math:`\lceil (n + 1) \cdot \text{coverage} \rceil`-th smallest of the n scores; the n + 1
    pays for the finite number of cases. Where that is more than n (too few cases for the
    promise: 9 are needed for 0.9), it is 1, with which every set holds every label.

    Args:
        truth: class indices, ``(N,)``, of cases that the model was not fitted on.
        probabilities: ``(N, K)``, rows summing to 1, calibrated as they will be later.
        coverage: the promised share of sets that hold the truth, above 0 and below 1.
        score: ``"lac"`` or ``"aps"``.

    Returns:
        The quantile, 0 to 1.

    Raises:
        InputError: shapes do not fit, values are not probabilities, or ``coverage`` or ``score``
            is not one of those above.
    """
    if not 0 < coverage < 1:
        raise InputError(f"'coverage' is {coverage}; expected above 0 and below 1, such as 0.9")
    table = distributions(probabilities, name="probabilities")
    labels = classes(truth, count=table.shape[1], name="truth")
    count = same_length(truth=labels, probabilities=table)
    # in binary 0.9 is a little less or more than 0.9, which would shift the rank at whole numbers
    rank = math.ceil((count + 1) * Fraction(str(coverage)))
    if rank > count:
        return 1.0
    own = _scores(table, score)[np.arange(count), labels]
    return float(min(np.partition(own, rank - 1)[rank - 1], 1.0))


def conformal_set(
    probabilities: ArrayLike, *, quantile: float, score: Score = "lac", keep_top: bool = True
) -> NDArray[np.bool_]:
    """Which labels cannot be excluded.

    Args:
        probabilities: ``(N, K)``, rows summing to 1.
        quantile: from `conformal_quantile` with the same score.
        score: ``"lac"`` or ``"aps"``.
        keep_top: the most probable label belongs to every set, so that none is empty; this can
            only raise the coverage.

    Returns:
        ``(N, K)``, true for the labels in the set.

    Raises:
        InputError: values are not probabilities, or ``quantile`` is not 0 to 1.
    """
    if not 0 <= quantile <= 1:
        raise InputError(f"'quantile' is {quantile}; expected 0 to 1")
    table = distributions(probabilities, name="probabilities")
    # at quantile 1 all labels, also where rounding put a cumulated score above 1
    inside = _scores(table, score) <= quantile if quantile < 1 else np.ones(table.shape, np.bool_)
    if keep_top and len(table):
        inside[np.arange(len(table)), table.argmax(axis=1)] = True
    return np.asarray(inside, dtype=np.bool_)


def set_coverage(truth: ArrayLike, sets: ArrayLike) -> float | None:
    """The share of sets that hold the truth; None without cases.

    Args:
        truth: class indices, ``(N,)``.
        sets: ``(N, K)``, true for the labels in the set.

    Raises:
        InputError: shapes do not fit, or a class is out of range.
    """
    inside = _sets(sets)
    labels = classes(truth, count=inside.shape[1], name="truth")
    count = same_length(truth=labels, sets=inside)
    return float(inside[np.arange(count), labels].mean()) if count else None


def mean_set_size(sets: ArrayLike) -> float | None:
    """How many labels a set holds on average; None without cases.

    Args:
        sets: ``(N, K)``, true for the labels in the set.

    Raises:
        InputError: the shape is another.
    """
    inside = _sets(sets)
    return float(inside.sum(axis=1).mean()) if len(inside) else None


def _sets(sets: ArrayLike) -> NDArray[np.bool_]:
    inside = binary(sets, name="sets")
    if inside.ndim != 2:
        raise InputError(f"'sets' has shape {inside.shape}; expected (N, K)")
    return inside


def _scores(table: NDArray[np.float64], score: Score) -> NDArray[np.float64]:
    """How badly each label fits each case, ``(N, K)``; tied labels share the greater score."""
    if score == "lac":
        return 1.0 - table
    if score != "aps":
        raise InputError(f"'score' is {score!r}; expected 'lac' or 'aps'")
    at_least = table[:, None, :] >= table[:, :, None]
    return np.asarray((at_least * table[:, None, :]).sum(axis=2), dtype=np.float64)
