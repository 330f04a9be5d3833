"""Detection: boxes from masks and back, the loss, whole images by windows, figures, a bundle."""

import runpy
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Pillow

from osler import bundles, io
from osler.bundles.answering import answer
from osler.errors import InputError, RecipeError
from osler.learn.augmenting_settings import Augmentation
from osler.learn.fitting import fit
from osler.learn.training import _change
from osler.metrics.detection import detection_ap, froc, match_boxes, match_points
from osler.record import Box, Case, Image, Mask, Source
from osler.tasks.catalogue import create
from osler.tasks.detection_boxes import parts_of, peaks, suppressed
from osler.tasks.detection_loss import detection_loss, drawn, generalised_iou

PERSON = Source("person", "cohort")
PHANTOM = Path(__file__).resolve().parents[2] / "recipes" / "cohorts" / "make_nodule_phantom.py"


def case_of(array, findings=(), *, spacing=None, id="c"):
    case = Case(id, id)
    affine = None
    if spacing is not None and array.ndim == 3:
        affine = np.diag([*spacing, 1.0])[[2, 1, 0, 3]]
    case.items["image"] = Image(
        "image", np.asarray(array, np.float32)[None], "CT", spacing=spacing, affine=affine
    )
    for k, finding in enumerate(findings):
        finding.id = f"f{k}"
        case.add(finding)
    return case


def box(name, start, stop, source=PERSON):
    return Box(id="x", name=name, source=source, item="image", start=start, stop=stop)


def mask(name, array):
    return Mask(id="x", name=name, source=PERSON, item="image", mask=array)


def task_of(**settings):
    image = {"intensity": {"range": [0, 1]}, **settings.pop("image", {})}
    return create("detection", {"labels": ["spot"], "image": image, **settings})


# boxes ---------------------------------------------------------------------------------------


def flooded(array, gap):
    """Parts by a flood from voxel to voxel: to any that is no further than both half gaps."""
    left = {tuple(int(i) for i in one) for one in np.argwhere(array)}
    reach = int(np.ceil(gap)) + 1
    steps = [
        s for s in product(range(-reach, reach + 1), repeat=array.ndim)
        if max(map(abs, s)) <= 1 or np.linalg.norm(s) <= gap
    ]  # fmt: skip
    found = []
    while left:
        waiting, part = [left.pop()], []
        while waiting:
            one = waiting.pop()
            part.append(one)
            for step in steps:
                near = tuple(a + b for a, b in zip(one, step, strict=True))
                if near in left:
                    left.remove(near)
                    waiting.append(near)
        places = np.array(part)
        found.append(((*places.min(0), *(places.max(0) + 1)), len(part)))
    return sorted(found)


@pytest.mark.parametrize("shape", [(17, 23), (7, 9, 11)])
def test_parts_of_a_mask_are_those_of_a_flood(shape):
    rng = np.random.default_rng(3)
    array = rng.random(shape) < 0.12
    boxes, sizes = parts_of(array)
    assert sorted(
        (tuple(one), size) for one, size in zip(boxes, sizes, strict=True)
    ) == flooded(array, 0)  # fmt: skip
    assert parts_of(np.zeros(shape, bool))[0].shape == (0, 2 * len(shape))


def test_parts_with_a_narrow_gap_are_one():
    array = np.zeros((9, 40), bool)
    array[2:5, 3:6] = array[2:5, 10:12] = array[2:5, 30:33] = True  # gaps of 5 and 19 centres
    assert len(parts_of(array)[0]) == 3
    boxes, sizes = parts_of(array, merge=5)
    assert boxes.tolist() == [[2, 3, 5, 12], [2, 30, 5, 33]]
    assert sizes.tolist() == [15, 9]
    # the same in millimetres: pixels twice as wide are twice as far apart
    assert len(parts_of(array, merge=5, spacing=(1, 2))[0]) == 3
    assert len(parts_of(array, merge=10, spacing=(1, 2))[0]) == 2


