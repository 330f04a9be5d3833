"""Intervals of an individual risk: what other cases, drawn likewise, would have made of its score.

A network's score becomes a risk through a slope and a baseline hazard that rest on some cases. Here
these cases are drawn again, by patient and with replacement [1]_, and slope and baseline fitted
anew each time. How far the risk of a score moves is its interval, taken on the scale of the log
cumulative hazard and put around the risk that is stated. What other training cases would have made
of the network itself is not in it.

References:
    .. [1] Efron, "Censored data and the bootstrap", Journal of the American Statistical Association
       76:312-319, 1981.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from osler.tasks.survival_models import (
    Floats,
    breslow,
    cox_incidence,
    hazard_incidence,
    hazards_of,
    interval_likelihood,
)
from osler.tasks.task import Settings

REPLICATES: Final = 100
LEVEL: Final = 0.95
_FEWEST: Final = 50  # replicates with an event of each cause
_SLOPES: Final = (0.05, 20.0)
_LEAST: Final = 1e-9  # of a risk, whose logarithm is taken
_DIGITS: Final = 5
_STEPS, _SMALL, _RIDGE = 50, 1e-6, 1e-3


class Replicate(Settings):
    """What one drawing of the cases makes of a score.

    Attributes:
        slope: of the score about its mean (``cox``), or of all scores (``hazards``); one a cause
            for ``cox``.
        shift: added to all scores (``hazards``).
        hazard: cumulative baseline hazard of each cause at the marks (``cox``).
    """

    slope: list[float]
    shift: float = 0.0
    hazard: list[list[float]] = []


class Spread(Settings):
    """Replicates; the first is of the cases as they are.

    Attributes:
        marks: times of the hazards, ascending.
        centre: mean score of each cause.
        replicates: one a drawing.
        cases: how many cases they rest on.
    """

    marks: list[float] = []
    centre: list[float] = []
    replicates: list[Replicate]
    cases: int


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Cases whose outcome is known.

    Attributes:
        scores: ``(N, S)`` calibrated.
        times: ``(N,)``.
        causes: ``(N,)``, 0 for censored.
        patients: of each.
        survived: ``(N, J)`` of `interval_targets` (``hazards``).
        happened: ``(N, J, K)`` likewise.
    """

    scores: Floats
    times: Floats
    causes: NDArray[np.int64]
    patients: Sequence[str]
    survived: Floats | None = None
    happened: Floats | None = None


def cox_spread(known: Known, count: int, marks: Sequence[float], *, seed: int = 1) -> Spread | None:
    """Replicates of slopes and baselines.

    Args:
        known: cases that did not teach.
        count: causes.
        marks: times at which risks are stated, ascending.
        seed: of the drawings.

    Returns:
        None where too few drawings have an event of each cause.
    """
    centre = known.scores.mean(axis=0)
    found: list[Replicate] = []
    for rows in _drawings(known.patients, seed):
        one = _cox(known, rows, centre, count, np.asarray(marks, np.float64))
        if one is None and not found:
            return None
        if one is not None:
            found.append(one)
    if len(found) <= _FEWEST:
        return None
    return Spread(
        marks=[float(one) for one in marks], centre=_rounded(centre), replicates=found,
        cases=len(known.times),
    )  # fmt: skip


def hazard_spread(known: Known, *, seed: int = 1) -> Spread | None:
    """Replicates of a slope and a shift of the log odds; as `cox_spread`."""
    found: list[Replicate] = []
    for rows in _drawings(known.patients, seed):
        one = _hazards(known, rows)
        if one is None and not found:
            return None
        if one is not None:
            found.append(one)
    if len(found) <= _FEWEST:
        return None
    return Spread(replicates=found, cases=len(known.times))


