"""Scores of how unlike a case is, against slow ones."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from osler.metrics.novelty import Mahalanobis, energy, ignorance, novelty_auroc, unlikeliness


@pytest.fixture
def scores():
    return np.random.default_rng(0).normal(0, 3, (7, 4))


def test_scores_of_scores(scores):
    for n, row in enumerate(scores):
        p = [math.exp(v) for v in row]
        assert unlikeliness(scores)[n] == pytest.approx(1 - max(p) / sum(p))
        assert energy(scores)[n] == pytest.approx(-math.log(sum(p)))
        slow = -2.5 * math.log(sum(math.exp(v / 2.5) for v in row))
        assert energy(scores, temperature=2.5)[n] == pytest.approx(slow)
        assert ignorance(scores)[n] == pytest.approx(4 / sum(p))
    assert np.isfinite(energy(scores * 1e4)).all()
    assert ignorance(np.zeros((1, 3))) == pytest.approx(1)  # alpha of 1: no evidence at all


def test_distance_from_the_nearest_class():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 90) * 2  # numbers need not follow each other
    x = rng.normal(size=(90, 3)) @ rng.normal(size=(3, 3)) + labels[:, None]
    fitted = Mahalanobis.fit(x, labels, shrinkage=0)
    means = [x[labels == one].mean(0) for one in (0, 2, 4)]
    within = np.concatenate(
        [x[labels == one] - mean for one, mean in zip((0, 2, 4), means, strict=True)]
    )
    inverse = np.linalg.inv(within.T @ within / 90)
    other = rng.normal(size=(5, 3)) * 4
    for n, distance in enumerate(fitted.distance(other)):
        slow = min(mahalanobis(other[n], mean, inverse) ** 2 for mean in means)
        assert distance == pytest.approx(slow)
    flat = np.c_[x, np.zeros(90)]  # a feature without spread cannot be inverted
    assert np.isfinite(Mahalanobis.fit(flat, labels).distance(flat)).all()


def test_what_a_score_is_worth():
    known, unknown = [0.1, 0.4, 0.4], [0.4, 0.9]
    slow = np.mean([(u > k) + 0.5 * (u == k) for u in unknown for k in known])
    assert novelty_auroc(known, unknown) == pytest.approx(slow)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: energy([[1.0]], temperature=0),
        lambda: unlikeliness([1.0, 2.0]),
        lambda: Mahalanobis.fit([[1.0], [2.0]], [0]),
    ],
)
def test_what_cannot_be_scored_is_refused(wrong):
    with pytest.raises(ValueError, match=r"temperature|shape|belong"):
        wrong()
