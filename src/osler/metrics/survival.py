r"""How well times to an event are foretold, where some cases left before it (censored).

A case is its time and whether the event was seen then. Where an event and a censoring share a time,
the event comes first, so the censored case was still at risk. Inverse-probability-of-censoring
weights (IPCW) come from the Kaplan-Meier curve :math:`G` of censoring, of a cohort that may be
another than the one scored (the training one, usually). Censoring must not depend on the risk.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import binary, finite, probabilities, same_shape

Cohort = tuple[ArrayLike, ArrayLike]

_ROWS = 256  # events held against all cases at a time


@dataclass(frozen=True, slots=True)
class SurvivalCurve:
    """A step function that starts at 1 and changes at ``times``.

    Attributes:
        times: ``(T,)`` distinct times of events, ascending.
        values: ``(T,)`` its value from each on.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float64]

    def at(self, times: ArrayLike, *, before: bool = False) -> NDArray[np.float64]:
        """The value at each time, or just before it."""
        marks = np.asarray(times, np.float64)
        if before:
            place = np.searchsorted(self.times, marks, side="left")
        else:
            place = np.searchsorted(self.times, marks, side="right")
        return np.asarray(np.concatenate([[1.0], self.values])[place], dtype=np.float64)


def kaplan_meier(times: ArrayLike, events: ArrayLike) -> SurvivalCurve:
    r"""The share that is still without the event, :math:`\prod_{t_i \le t} (1 - d_i / n_i)` [1]_.

    Args:
        times: ``(N,)``, 0 or more.
        events: ``(N,)`` whether the event was seen.

    Raises:
        InputError: shapes differ, or a value is out of its range.

    References:
        .. [1] Kaplan & Meier, "Nonparametric estimation from incomplete observations", Journal of
           the American Statistical Association 53:457-481, 1958.
    """
    when, seen = _cohort(times, events)
    levels, place = np.unique(when, return_inverse=True)
    fell = np.bincount(place[seen], minlength=levels.size)
    at_risk = when.size - np.searchsorted(np.sort(when), levels, side="left")
    there = fell > 0
    return _curve(levels[there], fell[there] / at_risk[there])


def censoring_curve(times: ArrayLike, events: ArrayLike) -> SurvivalCurve:
    """`kaplan_meier` of being censored; a case with an event leaves before those censored then.

    Arguments and errors as for `kaplan_meier`.
    """
    when, seen = _cohort(times, events)
    levels, place = np.unique(when, return_inverse=True)
    left = np.bincount(place[~seen], minlength=levels.size)
    fell = np.bincount(place[seen], minlength=levels.size)
    at_risk = when.size - np.searchsorted(np.sort(when), levels, side="left") - fell
    there = left > 0
    return _curve(levels[there], left[there] / at_risk[there])


def harrell_c(times: ArrayLike, events: ArrayLike, risk: ArrayLike) -> float | None:
    """Harrell's C: of two cases, how often the one with the event first had the greater risk [1]_.

    A pair tells where the earlier time is that of an event, the other case later, or censored at
    the same time. A tie in risk counts half. Two events at one time do not tell. The more is
    censored, the more it depends on when: prefer `uno_c`.

    Args:
        times: ``(N,)``, 0 or more.
        events: ``(N,)`` whether the event was seen.
        risk: ``(N,)``, greater for an earlier event.

    Returns:
        0 to 1, or None where no pair tells.

    Raises:
        InputError: shapes differ, or a value is out of its range.

    References:
        .. [1] Harrell, Lee & Mark, "Multivariable prognostic models", Statistics in Medicine
           15:361-387, 1996.
    """
    return _concordance(times, events, risk, None, np.inf)


