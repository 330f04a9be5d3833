import itertools
import math

import numpy as np
import pytest
from scipy import stats

from osler.errors import InputError
from osler.metrics import (
    auroc,
    delong_covariance,
    delong_interval,
    delong_test,
    mcnemar,
    paired_bootstrap,
    permutation_test,
)


def cases(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = np.arange(count) % 3 == 0
    base = generator.normal(size=count)
    first = np.round(base + 1.5 * truth + 0.3 * generator.normal(size=count), 1)
    second = np.round(base + 0.8 * truth + 0.6 * generator.normal(size=count), 1)
    return truth, first, second


def slow_delong(truth: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """One entry of the covariance, pair by pair."""

    def kernel(x: float, y: float) -> float:
        return 1.0 if x > y else 0.5 if x == y else 0.0

    def parts(scores: np.ndarray) -> tuple[list[float], list[float]]:
        positive, negative = scores[truth], scores[~truth]
        v10 = [sum(kernel(x, y) for y in negative) / len(negative) for x in positive]
        v01 = [sum(kernel(x, y) for x in positive) / len(positive) for y in negative]
        return v10, v01

    def cov(a: list[float], b: list[float]) -> float:
        ma, mb = sum(a) / len(a), sum(b) / len(b)
        return sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True)) / (len(a) - 1)

    (a10, a01), (b10, b01) = parts(one), parts(other)
    return cov(a10, b10) / len(a10) + cov(a01, b01) / len(a01)


def test_delong_is_that_of_all_pairs() -> None:
    truth, first, second = cases()
    table = delong_covariance(truth, first, second)
    for (i, one), (j, other) in itertools.product(enumerate((first, second)), repeat=2):
        assert table[i, j] == pytest.approx(slow_delong(truth, one, other))
    found = delong_test(truth, first, second)
    assert found.first == pytest.approx(auroc(truth, first))
    assert found.second == pytest.approx(auroc(truth, second))
    deviation = math.sqrt(table[0, 0] + table[1, 1] - 2 * table[0, 1])
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.difference) / deviation))
    assert found.low == pytest.approx(found.difference - 1.959964 * deviation, rel=1e-6)


def test_delong_covers_as_often_as_it_says() -> None:
    wanted, covered, rejected = stats.norm.cdf(1 / math.sqrt(2)), 0, 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        truth = np.arange(80) % 2 == 0
        first = generator.normal(size=80) + truth
        second = generator.normal(size=80) + truth
        found = delong_interval(truth, first)
        covered += found.low <= wanted <= found.high  # type: ignore[operator]
        rejected += delong_test(truth, first, second).p < 0.05
    assert 0.92 < covered / 300 < 0.98
    assert 0.02 < rejected / 300 < 0.08


def test_what_delong_cannot_tell() -> None:
    perfect = delong_interval([0, 0, 1, 1], [1, 2, 3, 4])
    assert (perfect.value, perfect.low, perfect.high) == (1, None, None)
    assert delong_interval([1, 1], [1, 2]).value is None
    same = delong_test([0, 1, 0, 1], [1, 2, 3, 4], [2, 4, 6, 8])
    assert (same.difference, same.p) == (0, 1)
    with pytest.raises(InputError, match="1 positives"):
        delong_test([0, 0, 1], [1, 2, 3], [1, 2, 3])
    with pytest.raises(InputError, match="'level'"):
        delong_interval([0, 1], [1, 2], level=2)


def test_the_bootstrap_of_a_difference_agrees_with_delong() -> None:
    truth, first, second = cases(150)
    drawn = paired_bootstrap(auroc, truth, first, second, seed=1, replicates=1000)
    delong = delong_test(truth, first, second)
    assert drawn.value == pytest.approx(delong.difference)
    assert drawn.low == pytest.approx(delong.low, abs=0.025)
    assert drawn.high == pytest.approx(delong.high, abs=0.025)
    # each case said twice: by patient nothing is gained
    twice = [np.repeat(rows, 2) for rows in (truth, first, second)]
    patients = np.repeat(np.arange(150), 2)
    again = paired_bootstrap(auroc, *twice, groups=patients, seed=1, replicates=1000)
    assert again.high - again.low == pytest.approx(drawn.high - drawn.low, rel=0.15)  # type: ignore[operator]


def mean_right(truth: np.ndarray, prediction: np.ndarray) -> float:
    return float((truth == prediction).mean())


def test_few_patients_are_exchanged_in_every_way() -> None:
    truth = np.ones(8)
    first, second = np.array([1, 1, 1, 1, 1, 0, 1, 0]), np.array([0, 1, 0, 0, 1, 1, 0, 0])
    groups = np.array(list("aabbccdd"))
    ours = permutation_test(mean_right, truth, first, second, groups=groups, seed=0)
    wanted = ours.difference
    as_far = 0
    for swaps in itertools.product((False, True), repeat=4):
        gap = 0
        for patient, swap in zip("abcd", swaps, strict=True):
            rows = groups == patient
            gap += (first[rows].sum() - second[rows].sum()) * (-1 if swap else 1)
        as_far += abs(gap / 8) >= abs(wanted) - 1e-12
    assert ours.p == as_far / 16


def test_permutation_and_mcnemar_agree_on_accuracy() -> None:
    generator = np.random.default_rng(4)
    truth = generator.integers(0, 2, 80)
    first = np.where(generator.random(80) < 0.9, truth, 1 - truth)
    second = np.where(generator.random(80) < 0.78, truth, 1 - truth)
    drawn = permutation_test(mean_right, truth, first, second, seed=0, permutations=4000)
    exact = mcnemar(truth, first, second)
    assert drawn.p == pytest.approx(exact.p, abs=0.02)
    assert drawn.difference == pytest.approx(exact.difference)
    gained = int(((first == truth) & (second != truth)).sum())
    lost = int(((first != truth) & (second == truth)).sum())
    assert exact.p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
    assert mcnemar(truth, first, first).p == 1


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match="no case"):
        mcnemar([], [], [])
    with pytest.raises(InputError, match="'permutations'"):
        permutation_test(mean_right, [1], [1], [1], seed=0, permutations=0)
    with pytest.raises(InputError, match="undefined"):
        permutation_test(auroc, [1, 1], [1, 2], [1, 2], seed=0)