def test_peaks_are_cells_that_no_neighbour_exceeds():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 6, 7, 8)).astype(np.float32)
    slow = []
    for label, d, h, w in np.ndindex(scores.shape):
        around = scores[
            label, max(d - 1, 0) : d + 2, max(h - 1, 0) : h + 2, max(w - 1, 0) : w + 2
        ]  # fmt: skip
        if scores[label, d, h, w] == around.max() and scores[label, d, h, w] >= 0.5:
            slow.append((scores[label, d, h, w], label, d, h, w))
    slow.sort(reverse=True)
    kept = [one for one in slow if sum(s[1] == one[1] and s[0] > one[0] for s in slow) < 3]
    labels, cells, values = peaks(scores, least=0.5, most=3)
    assert len(slow) > len(kept) == 6  # three of each label, however sure the other is
    assert [tuple(one) for one in np.column_stack([labels, cells])] == [s[1:] for s in kept]
    assert values.tolist() == [s[0] for s in kept]
    assert len(peaks(scores, least=99, most=3)[0]) == 0


def test_suppression_keeps_the_surer_of_two():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10], [0, 0, 10, 10]], float)
    scores = np.array([0.5, 0.9, 0.2, 0.4], np.float32)
    labels = np.array([0, 0, 0, 1])
    assert suppressed(boxes, scores, labels, iou=0.5).tolist() == [1, 3, 2]
    assert suppressed(boxes, scores, labels, iou=0.9).tolist() == [1, 0, 3, 2]
    assert suppressed(np.empty((0, 4)), scores[:0], labels[:0], iou=0.5).tolist() == []


# the loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [(12, 16), (6, 8, 7)])
def test_the_heatmap_is_that_of_a_loop(grid):
    n, stride, spread = len(grid), 4, 0.15
    rng = np.random.default_rng(1)
    low = rng.uniform(-20, 4 * np.array(grid), (2, 5, n))
    boxes = np.concatenate([low, low + rng.uniform(2, 30, (2, 5, n))], 2).astype(np.float32)
    classes = rng.integers(-1, 2, (2, 5))
    boxes[1, 0] = np.nan  # an elastic warp can lose a place
    heat, at, true = drawn(
        torch.from_numpy(boxes), torch.from_numpy(classes), grid=grid, labels=2, stride=stride,
        spread=spread,
    )  # fmt: skip
    slow = np.zeros((2, 2, *grid))
    count = 0
    for b, k in np.ndindex(2, 5):
        if classes[b, k] < 0 or np.isnan(boxes[b, k]).any():
            continue
        centre = (boxes[b, k, :n] + boxes[b, k, n:]) / 2 / stride
        cell = np.floor(centre)
        inside = (cell >= 0).all() and (cell < grid).all()
        sides = (boxes[b, k, n:] - boxes[b, k, :n]) / stride
        for place in np.ndindex(grid):
            away = (np.array(place) - cell) / np.maximum(spread * sides, 0.4)
            value = 1.0 if not away.any() else min(np.exp(-(away**2).sum() / 2), 0.999)
            slow[(b, classes[b, k], *place)] = max(slow[(b, classes[b, k], *place)], value)
        if inside:
            row = at.tolist().index([b, *cell.astype(int).tolist()])
            assert np.allclose(true[row], [*centre, *sides], atol=1e-4)
            count += 1
    assert count == len(at) > 1
    assert np.allclose(heat, slow, atol=1e-4)


def perfect(boxes, classes, *, grid, stride, unit, labels):
    """What a network that knows the boxes would say, as numpy maps with a batch axis."""
    n = len(grid)
    heat = np.full((1, labels, *grid), -12.0, np.float32)
    size, offset = np.zeros((2, 1, n, *grid), np.float32)
    for one, label in zip(np.asarray(boxes, float), classes, strict=True):
        centre, sides = (one[:n] + one[n:]) / 2 / stride, one[n:] - one[:n]
        cell = np.minimum(np.floor(centre).astype(int), np.array(grid) - 1)
        heat[(0, label, *cell)] = 12.0
        size[(0, slice(None), *cell)] = np.log(sides / unit)
        offset[(0, slice(None), *cell)] = centre - cell - 0.5
    return {"heatmap": heat, "size": size, "offset": offset}


