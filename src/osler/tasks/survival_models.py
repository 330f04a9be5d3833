r"""From scores to chances over time: proportional hazards, and hazards of intervals.

Notation: case i leaves at time :math:`t_i`, with event :math:`k` of K causes, or censored (0).
Everything here is numpy; the losses of the same likelihoods are in ``survival_losses``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError

Floats = NDArray[np.float64]

_STEPS, _SMALL = 50, 1e-9
_LEAST_HAZARD = 1e-12


@dataclass(frozen=True, slots=True)
class CoxFit:
    """A Cox regression.

    Attributes:
        weights: ``(P,)`` log hazard ratio of each column.
        errors: ``(P,)`` standard errors, from the observed information.
        likelihood: log partial likelihood at ``weights``.
    """

    weights: Floats
    errors: Floats
    likelihood: float


def partial_likelihood(
    times: Floats, events: NDArray[np.bool_], columns: Floats, weights: Floats
) -> tuple[float, Floats, Floats]:
    r"""Cox's log partial likelihood with Efron's ties [1]_, its gradient and its information.

    .. math:: \sum_{t} \Big[\sum_{i \in D_t} \eta_i - \sum_{l=0}^{d-1} \log\Big(
              \sum_{j: t_j \ge t} e^{\eta_j} - \tfrac{l}{d} \sum_{j \in D_t} e^{\eta_j}\Big)\Big]

    Args:
        times: ``(N,)``.
        events: ``(N,)`` whether the event was seen.
        columns: ``(N, P)``.
        weights: ``(P,)``.

    Returns:
        The value, its gradient ``(P,)``, and the information ``(P, P)`` (less its Hessian).

    References:
        .. [1] Efron, "The efficiency of Cox's likelihood function for censored data", Journal of
           the American Statistical Association 72:557-565, 1977.
    """
    eta = columns @ weights
    top = float(eta.max()) if eta.size else 0.0
    hazard = np.exp(eta - top)
    value, gradient = 0.0, np.zeros(len(weights))
    information = np.zeros((len(weights), len(weights)))
    for time in np.unique(times[events]):
        later, here = times >= time, events & (times == time)
        sums = [
            (float(hazard[rows].sum()), hazard[rows] @ columns[rows],
             (columns[rows] * hazard[rows, None]).T @ columns[rows])
            for rows in (later, here)
        ]  # fmt: skip
        value += float(eta[here].sum())
        gradient += columns[here].sum(axis=0)
        tied = int(here.sum())
        for place in range(tied):
            share = place / tied
            whole, first, second = (a - share * b for a, b in zip(*sums, strict=True))
            value -= float(np.log(whole)) + top
            mean = first / whole
            gradient -= mean
            information += second / whole - np.outer(mean, mean)
    return value, gradient, information


def cox_regression(
    times: Floats, events: NDArray[np.bool_], columns: Floats, *, ridge: float = 0.0
) -> CoxFit:
    """A linear Cox regression by Newton's method, with halved steps where the likelihood falls.

    Args:
        times: ``(N,)``.
        events: ``(N,)`` whether the event was seen.
        columns: ``(N, P)``; centre and scale them where ``ridge`` is above 0.
        ridge: of the penalty ``ridge / 2 * sum(weights ** 2)``.

    Raises:
        InputError: no event was seen, or the columns depend on each other.
    """
    if not events.any():
        raise InputError("no event was seen, so no hazard can be told")
    weights = np.zeros(columns.shape[1])
    value, gradient, information = partial_likelihood(times, events, columns, weights)
    for _ in range(_STEPS):
        slope = gradient - ridge * weights
        curve = information + ridge * np.eye(len(weights))
        try:
            step = np.linalg.solve(curve, slope)
        except np.linalg.LinAlgError as error:
            raise InputError("the columns of the regression depend on each other") from error
        here = value - ridge / 2 * float(weights @ weights)
        for _ in range(_STEPS):
            moved = weights + step
            made = partial_likelihood(times, events, columns, moved)
            if made[0] - ridge / 2 * float(moved @ moved) >= here - _SMALL:
                break
            step = step / 2
        weights, (value, gradient, information) = moved, made
        if float(np.abs(step).max(initial=0.0)) < _SMALL:
            break
    inverse = np.linalg.inv(information + ridge * np.eye(len(weights)))
    return CoxFit(weights, np.sqrt(np.maximum(np.diag(inverse), 0.0)), value)


def breslow(times: Floats, events: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    r"""Breslow's cumulative baseline hazard [1]_.

    .. math:: H_0(t) = \sum_{t_i \le t} d_i / \sum_{t_j \ge t_i} e^{s_j}

    Args:
        times: ``(N,)``.
        events: ``(N,)`` whether the event was seen.
        score: ``(N,)`` log hazard ratios.

    Returns:
        Distinct times of events, ascending, and the cumulative hazard from each on.

    References:
        .. [1] Breslow, discussion of Cox, Journal of the Royal Statistical Society B 34:216-217,
           1972.
    """
    marks, counts = np.unique(times[events], return_counts=True)
    order = np.argsort(times, kind="stable")
    ahead = np.cumsum(np.exp(score[order])[::-1])[::-1]
    at_risk = ahead[np.searchsorted(times[order], marks, side="left")]
    return marks.astype(np.float64), np.cumsum(counts / at_risk)


def cox_incidence(baselines: list[tuple[Floats, Floats]], scores: Floats, at: Floats) -> Floats:
    r"""The chance of each cause by each time, from cause-specific proportional hazards.

    Between events nothing happens. With :math:`\Delta_k` what the cumulative hazard of cause k
    rises by at a time, all of :math:`1 - e^{-\sum_k \Delta_k}` of those still there leave then, the
    causes in proportion to :math:`\Delta_k`. For one cause that is :math:`1 - e^{-H_0(t) e^s}`.

    Args:
        baselines: of each cause its times and cumulative baseline hazard.
        scores: ``(K,)`` log hazard ratios of one case.
        at: ``(T,)``.

    Returns:
        ``(K, T)``.
    """
    marks = np.unique(np.concatenate([times for times, _ in baselines]))
    rises = np.zeros((len(baselines), len(marks)))
    for k, (times, hazard) in enumerate(baselines):
        rise = np.diff(np.concatenate([[0.0], hazard])) * np.exp(scores[k])
        rises[k, np.searchsorted(marks, times)] = rise
    whole = rises.sum(axis=0)
    survival = np.exp(-np.cumsum(whole))
    before = np.concatenate([[1.0], survival[:-1]])
    share = np.divide(rises, whole, out=np.zeros_like(rises), where=whole > 0)
    incidence = np.cumsum(share * (before - survival), axis=1)
    place = np.searchsorted(marks, at, side="right")
    return np.concatenate([np.zeros((len(baselines), 1)), incidence], axis=1)[:, place]


def hazards_of(scores: Floats) -> Floats:
    """Hazards ``(J, K)`` of an interval's causes from scores ``(J, K)``; none of them scores 0."""
    raised = np.maximum(scores.max(axis=1, keepdims=True), 0.0)
    odds = np.exp(scores - raised)
    return np.asarray(odds / (np.exp(-raised) + odds.sum(axis=1, keepdims=True)))