def risk_interval(
    spread: Spread, scores: Floats, stated: Floats, at: Floats, *, edges: Floats | None = None
) -> tuple[Floats, Floats]:
    """The ends of the risks of a case.

    Args:
        spread: of the task.
        scores: ``(S,)`` calibrated.
        stated: ``(K, T)`` the risks.
        at: ``(T,)`` times.
        edges: of the intervals (``hazards``).

    Returns:
        Lower and upper ends, ``(K, T)`` each.
    """
    drawn = [_log_hazard(_risks(spread, one, scores, len(stated), at, edges))
             for one in spread.replicates]  # fmt: skip
    moved = np.stack(drawn[1:]) - drawn[0]
    low, high = np.quantile(moved, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    middle = _log_hazard(stated)
    # a stated risk of 0 has no event before it: nothing moves it
    ends = [np.where(stated > 0, -np.expm1(-np.exp(middle + one)), 0.0) for one in (low, high)]
    return ends[0], ends[1]


def _drawings(patients: Sequence[str], seed: int) -> list[NDArray[np.intp]]:
    """Rows of the cases as they are, then of each drawing."""
    rng = np.random.default_rng(seed)
    names, of = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    rooms = [np.flatnonzero(of == k) for k in range(len(names))]
    drawn = [np.arange(len(of))]
    for _ in range(REPLICATES):
        drawn.append(np.concatenate([rooms[k] for k in rng.integers(0, len(rooms), len(rooms))]))
    return drawn


def _cox(
    known: Known, rows: NDArray[np.intp], centre: Floats, count: int, marks: Floats
) -> Replicate | None:
    slopes, hazards = [], []
    for k in range(count):
        times, events = known.times[rows], known.causes[rows] == k + 1
        column = known.scores[rows, k] - centre[k]
        if not events.any() or float(np.ptp(column)) < 1e-9:
            return None
        slope = slope_of(times, events, column)
        at, hazard = breslow(times, events, slope * column)
        place = np.searchsorted(at, marks, side="right")
        slopes.append(slope)
        hazards.append(_rounded(np.concatenate([[0.0], hazard])[place]))
    return Replicate(slope=_rounded(slopes), hazard=hazards)


def slope_of(times: Floats, events: NDArray[np.bool_], column: Floats) -> float:
    """The weight of one column in a Cox regression, ties by Breslow: quick, for many drawings.

    Args:
        times: ``(N,)``.
        events: ``(N,)``.
        column: ``(N,)``.
    """
    order = np.argsort(-times, kind="stable")
    when, fell, x = times[order], events[order], column[order]
    # the last place of each time: whoever leaves then is at risk for all who do
    place = np.searchsorted(-when, -when[fell], side="right") - 1
    own, slope = float(x[fell].sum()), 0.0
    for _ in range(_STEPS):
        weight = np.exp(slope * x - (slope * x).max())
        sums = [np.cumsum(weight * x**power)[place] for power in range(3)]
        mean = sums[1] / sums[0]
        gradient = own - mean.sum() - _RIDGE * slope
        curve = (sums[2] / sums[0] - mean**2).sum() + _RIDGE
        step = float(np.clip(gradient / curve, -1.0, 1.0))
        slope = float(np.clip(slope + step, -_SLOPES[1], _SLOPES[1]))
        if abs(step) < _SMALL:
            break
    return slope


def _hazards(known: Known, rows: NDArray[np.intp]) -> Replicate | None:
    from scipy.optimize import minimize

    assert known.survived is not None
    assert known.happened is not None
    survived, happened = known.survived[rows], known.happened[rows]
    if not happened.any():
        return None
    scores = known.scores[rows].reshape(happened.shape)

    def loss(told: NDArray[np.float64]) -> float:
        table = hazards_of((np.exp(told[0]) * scores + told[1]).reshape(-1, happened.shape[-1]))
        return -interval_likelihood(table.reshape(happened.shape), survived, happened)

    # its own first steps from 0 are too small to be told from none
    first = np.array([[0.0, 0.0], [0.3, 0.0], [0.0, 0.3]])
    found = minimize(
        loss, np.zeros(2), method="Nelder-Mead",
        options={"initial_simplex": first, "xatol": 1e-3, "fatol": 1e-3},
    )  # fmt: skip
    slope = float(np.clip(np.exp(found.x[0]), *_SLOPES))
    return Replicate(slope=_rounded([slope]), shift=_rounded([found.x[1]])[0])


def _risks(
    spread: Spread, one: Replicate, scores: Floats, count: int, at: Floats, edges: Floats | None
) -> Floats:
    if edges is not None:
        moved = (one.slope[0] * scores + one.shift).reshape(-1, count)
        return np.asarray(hazard_incidence(hazards_of(moved), edges, at))
    marks = np.asarray(spread.marks)
    away = np.asarray(one.slope) * (scores - np.asarray(spread.centre))
    baselines = [(marks, np.asarray(hazard)) for hazard in one.hazard]
    return np.asarray(cox_incidence(baselines, away, at))


def _log_hazard(risk: Floats) -> Floats:
    return np.asarray(np.log(-np.log1p(-np.clip(risk, _LEAST, 1 - _LEAST))))


def _rounded(values: Sequence[float] | Floats) -> list[float]:
    return [float(f"{one:.{_DIGITS}g}") for one in values]
