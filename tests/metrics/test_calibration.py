import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from osler.errors import InputError
from osler.metrics import (
    brier_score,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    top_label_calibration_error,
)

# multiples of 1/30 hit the edges of 15 bins
CASES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 30).map(lambda v: v / 30)), min_size=1, max_size=40
)


def slow_ece(truth: list[bool], probability: list[float], bins: int) -> float:
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = [
            (t, p)
            for t, p in zip(truth, probability, strict=True)
            if low < p <= high or (b == 0 and p == 0)
        ]
        if inside:
            observed = sum(t for t, _ in inside) / len(inside)
            predicted = sum(p for _, p in inside) / len(inside)
            total += len(inside) / len(truth) * abs(observed - predicted)
    return total


@given(cases=CASES, bins=st.sampled_from([1, 10, 15]))
def test_ece_bin_by_bin(cases: list[tuple[bool, float]], bins: int) -> None:
    truth, probability = [c[0] for c in cases], [c[1] for c in cases]
    ours = expected_calibration_error(truth, probability, bins=bins)
    assert ours == pytest.approx(slow_ece(truth, probability, bins), abs=1e-12)
    table = reliability(truth, probability, bins=bins)
    assert table.counts.sum() == len(cases)
    assert np.isnan(table.predicted[table.counts == 0]).all()


def test_ece_by_hand() -> None:
    assert expected_calibration_error([0, 1], [0.0, 1.0]) == 0
    assert expected_calibration_error([1, 0], [0.0, 1.0]) == 1
    assert expected_calibration_error([0, 1], [0.5, 0.5]) == 0
    assert expected_calibration_error([], []) is None
    # the winner's confidence is another question than the event's probability
    assert top_label_calibration_error([0, 1], [[0.75, 0.25], [0.75, 0.25]]) == pytest.approx(0.25)
    assert top_label_calibration_error(np.zeros(0, int), np.zeros((0, 3))) is None


@given(CASES)
def test_brier_and_nll_of_an_event(cases: list[tuple[bool, float]]) -> None:
    truth, probability = [c[0] for c in cases], [c[1] for c in cases]
    slow = sum((p - t) ** 2 for t, p in cases) / len(cases)
    assert brier_score(truth, probability) == pytest.approx(slow)
    assert brier_score(truth, probability) == pytest.approx(brier_score_loss(truth, probability))
    costs = [-math.log(max(p if t else 1 - p, 1e-12)) for t, p in cases]
    assert negative_log_likelihood(truth, probability) == pytest.approx(sum(costs) / len(cases))
    two = np.stack([1 - np.array(probability), np.array(probability)], axis=1)
    assert brier_score(np.array(truth, int), two) == pytest.approx(2 * slow)
    assert negative_log_likelihood(np.array(truth, int), two) == pytest.approx(
        negative_log_likelihood(truth, probability)
    )


def test_nll_of_classes_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth, table = generator.integers(0, 4, 50), softmax(generator.normal(size=(50, 4)), axis=1)
    theirs = log_loss(truth, table, labels=range(4))
    assert negative_log_likelihood(truth, table) == pytest.approx(theirs)
    assert negative_log_likelihood([0], [[0.0, 1.0]]) == pytest.approx(-math.log(1e-12))
    assert negative_log_likelihood([], []) is None
    assert brier_score([], []) is None


@pytest.mark.parametrize(
    ("truth", "probability", "message"),
    [
        (
            [0, 1],
            [0.1, 1.1],
            r"'probability' has values from 0.1 to 1.1; expected 0 to 1 .apply the sigmoid",
        ),
        ([0, 1], [0.1, np.nan], "NaN"),
        ([0, 2], [0.1, 0.2], "'truth' has"),
        ([0, 1], [0.1], "shapes differ"),
    ],
)
def test_wrong_probabilities_are_named(
    truth: list[int], probability: list[float], message: str
) -> None:
    for metric in (expected_calibration_error, brier_score, negative_log_likelihood):
        with pytest.raises(InputError, match=message):
            metric(truth, probability)


