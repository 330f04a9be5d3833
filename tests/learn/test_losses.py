"""Losses against loops over pixels; what does not count must not count."""

import math

import numpy as np
import pytest
import torch

from osler.learn.fundus.grading import grading_loss
from osler.learn.fundus.quality import SCORES, quality_loss
from osler.learn.fundus.spoil import Example
from osler.learn.losses import exclusive, overlap

SHAPE = (2, 3, 4, 5)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def softmax(row):
    raised = np.exp(row - row.max())
    return raised / raised.sum()


def case(seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.random(SHAPE) * (rng.random(SHAPE) < 0.5)
    valid = (rng.random(SHAPE) < 0.7).astype(float)
    return rng.normal(0, 2, SHAPE), targets, valid, rng


def tensors(*arrays):
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def slow_dice(probability, targets, valid):
    losses = []
    for label in range(targets.shape[1]):
        p, t, v = probability[:, label], targets[:, label], valid[:, label]
        if (t * v).sum() <= 1:
            continue
        losses.append(1 - (2 * (p * t * v).sum() + 1) / (((p + t) * v).sum() + 1))
    return sum(losses) / max(1, len(losses))


def slow_overlap(logits, targets, valid, dice, positive):
    means = []
    for label in range(SHAPE[1]):
        total = weights = 0.0
        for place in np.ndindex(SHAPE[0], *SHAPE[2:]):
            at = (place[0], label, *place[1:])
            p, t = sigmoid(logits[at]), targets[at]
            weight = valid[at] * (1 + (positive - 1) * t)
            total += weight * -(t * math.log(p) + (1 - t) * math.log(1 - p))
            weights += weight
        means.append(total / max(1, weights))
    probability = np.vectorize(sigmoid)(logits)
    return np.mean(means) + dice * slow_dice(probability, targets, valid)


@pytest.mark.parametrize(("dice", "positive"), [(0, 1), (1, 1), (0.5, 3)])
def test_overlap_is_what_a_loop_says(dice, positive):
    logits, targets, valid, _ = case()
    found = overlap(*tensors(logits, targets, valid), dice=dice, positive=positive)
    assert float(found) == pytest.approx(
        slow_overlap(logits, targets, valid, dice, positive), rel=1e-5
    )


def test_each_label_is_held_against_its_own_entropy():
    logits, targets, valid, _ = case()
    given = tensors(logits, targets, valid)
    entropies = torch.linspace(0.2, 2.0, SHAPE[1])
    one_by_one = [
        overlap(*(part[:, [label]] for part in given), dice=0, positive=1) / entropies[label]
        for label in range(SHAPE[1])
    ]
    found = overlap(*given, dice=0, positive=1, entropy_of_prevalence=entropies)
    assert float(found) == pytest.approx(float(sum(one_by_one)) / SHAPE[1], rel=1e-5)


def exclusive_case(seed=0):
    _, _, valid, rng = case(seed)
    b, labels, h, w = SHAPE
    targets = np.zeros(SHAPE)
    chosen = rng.integers(0, labels + 1, (b, h, w))
    for label in range(labels):
        targets[:, label] = (chosen == label + 1) * rng.choice([1.0, 0.6], (b, h, w))
    return rng.normal(0, 2, (b, labels + 1, h, w)), targets, valid, rng


def slow_exclusive(logits, targets, valid, dice, positive):
    b, _, h, w = SHAPE
    total = weights = 0.0
    probability, known = np.zeros(SHAPE), np.zeros(SHAPE)
    for i, y, x in np.ndindex(b, h, w):
        share = softmax(logits[i, :, y, x])
        probability[i, :, y, x] = share[1:]
        known[i, :, y, x] = counts = valid[i, :, y, x].min()
        rest = max(0.0, 1 - targets[i, :, y, x].sum())
        every = np.array([rest, *targets[i, :, y, x]])
        every /= every.sum()
        weight = counts * (1 + (positive - 1) * (1 - rest))
        total += weight * -(every * np.log(share)).sum()
        weights += weight
    return total / max(1, weights) + dice * slow_dice(probability, targets, known)


@pytest.mark.parametrize(("dice", "positive"), [(0, 1), (1, 1), (0.5, 3)])
def test_exclusive_is_what_a_loop_says(dice, positive):
    logits, targets, valid, _ = exclusive_case()
    found = exclusive(*tensors(logits, targets, valid), dice=dice, positive=positive)
    expected = slow_exclusive(logits, targets, valid, dice, positive)
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("criterion", "make"), [(overlap, case), (exclusive, exclusive_case)])
def test_pixels_that_do_not_count_change_nothing(criterion, make):
    logits, targets, valid, rng = make(3)
    whole = valid.min(axis=1, keepdims=True) if criterion is exclusive else valid
    kept = np.broadcast_to(whole, targets.shape) > 0
    other = np.where(kept, targets, rng.random(targets.shape) / 3)
    counts = kept[:, :1] if criterion is exclusive else kept
    moved = np.where(np.broadcast_to(counts, logits.shape), logits, rng.normal(0, 9, logits.shape))
    first = criterion(*tensors(logits, targets, valid), dice=1.0, positive=2.0)
    second = criterion(*tensors(moved, other, valid), dice=1.0, positive=2.0)
    assert float(first) == pytest.approx(float(second), rel=1e-6)
    free = torch.tensor(moved, dtype=torch.float32, requires_grad=True)
    criterion(free, *tensors(other, valid), dice=1.0, positive=2.0).backward()
    assert not free.grad[~torch.from_numpy(np.broadcast_to(counts, logits.shape).copy())].any()