def uno_c(
    times: ArrayLike,
    events: ArrayLike,
    risk: ArrayLike,
    *,
    until: float | None = None,
    censoring: Cohort | None = None,
) -> float | None:
    r"""Uno's C: Harrell's, each pair weighted by :math:`G(t_i^-)^{-2}`, so free of censoring [1]_.

    Args:
        times: ``(N,)``, 0 or more.
        events: ``(N,)`` whether the event was seen.
        risk: ``(N,)``, greater for an earlier event.
        until: only events before this time count; None for all. Set it where G is not yet small,
            for the last few cases have great weights.
        censoring: times and events of the cohort that G comes from; None for this one.

    Returns:
        0 to 1, or None where no pair tells.

    Raises:
        InputError: shapes differ, a value is out of its range, or G is 0 at an event that counts
            (choose ``until`` earlier).

    References:
        .. [1] Uno et al., "On the C-statistics for evaluating overall adequacy of risk prediction
           procedures with censored survival data", Statistics in Medicine 30:1105-1117, 2011.
    """
    curve = censoring_curve(*(censoring or (times, events)))
    return _concordance(times, events, risk, curve, np.inf if until is None else until)


def survival_brier(
    times: ArrayLike,
    events: ArrayLike,
    survival: ArrayLike,
    *,
    at: ArrayLike,
    censoring: Cohort | None = None,
) -> NDArray[np.float64]:
    r"""The Brier score of foretold survival at given times, weighted for censoring [1]_.

    .. math:: \frac1N \sum_i \frac{S_i(t)^2\,[t_i \le t, \text{event}]}{G(t_i^-)}
              + \frac{(1 - S_i(t))^2\,[t_i > t]}{G(t)}

    Cases censored by t count through the weights of the others. 0.25 is what S = 0.5 gets.

    Args:
        times: ``(N,)``, N from 1.
        events: ``(N,)`` whether the event was seen.
        survival: ``(N, T)``, the foretold chance to be without the event at each time.
        at: ``(T,)``, ascending.
        censoring: times and events of the cohort that G comes from; None for this one.

    Returns:
        ``(T,)``, lower is better.

    Raises:
        InputError: shapes do not fit, a value is out of its range, or G is 0 where it is needed
            (a time beyond the last case).

    References:
        .. [1] Graf et al., "Assessment and comparison of prognostic classification schemes for
           survival data", Statistics in Medicine 18:2529-2545, 1999.
    """
    when, seen = _cohort(times, events)
    marks, table = _foretold(when, survival, at)
    curve = censoring_curve(*(censoring or (when, seen)))
    fell = seen[:, None] & (when[:, None] <= marks)
    stayed = when[:, None] > marks
    weight = np.zeros_like(table)
    own = np.broadcast_to(curve.at(when, before=True)[:, None], table.shape)
    then = np.broadcast_to(curve.at(marks)[None], table.shape)
    if (own[fell] <= 0).any() or (then[stayed] <= 0).any():
        raise InputError("nobody is left uncensored at a time that counts; choose earlier times")
    weight[fell], weight[stayed] = 1 / own[fell], 1 / then[stayed]
    errors = np.where(stayed, 1 - table, table) ** 2
    return np.asarray((weight * errors).mean(axis=0), dtype=np.float64)


def integrated_brier(
    times: ArrayLike,
    events: ArrayLike,
    survival: ArrayLike,
    *,
    at: ArrayLike,
    censoring: Cohort | None = None,
) -> float:
    """The mean of `survival_brier` over time, by the trapezoid rule between the times given [1]_.

    Arguments and errors as for `survival_brier`; two times or more.

    References:
        .. [1] Graf et al., "Assessment and comparison of prognostic classification schemes for
           survival data", Statistics in Medicine 18:2529-2545, 1999.
    """
    scores = survival_brier(times, events, survival, at=at, censoring=censoring)
    marks = np.asarray(at, np.float64)
    if marks.size < 2:
        raise InputError(f"'at' has {marks.size} times; an integral needs two or more")
    return float(np.trapezoid(scores, marks) / (marks[-1] - marks[0]))


@dataclass(frozen=True, slots=True)
class SurvivalCalibration:
    """Foretold and observed risk at a time, by groups of foretold risk.

    Attributes:
        counts: ``(B,)`` cases in each group, from low risk to high.
        predicted: ``(B,)`` mean foretold risk.
        observed: ``(B,)`` one less Kaplan-Meier at the time; NaN where the group's last case was
            censored before it.
    """

    counts: NDArray[np.int64]
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]