@pytest.mark.parametrize("sizes", ["l1", "giou"])
def test_the_loss_of_the_truth_is_none_and_of_all_else_more(sizes):
    boxes = np.array([[[4, 6, 20, 30], [33, 40, 41, 44], [0, 0, 0, 0]]], np.float32)
    classes = np.array([[0, 1, -1]])
    targets = {
        "boxes": torch.from_numpy(boxes), "classes": torch.from_numpy(classes),
        "known": torch.ones(1, 2),
    }  # fmt: skip
    options = {"stride": 4, "unit": 8.0, "spread": 0.1, "sizes": sizes, "weight": 1.0}
    said = perfect(boxes[0, :2], classes[0, :2], grid=(12, 12), stride=4, unit=8.0, labels=2)
    said = {name: torch.from_numpy(one) for name, one in said.items()}
    least = detection_loss(said, targets, **options)
    assert float(least) < 1e-4
    for name, by in (("size", 0.3), ("offset", 0.2)):
        other = {**said, name: said[name] + by}
        assert float(detection_loss(other, targets, **options)) > 0.05
    false = {**said, "heatmap": said["heatmap"].clone()}
    false["heatmap"][0, 1, 2, 2] = 5.0
    wrong = float(detection_loss(false, targets, **options))
    assert wrong > 1
    # nothing is background where the label is not known, or where nothing counts
    unknown = {**targets, "known": torch.tensor([[1.0, 0.0]])}
    assert float(detection_loss(false, unknown, **options)) < 1e-4
    ignore = torch.zeros(1, 1, 48, 48, dtype=torch.uint8)
    ignore[0, 0, 9, 11] = 1
    assert float(detection_loss(false, {**targets, "ignore": ignore}, **options)) < 1e-4
    empty = {**targets, "classes": torch.full((1, 3), -1)}
    none = {**said, "heatmap": torch.full((1, 2, 12, 12), -12.0)}
    assert float(detection_loss(none, empty, **options)) < 1e-4


def test_generalised_iou_is_that_of_counted_pixels():
    one, other = [2, 3, 12, 9], [6, 1, 14, 7]
    grid = np.zeros((2, 20, 20), bool)
    for plane, (a, b, c, d) in zip(grid, (one, other), strict=True):
        plane[a:c, b:d] = True
    shared, union, hull = grid.all(0).sum(), grid.any(0).sum(), 12 * 8

    def parts(b):
        low, high = torch.tensor([b[:2]]).float(), torch.tensor([b[2:]]).float()
        return (low + high) / 2, high - low

    said = generalised_iou(*parts(one), *parts(other))
    assert float(said) == pytest.approx(shared / union - (hull - union) / hull)


# whole images --------------------------------------------------------------------------------


