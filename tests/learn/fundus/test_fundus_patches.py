"""Patches: a step's batch is its own, and whatever happens to a picture happens to its targets."""

from pathlib import Path

import numpy as np
import pytest
import torch

from osler.data.cohort import Row
from osler.errors import RecipeError
from osler.learn.fundus.canvases import Drawn
from osler.learn.fundus.patches import Sampler, photograph_badly
from osler.learn.fundus.recipe import Augment
from osler.learn.learner import Learner

SIDE = 128
LEARNER = Learner(steps=10, batch=6, patch=64, foreground=0.5, seed=4)
PLAIN = Augment(colour=0, blur=0, coarse=1, noise=0, shading=0)


def drawn(square=(50, 60, 16), *, name="one", unknown=None) -> Drawn:
    """A dim disc with a bright square, whose target is the square."""
    hh, ww = np.mgrid[:SIDE, :SIDE]
    field = (hh - 64) ** 2 + (ww - 64) ** 2 < 60**2
    h, w, side = square
    target = np.zeros((2, SIDE, SIDE), np.uint8)
    target[0, h : h + side, w : w + side] = 255
    image = np.full((4, SIDE, SIDE), 60, np.uint8)
    image[:3, target[0] > 0] = 240
    image[3] = 255
    image *= field
    valid = np.full_like(target, 255)
    if unknown:
        valid[unknown] = 0
    return Drawn(Row(name, name, 0, {}, {}), Path(), image, target, valid)


def cases():
    return [drawn(), drawn((30, 70, 24), name="two"), drawn((80, 40, 10), name="three")]


def same(one, other):
    return all(
        torch.equal(getattr(one, part), getattr(other, part))
        for part in ("image", "targets", "valid")
    )


def test_a_step_is_the_same_whatever_came_before():
    fresh = Sampler(cases(), LEARNER, Augment()).batch(7)
    used = Sampler(cases(), LEARNER, Augment())
    for step in (3, 0, 9, 8):
        used.batch(step)
    torch.manual_seed(1)
    np.random.default_rng(0).random()
    assert same(used.batch(7), fresh)


def test_another_step_and_another_seed_differ():
    sampler = Sampler(cases(), LEARNER, Augment())
    assert not torch.equal(sampler.batch(1).image, sampler.batch(2).image)
    other = Sampler(cases(), LEARNER.model_copy(update={"seed": 5}), Augment())
    assert not torch.equal(sampler.batch(1).image, other.batch(1).image)


def test_shapes_types_and_ranges():
    batch = Sampler(cases(), LEARNER, Augment()).batch(0)
    assert batch.image.shape == (6, 4, 64, 64)
    assert batch.targets.shape == batch.valid.shape == (6, 2, 64, 64)
    for part in (batch.image, batch.targets, batch.valid):
        assert part.dtype == torch.float32
        assert part.min() >= 0
        assert part.max() <= 1
    assert set(batch.valid.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "augment",
    [
        pytest.param({"scale": (1, 1), "rotate": 0, "flip": False}, id="moved"),
        pytest.param({"scale": (1, 1), "rotate": 0, "flip": True}, id="mirrored"),
        pytest.param({"scale": (1, 1), "rotate": 180, "flip": False}, id="turned"),
        pytest.param({"scale": (0.5, 2), "rotate": 0, "flip": False}, id="scaled"),
        pytest.param({"scale": (0.5, 2), "rotate": 180, "flip": True}, id="all"),
    ],
)
def test_targets_follow_their_picture(augment):
    sampler = Sampler(cases(), LEARNER, PLAIN.model_copy(update=augment))
    seen = 0
    for step in range(12):
        batch = sampler.batch(step)
        bright, target = batch.image[:, 0] > 0.6, batch.targets[:, 0] > 0.5
        inside = batch.image[:, 3] > 0
        # the edges of both are drawn from the same places: they differ by rounding only
        differ = (bright ^ (target & inside)).sum()
        assert differ <= 0.12 * target.sum() + 8
        seen += int((target.sum((1, 2)) > 20).sum())
    assert seen > 20