def survival_calibration(
    times: ArrayLike, events: ArrayLike, survival: ArrayLike, *, at: float, groups: int = 10
) -> SurvivalCalibration:
    """Foretold against observed risk by one time, in groups of equal size [1]_.

    Cases of one foretold risk stay together, so groups may be fewer and of unlike sizes.

    Args:
        times: ``(N,)``, N from 1.
        events: ``(N,)`` whether the event was seen.
        survival: ``(N,)``, the foretold chance to be without the event at that time.
        at: the time.
        groups: how many groups are aimed at.

    Raises:
        InputError: shapes differ, a value is out of its range, or ``groups`` is below 1.

    References:
        .. [1] D'Agostino & Nam, "Evaluation of the performance of survival analysis models",
           Handbook of Statistics 23:1-25, 2003.
    """
    when, seen = _cohort(times, events)
    _, table = _foretold(when, np.reshape(survival, (-1, 1)), [at])
    if groups < 1:
        raise InputError(f"'groups' is {groups}; expected 1 or more, such as 10")
    risk = 1 - table[:, 0]
    below = np.searchsorted(np.sort(risk), risk, side="left")
    place = below * groups // risk.size
    counts, predicted, observed = [], [], []
    for group in np.unique(place):
        rows = place == group
        counts.append(int(rows.sum()))
        predicted.append(float(risk[rows].mean()))
        last = when[rows].max()
        known = last >= at or seen[rows][when[rows] == last].all()
        observed.append(1 - float(kaplan_meier(when[rows], seen[rows]).at(at)) if known else np.nan)
    return SurvivalCalibration(np.array(counts), np.array(predicted), np.array(observed))


def _curve(times: NDArray[np.float64], hazards: NDArray[Any]) -> SurvivalCurve:
    return SurvivalCurve(times, np.asarray(np.cumprod(1 - hazards), dtype=np.float64))


def _concordance(
    times: ArrayLike, events: ArrayLike, risk: ArrayLike, curve: SurvivalCurve | None, until: float
) -> float | None:
    when, seen = _cohort(times, events)
    values = finite(risk, name="risk").astype(np.float64)
    same_shape(times=when, risk=values)
    right = whole = 0.0
    rows = np.flatnonzero(seen & (when < until))
    for begin in range(0, rows.size, _ROWS):
        some = rows[begin : begin + _ROWS, None]
        later = (when > when[some]) | ((when == when[some]) & ~seen)
        pairs = later.sum(axis=1)
        weight = np.ones(len(some))
        if curve is not None:
            kept = curve.at(when[some[:, 0]], before=True)
            if (kept[pairs > 0] <= 0).any():
                raise InputError("nobody is left uncensored at an event; choose 'until' earlier")
            weight = np.divide(1.0, kept**2, out=np.zeros_like(kept), where=pairs > 0)
        lower, same = values < values[some], values == values[some]
        above = (later & lower).sum(axis=1) + 0.5 * (later & same).sum(axis=1)
        right += float(weight @ above)
        whole += float(weight @ pairs)
    return right / whole if whole else None


def _cohort(times: ArrayLike, events: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    when = finite(times, name="times").astype(np.float64)
    seen = binary(events, name="events") if np.size(events) else np.zeros(0, np.bool_)
    same_shape(times=when, events=seen)
    if when.ndim != 1 or (when.size and when.min() < 0):
        raise InputError("'times' must be (N,) and 0 or more")
    return when, seen


def _foretold(
    when: NDArray[np.float64], survival: ArrayLike, at: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table, marks = probabilities(survival, name="survival"), finite(at, name="at")
    if not when.size or table.shape != (when.size, marks.size):
        raise InputError(
            f"'survival' has shape {table.shape}; expected ({when.size}, {marks.size}), a row a "
            "case and a column a time, and a case at least"
        )
    if marks.ndim != 1 or (np.diff(marks) <= 0).any():
        raise InputError("'at' must be (T,), ascending")
    return marks.astype(np.float64), table