def seer(task):
    """A network that sees the rectangles in a window; those at its edge are seen in part."""
    said = task.settings

    def predict(inputs):
        image = inputs["image"][0, 0]
        boxes, _ = parts_of(image > 0.5)
        grid = tuple(side // said.stride for side in image.shape)
        return perfect(
            boxes, [0] * len(boxes), grid=grid, stride=said.stride, unit=said.unit,
            labels=len(said.labels),
        )  # fmt: skip

    return predict


def scene(shape, boxes):
    out = np.zeros(shape, np.float32)
    axes = len(shape)
    for one in boxes:
        out[tuple(slice(a, b) for a, b in zip(one[:axes], one[axes:], strict=True))] = 1
    return out


@pytest.mark.parametrize("patch", [None, (48, 64)])
def test_a_large_picture_is_found_window_by_window_without_doubles(patch):
    rng = np.random.default_rng(2)
    boxes = []
    for h, w in product(range(8, 140, 22), range(8, 190, 22)):
        if rng.random() < 0.5:
            a, b = rng.integers(3, 13, 2)
            boxes.append((h, w, h + a, w + b))
    boxes.append((0, 0, 5, 4))
    if patch is not None:  # else the margin goes on with the last pixels
        boxes.append((147, 195, 150, 201))
    task = task_of(patch=patch, overlap=0.5, multiple=16)
    sample = task.encode(case_of(scene((150, 201), boxes)))
    outputs = task.run(seer(task), sample)
    found = task.decode(outputs, sample, source=Source("bundle", "b", "1"))
    assert sorted((*one.start, *one.stop) for one in found) == sorted(boxes)
    assert {one.probability > 0.99 for one in found} == {True}
    assert len({one.id for one in found}) == len(found)
    assert outputs["heatmap"].shape == (len(boxes),)


def test_volumes_come_home_from_another_spacing():
    boxes = [(3, 10, 12, 7, 22, 30), (10, 40, 8, 13, 48, 20)]
    case = case_of(scene((16, 64, 48), boxes), spacing=(4.0, 2.0, 2.0))
    task = task_of(
        image={"spacing": [2.0, 2.0, 2.0]}, patch=(32, 48, 48), overlap=0.5, multiple=16, stride=2
    )
    sample = task.encode(case)
    assert sample.inputs["image"].shape == (1, 32, 64, 48)
    found = task.decode(
        task.run(seer(task), sample), sample, source=Source("bundle", "b", "1")
    )  # fmt: skip
    assert sorted((*one.start, *one.stop) for one in found) == boxes


def test_an_empty_image_has_no_boxes_and_counts():
    with pytest.raises(InputError, match=r"has no box or mask 'spot'.*settings\.absent: none"):
        task_of(patch=(48, 48)).encode(case_of(np.zeros((60, 50))), truth=True)
    task = task_of(patch=(48, 48), absent="none")
    sample = task.encode(case_of(np.zeros((60, 50))), truth=True)
    assert sample.targets["boxes"].shape == (0, 4)
    outputs = task.run(seer(task), sample)
    assert task.decode(outputs, sample, source=Source("bundle", "b", "1")) == []
    row = task.judge(outputs, sample)
    assert row["labels"]["spot"]["truth"] == row["labels"]["spot"]["boxes"] == []
    assert task.score([row]) == 0
    inputs, targets = task.example(sample, np.random.default_rng(0))
    assert inputs["image"].shape == (1, 48, 48)
    assert (targets["classes"] == -1).all()


# truth and examples --------------------------------------------------------------------------


def test_truth_of_masks_and_boxes_small_parts_and_regions():
    marks = np.zeros((64, 80), bool)
    marks[4:10, 4:12] = marks[40, 50] = True
    wash = np.zeros((64, 80), bool)
    wash[30:60, 0:20] = True
    image = np.zeros((64, 80))
    findings = [
        mask("spot", marks),
        box("spot", (20, 30), (26, 40)),
        box("spot", (1, 1), (9, 9), Source("bundle", "b", "1")),  # not a person's
        mask("wash", wash),
    ]
    task = task_of(ignore=["wash"], smallest=4, image={"size": [32, 40]})
    sample = task.encode(case_of(image, findings), truth=True)
    assert sample.targets["boxes"].tolist() == [[2, 2, 5, 6], [10, 15, 13, 20]]
    assert sample.targets["ignore"].shape == (1, 32, 40)
    assert sample.targets["ignore"].sum() == 15 * 10 + 1
    assert sample.targets["ignore"][0, 20, 25] == 1
    outputs = {
        "heatmap": np.array([4.0, 3.0, 2.0, 1.0], np.float32), "labels": np.zeros(4, int),
        "boxes": np.array(
            [[4, 4, 10, 12], [39, 49, 42, 52], [35, 5, 41, 11], [0, 60, 9, 70]], float
        ),
    }  # fmt: skip
    row = task.judge(outputs, sample)["labels"]["spot"]
    assert row["excused"] == [0, 1, 1, 0]
    assert row["too_small"] == 1
    figures = {one.name: one for one in task.figures([task.judge(outputs, sample)], ["c"], seed=1)}
    # one of two found by the highest; the one false alarm comes after it
    assert figures["AP, spot"].interval.value == pytest.approx(0.5)
    assert figures["sensitivity at 0.125 false positives an image"].interval.value == 0.5


def test_a_case_may_be_silent_about_a_label():
    image = np.zeros((32, 32))
    task = create("detection", {"labels": ["a", "b"], "absent": "unknown"})
    sample = task.encode(case_of(image, [box("a", (2, 2), (8, 8))]), truth=True)
    assert sample.targets["known"].tolist() == [1, 0]
    none = {"heatmap": np.zeros(0), "labels": np.zeros(0, int), "boxes": np.zeros((0, 4))}
    row = task.judge(none, sample)
    assert row["labels"]["b"] is None
    figures = {one.name: one for one in task.figures([row], ["c"], seed=1, replicates=10)}
    assert figures["AP, b"].interval.value is None
    assert figures["AP, b"].left_out == 1
    assert figures["mAP"].interval.value == 0


def test_examples_hold_the_boxes_that_their_patch_shows():
    rng = np.random.default_rng(5)
    boxes = [(10, 10, 20, 26), (50, 70, 58, 78), (90, 20, 99, 33)]
    array = scene((120, 100), boxes)
    task = task_of(patch=(48, 48), foreground=1.0, count=3)
    sample = task.encode(case_of(array, [box("spot", b[:2], b[2:]) for b in boxes]), truth=True)
    for _ in range(30):
        inputs, targets = task.example(sample, rng)
        shown = targets["boxes"][targets["classes"] == 0]
        assert len(shown) >= 1
        image = inputs["image"][0]
        painted = np.zeros_like(image)
        for a, b, c, d in np.clip(shown, 0, 48).astype(int):
            painted[a:c, b:d] = 1
        assert np.array_equal(painted, image)
        assert targets["boxes"].shape == (3, 4)


def test_a_case_without_truth_is_cut_like_any_other():
    task = task_of(patch=[16, 16])
    image = np.random.default_rng(0).random((40, 28)).astype(np.float32)
    sample = task.encode(case_of(image))
    assert sample.targets == {}
    inputs, targets = task.example(sample, np.random.default_rng(1))
    assert targets == {}
    assert inputs["image"].shape == (1, 16, 16)
    assert np.isin(inputs["image"], image).all()


def test_planning_finds_the_usual_side_and_refuses_what_nobody_marked():
    image = np.zeros((64, 64))
    cases = [
        case_of(image, [box("spot", (0, 0), (8, 8)), box("spot", (9, 9), (41, 41))], id="1"),
        case_of(image, [], id="2"),
    ]
    task = task_of(image={"size": [32, 32]}).planned(lambda: iter(cases))
    assert task.settings.unit == pytest.approx(8)  # the geometric mean of 4 and 16
    assert task.settings.count == 2
    with pytest.raises(RecipeError, match=r"'lump'.*there are: spot"):
        task_of(labels=["lump"]).planned(lambda: iter(cases))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"patch": (40, 48)}, "divisible by multiple, 16"),
        ({"image": {"spacing": [1, 1, 1]}}, "volumes need a patch"),
        ({"stride": 5}, "divisible by stride"),
        ({"ignore": ["spot"]}, "in labels and in ignore"),
        ({"labels": ["a", "a"]}, "holds a name twice"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(RecipeError, match=words):
        task_of(**settings)


def test_findings_and_networks_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="has 3 axes, its image 2"):
        task_of().encode(
            case_of(np.zeros((32, 32)), [box("spot", (0, 0, 0), (1, 1, 1))]), truth=True
        )
    with pytest.raises(InputError, match=r"volumes need settings\.patch"):
        task_of().encode(case_of(np.zeros((8, 32, 32))))
    task = task_of()
    with pytest.raises(RecipeError, match="takes 5"):
        task.named(torch.zeros(1, 3, 8, 8))
    assert task.named(torch.zeros(1, 5, 8, 8))["offset"].shape == (1, 2, 8, 8)
    net = torch.nn.Conv2d(1, 5, 1)  # of stride 1
    targets = {
        "boxes": torch.zeros(1, 1, 4),
        "classes": -torch.ones(1, 1),
        "known": torch.ones(1, 1),
    }
    with pytest.raises(RecipeError, match=r"settings.stride is 4"):
        task.loss(net, {"image": torch.zeros(1, 1, 32, 32)}, targets, step=0)
    task = task_of(stride=1)
    assert torch.isfinite(task.loss(net, {"image": torch.zeros(1, 1, 32, 32)}, targets, step=0))


