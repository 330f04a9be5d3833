"""Whether a probability means what it says, and the two fits that mend it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import (
    binary,
    classes,
    distributions,
    finite,
    probabilities,
    same_length,
    same_shape,
)

BINS = 15
TEMPERATURE_RANGE = (0.02, 50.0)


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability diagram in numbers, B bins of equal width.

    Attributes:
        edges: ``(B + 1,)`` from 0 to 1; bin b holds ``edges[b] < p <= edges[b + 1]``, the first
            one 0 too.
        counts: ``(B,)`` cases in each bin.
        predicted: ``(B,)`` mean probability; NaN in an empty bin.
        observed: ``(B,)`` share of events; NaN in an empty bin.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]


def reliability(truth: ArrayLike, probability: ArrayLike, *, bins: int = BINS) -> Reliability:
    """Predicted and observed share of events by bins of the predicted probability [1]_.

    Args:
        truth: whether the event happened, 0 or 1, ``(N,)``.
        probability: the probability that was given to it, ``(N,)``.
        bins: how many bins of equal width there are.

    Raises:
        InputError: shapes differ, values are not 0 to 1, or ``bins`` is below 1.

    References:
        .. [1] DeGroot & Fienberg, "The comparison and evaluation of forecasters", The Statistician
           32:12-22, 1983.
    """
    event, chance = _events(truth, probability)
    if bins < 1:
        raise InputError(f"'bins' is {bins}; expected 1 or more")
    edges = np.arange(bins + 1) / bins
    place = np.clip(np.searchsorted(edges, chance, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    divisor = np.where(counts > 0, counts, np.nan)
    predicted = np.bincount(place, weights=chance, minlength=bins) / divisor
    observed = np.bincount(place, weights=event, minlength=bins) / divisor
    return Reliability(edges, counts, predicted, observed)


def expected_calibration_error(
    truth: ArrayLike, probability: ArrayLike, *, bins: int = BINS
) -> float | None:
    r"""Mean gap between predicted and observed share of an event [1]_.

    :math:`\sum_b (n_b / N)\, |\text{observed}_b - \text{predicted}_b|` over `reliability`'s bins
    of equal width, 15 by default, empty bins left out. For an event and its probability (not for
    the "confidence" of whatever class won: `top_label_calibration_error`). It depends on the
    number of bins and is biased upwards with few cases per bin [2]_: report N and an interval.

    Arguments and errors as for `reliability`.

    Returns:
        0 to 1, or None without cases.

    References:
        .. [1] Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning",
           AAAI 2015.
        .. [2] Kumar et al., "Verified uncertainty calibration", NeurIPS 2019.
    """
    table = reliability(truth, probability, bins=bins)
    total = int(table.counts.sum())
    if total == 0:
        return None
    filled = table.counts > 0
    gaps = np.abs(table.observed[filled] - table.predicted[filled])
    return float((table.counts[filled] * gaps).sum() / total)


def top_label_calibration_error(
    truth: ArrayLike, probabilities: ArrayLike, *, bins: int = BINS
) -> float | None:
    """`expected_calibration_error` of the most probable class being right [1]_.

    Args:
        truth: class indices, ``(N,)``.
        probabilities: ``(N, K)``, rows summing to 1.
        bins: how many bins of equal width there are.

    Returns:
        0 to 1, or None without cases.

    Raises:
        InputError: shapes do not fit, or values are not probabilities.

    References:
        .. [1] Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3.
    """
    table, labels = _cases(truth, probabilities)
    right = table.argmax(axis=1) == labels
    return expected_calibration_error(right, table.max(axis=1), bins=bins)


def brier_score(truth: ArrayLike, probability: ArrayLike) -> float | None:
    r"""Mean squared error of probabilities [1]_.

    For an event, :math:`\frac1N \sum (p_i - y_i)^2` (0 to 1); for K classes, as Brier wrote it,
    :math:`\frac1N \sum_i \sum_k (p_{ik} - y_{ik})^2` (0 to 2, twice the other where K is 2).

    Args:
        truth: 0 or 1, ``(N,)``, for an event; class indices for classes.
        probability: ``(N,)`` for an event; ``(N, K)`` for classes.

    Returns:
        The score, lower is better, or None without cases.

    Raises:
        InputError: shapes do not fit, or values are not probabilities.

    References:
        .. [1] Brier, "Verification of forecasts expressed in terms of probability", Monthly
           Weather Review 78:1-3, 1950.
    """
    if np.ndim(probability) == 2:
        table, labels = _cases(truth, probability)
        errors = ((table - np.eye(table.shape[1])[labels]) ** 2).sum(axis=1)
    else:
        event, chance = _events(truth, probability)
        errors = (chance - event) ** 2
    return float(errors.mean()) if errors.size else None


def negative_log_likelihood(
    truth: ArrayLike, probability: ArrayLike, *, floor: float = 1e-12
) -> float | None:
    r"""Mean of :math:`-\ln p` of what happened [1]_, in nats.

    A probability below ``floor`` counts as ``floor``, so that one certain mistake costs 27.6 and
    not infinity. Arguments and errors as for `brier_score`.

    Returns:
        0 or more, lower is better, or None without cases.

    References:
        .. [1] Good, "Rational decisions", Journal of the Royal Statistical Society B 14:107-114,
           1952.
    """
    if np.ndim(probability) == 2:
        table, labels = _cases(truth, probability)
        given = table[np.arange(len(labels)), labels]
    else:
        event, chance = _events(truth, probability)
        given = np.where(event, chance, 1 - chance)
    return float(-np.log(np.maximum(given, floor)).mean()) if given.size else None


def fit_temperature(truth: ArrayLike, scores: ArrayLike) -> float:
    r"""The temperature T that makes scores fit best [1]_.

    Minimises the negative log-likelihood of :math:`\sigma(s / T)` for an event, or of
    :math:`\text{softmax}(s / T)` for K classes. It is convex in 1/T, so the minimum is the only
    one; it is sought from 0.02 to 50, whose ends stand for scores that are always right, or that
    know nothing. The order of the scores stays as it is.

    Args:
        truth: 0 or 1, ``(N,)``, for an event; class indices for classes.
        scores: logits, ``(N,)`` for an event, ``(N, K)`` for classes.

    Returns:
        T: above 1 where the scores were over-confident.

    Raises:
        InputError: shapes do not fit, a score is not finite, or the truth has only one class.

    References:
        .. [1] Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    values = finite(scores, name="scores").astype(np.float64)
    if values.ndim == 1:
        event = binary(truth, name="truth")
        same_shape(truth=event, scores=values)
        values = np.stack([np.zeros_like(values), values], axis=1)
        labels = event.astype(np.int64)
    elif values.ndim == 2 and values.shape[1] > 1:
        labels = classes(truth, count=values.shape[1], name="truth")
        same_length(truth=labels, scores=values)
    else:
        raise InputError(f"'scores' has shape {values.shape}; expected (N,) or (N, K)")
    _two_classes(labels)
    ahead = values - values[np.arange(len(labels)), labels][:, None]

    def loss(inverse: float) -> float:
        raised = inverse * ahead
        top = raised.max(axis=1)
        return float((top + np.log(np.exp(raised - top[:, None]).sum(axis=1))).mean())

    bounds = (1 / TEMPERATURE_RANGE[1], 1 / TEMPERATURE_RANGE[0])
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    return float(1 / found.x)


