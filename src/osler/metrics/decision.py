"""What a probability is worth once someone acts on it, and where a Brier score comes from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import binary, probabilities, same_shape
from osler.metrics.calibration import BINS, reliability


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit at each threshold, per case.

    Attributes:
        thresholds: ``(T,)`` probabilities from which on one would act.
        model: ``(T,)`` net benefit of acting on the probabilities.
        everyone: ``(T,)`` of acting on every case; of acting on none it is 0.
    """

    thresholds: NDArray[np.float64]
    model: NDArray[np.float64]
    everyone: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BrierParts:
    """A Brier score taken apart: reliability - resolution + uncertainty + within.

    Attributes:
        brier: the score.
        reliability: gap between predicted and observed in the bins; lower is better.
        resolution: how far the bins' events part from the average; higher is better.
        uncertainty: the variance of the event itself.
        within: what the spread of probabilities inside the bins adds (or takes away); 0 where
            every bin holds one probability.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def decision_curve(
    truth: ArrayLike, probability: ArrayLike, *, thresholds: ArrayLike | None = None
) -> DecisionCurve | None:
    r"""Net benefit of acting from a probability on [1]_.

    :math:`\text{TP}/N - \text{FP}/N \cdot t/(1 - t)`: who acts from t on holds one true positive
    worth :math:`(1 - t)/t` false ones. A probability equal to t is acted on. Useful only where it
    is above both acting on everyone and on no one (0), at thresholds that a clinician would use.
    A probability that is not calibrated can do harm.

    Args:
        truth: whether the event happened, 0 or 1, ``(N,)``.
        probability: its probability, ``(N,)``.
        thresholds: ``(T,)`` from 0 to below 1; None for 0.01 to 0.99.

    Returns:
        The curve, or None without cases.

    Raises:
        InputError: shapes differ, or a value is out of its range.

    References:
        .. [1] Vickers & Elkin, "Decision curve analysis: a novel method for evaluating prediction
           models", Medical Decision Making 26:565-574, 2006.
    """
    event, chance = _events(truth, probability)
    marks = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, np.float64)
    if marks.ndim != 1 or (marks.size and not (marks.min() >= 0 and marks.max() < 1)):
        raise InputError("'thresholds' must be (T,), from 0 to below 1")
    if not event.size:
        return None
    hits, alarms = np.sort(chance[event]), np.sort(chance[~event])
    right = hits.size - np.searchsorted(hits, marks, side="left")
    wrong = alarms.size - np.searchsorted(alarms, marks, side="left")
    odds = marks / (1 - marks)
    model = (right - wrong * odds) / event.size
    everyone = (hits.size - alarms.size * odds) / event.size
    return DecisionCurve(marks, np.asarray(model, np.float64), np.asarray(everyone, np.float64))


def brier_parts(
    truth: ArrayLike, probability: ArrayLike, *, bins: int | None = BINS
) -> BrierParts | None:
    r"""Murphy's decomposition of the Brier score of an event [1]_.

    With :math:`n_b, p_b, o_b` the cases, mean probability and share of events in bin b,
    reliability :math:`\frac1N \sum n_b (p_b - o_b)^2`, resolution
    :math:`\frac1N \sum n_b (o_b - \bar o)^2`, uncertainty :math:`\bar o (1 - \bar o)`. In bins of
    equal width the three do not add up to the score; the rest is ``within`` [2]_.

    Args:
        truth: 0 or 1, ``(N,)``.
        probability: ``(N,)``.
        bins: bins of equal width; None for one bin a distinct probability, Murphy's own.

    Returns:
        The parts, or None without cases.

    Raises:
        InputError: shapes differ, a value is out of its range, or ``bins`` is below 1.

    References:
        .. [1] Murphy, "A new vector partition of the probability score", J Applied Meteorology
           12:595-600, 1973.
        .. [2] Stephenson, Coelho & Jolliffe, "Two extra components in the Brier score
           decomposition", Weather and Forecasting 23:752-757, 2008.
    """
    event, chance = _events(truth, probability)
    if not event.size:
        return None
    if bins is None:
        levels, place = np.unique(chance, return_inverse=True)
        counts = np.bincount(place)
        predicted, observed = levels, np.bincount(place, weights=event) / counts
    else:
        table = reliability(event, chance, bins=bins)
        there = table.counts > 0
        counts, predicted = table.counts[there], table.predicted[there]
        observed = table.observed[there]
    share = counts / event.size
    rate = float(event.mean())
    gap = float((share * (predicted - observed) ** 2).sum())
    spread = float((share * (observed - rate) ** 2).sum())
    brier = float(((chance - event) ** 2).mean())
    uncertainty = rate * (1 - rate)
    return BrierParts(brier, gap, spread, uncertainty, brier - (gap - spread + uncertainty))


def _events(
    truth: ArrayLike, probability: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    event = binary(truth, name="truth") if np.size(truth) else np.zeros(0, np.bool_)
    chance = probabilities(probability, name="probability")
    same_shape(truth=event, probability=chance)
    return event.ravel(), chance.ravel()