def area(sampler):
    return np.mean([float(sampler.batch(k).targets[:, 0].sum((1, 2)).max()) for k in range(12)])


def test_scale_magnifies():
    learner = LEARNER.model_copy(update={"foreground": 1.0})
    only = [drawn((56, 56, 12))]
    small = area(Sampler(only, learner, PLAIN.model_copy(update={"scale": (0.5, 0.5)})))
    large = area(Sampler(only, learner, PLAIN.model_copy(update={"scale": (2.0, 2.0)})))
    assert large / small == pytest.approx(16, rel=0.25)


def test_pictures_are_zero_outside_the_field():
    batch = Sampler(cases(), LEARNER, Augment(noise=0.1, shading=0.5)).batch(3)
    outside = batch.image[:, 3:] == 0
    assert outside.any()
    assert not (batch.image[:, :3] * outside).any()
    assert not (batch.valid * outside).any()


def test_what_is_unknown_does_not_count():
    known, partly = drawn(), drawn(name="two", unknown=1)
    batch = Sampler([partly], LEARNER, PLAIN).batch(0)
    assert not batch.valid[:, 1].any()
    assert torch.equal(batch.valid[:, 0], batch.image[:, 3])
    both = Sampler([known, partly], LEARNER, PLAIN)
    assert sorted({float(both.batch(k).valid[i, 1].max()) for k in range(4) for i in range(6)}) == [
        0, 1,
    ]  # fmt: skip


def test_foreground_centres_patches_on_labels():
    def share(foreground):
        learner = LEARNER.model_copy(update={"foreground": foreground})
        sampler = Sampler([drawn((20, 60, 6))], learner, PLAIN)
        found = [(sampler.batch(k).targets[:, 0].amax((1, 2)) > 0.5).float() for k in range(10)]
        return float(torch.cat(found).mean())

    assert share(1.0) > 0.9
    assert share(0.0) < 0.8


def test_a_case_without_labels_still_teaches():
    empty = drawn((0, 0, 0))
    batch = Sampler([empty], LEARNER.model_copy(update={"foreground": 1.0}), PLAIN).batch(0)
    assert not batch.targets.any()
    assert batch.image[:, 3].any()


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_negatives_come_as_often_as_the_learner_says(share):
    learner = LEARNER.model_copy(update={"foreground": 1.0, "negatives": share, "batch": 1})
    many = [drawn(), *(drawn((0, 0, 0), name=f"none {i}") for i in range(3))]
    sampler = Sampler(many, learner, PLAIN)
    found = [bool(sampler.batch(k).targets.any()) for k in range(200)]
    assert np.mean(found) == pytest.approx(1 - share, abs=0.08)


@pytest.mark.parametrize(
    ("case", "share", "message"),
    [(drawn(), 0.5, "no case that teaches is without any"),
     (drawn((0, 0, 0)), 0.5, "no case that teaches is with any")],
)  # fmt: skip
def test_a_share_of_negatives_asks_for_both_kinds(case, share, message):
    learner = LEARNER.model_copy(update={"negatives": share})
    with pytest.raises(RecipeError, match=message):
        Sampler([case], learner, PLAIN)


def test_no_strength_leaves_the_picture():
    colour = torch.rand(2, 3, 32, 32)
    out = photograph_badly(colour, PLAIN, torch.Generator().manual_seed(0))
    assert torch.allclose(out, colour, atol=1e-4)


@pytest.mark.parametrize(
    ("strength", "value"),
    [("colour", 0.8), ("blur", 0.8), ("noise", 0.8), ("shading", 0.8), ("coarse", 3.0)],
)
def test_each_strength_changes_the_picture_and_nothing_else_random(strength, value):
    colour = torch.rand(32, 3, 32, 32)
    augment = PLAIN.model_copy(update={strength: value})
    first = photograph_badly(colour, augment, torch.Generator().manual_seed(3))
    again = photograph_badly(colour, augment, torch.Generator().manual_seed(3))
    assert torch.equal(first, again)
    assert float((first - colour).abs().mean()) > 0.001
    assert first.min() >= 0
    assert first.max() <= 1
