"""Losses that a recipe of segmentation can name: vectors of published code, loops, and recipes."""

import itertools
import math

import pytest
import torch
from torch.nn import functional

from osler.errors import RecipeError
from osler.learn.recipe import check_recipe, read_yaml
from osler.tasks.segmentation_losses import (
    case_dice,
    cl_dice,
    dice,
    every_dice,
    generalised_dice,
    named_loss,
    soft_skeleton,
    squared_dice,
    weighted_entropy,
)

NAMES = ("dice", "squared-dice", "half-dice", "generalised-dice", "weighted-dice",
         "dice-focal", "cl-dice")  # fmt: skip


def said(golden, loss, kind):
    """A named loss of the vectors' binary or exclusive labels."""
    binary = kind == "binary"
    scores = golden.inputs["seg_logits" if binary else "mc_logits"]
    labels = golden.inputs["seg_target" if binary else "mc_target"]
    return named_loss(scores, labels, overlapping=binary, loss=loss, weight=1.0)


@pytest.mark.parametrize(
    ("loss", "kind", "name"),
    [
        ("squared-dice", "binary", "medsam_total"),
        ("half-dice", "exclusive", "transunet_total_half_half"),
        ("dice-focal", "binary", "visionfm_dicefocal_binary"),
        ("dice-focal", "exclusive", "visionfm_dicefocal_multiclass"),
    ],
)
def test_whole_losses_agree_with_the_vectors(golden_vectors, loss, kind, name):
    golden = golden_vectors("losses")
    golden.agrees(said(golden, loss, kind).reshape(1), name)


def test_the_gradient_of_medsams_loss(golden_vectors):
    golden = golden_vectors("losses")
    golden.inputs["seg_logits"].requires_grad_()
    said(golden, "squared-dice", "binary").backward()
    golden.agrees(golden.inputs["seg_logits"].grad, "medsam_grad")


def test_parts_agree_with_the_vectors(golden_vectors):
    golden = golden_vectors("losses")
    p, t = golden.inputs["seg_logits"].sigmoid(), golden.inputs["seg_target"]
    index = golden.inputs["mc_target"][:, 0].long()
    q = golden.inputs["mc_logits"].softmax(1)
    every = functional.one_hot(index, 3).movedim(-1, 1).double()
    for part, name in (
        (soft_skeleton(t), "soft_skel_gt_iter3"),
        (soft_skeleton(p, 10), "soft_skel_pred_iter10"),
        (cl_dice(p, t), "cldice_whole_batch_iter3"),
        (cl_dice(p, t, 10), "cldice_whole_batch_iter10"),
        (generalised_dice(q, every), "generalized_dice_square"),
        (squared_dice(q, every), "transunet_dice"),
        (case_dice(p, t, squared=True), "medsam_dice"),
        (weighted_entropy(q, every), "mmformer_weighted_ce"),
        (every_dice(q, every), "mmformer_dice"),
    ):
        golden.agrees(part.reshape(1) if part.ndim == 0 else part, name)


def test_the_gradient_of_cl_dice(golden_vectors):
    golden = golden_vectors("losses")
    scores = golden.inputs["seg_logits"].requires_grad_()
    cl_dice(scores.sigmoid(), golden.inputs["seg_target"]).backward()
    golden.agrees(scores.grad, "cldice_grad_logits_iter3")


def case(kind, seed=0):
    torch.manual_seed(seed)
    if kind == "overlapping":
        labels = torch.randint(0, 3, (2, 2, 4, 5)).float()
        return torch.randn(2, 2, 4, 5), labels
    return torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 1, 4, 5)).float()


@pytest.mark.parametrize("kind", ["overlapping", "exclusive"])
def test_the_default_is_what_a_loop_says(kind):
    scores, labels = case(kind)
    over = kind == "overlapping"
    found = named_loss(scores, labels, overlapping=over, loss="dice", weight=0.5)
    entropies, ratios = [], []
    for label in range(2):
        shared = sizes = 0.0
        for b, h, w in itertools.product(range(2), range(4), range(5)):
            row = scores[b, :, h, w].double()
            if over:
                t = float(labels[b, label, h, w])
                if t == 2:
                    continue
                p = 1 / (1 + math.exp(-float(row[label])))
                entropies.append(-math.log(p if t else 1 - p))
            else:
                index = int(labels[b, 0, h, w])
                share = [math.exp(x) for x in row]
                p, t = share[label + 1] / sum(share), float(index == label + 1)
                entropies.append(-math.log(share[index] / sum(share)))
            shared, sizes = shared + p * t, sizes + p + t
        ratios.append(1 - 2 * shared / sizes)
    want = sum(entropies) / len(entropies) + 0.5 * sum(ratios) / 2
    assert float(found) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("loss", NAMES)
@pytest.mark.parametrize("kind", ["overlapping", "exclusive"])
def test_what_is_unknown_does_not_count_and_learning_lowers_it(loss, kind):
    scores, labels = case(kind)
    over = kind == "overlapping"

    def value(scores):
        return named_loss(scores, labels, overlapping=over, loss=loss, weight=1.0)

    if over:
        other = torch.where(labels == 2, torch.randn_like(scores), scores)
        assert float(value(other)) == pytest.approx(value(scores).item(), abs=1e-6)
    moved = scores.clone().requires_grad_()
    optimiser = torch.optim.Adam([moved], lr=0.3)
    for _ in range(150):
        optimiser.zero_grad()
        value(moved).backward()
        optimiser.step()
    assert value(moved).item() < 0.2 * value(scores).item()


def test_skeletons_of_volumes_and_labels_that_nobody_has():
    line = torch.zeros(1, 1, 9, 9, 9)
    line[:, :, 3:6, 3:6] = 1  # a bar, 3 thick
    thin = soft_skeleton(line)
    assert torch.equal(thin[0, 0, 4, 4, 1:8], torch.ones(7))
    assert float(thin.sum()) < 0.35 * float(line.sum())
    nothing = torch.zeros(2, 2, 8, 8)
    for loss in (dice, case_dice, squared_dice, generalised_dice, cl_dice):
        assert torch.isfinite(loss(nothing + 0.1, nothing))


@pytest.mark.parametrize("loss", NAMES)
def test_a_recipe_names_it(recipe, segment, loss):
    segment["settings"]["loss"] = loss
    path = recipe(segment)
    _, task = check_recipe(read_yaml(path), path)
    scores, labels = torch.randn(2, 1, 8, 8), torch.randint(0, 2, (2, 1, 8, 8)).float()
    if not task.settings.overlapping:
        scores = torch.randn(2, 2, 8, 8)
    found = task.criterion(task.named(scores), {"labels": labels})
    want = named_loss(scores, labels, overlapping=task.settings.overlapping, loss=loss, weight=1.0)
    assert torch.equal(found, want)


def test_another_is_refused_with_those_that_there_are(recipe, segment):
    segment["settings"]["loss"] = "hausdorff"
    path = recipe(segment)
    with pytest.raises(RecipeError, match=r"loss.*generalised-dice"):
        check_recipe(read_yaml(path), path)
