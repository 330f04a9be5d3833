"""From figures per image to one figure of a cohort, in one way for all.

Per case first, then over cases: images of a patient are not pooled into one count, so a large image
weighs no more than a small one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from osler.errors import InputError
from osler.metrics.bootstrap import Interval, bootstrap_mean


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over cases.

    Attributes:
        mean: with its interval by patient.
        median: None without a case.
        quartiles: the first and third; None without a case.
        worst: the smallest and the greatest; None without a case.
        cases: how many it stands on.
        left_out: how many had no figure (None).
    """

    mean: Interval
    median: float | None
    quartiles: tuple[float, float] | None
    worst: tuple[float, float] | None
    cases: int
    left_out: int


def summarise(
    figures: Sequence[float | None],
    *,
    seed: int,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = 2000,
) -> Summary:
    """Mean with an interval by patient, median, quartiles, extremes, and how many are left out.

    Only None is left out. NaN and infinity are refused: they are what a figure becomes that was not
    defined where it had to be, and a mean that drops them is wrong in the better direction. Between
    two values, quantiles are interpolated linearly.

    Args:
        figures: one a case, None where it is not defined.
        seed: seed of the resampling.
        groups: ``(N,)``, which patient each case is of; None where each is another.
        level: of the interval.
        replicates: how many resamples are drawn.

    Raises:
        InputError: a figure is NaN or infinite, lengths differ, or an option is out of its range.
    """
    known = np.array([one is not None for one in figures], np.bool_)
    if any(one is not None and not math.isfinite(one) for one in figures):
        raise InputError("'figures' holds NaN or infinite values; say what a miss costs instead")
    values = np.array([one for one in figures if one is not None], np.float64)
    patients = None
    if groups is not None:
        names = np.asarray(groups)
        if names.shape != known.shape:
            raise InputError(f"'groups' has shape {names.shape}; expected {known.shape}")
        patients = names[known]
    mean = bootstrap_mean(values, seed=seed, groups=patients, level=level, replicates=replicates)
    left_out = int((~known).sum())
    if not values.size:
        return Summary(mean, None, None, None, 0, left_out)
    low, median, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    ends = float(values.min()), float(values.max())
    return Summary(mean, median, (low, high), ends, values.size, left_out)


def summarise_table(
    rows: Sequence[Mapping[str, float | None]],
    *,
    seed: int,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    replicates: int = 2000,
) -> dict[str, Summary]:
    """`summarise` of every column of a table of cases.

    Args:
        rows: one a case, the same keys in each.
        seed: seed of the resampling.
        groups: as for `summarise`.
        level: of the intervals.
        replicates: how many resamples are drawn.

    Raises:
        InputError: keys differ between rows (a figure that a case lacks is None, not absent), and
            as for `summarise`.
    """
    if any(row.keys() != rows[0].keys() for row in rows):
        raise InputError("'rows' differ in their keys; a figure that a case lacks is None")
    return {
        key: summarise(
            [row[key] for row in rows], seed=seed, groups=groups, level=level, replicates=replicates
        )
        for key in (rows[0] if rows else ())
    }
