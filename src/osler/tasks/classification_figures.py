"""The figures of classification with their intervals, and the calibration of its scores."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from osler import metrics
from osler.errors import InputError
from osler.tasks.task import Figure, Row, softmax

Kind = Literal["classes", "ordinal", "multi-label"]
Statistic = Callable[[NDArray[Any], NDArray[Any]], float | None]
Asked = tuple[str, Statistic, bool, str]
"""Name, figure of truth and probabilities ``(N, L)``, whether greater is better, and how."""

_LEAST: Final = 10  # cases on which a calibration is fitted
_LIKELY = "the likeliest class counts"
_REST = "each class against the rest, mean over classes"
_KNOWN = "cases whose label is known"
_CALLED = f"{_KNOWN}; yes from a probability of 0.5"
_MEAN = "mean over labels"


def score(rows: Sequence[Row], kind: Kind) -> float:
    """Mean AUROC of the classes (labels) of which there are cases beside others.

    For grades the mean of that and quadratic kappa. Where all cases have one label, the mean
    log-likelihood, 0 at most: a score that never moves would choose the weights of the first
    validation.
    """
    truth, p = _table(rows)
    if kind == "multi-label":
        areas = [_of_label(metrics.auroc, k)(truth, p) for k in range(p.shape[1])]
        given = _pooled(metrics.negative_log_likelihood)(truth, p)
        return _mean(areas) if any(one is not None for one in areas) else -(given or 0.0)
    labels = truth.astype(int)
    areas = list(metrics.class_aurocs(labels, p))
    if all(one is None for one in areas):
        return -float(metrics.negative_log_likelihood(labels, p) or 0.0)
    if kind == "ordinal":
        kappa = metrics.quadratic_kappa(labels, p.argmax(1), count=p.shape[1])
        return (_mean(areas) + (kappa or 0.0)) / 2
    return _mean(areas)


def _mean(figures: Sequence[float | None]) -> float:
    return float(np.mean([one for one in figures if one is not None]))


def figures(
    rows: Sequence[Row],
    patients: Sequence[str],
    kind: Kind,
    labels: Sequence[str],
    *,
    seed: int,
    replicates: int,
) -> list[Figure]:
    """Each figure of a cohort, with its interval by patient."""
    truth, p = _table(rows)
    groups = np.array(patients)
    asked = _of_labels(labels) if kind == "multi-label" else _of_classes(p.shape[1], kind)
    out = []
    for name, statistic, better, how in asked:
        interval = metrics.bootstrap_interval(
            statistic, truth, p, seed=seed, groups=groups, replicates=replicates
        )
        out.append(Figure(name, interval, len(rows), how, greater_is_better=better))
    return out


def _of_classes(count: int, kind: Kind) -> list[Asked]:
    """Figures of classes that exclude each other."""

    def chosen(function: Callable[..., float | None]) -> Statistic:
        return lambda t, p: function(t.astype(int), p.argmax(1), count=count)

    def given(function: Callable[..., float | None]) -> Statistic:
        return lambda t, p: function(t.astype(int), p)

    agreement: Asked = ("kappa", chosen(_kappa), True, _LIKELY)
    if kind == "ordinal":
        agreement = ("quadratic kappa", chosen(metrics.quadratic_kappa), True, _LIKELY)
    return [
        ("macro AUROC", given(metrics.macro_auroc), True, _REST),
        ("macro AUPRC", _macro_auprc, True, _REST),
        ("accuracy", chosen(metrics.accuracy), True, _LIKELY),
        ("balanced accuracy", chosen(metrics.balanced_accuracy), True, _LIKELY),
        ("macro F1", chosen(metrics.f1), True, _LIKELY),
        (
            "expected calibration error", given(metrics.top_label_calibration_error), False,
            "of the likeliest class",
        ),
        ("negative log-likelihood", given(metrics.negative_log_likelihood), False, "nats"),
        agreement,
    ]  # fmt: skip


def _of_labels(labels: Sequence[str]) -> list[Asked]:
    """Figures of labels that are yes or no, over all labels and of each."""
    kinds: list[tuple[str, Callable[..., float | None], str]] = [
        ("AUROC", metrics.auroc, _KNOWN),
        ("AUPRC", metrics.auprc, _KNOWN),
        ("F1", _label_f1, _CALLED),
        ("kappa", _label_kappa, _CALLED),
    ]
    count = len(labels)
    out: list[Asked] = [
        (f"macro {name}", _mean_of(function, count), True, f"{_MEAN}; {how}")
        for name, function, how in kinds
    ]
    out.append(
        ("expected calibration error", _pooled(metrics.expected_calibration_error), False,
         f"of all labels together; {_KNOWN}")
    )  # fmt: skip
    out.append(
        ("negative log-likelihood", _pooled(metrics.negative_log_likelihood), False,
         f"nats a label; {_KNOWN}")
    )  # fmt: skip
    for k, label in enumerate(labels):
        out += [(f"{name}, {label}", _of_label(one, k), True, how) for name, one, how in kinds]
        error = _of_label(metrics.expected_calibration_error, k)
        out.append((f"expected calibration error, {label}", error, False, _KNOWN))
    return out


def calibrated_classes(
    truth: Sequence[int], scores: Sequence[NDArray[Any]], *, coverage: float
) -> dict[str, Any]:
    """A temperature and the conformal quantile, as a card holds them; empty for too few cases."""
    if len(scores) < _LEAST or len(set(truth)) < 2:
        return {}
    labels, values = np.array(truth), np.stack(scores).astype(np.float64)
    temperature = metrics.fit_temperature(labels, values)
    p = softmax(values / temperature, axis=1)
    quantile = metrics.conformal_quantile(labels, p, coverage=coverage)
    return {
        "method": "temperature",
        "temperature": float(temperature),
        "conformal_quantile": float(quantile),
        "coverage": coverage,
    }


def calibrated_labels(
    truth: Sequence[NDArray[Any]], scores: Sequence[NDArray[Any]]
) -> dict[str, Any]:
    """One slope and one shift for all labels (Platt), since a rare one has few cases."""
    if len(scores) < _LEAST:
        return {}
    right, values = np.stack(truth), np.stack(scores).astype(np.float64)
    known = np.isfinite(right)
    try:
        temperature, bias = metrics.fit_platt(right[known].astype(int), values[known])
    except InputError:  # all yes or all no, or the surer the wronger
        return {}
    return {"method": "platt", "temperature": float(temperature), "bias": float(bias)}


def _table(rows: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    truth = np.array([row["truth"] for row in rows], np.float64)  # None becomes NaN
    return truth, np.array([row["probability"] for row in rows], np.float64)


def _macro_auprc(truth: NDArray[Any], p: NDArray[Any]) -> float | None:
    labels = truth.astype(int)
    if len(np.unique(labels)) < p.shape[1]:
        return None
    areas = [metrics.auprc((labels == k).astype(int), p[:, k]) for k in range(p.shape[1])]
    return float(np.mean([one for one in areas if one is not None]))


def _kappa(truth: NDArray[Any], said: NDArray[Any], *, count: int) -> float | None:
    """Agreement beyond chance; None where chance alone agrees wholly."""
    table = metrics.confusion_matrix(truth, said, count=count)
    total = int(table.sum())
    chance = float((table.sum(0) * table.sum(1)).sum() / total**2)
    return None if chance == 1 else float((np.trace(table) / total - chance) / (1 - chance))


def _label_f1(truth: NDArray[Any], p: NDArray[Any]) -> float | None:
    return metrics.class_f1(truth, (p >= 0.5).astype(int), count=2)[1]


def _label_kappa(truth: NDArray[Any], p: NDArray[Any]) -> float | None:
    return _kappa(truth, (p >= 0.5).astype(int), count=2) if len(truth) else None


def _of_label(function: Callable[..., float | None], k: int) -> Statistic:
    def statistic(truth: NDArray[Any], p: NDArray[Any]) -> float | None:
        known = np.isfinite(truth[:, k])
        return function(truth[known, k].astype(int), p[known, k])

    return statistic


def _mean_of(function: Callable[..., float | None], count: int) -> Statistic:
    """None where a label has no figure: a mean over fewer would be another question."""
    each = [_of_label(function, k) for k in range(count)]

    def statistic(truth: NDArray[Any], p: NDArray[Any]) -> float | None:
        total = 0.0
        for one in each:
            value = one(truth, p)
            if value is None:
                return None
            total += value
        return total / count

    return statistic


def _pooled(function: Callable[..., float | None]) -> Statistic:
    def statistic(truth: NDArray[Any], p: NDArray[Any]) -> float | None:
        known = np.isfinite(truth)
        return function(truth[known].astype(int), p[known])

    return statistic