def test_rows_must_sum_to_one() -> None:
    with pytest.raises(InputError, match="do not sum to 1"):
        brier_score([0], [[0.5, 0.4]])
    with pytest.raises(InputError, match=r"expected \(N, K\)"):
        top_label_calibration_error([0], [[1.0]])
    with pytest.raises(InputError, match="'bins' is 0"):
        reliability([0], [0.5], bins=0)


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_the_data_is_found(true: float) -> None:
    generator = np.random.default_rng(1)
    scores = generator.normal(0, 3, 20_000)
    truth = generator.random(20_000) < expit(scores / true)
    assert fit_temperature(truth, scores) == pytest.approx(true, rel=0.05)
    table = generator.normal(0, 3, (20_000, 5))
    labels = (softmax(table / true, axis=1).cumsum(axis=1) > generator.random((20_000, 1))).argmax(
        1
    )
    assert fit_temperature(labels, table) == pytest.approx(true, rel=0.05)


@given(st.integers(0, 10_000))
def test_no_temperature_on_a_grid_is_better(seed: int) -> None:
    generator = np.random.default_rng(seed)
    table = generator.normal(0, generator.uniform(0.1, 20), (12, 3))
    labels = np.r_[0, 1, generator.integers(0, 3, 10)]

    def loss(t: float) -> float:
        return negative_log_likelihood(labels, softmax(table / t, axis=1), floor=0) or 0.0

    found = loss(fit_temperature(labels, table))
    with np.errstate(divide="ignore"):
        assert found <= min(loss(t) for t in np.geomspace(0.02, 50, 60)) + 1e-6


def test_temperature_at_the_ends_of_its_range() -> None:
    assert fit_temperature([0, 1], [-5.0, 5.0]) == pytest.approx(0.02, rel=1e-3)
    assert fit_temperature([1, 0], [-5.0, 5.0]) == pytest.approx(50, rel=1e-3)


def test_platt_is_logistic_regression_on_smoothed_targets() -> None:
    generator = np.random.default_rng(2)
    scores = generator.normal(1, 4, 300)
    truth = generator.random(300) < expit(scores / 2.5 - 1)
    temperature, bias = fit_platt(truth, scores)
    hits, rest = truth.sum(), (~truth).sum()
    high, low = (hits + 1) / (hits + 2), 1 / (rest + 2)
    weight = np.r_[np.where(truth, high, low), 1 - np.where(truth, high, low)]
    oracle = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        np.r_[scores, scores][:, None], np.r_[np.ones(300), np.zeros(300)], weight
    )
    assert 1 / temperature == pytest.approx(oracle.coef_[0, 0], rel=1e-4)
    assert bias == pytest.approx(oracle.intercept_[0], rel=1e-3)


def test_platt_stays_finite_where_scores_are_always_right() -> None:
    temperature, bias = fit_platt([0, 0, 1, 1], [-4.0, -3.0, 3.0, 4.0])
    assert temperature > 0
    assert math.isfinite(bias)
    far, _ = fit_platt([0, 0, 1, 1], [996.0, 997.0, 1003.0, 1004.0])
    assert far == pytest.approx(temperature, rel=1e-6)


@pytest.mark.parametrize(
    ("fit", "truth", "scores", "message"),
    [
        (fit_temperature, [1, 1], [0.0, 1.0], "a fit needs two"),
        (fit_platt, [0, 0], [0.0, 1.0], "a fit needs two"),
        (fit_platt, [0, 1], [1.0, 1.0], "all the same"),
        (fit_platt, [0, 0, 1, 1], [4.0, 3.0, 2.0, 1.0], "do not rise"),
        (fit_temperature, [0, 1], [[[0.0]]], r"expected \(N,\) or \(N, K\)"),
        (fit_temperature, [0, 1], [0.0, np.inf], "infinite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(fit, truth, scores, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        fit(truth, scores)
