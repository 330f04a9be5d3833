"""Partial labels: the losses against loops, and cohorts in which not every mask was drawn."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.mean_teacher import MeanTeacher
from osler.learn.strategies.partial_labels import PartialLabels, exclusion_loss, marginal_loss
from osler.tasks.segmentation import Segmentation
from osler.tasks.segmentation_settings import SegmentationSettings

pytestmark = pytest.mark.usefixtures("graphless")


class EnoughError(Exception):
    """Ends a run once what is looked at is there."""


def drawn(grid, *, batch=4, labels=3, seed=0):
    """Scores, truth and which labels are marked; nothing is marked that is not annotated."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, (batch, 1 + labels, *grid))
    annotated = rng.random((batch, labels)) < 0.6
    annotated[0] = True
    truth = rng.integers(0, 1 + labels, (batch, *grid))
    for b in range(batch):
        for k in range(labels):
            if not annotated[b, k]:
                truth[b][truth[b] == k + 1] = 0
    return scores, truth, annotated


def softmax(values):
    raised = [math.exp(one) for one in values]
    return [one / sum(raised) for one in raised]


def merged(scores, truth, annotated):
    """For every voxel its case, place, probabilities and its merged background, one by one."""
    for b in range(len(scores)):
        for place in np.ndindex(*truth.shape[1:]):
            p = softmax([scores[(b, c, *place)] for c in range(scores.shape[1])])
            rest = p[0] + sum(p[k + 1] for k in range(len(p) - 1) if not annotated[b, k])
            yield b, p, rest, truth[(b, *place)]


def plain_marginal(scores, truth, annotated, dice):
    labels = annotated.shape[1]
    entropy, count = 0.0, 0
    shared, sizes, there = [0.0] * labels, [0.0] * labels, [False] * labels
    for b, p, rest, true in merged(scores, truth, annotated):
        entropy -= math.log(rest if true == 0 else p[true])
        count += 1
        for k in range(labels):
            if annotated[b, k]:
                is_it = float(true == k + 1)
                shared[k] += p[k + 1] * is_it
                sizes[k] += p[k + 1] + is_it
                there[k] = there[k] or is_it > 0
    apart = [
        1 - (2 * a + 1e-5) / (s + 1e-5) for a, s, t in zip(shared, sizes, there, strict=True) if t
    ]
    return entropy / count + dice * sum(apart) / max(len(apart), 1)


def plain_exclusion(scores, truth, annotated):
    cross, count, overlaps = 0.0, 0, []
    for b in range(len(scores)):
        here = [one for one in merged(scores, truth, annotated) if one[0] == b]
        for _, p, _, true in here:
            count += 1
            for k in range(annotated.shape[1]):
                if not annotated[b, k] and true > 0:
                    cross += math.log(1 + p[k + 1])
        for k in range(annotated.shape[1]):
            if not annotated[b, k]:
                inside = sum(p[k + 1] for _, p, _, true in here if true > 0)
                whole = sum(p[k + 1] for _, p, _, _ in here)
                overlaps.append(2 * inside / (whole + sum(true > 0 for *_, true in here)))
    return sum(overlaps) / max(len(overlaps), 1) + cross / count


def tensors(scores, truth, annotated):
    return torch.from_numpy(scores), torch.from_numpy(truth), torch.from_numpy(annotated)


@pytest.mark.parametrize("grid", [(5, 4), (2, 3, 4)])
def test_what_is_not_marked_is_part_of_the_background(grid):
    parts = drawn(grid)
    assert not parts[2].all()
    found = marginal_loss(*tensors(*parts), dice=0.7)
    assert float(found) == pytest.approx(plain_marginal(*parts, 0.7), rel=1e-8)
    found = exclusion_loss(*tensors(*parts))
    assert float(found) == pytest.approx(plain_exclusion(*parts), rel=1e-8)


