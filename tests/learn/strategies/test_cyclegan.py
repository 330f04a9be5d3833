"""Translation by cycle consistency: the loss by parts, whose weights move, and a whole run."""

import copy
import math

import pytest
import torch
from tuning_runs import goes_on_to_the_bit

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.cyclegan import CycleGan
from osler.learn.strategies.image_translation import CyclePair, Translator, cycle_loss


def _pair():
    torch.manual_seed(2)
    pair = CyclePair(2, 2, 4)
    for one in (pair.there.out, pair.back.out):
        torch.nn.init.normal_(one.weight, std=0.1)
    return pair


def test_before_it_learns_nothing_is_changed():
    for shape in ((2, 3, 9, 14), (1, 3, 7, 8, 6)):
        images = torch.rand(shape)
        assert torch.equal(Translator(3, len(shape) - 2)(images), images)


def test_the_loss_is_the_sum_of_its_parts():
    pair, here, there = _pair(), torch.rand(3, 2, 16, 12), torch.rand(3, 2, 16, 12)
    with torch.no_grad():
        to, fro = pair.there(here), pair.back(there)

        def mean(images, wanted):
            values = images.flatten().tolist()
            return sum((one - wanted) ** 2 for one in values) / len(values)

        def away(one, other):
            values = (one - other).flatten().tolist()
            return sum(abs(value) for value in values) / len(values)

        fooling = mean(pair.judge_there(to), 1) + mean(pair.judge_here(fro), 1)
        judged = sum(
            mean(judge(images), wanted) for judge, images, wanted in (
                (pair.judge_there, there, 1), (pair.judge_there, to, 0),
                (pair.judge_here, here, 1), (pair.judge_here, fro, 0),
            )
        ) / 2  # fmt: skip
        home = away(pair.back(to), here) + away(pair.there(fro), there)
        same = away(pair.there(there), there) + away(pair.back(here), here)
        loss = cycle_loss(pair, here, there, cycle=10, identity=5).item()
    assert math.isclose(loss, fooling + judged + 10 * home + 5 * same, rel_tol=1e-5)


def test_judges_and_translators_learn_from_their_own_losses():
    pair, here, there = _pair(), torch.rand(2, 2, 16, 12), torch.rand(2, 2, 16, 12)
    cycle_loss(pair, here, there, cycle=0, identity=0).backward()
    found = {name: one.grad.clone() for name, one in pair.named_parameters()}
    other = copy.deepcopy(pair)
    other.zero_grad()
    judged = (
        (other.judge_there(there) - 1).square().mean()
        + other.judge_there(other.there(here).detach()).square().mean()
    ) / 2  # fmt: skip
    judged.backward()
    for name, one in other.judge_there.named_parameters():
        assert torch.allclose(found[f"judge_there.{name}"], one.grad, atol=1e-6)
    other.zero_grad()
    (other.judge_there(other.there(here)) - 1).square().mean().backward()
    for name, one in other.there.named_parameters():
        assert torch.allclose(found[f"there.{name}"], one.grad, atol=1e-6)


@pytest.mark.usefixtures("graphless")
def test_a_run_with_translated_images(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"cyclegan": {"steps": 2, "width": 4}},
                  labels={"share": 0.5}, learner={"steps": 2, "validate_every": 2})  # fmt: skip
    run = fit(path, out=tmp_path, strategies=[CycleGan])
    assert {one["images"] for one in run.metrics} == {8}


def test_a_run_goes_on_to_the_bit(recipe, classify, tmp_path):
    keys = {"steps": 3, "width": 4, "rate": 0.01}
    goes_on_to_the_bit(
        recipe, classify, CycleGan, tmp_path, strategies={"cyclegan": keys}, labels={"share": 0.5}
    )
    first, second = (
        torch.load(tmp_path / one / "cyclegan" / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": {"cyclegan": {}}}, "takes styles from cases without a label"),
        ({"strategies": {"cyclegan": {"by": "site"}}}, r"cyclegan\.by: no such key"),
    ],
)
def test_what_cannot_be_is_refused(recipe, classify, change, said):
    path = recipe({**classify, "cohort": "nowhere.csv"}, **change)
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=[CycleGan])
