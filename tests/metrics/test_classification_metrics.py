"""Oracles follow the definitions case by case; scikit-learn is the second opinion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk
from sklearn.metrics import f1_score

import osler.metrics
from osler.errors import InputError
from osler.metrics import (
    accuracy,
    auprc,
    auroc,
    balanced_accuracy,
    class_aurocs,
    class_f1,
    confusion_matrix,
    f1,
    macro_auroc,
    multilabel_areas,
    multilabel_f1,
    quadratic_kappa,
)

GRADES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


def split(cases: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array(cases).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def test_the_doors_are_all_there() -> None:
    for name in osler.metrics.__all__:
        assert getattr(osler.metrics, name).__doc__


def test_auroc_by_hand() -> None:
    assert auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert auroc([0, 1], [0.5, 0.5]) == 0.5
    assert auroc([1, 0], [0.2, 0.9]) == 0
    assert auroc([1, 1], [0.2, 0.9]) is None
    assert auroc([], []) is None
    assert auprc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert auprc([0, 0], [0.1, 0.4]) is None


@given(st.lists(st.tuples(st.booleans(), st.floats(-5, 5)), min_size=2, max_size=20))
def test_auroc_ignores_the_scale_and_mirrors(cases: list[tuple[bool, float]]) -> None:
    truth, scores = np.array([c[0] for c in cases]), np.array([c[1] for c in cases])
    area = auroc(truth, scores)
    if area is None:
        return
    assert area == pytest.approx(1 - (auroc(truth, -scores) or 0))
    assert area == pytest.approx(1 - (auroc(~truth, scores) or 0))
    # by ranks: exp would merge scores that differ in the last bits
    ranks = np.unique(scores, return_inverse=True)[1]
    assert area == auroc(truth, ranks)


def test_macro_auroc_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 5, 99)
    scores = generator.random((99, 5)).round(1) + 0.3 * np.eye(5)[truth]
    scores /= scores.sum(axis=1, keepdims=True)
    theirs = sk.roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    assert macro_auroc(truth, scores) == pytest.approx(theirs)


def test_a_class_without_cases_leaves_the_macro_mean_unknown() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    assert class_aurocs([0, 1], scores) == (1.0, 1.0, None)
    assert macro_auroc([0, 1], scores) is None


@given(GRADES)
def test_confusion_accuracy_and_recall(cases: list[tuple[int, int]]) -> None:
    truth, prediction = split(cases)
    table = confusion_matrix(truth, prediction, count=5)
    slow = [[sum(c == (i, j) for c in cases) for j in range(5)] for i in range(5)]
    assert table.tolist() == slow
    assert table.tolist() == sk.confusion_matrix(truth, prediction, labels=range(5)).tolist()
    assert accuracy(truth, prediction, count=5) == pytest.approx(np.mean(truth == prediction))
    recalls = [
        sum(c == (i, i) for c in cases) / sum(c[0] == i for c in cases)
        for i in range(5)
        if any(c[0] == i for c in cases)
    ]
    assert balanced_accuracy(truth, prediction, count=5) == pytest.approx(np.mean(recalls))


@given(GRADES)
def test_quadratic_kappa_over_all_pairs(cases: list[tuple[int, int]]) -> None:
    """The disagreement of each case with itself, over that of each truth with each prediction."""
    truth, prediction = split(cases)
    observed = np.mean([(t - p) ** 2 for t, p in cases])
    expected = np.mean([(t - p) ** 2 for t in truth for p in prediction])
    kappa = quadratic_kappa(truth, prediction, count=5)
    if expected == 0:
        assert kappa is None
        return
    assert kappa == pytest.approx(1 - observed / expected, abs=1e-12)
    assert kappa == pytest.approx(quadratic_kappa(prediction, truth, count=5))
    theirs = sk.cohen_kappa_score(truth, prediction, weights="quadratic", labels=range(5))
    assert kappa == pytest.approx(theirs, abs=1e-12)


def test_kappa_at_its_edges() -> None:
    assert quadratic_kappa([0, 4], [0, 4], count=5) == 1
    assert quadratic_kappa([0, 4], [4, 0], count=5) == -1
    assert quadratic_kappa([2, 2], [2, 2], count=5) is None
    assert quadratic_kappa([0, 4], [2, 2], count=5) == 0
    assert quadratic_kappa([], [], count=5) is None
    assert accuracy([], [], count=2) is None
    assert balanced_accuracy([], [], count=2) is None


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([0, 5], [0, 1], "'truth' has classes 0 to 5; expected 0 to 4"),
        ([0, 1], [-1, 1], "'prediction' has classes -1 to 1"),
        ([0, 1], [0], "lengths differ"),
        ([0.5], [0], "give class indices as integers"),
        ([[0]], [0], r"expected \(N,\)"),
    ],
)
def test_wrong_classes_are_named(truth: list[float], prediction: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quadratic_kappa(truth, prediction, count=5)


def test_wrong_scores_are_named() -> None:
    with pytest.raises(InputError, match=r"expected \(N, K\)"):
        macro_auroc([0, 1], [0.1, 0.2])
    with pytest.raises(InputError, match="lengths differ"):
        macro_auroc([0, 1], [[0.1, 0.2]])
    with pytest.raises(InputError, match="shapes differ"):
        auroc([0, 1, 1], [0.1, 0.2])


@given(
    arrays(np.int8, 12, elements=st.integers(0, 3)), arrays(np.int8, 12, elements=st.integers(0, 3))
)
def test_f1_is_that_of_counting_and_of_scikit_learn(
    truth: np.ndarray, prediction: np.ndarray
) -> None:
    slow = []
    for label in range(5):
        hits = sum(t == p == label for t, p in zip(truth, prediction, strict=True))
        wrong = sum((t == label) != (p == label) for t, p in zip(truth, prediction, strict=True))
        slow.append(2 * hits / (2 * hits + wrong) if hits + wrong else None)
    assert class_f1(truth, prediction, count=5) == tuple(slow)
    for average in ("macro", "micro"):
        ours = f1(truth, prediction, count=5, average=average)
        assert ours == pytest.approx(f1_score(truth, prediction, average=average, zero_division=0))


@given(arrays(np.bool_, (6, 3)), arrays(np.bool_, (6, 3)))
def test_several_labels_a_case(truth: np.ndarray, prediction: np.ndarray) -> None:
    there = (truth | prediction).any(axis=0)
    for average in ("macro", "micro"):
        ours = multilabel_f1(truth, prediction, average=average)
        if not there.any():
            assert ours is None
            continue
        theirs = f1_score(
            truth[:, there], prediction[:, there], average=average, zero_division=0,
            labels=range(there.sum()),
        )  # fmt: skip
        # scikit-learn takes one column for a yes or no
        if there.sum() > 1:
            assert ours == pytest.approx(theirs)
    scores = prediction + 0.1 * np.arange(6)[:, None]
    for curve, area in (("roc", auroc), ("pr", auprc)):
        found = multilabel_areas(truth, scores, curve=curve)
        assert found == tuple(area(truth[:, k], scores[:, k]) for k in range(3))


def test_options_of_averages_are_named() -> None:
    assert f1([], [], count=2) is None
    with pytest.raises(InputError, match="'average'"):
        f1([0], [0], count=2, average="weighted")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'curve'"):
        multilabel_areas([[0]], [[0]], curve="x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected \(N, K\)"):
        multilabel_f1([0], [0])
