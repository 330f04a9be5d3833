import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from osler.errors import InputError
from osler.metrics import conformal_quantile, conformal_set, mean_set_size, set_coverage
from osler.metrics.conformal import Score


def cases(seed: int, count: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 2, (count, classes))
    chances = softmax(scores, axis=1)
    labels = (chances.cumsum(axis=1) > generator.random((count, 1))).argmax(axis=1)
    # the model is over-confident; the promise must hold all the same
    return labels, softmax(3 * scores, axis=1)


def slow_score(row: np.ndarray, label: int, score: Score) -> float:
    if score == "lac":
        return 1 - row[label]
    return sum(p for p in row if p >= row[label])


@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), score=st.sampled_from(["lac", "aps"]))
def test_the_quantile_is_the_ranked_score(seed: int, count: int, score: Score) -> None:
    labels, table = cases(seed, count)
    own = sorted(slow_score(row, label, score) for row, label in zip(table, labels, strict=True))
    # ceil((n + 1) · 9 / 10) in integers
    rank = -(-(count + 1) * 9 // 10)
    expected = min(own[rank - 1], 1) if rank <= count else 1
    quantile = conformal_quantile(labels, table, coverage=0.9, score=score)
    assert quantile == pytest.approx(expected, abs=1e-12)
    # on the very cases it was chosen from, at least the rank of them are covered
    sets = conformal_set(table, quantile=quantile, score=score, keep_top=False)
    assert (set_coverage(labels, sets) or 0) * count >= min(rank, count) - 1e-9


def test_too_few_cases_keep_every_label() -> None:
    labels, table = cases(0, 8)
    assert conformal_quantile(labels, table, coverage=0.9) == 1
    assert conformal_set(table, quantile=1.0).all()
    assert conformal_set(table, quantile=1.0, score="aps").all()
    labels, table = cases(0, 9)
    assert conformal_quantile(labels, table, coverage=0.9) < 1
    assert conformal_quantile(np.zeros(0, int), np.zeros((0, 3)), coverage=0.5) == 1


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_the_promise_is_kept_on_new_cases(score: Score) -> None:
    """Mean coverage over many calibrations lies in [0.9, 0.9 + 1/(n + 1)], for a wrong model."""
    covered = []
    for seed in range(200):
        labels, table = cases(seed, 99 + 200)
        quantile = conformal_quantile(labels[:99], table[:99], coverage=0.9, score=score)
        sets = conformal_set(table[99:], quantile=quantile, score=score, keep_top=False)
        covered.append(set_coverage(labels[99:], sets))
    assert 0.893 < np.mean(np.array(covered, float)) < 0.917


def test_sets_by_hand() -> None:
    table = np.array([[0.6, 0.3, 0.1], [0.34, 0.33, 0.33]])
    sets = conformal_set(table, quantile=0.7, keep_top=False)
    assert sets.tolist() == [[True, True, False], [True, True, True]]
    assert conformal_set(table, quantile=0.5, keep_top=False)[1].sum() == 0
    assert conformal_set(table, quantile=0.5)[1].tolist() == [True, False, False]
    aps = conformal_set(table, quantile=0.9, score="aps", keep_top=False)
    assert aps.tolist() == [[True, True, False], [True, False, False]]
    assert set_coverage([1, 2], aps) == 0.5
    assert mean_set_size(aps) == 1.5
    assert set_coverage(np.zeros(0, int), np.zeros((0, 3), bool)) is None
    assert mean_set_size(np.zeros((0, 3), bool)) is None


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["lac", "aps"]))
def test_sets_grow_with_the_quantile(seed: int, one: float, other: float, score: Score) -> None:
    _, table = cases(seed, 5)
    small = conformal_set(table, quantile=min(one, other), score=score)
    large = conformal_set(table, quantile=max(one, other), score=score)
    assert (small <= large).all()
    assert small.any(axis=1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coverage": 1.0}, "'coverage' is 1.0"),
        ({"coverage": 0}, "'coverage' is 0"),
        ({"coverage": 0.5, "score": "raps"}, "'score' is 'raps'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    labels, table = cases(0, 30)
    with pytest.raises(InputError, match=message):
        conformal_quantile(labels, table, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'quantile' is 2"):
        conformal_set(table, quantile=2)
    with pytest.raises(InputError, match="'sets' has shape"):
        mean_set_size([True])