def test_where_all_is_marked_it_is_the_plain_loss():
    scores, truth, annotated = drawn((6, 5))
    annotated[:] = True
    task = Segmentation(SegmentationSettings(labels=["a", "b", "c"]))
    plain = task.criterion(
        {"scores": torch.from_numpy(scores).float()}, {"labels": torch.from_numpy(truth)[:, None]}
    )
    parts = tensors(scores, truth, annotated)
    assert float(marginal_loss(*parts, dice=1.0)) == pytest.approx(float(plain), rel=1e-5)
    assert float(exclusion_loss(*parts)) == 0


def test_a_case_that_marks_nothing_teaches_nothing():
    scores, truth, annotated = drawn((4, 4))
    annotated[:], truth[:] = False, 0
    score, true, known = tensors(scores, truth, annotated)
    score.requires_grad_()
    loss = marginal_loss(score, true, known, dice=1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert score.grad.abs().max() < 1e-9


@pytest.fixture(scope="module")
def parted(shapes):
    """The shapes with the upper and the lower half of each as labels, each marked in half."""
    lines = ["case_id,patient_id,fold,image,label:upper,label:lower"]
    for n in range(24):
        mask = np.asarray(Pillow.open(shapes / f"{n}.mask.png")) > 0
        middle = round(np.flatnonzero(mask.any(axis=1)).mean())
        for name, rows in (("upper", slice(0, middle)), ("lower", slice(middle, None))):
            half = np.zeros_like(mask)
            half[rows] = mask[rows]
            Pillow.fromarray(half.astype(np.uint8) * 255).save(shapes / f"{n}.{name}.png")
        fold = (n // 2) % 3
        upper = "" if n % 2 and fold == 2 else f"{n}.upper.png"
        lower = "" if n % 2 == 0 and fold == 2 else f"{n}.lower.png"
        lines.append(f"c{n},p{n},{fold},{n}.png,{upper},{lower}")
    (shapes / "parted.csv").write_text("\n".join(lines) + "\n")
    return "parted.csv"


def test_a_cohort_with_half_of_the_masks_teaches_both(recipe, segment, parted, tmp_path):
    segment["settings"] |= {"labels": ["upper", "lower"], "absent": "unknown"}
    path = recipe(segment, cohort=parted, strategies={"partial-labels": {}}, learner={"steps": 40})
    run = fit(path, out=tmp_path, strategies=[PartialLabels])
    kept = json.loads((tmp_path / "run.json").read_text())["strategies"]["partial-labels"]
    assert kept == {"marked": {"upper": 4, "lower": 4}}
    figures = {one["name"]: one["value"] for one in run.metrics}
    assert figures["Dice, upper"] > 0.6
    assert figures["Dice, lower"] > 0.6


def test_the_whole_goes_on_to_the_bit_beside_another(recipe, segment, parted, tmp_path):
    segment["settings"] |= {"labels": ["upper", "lower"], "absent": "unknown", "patch": [32, 32]}
    path = recipe(
        segment, cohort=parted, strategies={"partial-labels": {}, "mean-teacher": {}},
        labels={"share": 0.5}, augment="light", learner={"steps": 4, "checkpoint_minutes": 0},
    )  # fmt: skip

    class Taught(MeanTeacher):
        def finished(self, net, context):
            raise EnoughError

    class Tired(MeanTeacher):
        def stepped(self, net, step):
            if step == 3:
                raise KeyboardInterrupt
            super().stepped(net, step)

    with pytest.raises(EnoughError):
        fit(path, out=tmp_path / "whole", strategies=[PartialLabels, Taught])
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[PartialLabels, Tired])
    with pytest.raises(EnoughError):
        fit(path, out=tmp_path / "parts", resume=True, strategies=[PartialLabels, Taught])
    first, second = (
        torch.load(tmp_path / one / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, r"needs settings\.absent unknown"),
        ({"absent": "unknown", "overlapping": True}, "is for labels that exclude each other"),
    ],
)
def test_what_does_not_go_is_refused(recipe, segment, change, said):
    segment["settings"] |= change
    path = recipe(segment, strategies={"partial-labels": {}})
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=[PartialLabels])