# figures -------------------------------------------------------------------------------------


def rows_of(count, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        labels = {}
        for label in ("a", "b"):
            low = rng.uniform(0, 80, (rng.integers(0, 4), 2))
            truth = np.hstack([low, low + rng.uniform(4, 12, low.shape)])
            near = truth + rng.normal(0, 2, truth.shape) * rng.integers(0, 2, (len(truth), 1))
            low = rng.uniform(0, 80, (3, 2))
            boxes = np.vstack([near, np.hstack([low, low + 6])])
            boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
            labels[label] = {
                "truth": truth.tolist(), "boxes": boxes.tolist(), "too_small": 0,
                "probability": rng.random(len(boxes)).tolist(),
                "excused": rng.integers(0, 2, len(boxes)).tolist(),
            }  # fmt: skip
        rows.append({"spacing": [1.0, 0.5], "labels": labels})
    return rows


def test_figures_can_be_computed_again_from_the_rows():
    task = create("detection", {"labels": ["a", "b"], "iou": 0.3, "reach": 2.0})
    rows = rows_of(9)
    figures = {
        one.name: one.interval
        for one in task.figures(rows, [f"p{k // 2}" for k in range(9)], seed=1, replicates=60)
    }  # fmt: skip
    precision, sensitivity = [], []
    for label in ("a", "b"):
        overlaps, centres = [], []
        for row in rows:
            one = row["labels"][label]
            truth, boxes = np.array(one["truth"]).reshape(-1, 4), np.array(one["boxes"])
            scores, excused = np.array(one["probability"]), np.array(one["excused"], bool)
            step = np.array([1.0, 0.5])
            middle = [(b[:, :2] + b[:, 2:]) / 2 * step for b in (truth, boxes)]
            radius = [max(2.0, *((b[2:] - b[:2]) * step / 2)) for b in truth]
            for kept, found in (
                (overlaps, match_boxes(truth, boxes, scores, iou=0.3)),
                (centres, match_points(*middle, scores, radius=np.array(radius))),
            ):
                stays = found.hits | ~excused
                kept.append(type(found)(found.scores[stays], found.hits[stays], found.truths))
        precision.append(detection_ap(overlaps))
        sensitivity.append(froc(centres))
    assert figures["mAP"].value == pytest.approx(np.mean(precision))
    assert figures["AP, b"].value == pytest.approx(precision[1])
    assert figures["FROC, a"].value == pytest.approx(sensitivity[0].mean)
    at = np.mean([one.at_rates[3] for one in sensitivity])
    assert figures["sensitivity at 1 false positives an image"].value == pytest.approx(at)
    assert figures["mAP"].low < figures["mAP"].value < figures["mAP"].high
    assert figures["mAP"].groups == 5
    assert task.score(rows) == pytest.approx(
        (np.mean(precision) + np.mean([one.mean for one in sensitivity])) / 2
    )


def test_calibration_makes_a_probability_mean_how_often_it_hits():
    task = task_of()
    rng = np.random.default_rng(0)
    truth = [(20 * k, 20 * j, 20 * k + 10, 20 * j + 10) for k in range(4) for j in range(4)]
    samples, outputs = [], []
    for n in range(30):
        sample = task.encode(
            case_of(np.zeros((80, 80)), [box("spot", b[:2], b[2:]) for b in truth], id=str(n)),
            truth=True,
        )
        scores = rng.normal(0, 2, 16).astype(np.float32)
        hit = rng.random(16) < 1 / (1 + np.exp(-(scores / 2 - 1)))  # too sure by far
        boxes = np.array(truth, float)
        boxes[~hit] += 10
        samples.append(sample)
        outputs.append({"heatmap": scores, "labels": np.zeros(16, int), "boxes": boxes})
    fitted = task.calibrate(outputs, samples, on="30 cases")["heatmap"]
    assert fitted["temperature"] == pytest.approx(2, rel=0.35)
    assert fitted["bias"] == pytest.approx(-1, abs=0.35)
    none = {"heatmap": np.zeros(0), "labels": np.zeros(0, int), "boxes": np.zeros((0, 4))}
    assert task.calibrate([none], samples[:1], on="none") == {}


# the shared machinery ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 64), (32, 40, 40)])
def test_boxes_move_with_their_image(shape):
    n = len(shape)
    first = np.array([8, 12, 10][:n])
    sides = np.array([8, 14, 10][:n])
    one = np.concatenate([first, first + sides])
    task = task_of(patch=tuple(16 for _ in shape)) if n == 3 else task_of()
    seen = 0
    for seed in range(6):
        inputs = {"image": torch.from_numpy(scene(shape, [one]))[None, None]}
        targets = {
            "boxes": torch.tensor(np.stack([one, 0 * one])[None], dtype=torch.float32),
            "classes": torch.tensor([[0, -1]]),
        }
        changes = Augmentation.model_validate(
            {"flip": {}, "scale": {"probability": 1.0, "factor": (0.8, 1.25)},
             "translate": {"probability": 1.0, "share": 0.05}}
        )  # fmt: skip
        _change(inputs, targets, task, changes, seed=seed)
        assert targets["boxes"].shape == (1, 2, 2 * n)
        boxes, _ = parts_of(inputs["image"][0, 0].numpy() > 0.5)
        assert np.abs(boxes[0] - targets["boxes"][0, 0].numpy()).max() <= 1
        seen += not np.allclose(boxes[0], one)
    assert seen > 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures with some bright discs, with boxes or masks of them; the last without any."""
    folder = tmp_path_factory.mktemp("discs")
    lines = ["case_id,patient_id,fold,image,label:boxes,label:disc"]
    hh, ww = np.mgrid[:80, :96]
    for n in range(12):
        rng = np.random.default_rng(n)
        marks, cells = np.zeros((80, 96), bool), []
        corners = rng.permutation(6)[: 0 if n >= 10 else 3]
        for k in corners:
            h, w = 18 + 40 * (k // 3), 16 + 32 * (k % 3)
            radius = rng.uniform(4, 9)
            disc = np.hypot(hh - h, ww - w) <= radius
            marks |= disc
            (a, b), (c, d) = np.argwhere(disc).min(0), np.argwhere(disc).max(0) + 1
            cells.append(f"{a};{b};{c};{d}")
        picture = np.clip(50 + 120 * marks + rng.normal(0, 10, marks.shape), 0, 255)
        Pillow.fromarray(picture.astype(np.uint8)).save(folder / f"{n}.png")
        Pillow.fromarray(marks.astype(np.uint8) * 255).save(folder / f"{n}.mask.png")
        lines.append(f"c{n},p{n},{n % 3},{n}.png,{' '.join(cells)},{n}.mask.png")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_discs_are_learnt_and_answered_in_the_native_grid(place, tmp_path):
    recipe = {
        "name": "discs",
        "task": "detection",
        "cohort": "cohort.csv",
        "settings": {"labels": ["disc"], "patch": [64, 64], "multiple": 8, "stride": 2,
                     "threshold": 0.3},
        "network": {"options": {"widths": [8, 12, 16], "head": 16}},
        "learner": {"steps": 60, "batch": 4, "rate": 0.01, "warmup": 5, "ema": 0.8,
                    "validate_every": 30, "precision": "float32"},
        "augment": {"flip": {}, "scale": {}},
    }  # fmt: skip
    path = place / "discs.yaml"
    path.write_text(yaml.safe_dump(recipe))
    run = fit(path, out=tmp_path / "run")
    figures = {one["name"]: one["value"] for one in run.metrics}
    assert figures["AP, disc"] > 0.8
    assert figures["FROC, disc"] > 0.8
    bundle = bundles.load(run.bundle)
    assert bundle.card.settings["count"] == 3
    assert {one.name for one in bundle.card.outputs} == {"heatmap", "size", "offset"}
    case = io.load_file(place / "3.png")
    found = answer(bundle, case)
    truth, _ = parts_of(np.asarray(Pillow.open(place / "3.mask.png")) > 0)
    said = np.array([[*one.start, *one.stop] for one in found], float)
    matched = match_boxes(truth, said, [one.probability for one in found], iou=0.5)
    assert matched.hits.sum() == 3
    assert answer(bundle, io.load_file(place / "11.png")) == []


def test_the_phantom_is_the_same_twice_and_its_boxes_enclose_its_nodules():
    made = runpy.run_path(str(PHANTOM))
    values, cells = made["volume"](2)
    again, same = made["volume"](2)
    assert np.array_equal(values, again)
    assert cells == same
    assert len(cells) == 2
    assert values.shape == (48, 80, 80)
    for cell in cells:
        numbers = [int(n) for n in cell.split(";")]
        low, high = np.array(numbers[:3]), np.array(numbers[3:])
        sides = (high - low) * made["SPACING"]
        assert 4 <= sides.min() <= sides.max() <= 12 + 2 * 1.25
        middle = tuple(slice(a, a + 2) for a in (low + high) // 2 - 1)
        around = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        assert values[middle].mean() > around.mean() > np.median(values) + 50
