"""How unlike the cases that taught a case is: the greater, the more unlike.

What each score is worth is the AUROC of cases from elsewhere against cases like those that taught
(Hendrycks & Gimpel 2017, "A baseline for detecting misclassified and out-of-distribution examples",
ICLR).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.metrics.classification import auroc


def _scores(scores: ArrayLike) -> NDArray[np.float64]:
    out = np.asarray(scores, np.float64)
    if out.ndim != 2:
        raise ValueError(f"scores have the shape {out.shape}; expected (cases, classes)")
    return out


def _log_sum(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    top = scores.max(axis=1)
    out: NDArray[np.float64] = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return out


def unlikeliness(scores: ArrayLike) -> NDArray[np.float64]:
    """One minus the probability of the likeliest class (Hendrycks & Gimpel 2017).

    Args:
        scores: ``(N, K)``, before softmax.
    """
    said = _scores(scores)
    out: NDArray[np.float64] = 1 - np.exp(said.max(axis=1) - _log_sum(said))
    return out


def energy(scores: ArrayLike, *, temperature: float = 1.0) -> NDArray[np.float64]:
    """The energy ``-T log sum exp(s / T)`` (Liu et al. 2020, "Energy-based out-of-distribution
    detection", NeurIPS, equation 4).

    Args:
        scores: ``(N, K)``, before softmax.
        temperature: above 0.
    """  # noqa: D205
    if temperature <= 0:
        raise ValueError(f"the temperature is {temperature}; it must be above 0")
    out: NDArray[np.float64] = -temperature * _log_sum(_scores(scores) / temperature)
    return out


def ignorance(log_alpha: ArrayLike) -> NDArray[np.float64]:
    """``K / S`` of a Dirichlet distribution: 1 without any evidence, towards 0 with much
    (Sensoy et al. 2018, "Evidential deep learning", NeurIPS, section 3).

    Args:
        log_alpha: ``(N, K)``: what the strategy ``evidential`` gives as scores.
    """  # noqa: D205
    said = _scores(log_alpha)
    out: NDArray[np.float64] = said.shape[1] * np.exp(-_log_sum(said))
    return out


@dataclass(frozen=True)
class Mahalanobis:
    """How far features lie from the nearest class, measured by the spread within classes.

    Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples and
    adversarial attacks", NeurIPS, equation 2: one covariance for all classes.

    Attributes:
        means: ``(K, C)`` of the classes.
        precision: ``(C, C)``, the inverse of the covariance.
    """

    means: NDArray[np.float64]
    precision: NDArray[np.float64]

    @classmethod
    def fit(
        cls, features: ArrayLike, labels: ArrayLike, *, shrinkage: float = 1e-3
    ) -> "Mahalanobis":
        """From the features of cases that taught.

        Args:
            features: ``(N, C)``.
            labels: ``(N,)`` of their classes.
            shrinkage: share of the mean variance that is added to each, so that the covariance of
                few cases can be inverted.
        """
        x, classes = np.asarray(features, np.float64), np.asarray(labels)
        if x.ndim != 2 or len(x) != len(classes):
            raise ValueError(
                f"{x.shape} features and {classes.shape} labels do not belong together"
            )
        means = np.stack([x[classes == one].mean(axis=0) for one in np.unique(classes)])
        within = x - means[np.searchsorted(np.unique(classes), classes)]
        covariance = within.T @ within / len(x)
        covariance += np.eye(x.shape[1]) * max(shrinkage * np.trace(covariance) / x.shape[1], 1e-12)
        return cls(means, np.linalg.inv(covariance))

    def distance(self, features: ArrayLike) -> NDArray[np.float64]:
        """The squared distance ``(N,)`` from the nearest class."""
        gap = np.asarray(features, np.float64)[:, None] - self.means[None]
        out: NDArray[np.float64] = np.einsum("nkc,cd,nkd->nk", gap, self.precision, gap).min(axis=1)
        return out


def novelty_auroc(known: ArrayLike, unknown: ArrayLike) -> float | None:
    """The chance that a case from elsewhere scores above one like those that taught.

    Args:
        known: scores of cases like those that taught.
        unknown: scores of cases from elsewhere.
    """
    known, unknown = np.asarray(known), np.asarray(unknown)
    truth = np.concatenate([np.zeros(len(known), int), np.ones(len(unknown), int)])
    return auroc(truth, np.concatenate([known, unknown]))
