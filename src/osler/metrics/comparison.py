r"""Whether one bundle is better than another, on the same cases, with patients as the unit.

Tests and intervals answer different questions: an interval of the difference says how much, a
p-value how surprising it is where there is none. Report the interval first. Comparing many figures
needs a correction (Holm's, say), which is the caller's.

`delong_interval` and `delong_test` take every case as independent. With two eyes or several visits
a patient use `paired_bootstrap` and `permutation_test` with ``groups``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import binary, finite, same_length, same_shape
from osler.metrics.bootstrap import Interval, Method, bootstrap_interval

Statistic = Callable[..., float | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two figures on the same cases.

    Attributes:
        first: the figure of the first bundle.
        second: the figure of the second.
        difference: first less second.
        p: two-sided p-value of no difference.
        low: lower end of the difference's interval; None where the test gives none.
        high: upper end.
    """

    first: float
    second: float
    difference: float
    p: float
    low: float | None = None
    high: float | None = None


def delong_covariance(truth: ArrayLike, *scores: ArrayLike) -> NDArray[np.float64]:
    r"""The covariance of the AUROCs of several scores of the same cases [1]_, by midranks [2]_.

    With :math:`V_{10}(i)` the share of negatives that positive i outranks (ties half) and
    :math:`V_{01}(j)` the share of positives that outrank negative j, it is
    :math:`\operatorname{cov}(V_{10}) / n_+ + \operatorname{cov}(V_{01}) / n_-`, sample covariances.

    Args:
        truth: 0 or 1, ``(N,)``.
        scores: one or more ``(N,)``.

    Returns:
        ``(K, K)`` for K scores.

    Raises:
        InputError: shapes differ, values are not finite, or there are fewer than two positives or
            two negatives.

    References:
        .. [1] DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated
           receiver operating characteristic curves", Biometrics 44:837-845, 1988.
        .. [2] Sun & Xu, "Fast implementation of DeLong's algorithm", IEEE Signal Processing
           Letters 21:1389-1393, 2014.
    """
    return _delong(truth, scores)[1]


def delong_interval(truth: ArrayLike, scores: ArrayLike, *, level: float = 0.95) -> Interval:
    r"""An AUROC with DeLong's interval on the logit scale [1]_, which stays within 0 and 1.

    :math:`\operatorname{logit} A \pm z\, s / (A (1 - A))`. The ends are None where the AUROC is 0
    or 1 (its estimated variance is 0, which is not certainty) or a class has fewer than two cases.
    Each case counts as a patient.

    Args:
        truth: 0 or 1, ``(N,)``.
        scores: ``(N,)``, greater for what is more likely 1.
        level: above 0 and below 1.

    Raises:
        InputError: shapes differ, values are not finite, or ``level`` is out of its range.

    References:
        .. [1] Pepe, "The statistical evaluation of medical tests for classification and
           prediction", Oxford University Press, 2003, section 5.2.
    """
    from scipy.special import expit, logit, ndtri

    from osler.metrics.classification import auroc

    _level(level)
    event = binary(truth, name="truth")
    value = auroc(event, scores)
    counts = int(event.sum()), int((~event).sum())
    if value is None or min(counts) < 2 or value in (0.0, 1.0):
        return Interval(value, None, None, level, event.size, 0, 0)
    deviation = math.sqrt(float(delong_covariance(event, scores)[0, 0]))
    reach = float(ndtri((1 + level) / 2)) * deviation / (value * (1 - value))
    low, high = (float(expit(logit(value) + sign * reach)) for sign in (-1, 1))
    return Interval(value, low, high, level, event.size, 0, 0)