@pytest.mark.parametrize(("criterion", "extra"), [(overlap, 0), (exclusive, 1)])
def test_nothing_valid_is_no_loss_and_no_gradient(criterion, extra):
    logits = torch.randn(1, 2 + extra, 4, 4, requires_grad=True)
    empty = torch.zeros(1, 2, 4, 4)
    loss = criterion(logits, empty, empty, dice=1.0, positive=1.0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()


def test_a_right_answer_costs_nearly_nothing():
    targets = torch.zeros(1, 2, 8, 8)
    targets[:, 0, :4] = 1
    targets[:, 1, 4:6] = 1
    every = torch.ones_like(targets)
    sure = (targets * 2 - 1) * 20
    assert float(overlap(sure, targets, every, dice=1.0, positive=1.0)) < 1e-3
    rest = 1 - targets.sum(1, keepdim=True)
    sure = torch.cat([rest, targets], 1) * 40
    assert float(exclusive(sure, targets, every, dice=1.0, positive=1.0)) < 1e-3


def test_grading_loss_is_what_numpy_says():
    rng = np.random.default_rng(0)
    said = [rng.normal(size=(4, k)) for k in (5, 1, 3)]
    grade, oedema = np.array([0, 1, 2, 4]), np.array([0, 2, 1, 0])
    expected = 0.0
    for i in range(4):
        p, q, r = softmax(said[0][i]), softmax(said[2][i]), sigmoid(said[1][i, 0])
        smooth5 = 0.95 * np.eye(5)[grade[i]] + 0.05 / 5
        smooth3 = 0.95 * np.eye(3)[oedema[i]] + 0.05 / 3
        expected -= (smooth5 * np.log(p)).sum()
        expected += 0.15 * ((p * np.arange(5)).sum() - grade[i]) ** 2
        expected -= 0.5 * math.log(r if grade[i] >= 2 else 1 - r)
        expected -= 0.5 * (smooth3 * np.log(q)).sum()
    found = grading_loss(tuple(tensors(*said)), torch.tensor(grade), torch.tensor(oedema))
    assert float(found) == pytest.approx(expected / 4, rel=1e-5)


def made(fundus, grade=-1, defects=(0, 0, 0, 0)):
    return Example(np.zeros((4, 32, 32), np.uint8), fundus, grade, np.array(defects, np.float32))


def test_quality_loss_is_what_numpy_says():
    examples = [made(True, 1, (1, 0, 0, 0)), made(False), made(True, 2, (0, 1, 0, 1))]
    said = np.random.default_rng(0).normal(size=(3, SCORES))
    kind = -np.mean(
        [
            math.log(sigmoid(s if e.fundus else -s))
            for s, e in zip(said[:, 0], examples, strict=True)
        ]
    )
    shown = [0, 2]
    grade = -np.mean([math.log(softmax(said[i, 1:4])[examples[i].grade]) for i in shown])
    wrong = -np.mean([
        math.log(sigmoid(s if d else -s))
        for i in shown
        for s, d in zip(said[i, 4:], examples[i].defects, strict=True)
    ])  # fmt: skip
    found = quality_loss(torch.tensor(said), examples)
    assert float(found) == pytest.approx(kind + grade + wrong, rel=1e-5)


def test_other_pictures_have_no_quality():
    said = torch.randn(2, SCORES, requires_grad=True)
    quality_loss(said, [made(False), made(False)]).backward()
    assert said.grad[:, 0].all()
    assert not said.grad[:, 1:].any()
