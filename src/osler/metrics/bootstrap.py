"""Intervals by resampling patients, not images.

The two eyes of a person, or the visits, are not independent; resampling images would make the
interval too narrow. Whole groups (patients) are drawn with replacement, with all their rows [1]_.

References:
    .. [1] Davison & Hinkley, "Bootstrap methods and their application", Cambridge University
       Press, 1997, section 3.8.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import finite

Method = Literal["percentile", "bca"]
_UNDEFINED_SHARE_MAX = 0.5


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its interval.

    Attributes:
        value: the figure on all rows; None where it is undefined.
        low: lower end; None where the interval cannot be given.
        high: upper end; None where the interval cannot be given.
        level: its level, such as 0.95.
        groups: how many independent groups (patients) it stands on.
        replicates: how many resamples gave a figure.
        undefined: how many resamples gave none (say, of one class only) and were left out.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    groups: int
    replicates: int
    undefined: int


def bootstrap_interval(
    statistic: Callable[..., float | None],
    *arrays: ArrayLike,
    seed: int,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = 2000,
    method: Method = "percentile",
) -> Interval:
    r"""The interval of any figure of any arrays.

    ``"percentile"`` takes the :math:`\alpha/2` and :math:`1 - \alpha/2` quantiles of the figure
    over the resamples [1]_. ``"bca"`` shifts both for bias (the share of resamples below the
    figure, ties counting half) and for acceleration (by leaving out one group after the other)
    [2]_: better for skewed figures near their limit, such as an AUROC of 0.98, and slower by one
    call a group. The same seed gives the same interval. Compare two models on the same cases by
    a statistic that takes both predictions and returns the difference.

    Args:
        statistic: takes the resampled arrays, returns the figure, or None where undefined.
        arrays: share their first axis, N rows.
        seed: seed of the resampling.
        groups: ``(N,)``, which patient each row is of; None where each row is another.
        level: of the interval, above 0 and below 1.
        replicates: how many resamples are drawn; 2000 or more for the ends of a 95 % interval.
        method: ``"percentile"`` or ``"bca"``.

    Returns:
        The interval. Its ends are None where there are fewer than two groups, where the figure is
        undefined, or where more than half of the resamples were.

    Raises:
        InputError: lengths differ, or an option is out of its range.

    References:
        .. [1] Efron & Tibshirani, "An introduction to the bootstrap", Chapman & Hall, 1993,
           chapter 13.
        .. [2] Efron, "Better bootstrap confidence intervals", Journal of the American Statistical
           Association 82:171-185, 1987.
    """
    rows = [np.asarray(array) for array in arrays]
    members = _members(rows, groups)
    _check_options(level, replicates, method)
    value = statistic(*rows)
    if value is None or len(members) < 2:
        return Interval(value, None, None, level, len(members), 0, 0)
    generator = np.random.default_rng(seed)
    figures: list[float] = []
    for _ in range(replicates):
        drawn = generator.integers(0, len(members), len(members))
        index = np.concatenate([members[one] for one in drawn])
        figure = statistic(*(row[index] for row in rows))
        if figure is not None:
            figures.append(figure)
    left_out: list[float] = []
    if method == "bca":
        left_out = _jackknife(statistic, rows, members)
    return _interval(value, np.array(figures), left_out, level, len(members), replicates)


def bootstrap_mean(
    values: ArrayLike,
    *,
    seed: int,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = 2000,
    method: Method = "percentile",
) -> Interval:
    """`bootstrap_interval` of the mean of a figure per image, such as Dice, without a loop.

    The same definition; drawn as how often each group is in each resample, so the numbers differ
    from those of `bootstrap_interval` with the same seed by chance only. Leave out undefined
    values first, and say how many.

    Args:
        values: ``(N,)``, a figure per image.
        seed: seed of the resampling.
        groups: ``(N,)``, which patient each image is of; None where each is another.
        level: of the interval, above 0 and below 1.
        replicates: how many resamples are drawn.
        method: ``"percentile"`` or ``"bca"``.

    Returns:
        The interval; ``value`` is None without values, the ends are None with fewer than two
        groups.

    Raises:
        InputError: a value is not finite, lengths differ, or an option is out of its range.
    """
    rows = finite(values, name="values").astype(np.float64)
    if rows.ndim != 1:
        raise InputError(f"'values' has shape {rows.shape}; expected (N,)")
    members = _members([rows], groups)
    _check_options(level, replicates, method)
    if len(members) < 2:
        value = float(rows.mean()) if rows.size else None
        return Interval(value, None, None, level, len(members), 0, 0)
    sums = np.array([rows[one].sum() for one in members])
    sizes = np.array([one.size for one in members])
    generator = np.random.default_rng(seed)
    shares = np.full(len(members), 1 / len(members))
    drawn = generator.multinomial(len(members), shares, size=replicates)
    figures = (drawn @ sums) / (drawn @ sizes)
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes) if method == "bca" else np.empty(0)
    value = float(rows.mean())
    return _interval(value, figures, left_out.tolist(), level, len(members), replicates)


def _members(rows: list[NDArray[Any]], groups: ArrayLike | None) -> list[NDArray[np.intp]]:
    """The rows of each group, groups in sorted order."""
    if not rows:
        raise InputError("no array was given to resample")
    count = len(rows[0])
    if any(len(row) != count for row in rows):
        raise InputError(f"the arrays have {[len(row) for row in rows]} rows; expected the same")
    if groups is None:
        return list(np.arange(count)[:, None])
    names = np.asarray(groups)
    if names.shape != (count,):
        raise InputError(f"'groups' has shape {names.shape}; expected ({count},)")
    _, which, sizes = np.unique(names, return_inverse=True, return_counts=True)
    return np.split(np.argsort(which, kind="stable"), np.cumsum(sizes)[:-1]) if count else []


def _check_options(level: float, replicates: int, method: str) -> None:
    if not 0 < level < 1:
        raise InputError(f"'level' is {level}; expected above 0 and below 1, such as 0.95")
    if replicates < 1:
        raise InputError(f"'replicates' is {replicates}; expected 1 or more, such as 2000")
    if method not in ("percentile", "bca"):
        raise InputError(f"'method' is {method!r}; expected 'percentile' or 'bca'")


def _jackknife(
    statistic: Callable[..., float | None],
    rows: list[NDArray[Any]],
    members: list[NDArray[np.intp]],
) -> list[float]:
    """The figure without each group in turn, where it is defined."""
    figures = []
    for one in members:
        kept = np.ones(len(rows[0]), np.bool_)
        kept[one] = False
        figure = statistic(*(row[kept] for row in rows))
        if figure is not None:
            figures.append(figure)
    return figures


def _interval(
    value: float,
    figures: NDArray[np.float64],
    left_out: list[float],
    level: float,
    groups: int,
    replicates: int,
) -> Interval:
    undefined = replicates - figures.size
    if undefined > _UNDEFINED_SHARE_MAX * replicates:
        return Interval(value, None, None, level, groups, figures.size, undefined)
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    if left_out:
        ends = _corrected(ends, value, figures, np.array(left_out))
    low, high = np.quantile(figures, ends)
    return Interval(value, float(low), float(high), level, groups, figures.size, undefined)


def _corrected(
    ends: NDArray[np.float64],
    value: float,
    figures: NDArray[np.float64],
    left_out: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The quantiles to take instead, corrected for bias and acceleration [2]_."""
    from scipy.special import ndtr, ndtri

    share = ((figures < value).sum() + (figures == value).sum() / 2) / figures.size
    # a figure outside all resamples would be infinitely biased
    share = np.clip(share, 0.5 / figures.size, 1 - 0.5 / figures.size)
    bias = ndtri(share)
    gaps = left_out.mean() - left_out
    scale = float((gaps**2).sum()) ** 1.5
    acceleration = float((gaps**3).sum()) / (6 * scale) if scale else 0.0
    shifted = bias + ndtri(ends)
    return np.asarray(ndtr(bias + shifted / (1 - acceleration * shifted)), dtype=np.float64)