def hazard_incidence(hazards: Floats, edges: Floats, at: Floats) -> Floats:
    """The chance of each cause by each time, from the hazards of intervals.

    Within an interval the hazard is constant, so survival falls exponentially; after the last edge
    nothing is known and the chances stay.

    Args:
        hazards: ``(J, K)``, chances to leave by each cause in an interval for those who enter it.
        edges: ``(J + 1,)`` ascending from 0.
        at: ``(T,)``.

    Returns:
        ``(K, T)``.
    """
    whole = np.clip(hazards.sum(axis=1), _LEAST_HAZARD, 1 - _LEAST_HAZARD)
    rates = -np.log1p(-whole) / np.diff(edges)
    spent = np.clip(at[None] - edges[:-1, None], 0.0, np.diff(edges)[:, None])
    entered = np.exp(-np.concatenate([[0.0], np.cumsum(rates * np.diff(edges))[:-1]]))
    left = entered[:, None] * -np.expm1(-rates[:, None] * spent)
    return np.asarray((hazards / whole[:, None]).T @ left)


def interval_targets(
    time: float, cause: int, edges: Floats, causes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a case says of the hazards of intervals [1]_.

    An interval holds times after its first edge up to its last; time 0 is in the first. A case that
    is censored counts as having survived an interval where it left past the middle. What happens
    after the last edge is past the last interval.

    Args:
        time: when it left.
        cause: of the event, from 1; 0 is censored.
        edges: ``(J + 1,)``.
        causes: K.

    Returns:
        ``(J,)`` intervals that it survived, ``(J, K)`` the event.

    References:
        .. [1] Gensheimer & Narasimhan, "A scalable discrete-time survival model for neural
           networks", PeerJ 7:e6257, 2019.
    """
    count = len(edges) - 1
    happened = np.zeros((count, causes), np.float32)
    if not cause:
        return (time >= (edges[:-1] + edges[1:]) / 2).astype(np.float32), happened
    survived = (time > edges[1:]).astype(np.float32)
    place = max(0, int(np.searchsorted(edges, time, side="left")) - 1)
    if place < count:
        happened[place, cause - 1] = 1
    return survived, happened


def interval_likelihood(hazards: Floats, survived: Floats, happened: Floats) -> float:
    """Log likelihood of cases: hazards ``(N, J, K)``, and of `interval_targets` ``(N, J[, K])``."""
    stay = np.clip(1 - hazards.sum(axis=-1), _LEAST_HAZARD, 1.0)
    fall = np.clip(hazards, _LEAST_HAZARD, 1.0)
    return float((survived * np.log(stay)).sum() + (happened * np.log(fall)).sum())


def cumulative_incidence(
    times: Floats, causes: NDArray[np.int64], *, cause: int, at: Floats
) -> Floats:
    r"""Aalen and Johansen's chance of a cause by each time, :math:`\sum \hat S(t^-) d_k / n` [1]_.

    With one cause it is one less Kaplan and Meier's curve.

    Args:
        times: ``(N,)``.
        causes: ``(N,)``, 0 for censored; whoever is censored at the time of an event is at risk.
        cause: from 1.
        at: ``(T,)``.

    Returns:
        ``(T,)``.

    References:
        .. [1] Aalen & Johansen, "An empirical transition matrix for non-homogeneous Markov chains
           based on censored observations", Scandinavian Journal of Statistics 5:141-150, 1978.
    """
    levels, place = np.unique(times, return_inverse=True)
    at_risk = times.size - np.searchsorted(np.sort(times), levels, side="left")
    fell = np.bincount(place, weights=causes > 0, minlength=levels.size)
    own = np.bincount(place, weights=causes == cause, minlength=levels.size)
    survival = np.cumprod(1 - fell / at_risk)
    before = np.concatenate([[1.0], survival[:-1]])
    sums = np.concatenate([[0.0], np.cumsum(before * own / at_risk)])
    return np.asarray(sums[np.searchsorted(levels, at, side="right")], np.float64)