def fit_platt(truth: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    r"""The temperature T and bias b of :math:`\sigma(s / T + b)` that fit best [1]_.

    Minimises the negative log-likelihood of Platt's smoothed targets,
    :math:`(n_+ + 1) / (n_+ + 2)` for an event and :math:`1 / (n_- + 2)` otherwise, which keeps
    the fit finite where the scores are always right. Convex in 1/T and b; solved by Newton's
    method with step halving [2]_. Unlike a temperature it can move the level, which helps where
    the event is rarer or more common than in training.

    Args:
        truth: 0 or 1, ``(N,)``.
        scores: logits, ``(N,)``.

    Returns:
        ``(T, b)``, T above 0.

    Raises:
        InputError: shapes differ, a score is not finite, the truth has only one class, or the
            scores do not rise with the truth (then no T above 0 fits).

    References:
        .. [1] Platt, "Probabilistic outputs for support vector machines", Advances in Large Margin
           Classifiers, MIT Press, 1999.
        .. [2] Lin, Lin & Weng, "A note on Platt's probabilistic outputs for support vector
           machines", Machine Learning 68:267-276, 2007.
    """
    values = finite(scores, name="scores").astype(np.float64)
    event = binary(truth, name="truth")
    same_shape(truth=event, scores=values)
    _two_classes(event.astype(np.int64))
    hits = int(event.sum())
    target = np.where(event, (hits + 1) / (hits + 2), 1 / (event.size - hits + 2))
    # standard scores first: the two parameters are then of one size
    centre, spread = float(values.mean()), float(values.std())
    if spread == 0:
        raise InputError("'scores' are all the same; there is nothing to calibrate")
    slope, level = _newton((values - centre) / spread, target)
    if slope <= 0:
        raise InputError("'scores' do not rise with 'truth'; no temperature above 0 fits them")
    temperature = spread / slope
    return temperature, level - centre / temperature


def _newton(x: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and level of the logistic curve through soft targets."""

    def loss(at: NDArray[np.float64]) -> float:
        z = at[0] * x + at[1]
        return float((np.logaddexp(0, z) - target * z).sum())

    design = np.stack([x, np.ones_like(x)])
    at = np.zeros(2)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(at @ design, -500, 500)))
        gradient = design @ (chance - target)
        if np.abs(gradient).max() < 1e-10 * x.size:
            break
        curvature = (design * (chance * (1 - chance))) @ design.T + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-10 and loss(at - size * step) > loss(at) - 1e-4 * size * gradient @ step:
            size /= 2
        if size <= 1e-10:
            break
        at = at - size * step
    return float(at[0]), float(at[1])


def _events(
    truth: ArrayLike, probability: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    event = binary(truth, name="truth")
    chance = probabilities(probability, name="probability")
    same_shape(truth=event, probability=chance)
    return event.ravel(), chance.ravel()


def _cases(truth: ArrayLike, given: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    table = distributions(given, name="probabilities")
    labels = classes(truth, count=table.shape[1], name="truth")
    same_length(truth=labels, probabilities=table)
    return table, labels


def _two_classes(labels: NDArray[np.int64]) -> None:
    if np.unique(labels).size < 2:
        raise InputError(
            f"'truth' has {labels.size} cases of {np.unique(labels).size} class; a fit needs two"
        )
