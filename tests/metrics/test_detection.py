"""Oracles rasterise boxes, walk thresholds one by one; MONAI's COCO evaluation is the second."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import InputError
from osler.metrics import (
    box_iou,
    detection_ap,
    froc,
    match_boxes,
    match_points,
    mean_average_precision,
)

EMPTY = np.zeros((0, 4))


def random_boxes(generator: np.random.Generator, count: int, axes: int) -> np.ndarray:
    low = generator.integers(0, 6, (count, axes))
    return np.concatenate([low, low + generator.integers(1, 5, (count, axes))], axis=1)


def raster(box: np.ndarray) -> np.ndarray:
    axes = len(box) // 2
    out = np.zeros((12,) * axes, bool)
    out[tuple(slice(a, b) for a, b in zip(box[:axes], box[axes:], strict=True))] = True
    return out


@pytest.mark.parametrize("axes", [2, 3])
def test_overlap_is_that_of_drawn_boxes(axes: int) -> None:
    generator = np.random.default_rng(axes)
    one, other = random_boxes(generator, 8, axes), random_boxes(generator, 5, axes)
    ours = box_iou(one, other)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            a_drawn, b_drawn = raster(a), raster(b)
            both, either = (a_drawn & b_drawn).sum(), (a_drawn | b_drawn).sum()
            assert ours[i, j] == pytest.approx(both / either)
    assert box_iou(EMPTY, other).shape == (0, 5)
    assert box_iou([[1, 1, 1, 1]], [[1, 1, 1, 1]]) == 0


def cohort(seed: int, axes: int, *, ties: bool) -> tuple[list, list, list]:
    generator = np.random.default_rng(seed)
    truths, boxes, scores = [], [], []
    for _ in range(6):
        truth = random_boxes(generator, generator.integers(0, 4), axes)
        near = truth + generator.integers(0, 2, truth.shape)
        found = np.concatenate([near, random_boxes(generator, generator.integers(0, 4), axes)])
        value = generator.random(len(found))
        truths.append(truth)
        boxes.append(found)
        scores.append(np.round(value, 1) if ties else value)
    return truths, boxes, scores


def slow_match(truth: np.ndarray, boxes: np.ndarray, scores: np.ndarray, iou: float) -> list[bool]:
    overlap = box_iou(boxes, truth)
    hits, taken = [False] * len(boxes), set()
    left = set(range(len(boxes)))
    while left:
        top = max(scores[i] for i in left)
        pairs = [
            (overlap[i, j], i, j)
            for i in left
            for j in range(len(truth))
            if scores[i] == top and j not in taken and overlap[i, j] >= iou
        ]
        if not pairs:
            left = {i for i in left if scores[i] != top}
            continue
        _, i, j = max(pairs, key=lambda pair: pair[0])
        hits[i] = True
        taken.add(j)
        left.remove(i)
    return hits


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("axes", [2, 3])
def test_curves_are_those_of_a_slow_walk(axes: int, ties: bool) -> None:
    truths, boxes, scores = cohort(axes, axes, ties=ties)
    images = [match_boxes(t, b, s, iou=0.3) for t, b, s in zip(truths, boxes, scores, strict=True)]
    pool = [
        (score, hit)
        for t, b, s in zip(truths, boxes, scores, strict=True)
        for score, hit in zip(s, slow_match(t, b, s, 0.3), strict=True)
    ]
    total = sum(len(t) for t in truths)
    points = []
    for threshold in sorted({score for score, _ in pool}, reverse=True):
        kept = [hit for score, hit in pool if score >= threshold]
        points.append((sum(kept), len(kept) - sum(kept)))
    curve = froc(images, rates=(0.25, 1, 4))
    assert curve.sensitivity is not None
    np.testing.assert_allclose(curve.sensitivity, [hits / total for hits, _ in points])
    np.testing.assert_allclose(curve.alarms, [alarms / 6 for _, alarms in points])
    for rate, ours in zip(curve.rates, curve.at_rates or (), strict=True):
        assert ours == max([h / total for h, a in points if a / 6 <= rate], default=0)

    def best(recall: float) -> float:
        return max([h / (h + a) for h, a in points if h / total >= recall - 1e-12], default=0)

    coco = sum(best(n / 100) for n in range(101)) / 101
    assert detection_ap(images, points="coco") == pytest.approx(coco)
    area = sum(best(n / total) / total for n in range(1, total + 1))
    assert detection_ap(images) == pytest.approx(area)


@pytest.mark.parametrize("axes", [2, 3])
def test_monai_agrees(axes: int) -> None:
    coco = pytest.importorskip("monai.apps.detection.metrics.coco")
    matching = pytest.importorskip("monai.apps.detection.metrics.matching")
    truths, boxes, scores = cohort(7 + axes, axes, ties=False)
    metric = coco.COCOMetric(classes=["lesion"], iou_list=[0.1, 0.3, 0.5], max_detection=[100])
    results = matching.matching_batch(
        iou_fn=box_iou,
        iou_thresholds=metric.iou_thresholds,
        pred_boxes=boxes,
        pred_classes=[np.zeros(len(b), int) for b in boxes],
        pred_scores=scores,
        gt_boxes=truths,
        gt_classes=[np.zeros(len(t), int) for t in truths],
    )
    theirs = metric(results)[0]
    for iou in (0.1, 0.3, 0.5):
        ours = mean_average_precision([truths], [boxes], [scores], ious=(iou,))
        key = next(k for k in theirs if k.startswith(f"AP_IoU_{iou:.2f}"))
        # it compares recalls as floats, so 0.3 of ten lesions may be missed by the third
        images = [
            match_boxes(t, b, s, iou=iou) for t, b, s in zip(truths, boxes, scores, strict=True)
        ]
        curve = froc(images)
        recall = curve.sensitivity
        hits, alarms = recall * sum(map(len, truths)), curve.alarms * len(images)
        best = np.maximum.accumulate((hits / (hits + alarms))[::-1])[::-1]
        place = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
        floats = np.append(best, 0)[np.minimum(place, best.size)].mean()
        assert floats == pytest.approx(float(theirs[key]), abs=1e-6)
        assert ours == pytest.approx(floats, abs=0.01)


@given(st.permutations(range(4)))
def test_the_order_of_a_list_changes_nothing(order: list[int]) -> None:
    truth = [[0, 0, 4, 4], [4, 4, 8, 8]]
    boxes = np.array([[0, 0, 4, 3], [0, 0, 4, 4], [4, 4, 8, 8], [0, 0, 8, 8]])
    found = match_boxes(truth, boxes[order], np.ones(4), iou=0.2)
    assert found.hits[np.argsort(order)].tolist() == [False, True, True, False]


def test_empty_cases_are_as_defined() -> None:
    nothing = match_boxes(EMPTY, EMPTY, [])
    alarm = match_boxes(EMPTY, [[0, 0, 1, 1]], [0.5])
    missed = match_boxes([[0, 0, 1, 1]], EMPTY, [])
    assert detection_ap([nothing, alarm]) is None
    assert froc([nothing, alarm]).sensitivity is None
    assert froc([nothing, alarm]).alarms.tolist() == [0.5]
    assert detection_ap([missed]) == detection_ap([missed], points="coco") == 0
    assert froc([missed]).mean == 0
    assert mean_average_precision([[EMPTY]], [[EMPTY]], [[[]]]) is None
    # the highest score is an alarm: at few alarms nothing has been found
    found = match_boxes([[0, 0, 1, 1]], [[5, 5, 6, 6], [0, 0, 1, 1]], [0.9, 0.4])
    assert froc([found], rates=(0.5, 1)).at_rates == (0, 1)


def test_points_hit_within_the_radius_and_once() -> None:
    found = match_points(
        [[0, 0, 0], [9, 0, 0]], [[0, 3, 0], [0, 1, 0], [9, 2.1, 0]], [0.5, 0.5, 0.9], radius=[3, 2]
    )
    assert found.hits.tolist() == [False, True, False]
    assert match_points([[0, 0]], [[0, 3]], [1], radius=3).hits.all()
    assert match_points(np.zeros((0, 3)), [[0, 0, 3]], [1], radius=3).truths == 0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match="stops before"):
        box_iou([[2, 2, 1, 1]], [[0, 0, 1, 1]])
    with pytest.raises(InputError, match="shapes differ"):
        box_iou([[0, 0, 1, 1]], [[0, 0, 0, 1, 1, 1]])
    with pytest.raises(InputError, match="'iou' is 0"):
        match_boxes(EMPTY, EMPTY, [], iou=0)
    with pytest.raises(InputError, match="lengths differ"):
        match_boxes(EMPTY, [[0, 0, 1, 1]], [])
    with pytest.raises(InputError, match="'radius'"):
        match_points([[0, 0]], [[0, 0]], [1], radius=0)
    with pytest.raises(InputError, match="'images' is empty"):
        froc([])
    with pytest.raises(InputError, match="'rates'"):
        froc([match_boxes(EMPTY, EMPTY, [])], rates=(-1,))
    with pytest.raises(InputError, match="'points'"):
        detection_ap([], points="voc")  # type: ignore[arg-type]


def test_an_overlap_that_equals_the_threshold_is_a_hit() -> None:
    for iou, hit in ((0.5, True), (0.51, False)):
        found = match_boxes([[0, 0, 2, 2]], [[0, 0, 2, 1]], [1.0], iou=iou)
        assert found.hits.tolist() == [hit]
