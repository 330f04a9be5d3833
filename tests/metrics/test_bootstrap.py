import numpy as np
import pytest
from scipy import stats

from osler.errors import InputError
from osler.metrics import auroc, bootstrap_interval, bootstrap_mean


def mean(values: np.ndarray) -> float:
    return float(values.mean())


def skewed(count: int = 60) -> np.ndarray:
    return np.random.default_rng(0).exponential(size=count)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_are_those_of_scipy(method: str) -> None:
    values = skewed()
    ours = bootstrap_interval(mean, values, seed=1, replicates=4000, method=method)  # type: ignore[arg-type]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)
    fast = bootstrap_mean(values, seed=1, replicates=20_000, method=method)  # type: ignore[arg-type]
    assert fast.low == pytest.approx(theirs.low, abs=0.015)
    assert fast.high == pytest.approx(theirs.high, abs=0.015)


def test_percentile_ends_by_a_slow_loop() -> None:
    values, groups = skewed(12), np.repeat(np.arange(4), 3)
    generator = np.random.default_rng(5)
    figures = []
    for _ in range(300):
        rows = [v for g in generator.integers(0, 4, 4) for v in values[groups == g]]
        figures.append(sum(rows) / len(rows))
    ours = bootstrap_interval(mean, values, groups=groups, seed=5, replicates=300, level=0.8)
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(figures, [0.1, 0.9])))
    assert (ours.groups, ours.replicates, ours.undefined) == (4, 300, 0)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = skewed()
    assert bootstrap_interval(mean, values, seed=3) == bootstrap_interval(mean, values, seed=3)
    assert bootstrap_interval(mean, values, seed=3) != bootstrap_interval(mean, values, seed=4)


def test_rows_of_a_patient_stay_together() -> None:
    """Each patient's rows said four times: by patient the interval stays, by row it halves."""
    values = skewed(40)
    four, patients = np.repeat(values, 4), np.repeat(np.arange(40).astype(str), 4)
    for interval in (
        lambda v, g=None: bootstrap_mean(v, groups=g, seed=0, replicates=4000),
        lambda v, g=None: bootstrap_interval(mean, v, groups=g, seed=0, replicates=1000),
    ):
        alone, together, wrong = interval(values), interval(four, patients), interval(four)
        width = alone.high - alone.low
        assert together.high - together.low == pytest.approx(width, rel=0.15)
        assert wrong.high - wrong.low == pytest.approx(width / 2, rel=0.15)


def test_unequal_groups_weigh_by_their_rows() -> None:
    values, groups = np.array([0.0, 1, 1, 1]), np.array([7, 3, 3, 3])
    fast = bootstrap_mean(values, groups=groups, seed=0, replicates=500)
    slow = bootstrap_interval(mean, values, groups=groups, seed=0, replicates=500)
    assert fast.value == slow.value == 0.75
    assert (fast.low, fast.high) == (slow.low, slow.high) == (0, 1)


def test_undefined_resamples_are_counted() -> None:
    truth, scores = np.array([0] * 9 + [1]), np.arange(10) / 10
    found = bootstrap_interval(auroc, truth, scores, seed=0, replicates=1000)
    assert found.value == 1
    assert found.undefined == 1000 - found.replicates
    # a positive is missing from (9/10)^10 of the resamples
    assert found.undefined / 1000 == pytest.approx(0.9**10, abs=0.05)
    assert (found.low, found.high) == (1, 1)


def test_mostly_undefined_gives_no_interval() -> None:
    def rarely(values: np.ndarray) -> float | None:
        return 1.0 if np.unique(values).size == values.size else None

    found = bootstrap_interval(rarely, np.arange(10), seed=0, replicates=100)
    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert found.undefined > 50


def test_what_cannot_have_an_interval() -> None:
    assert bootstrap_interval(auroc, [1, 1], [0.1, 0.2], seed=0).value is None
    one = bootstrap_mean([0.5, 0.7], groups=["a", "a"], seed=0)
    assert (one.value, one.low, one.groups) == (pytest.approx(0.6), None, 1)
    assert bootstrap_mean([], seed=0).value is None


def test_bca_of_a_constant_is_the_constant() -> None:
    for found in (
        bootstrap_interval(mean, np.ones(9), seed=0, method="bca", replicates=200),
        bootstrap_mean(np.ones(9), seed=0, method="bca"),
    ):
        assert (found.low, found.high) == (1, 1)


def test_the_interval_covers_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(size=50)
        found = bootstrap_mean(values, seed=seed, replicates=500, level=0.9)
        covered += found.low <= 0 <= found.high  # type: ignore[operator]
    assert 0.83 < covered / 200 < 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1}, "'level' is 1"),
        ({"replicates": 0}, "'replicates' is 0"),
        ({"method": "basic"}, "'method' is 'basic'"),
        ({"groups": [1]}, r"'groups' has shape \(1,\)"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    for call in (
        lambda **o: bootstrap_mean([0.1, 0.2], seed=0, **o),
        lambda **o: bootstrap_interval(mean, [0.1, 0.2], seed=0, **o),
    ):
        with pytest.raises(InputError, match=message):
            call(**options)


def test_wrong_arrays_are_named() -> None:
    with pytest.raises(InputError, match="no array"):
        bootstrap_interval(mean, seed=0)
    with pytest.raises(InputError, match=r"have \[2, 1\] rows"):
        bootstrap_interval(auroc, [0, 1], [0.5], seed=0)
    with pytest.raises(InputError, match=r"expected \(N,\)"):
        bootstrap_mean([[0.1]], seed=0)