def delong_test(
    truth: ArrayLike, first: ArrayLike, second: ArrayLike, *, level: float = 0.95
) -> Comparison:
    r"""DeLong's paired test of two AUROCs on the same cases [1]_.

    :math:`z = (A_1 - A_2) / \sqrt{s_{11} + s_{22} - 2 s_{12}}`, two-sided. Where that variance is 0
    (the scores rank alike), p is 1 for equal AUROCs and 0 otherwise.

    Args:
        truth: 0 or 1, ``(N,)``.
        first: scores of the first bundle, ``(N,)``.
        second: scores of the second, ``(N,)``.
        level: of the difference's interval.

    Raises:
        InputError: as for `delong_covariance`, or ``level`` is out of its range.

    References:
        .. [1] DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated
           receiver operating characteristic curves", Biometrics 44:837-845, 1988.
    """
    from scipy.special import ndtr, ndtri

    _level(level)
    areas, table = _delong(truth, (first, second))
    gap = float(areas[0] - areas[1])
    deviation = math.sqrt(max(float(table[0, 0] + table[1, 1] - 2 * table[0, 1]), 0.0))
    if deviation < 1e-12:
        p = 1.0 if abs(gap) < 1e-12 else 0.0
    else:
        p = float(2 * ndtr(-abs(gap) / deviation))
    reach = float(ndtri((1 + level) / 2)) * deviation
    return Comparison(float(areas[0]), float(areas[1]), gap, p, gap - reach, gap + reach)


def paired_bootstrap(
    statistic: Statistic,
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = 2000,
    method: Method = "percentile",
) -> Interval:
    """The interval of ``statistic(truth, first) - statistic(truth, second)``, patients resampled.

    Both bundles are scored on the same resample, so what is hard for both cancels out [1]_. An
    interval without 0 is a difference at that level. A resample in which either figure is
    undefined is left out and counted.

    Args:
        statistic: takes truth and predictions, returns a figure or None.
        truth: N rows.
        first: N rows, predictions of the first bundle.
        second: N rows, predictions of the second.
        seed: as for `bootstrap_interval`.
        groups: ``(N,)``, which patient each row is of; None where each is another.
        level: of the interval.
        replicates: how many resamples are drawn.
        method: ``"percentile"`` or ``"bca"``.

    Raises:
        InputError: lengths differ, or an option is out of its range.

    References:
        .. [1] Efron & Tibshirani, "An introduction to the bootstrap", Chapman & Hall, 1993,
           chapters 13 and 16.
    """

    def difference(*rows: NDArray[Any]) -> float | None:
        one, other = statistic(rows[0], rows[1]), statistic(rows[0], rows[2])
        return None if one is None or other is None else one - other

    return bootstrap_interval(
        difference, truth, first, second,
        seed=seed, groups=groups, level=level, replicates=replicates, method=method,
    )  # fmt: skip


def permutation_test(
    statistic: Statistic,
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    groups: ArrayLike | None = None,
    permutations: int = 2000,
) -> Comparison:
    r"""Exchange the two bundles' predictions, patient by patient, and see how often chance does it.

    Under no difference each patient's two sets of predictions could as well be the other way
    round [1]_. :math:`p = (1 + \#\{|d^*| \ge |d|\}) / (1 + B)` over B random exchanges (never 0
    [2]_); with up to 10 patients all :math:`2^n` exchanges are made and p is exact. An exchange
    for which the figure is undefined counts as one that is as far from 0, which can only raise p.

    Args:
        statistic: takes truth and predictions, returns a figure or None.
        truth: N rows.
        first: N rows, predictions of the first bundle.
        second: N rows of the same shape.
        seed: seed of the exchanges.
        groups: ``(N,)``, which patient each row is of; None where each is another.
        permutations: how many exchanges are drawn.

    Raises:
        InputError: lengths differ, the figure is undefined, or ``permutations`` is below 1.

    References:
        .. [1] Good, "Permutation, parametric and bootstrap tests of hypotheses", 3rd ed., Springer,
           2005, chapter 3.
        .. [2] Phipson & Smyth, "Permutation p-values should never be zero", Stat Appl Genet Mol
           Biol 9:39, 2010.
    """
    if permutations < 1:
        raise InputError(f"'permutations' is {permutations}; expected 1 or more, such as 2000")
    rows, one, other = np.asarray(truth), np.asarray(first), np.asarray(second)
    same_shape(first=one, second=other)
    count = same_length(truth=rows, first=one)
    names = np.arange(count) if groups is None else np.asarray(groups)
    same_length(truth=rows, groups=names)
    patients, which = np.unique(names, return_inverse=True)
    figures = statistic(rows, one), statistic(rows, other)
    if figures[0] is None or figures[1] is None:
        raise InputError("the figure is undefined on these cases; there is nothing to compare")
    gap = figures[0] - figures[1]
    exact = len(patients) <= 10
    if exact:
        every = np.arange(2 ** len(patients))
        swaps = (every[:, None] >> np.arange(len(patients))) & 1 == 1
    else:
        swaps = np.random.default_rng(seed).random((permutations, len(patients))) < 0.5
    as_far = 0
    for swap in swaps:
        taken = swap[which].reshape(-1, *(1,) * (one.ndim - 1))
        pair = (
            statistic(rows, np.where(taken, other, one)),
            statistic(rows, np.where(taken, one, other)),
        )
        undefined = pair[0] is None or pair[1] is None
        # rounding must not part what is equal
        as_far += undefined or abs(pair[0] - pair[1]) >= abs(gap) - 1e-12  # type: ignore[operator]
    p = as_far / len(swaps) if exact else (1 + as_far) / (1 + len(swaps))
    return Comparison(figures[0], figures[1], gap, p)


