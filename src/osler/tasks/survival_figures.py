"""The figures of foretold chances of an event, from what each case gave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.errors import InputError
from osler.tasks.survival_models import cumulative_incidence
from osler.tasks.task import Figure, Row

Floats = NDArray[np.float64]
Statistic = Callable[..., float | None]

GROUPS = 5
"""Groups of foretold risk in which it is held against the observed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the figures of a survival task are about.

    Attributes:
        causes: names of the events.
        horizons: times at which risks are stated.
        grid: times of the curves.
        unit: of time, for names.
        thresholds: risks from which on one would act.
    """

    causes: Sequence[str]
    horizons: Sequence[float]
    grid: Sequence[float]
    unit: str
    thresholds: Sequence[float]


def survival_figures(
    rows: Sequence[Row], patients: Sequence[str], asked: Asked, *, seed: int, replicates: int
) -> list[Figure]:
    """Discrimination, error, calibration and use, each with its interval by patient.

    Args:
        rows: of ``Survival.judge``.
        patients: of each row.
        asked: what they are about.
        seed: of the bootstrap.
        replicates: of the bootstrap.
    """
    times = np.array([row["time"] for row in rows], np.float64)
    causes = np.array([row["event"] for row in rows], np.int64)
    score = np.array([row["score"] for row in rows], np.float64)
    risk = np.array([row["risk"] for row in rows], np.float64)
    curve = np.array([row["curve"] for row in rows], np.float64)
    out = []
    for name, statistic, better, how in _statistics(asked):
        interval = metrics.bootstrap_interval(
            statistic, times, causes, score, risk, curve, seed=seed, groups=np.array(patients),
            replicates=replicates,
        )  # fmt: skip
        out.append(Figure(name, interval, len(rows), how, greater_is_better=better))
    return out


def _statistics(asked: Asked) -> list[tuple[str, Statistic, bool, str]]:
    out: list[tuple[str, Statistic, bool, str]] = []
    last = asked.horizons[-1]
    grid = np.array(asked.grid)
    for k, cause in enumerate(asked.causes):
        of = f", {cause}" if len(asked.causes) > 1 else ""
        rivals = "; other events count as censored" if of else ""
        until = f"events before {last:g} {asked.unit}, censoring from the same cases{rivals}"
        span = f"{grid[0]:g} to {grid[-1]:g} {asked.unit}"
        weighted = "weighted for censoring, whose curve is that of the same cases"
        out += [
            (f"C-index (Uno){of}", _of(uno, k, last), True, until),
            (f"C-index (Harrell){of}", _of(harrell, k), True, f"all events{rivals}"),
            (f"integrated Brier{of}", _of(integrated, k, grid), False, f"{span}; {weighted}"),
            (f"Brier gained on Kaplan-Meier{of}", _of(gained, k, grid), True,
             f"1 less the integrated Brier over that of the cases' own curve, {span}"),
        ]  # fmt: skip
        for h, horizon in enumerate(asked.horizons):
            at = f", {horizon:g} {asked.unit}"
            out += [
                (f"Brier{of}{at}", _of(brier, k, h, horizon), False, weighted),
                (f"observed less foretold{of}{at}", _of(excess, k, h, horizon), True,
                 "0 is best: observed share (Aalen and Johansen) less the mean risk"),
            ]  # fmt: skip
            if not of:
                out.append(
                    (f"calibration gap{at}", _of(gap, k, h, horizon), False,
                     f"mean absolute gap in {GROUPS} groups of foretold risk")
                )  # fmt: skip
        middle = len(asked.horizons) // 2
        horizon = asked.horizons[middle]
        for one in asked.thresholds:
            out.append(
                (f"net benefit{of}, {horizon:g} {asked.unit}, from {one:g}",
                 _of(benefit, k, middle, horizon, one), True,
                 "a case, above the better of acting on all and on none")
            )  # fmt: skip
    return out


def _of(function: Callable[..., float | None], *about: Any) -> Statistic:
    def statistic(*arrays: Any) -> float | None:
        try:
            return function(*arrays, *about)
        except InputError:  # a resample in which nobody is left to tell
            return None

    return statistic


def uno(
    times: Floats, causes: Any, score: Floats, risk: Floats, curve: Floats, k: int, until: float
) -> float | None:
    """Uno's C of a cause."""
    return metrics.uno_c(times, causes == k + 1, score[:, k], until=until)


def harrell(
    times: Floats, causes: Any, score: Floats, risk: Floats, curve: Floats, k: int
) -> float | None:
    """Harrell's C of a cause."""
    return metrics.harrell_c(times, causes == k + 1, score[:, k])


