"""Oracles count pixel by pixel; scikit-learn is the second opinion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from osler.errors import InputError
from osler.metrics import (
    area_under_roc,
    average_precision,
    cl_dice,
    dice,
    interleave_tally,
    label_f1,
    macro_f1,
    pixel_auroc,
    pixel_average_precision,
    precision,
    sensitivity,
    specificity,
    tally,
)

MASKS = arrays(np.bool_, (3, 4))
TRUTH = np.array([[1, 1, 0, 0]], bool)
HALF = np.array([[1, 0, 1, 0]], bool)
NONE = np.zeros((1, 4), bool)
ALL = ~NONE


def slow_counts(truth: np.ndarray, prediction: np.ndarray, within: np.ndarray) -> dict[str, int]:
    out = {"tp": 0, "fn": 0, "fp": 0, "tn": 0}
    for t, p, w in zip(truth.flat, prediction.flat, within.flat, strict=True):
        if w:
            out[("tp" if p else "fn") if t else ("fp" if p else "tn")] += 1
    return out


@given(truth=MASKS, prediction=MASKS, within=MASKS)
def test_counts_give_the_ratios(
    truth: np.ndarray, prediction: np.ndarray, within: np.ndarray
) -> None:
    n = slow_counts(truth, prediction, within)
    for metric, part, whole in (
        (dice, 2 * n["tp"], 2 * n["tp"] + n["fp"] + n["fn"]),
        (sensitivity, n["tp"], n["tp"] + n["fn"]),
        (specificity, n["tn"], n["tn"] + n["fp"]),
        (precision, n["tp"], n["tp"] + n["fp"]),
    ):
        expected = part / whole if whole else None
        assert metric(truth, prediction, within=within) == expected
    assert dice(truth, prediction) == dice(prediction, truth)


def test_edge_cases_are_as_defined() -> None:
    assert dice(NONE, NONE) is None
    assert dice(TRUTH, NONE) == 0
    assert dice(NONE, TRUTH) == 0
    assert sensitivity(NONE, TRUTH) is None
    assert specificity(ALL, TRUTH) is None
    assert precision(TRUTH, NONE) is None
    assert cl_dice(NONE, NONE) is None
    assert cl_dice(TRUTH, NONE) == 0
    assert cl_dice(NONE, TRUTH) == 0
    assert pixel_auroc(ALL, np.ones((1, 4))) is None
    assert pixel_average_precision(NONE, np.ones((1, 4))) is None
    assert dice(TRUTH.astype(np.uint8), HALF.astype(float)) == 0.5


@pytest.mark.parametrize(
    ("truth", "prediction", "within", "message"),
    [
        (TRUTH, TRUTH.T, None, r"shapes differ: 'truth' \(1, 4\), 'prediction' \(4, 1\)"),
        (TRUTH, TRUTH * 255, None, "'prediction' has int64 values other than 0 and 1"),
        (TRUTH, TRUTH * 0.5, None, "'prediction' has float64 values"),
        (TRUTH, TRUTH, NONE.T, "'within'"),
        (np.array(["a"]), np.array(["a"]), None, "'truth'"),
    ],
)
def test_wrong_arguments_are_named(
    truth: np.ndarray, prediction: np.ndarray, within: np.ndarray | None, message: str
) -> None:
    for metric in (dice, cl_dice):
        with pytest.raises(InputError, match=message):
            metric(truth, prediction, within=within)


def test_cl_dice_of_two_bars() -> None:
    """A bar and its left half: the half's line is all inside, half of the bar's line is found."""
    truth = np.zeros((15, 60), bool)
    truth[5:10, 5:55] = True
    half = truth.copy()
    half[:, 30:] = False
    assert cl_dice(truth, truth) == 1
    score = cl_dice(truth, half)
    assert score is not None
    assert score == pytest.approx(2 / 3, abs=0.03)
    # a thin line inside a thick vessel: Dice is poor, the centre line is right
    thin = np.zeros_like(truth)
    thin[7, 8:52] = True
    assert (cl_dice(truth, thin) or 0) > 0.95
    assert (dice(truth, thin) or 1) < 0.5
    assert cl_dice(truth, half, within=half) == 1


SCORES = st.integers(0, 6).map(lambda value: value / 6)


@given(st.lists(st.tuples(st.booleans(), SCORES), min_size=1, max_size=25))
def test_areas_are_those_of_pairs_and_of_scikit_learn(cases: list[tuple[bool, float]]) -> None:
    truth = np.array([case[0] for case in cases])
    for dtype in (np.float16, np.float32, np.float64):
        scores = np.array([case[1] for case in cases], dtype)
        auc, ap = pixel_auroc(truth, scores), pixel_average_precision(truth, scores)
        positives, negatives = scores[truth], scores[~truth]
        if positives.size and negatives.size:
            wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
            assert auc == pytest.approx(wins / (positives.size * negatives.size), abs=1e-12)
            assert auc == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
        else:
            assert auc is None
        if positives.size:
            assert ap == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
        else:
            assert ap is None


@given(arrays(np.float16, 40, elements=st.floats(-8, 8, width=16)), arrays(np.bool_, 40))
def test_counting_float16_is_exact(scores: np.ndarray, truth: np.ndarray) -> None:
    for metric in (pixel_auroc, pixel_average_precision):
        counted, ordered = metric(truth, scores), metric(truth, scores.astype(np.float64))
        assert counted == pytest.approx(ordered, abs=1e-12) if ordered is not None else not counted


def test_more_pixels_than_one_chunk() -> None:
    generator = np.random.default_rng(1)
    truth = generator.random((1200, 1000)) < 0.1
    scores = (generator.random(truth.shape) + truth).astype(np.float16)
    assert pixel_auroc(truth, scores) == pytest.approx(
        pixel_auroc(truth, scores.astype(np.float32)), abs=1e-12
    )


def test_the_border_does_not_count() -> None:
    truth, scores = np.array([1, 0, 0, 0]), np.array([0.4, 0.6, 0.0, 0.0])
    assert pixel_auroc(truth, scores) == pytest.approx(2 / 3)
    assert pixel_auroc(truth, scores, within=[1, 1, 0, 0]) == 0


def test_scores_must_be_finite() -> None:
    for bad in (np.nan, np.inf):
        for dtype in (np.float16, np.float32):
            with pytest.raises(InputError, match="'scores' holds NaN or infinite"):
                pixel_auroc([0, 1], np.array([0, bad], dtype))


@given(
    arrays(np.int8, 30, elements=st.integers(0, 3)), arrays(np.int8, 30, elements=st.integers(0, 3))
)
def test_label_f1_is_that_of_scikit_learn(truth: np.ndarray, prediction: np.ndarray) -> None:
    ours = label_f1(truth, prediction, labels=(1, 2))
    theirs = f1_score(truth, prediction, labels=[1, 2], average=None, zero_division=np.nan)
    for one, other in zip(ours.values(), theirs, strict=True):
        assert one == pytest.approx(other) if one is not None else np.isnan(other)
    known = [one for one in ours.values() if one is not None]
    expected = sum(known) / len(known) if known else None
    assert macro_f1(truth, prediction, labels=(1, 2)) == expected


def test_a_missed_vessel_pixel_counts_against_artery_and_vein() -> None:
    truth = np.array([1, 1, 2, 2, 0])
    prediction = np.array([1, 0, 2, 2, 1])
    assert label_f1(truth, prediction, labels=(1, 2), within=truth > 0) == {1: 2 / 3, 2: 1}
    assert macro_f1(truth, prediction, labels=(1, 2), within=truth > 0) == pytest.approx(5 / 6)
    assert macro_f1(truth, prediction, labels=(7,)) is None


def test_label_maps_are_checked() -> None:
    with pytest.raises(InputError, match="integer labels"):
        label_f1([0.5], [1], labels=(1,))
    with pytest.raises(InputError, match="'labels' is empty"):
        macro_f1([1], [1], labels=())


def test_tallies_of_images_add_up_to_the_figure_over_all_their_pixels():
    rng = np.random.default_rng(3)
    truth = rng.random((3, 40, 50)) < 0.1
    truth[2] = False  # an image without any: its false alarms count all the same
    scores = np.round(rng.random((3, 40, 50)) * 0.7 + 0.3 * truth, 2).astype(np.float16)
    together = sum(tally(one, other) for one, other in zip(truth, scores, strict=True))
    pooled = average_precision(interleave_tally(together))
    assert pooled == pytest.approx(average_precision_score(truth.ravel(), scores.ravel()))
    assert area_under_roc(interleave_tally(together)) == pytest.approx(
        roc_auc_score(truth.ravel(), scores.ravel())
    )