def mcnemar(truth: ArrayLike, first: ArrayLike, second: ArrayLike) -> Comparison:
    """McNemar's exact test of two accuracies on the same cases [1]_.

    Only cases that one bundle has right and the other wrong tell; their split is compared with
    that of a fair coin, two-sided, without approximation. p is 1 without such a case. Each case
    counts as a patient.

    Args:
        truth: classes, ``(N,)``, N from 1.
        first: classes as the first bundle calls them, ``(N,)``.
        second: classes as the second calls them, ``(N,)``.

    Returns:
        The accuracies and the p-value.

    Raises:
        InputError: shapes differ, or there is no case.

    References:
        .. [1] McNemar, "Note on the sampling error of the difference between correlated
           proportions or percentages", Psychometrika 12:153-157, 1947.
    """
    from scipy.stats import binom

    rows, one, other = (np.asarray(values) for values in (truth, first, second))
    same_shape(truth=rows, first=one, second=other)
    if not rows.size:
        raise InputError("there is no case to compare on")
    right, other_right = one == rows, other == rows
    gained = int((right & ~other_right).sum())
    lost = int((other_right & ~right).sum())
    p = min(1.0, 2 * float(binom.cdf(min(gained, lost), gained + lost, 0.5)))
    gap = (gained - lost) / rows.size
    return Comparison(float(right.mean()), float(other_right.mean()), gap, p)


def _delong(
    truth: ArrayLike, scores: tuple[ArrayLike, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from scipy.stats import rankdata

    event = binary(truth, name="truth")
    if not scores or event.ndim != 1:
        raise InputError(f"'truth' has shape {event.shape}; expected (N,) and one score or more")
    hits, rest = int(event.sum()), int((~event).sum())
    if min(hits, rest) < 2:
        raise InputError(f"'truth' has {hits} positives and {rest} negatives; two of each needed")
    outranks = np.empty((len(scores), hits))
    outranked = np.empty((len(scores), rest))
    for n, given in enumerate(scores):
        values = finite(given, name="scores").astype(np.float64)
        same_shape(truth=event, scores=values)
        ranks = rankdata(values)
        outranks[n] = (ranks[event] - rankdata(values[event])) / rest
        outranked[n] = 1 - (ranks[~event] - rankdata(values[~event])) / hits
    covariance = np.atleast_2d(np.cov(outranks)) / hits + np.atleast_2d(np.cov(outranked)) / rest
    return outranks.mean(axis=1), np.asarray(covariance, dtype=np.float64)


def _level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"'level' is {level}; expected above 0 and below 1, such as 0.95")