def brier_of_cause(times: Floats, causes: Any, chances: Floats, k: int, at: Floats) -> Floats:
    """Brier's score of a cause's chance by each time, weighted for censoring [1]_.

    Whoever had another event by then counts as without this one, with the weight of their time.

    Args:
        times: ``(N,)``.
        causes: ``(N,)`` from 1; 0 is censored.
        chances: ``(N, T)`` foretold.
        k: the cause, from 0.
        at: ``(T,)``.

    References:
        .. [1] Schoop et al., "Quantifying the predictive accuracy of time-to-event models in the
           presence of competing risks", Biometrical Journal 53:88-112, 2011.
    """
    table = 1 - chances
    other = ((causes > 0) & (causes != k + 1))[:, None] & (times[:, None] <= at)
    # whoever fell is held to have no chance left: of another cause that is turned round
    table = np.where(other, 1 - table, table)
    return metrics.survival_brier(times, causes > 0, table, at=at)


def integrated(
    times: Floats, causes: Any, score: Floats, risk: Floats, curve: Floats, k: int, grid: Floats
) -> float:
    """The mean of Brier's score over time."""
    scores = brier_of_cause(times, causes, curve[:, k], k, grid)
    return float(np.trapezoid(scores, grid) / (grid[-1] - grid[0]))


def gained(
    times: Floats, causes: Any, score: Floats, risk: Floats, curve: Floats, k: int, grid: Floats
) -> float | None:
    """The share of the integrated Brier score of a curve that is the same for all that is saved."""
    own = cumulative_incidence(times, causes, cause=k + 1, at=grid)
    plain = brier_of_cause(times, causes, np.tile(own, (len(times), 1)), k, grid)
    whole = float(np.trapezoid(plain, grid))
    if whole <= 0:
        return None
    mine = float(np.trapezoid(brier_of_cause(times, causes, curve[:, k], k, grid), grid))
    return 1 - mine / whole


def brier(
    times: Floats, causes: Any, score: Floats, risk: Floats, curve: Floats, k: int, h: int,
    horizon: float,
) -> float:  # fmt: skip
    """Brier's score at a horizon."""
    at = np.array([horizon])
    return float(brier_of_cause(times, causes, risk[:, k, h : h + 1], k, at)[0])


def excess(
    times: Floats, causes: Any, score: Floats, risk: Floats, curve: Floats, k: int, h: int,
    horizon: float,
) -> float:  # fmt: skip
    """Observed less foretold risk, over all cases."""
    observed = cumulative_incidence(times, causes, cause=k + 1, at=np.array([horizon]))
    return float(observed[0]) - float(risk[:, k, h].mean())


def gap(
    times: Floats, causes: Any, score: Floats, risk: Floats, curve: Floats, k: int, h: int,
    horizon: float,
) -> float | None:  # fmt: skip
    """The mean absolute gap of groups of foretold risk, by their sizes; those unknown left out."""
    found = metrics.survival_calibration(
        times, causes > 0, 1 - risk[:, k, h], at=horizon, groups=GROUPS
    )
    known = np.isfinite(found.observed)
    if not known.any():
        return None
    away = np.abs(found.observed[known] - found.predicted[known])
    return float(np.average(away, weights=found.counts[known]))


def net_benefit(
    times: Floats, causes: Any, risk: Floats, k: int, horizon: float, threshold: float
) -> tuple[float, float]:
    r"""Net benefit of acting from a risk on, and of acting on everyone, with censoring [1]_.

    With :math:`F` the observed chance of the event by the horizon among those acted on (Aalen and
    Johansen) and :math:`a` their share, :math:`a F - a (1 - F) \cdot r / (1 - r)`.

    References:
        .. [1] Vickers et al., "Extensions to decision curve analysis, a novel method for evaluating
           diagnostic tests, prediction models and molecular markers", BMC Medical Informatics and
           Decision Making 8:53, 2008.
    """
    odds = threshold / (1 - threshold)

    def of(rows: Any) -> float:
        share = float(rows.mean())
        if not share:
            return 0.0
        marks = np.array([horizon])
        fell = float(cumulative_incidence(times[rows], causes[rows], cause=k + 1, at=marks)[0])
        return share * (fell - (1 - fell) * odds)

    return of(risk >= threshold), of(np.ones(len(times), np.bool_))


def benefit(
    times: Floats, causes: Any, score: Floats, risk: Floats, curve: Floats, k: int, h: int,
    horizon: float, threshold: float,
) -> float:  # fmt: skip
    """Net benefit above the better of acting on everyone and on no one."""
    mine, everyone = net_benefit(times, causes, risk[:, k, h], k, horizon, threshold)
    return mine - max(everyone, 0.0)
