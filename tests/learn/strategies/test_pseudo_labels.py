"""Pseudo-labels: their loss against loops, and runs that they take part in."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.pseudo_labels import PseudoLabels, confident_loss
from osler.learn.strategies.strategy import Settings, Strategy
from osler.learn.strategies.unlabelled_views import answers
from osler.tasks.classification import Classification, ClassificationSettings

pytestmark = pytest.mark.usefixtures("graphless")

KEYS = {"threshold": 0.51, "start": 0.25}
CHANGES = {"strategies": {"pseudo-labels": KEYS}, "labels": {"share": 0.5}}


class EnoughError(Exception):
    """Ends a run once what is looked at is there."""


class Doubled(Strategy):
    """Counts the loss before it twice."""

    name = "doubled"
    title = "Doubled"
    role = "objective"
    source = "a test"
    Settings = Settings

    def loss(self, loss, context):
        return lambda net, number, device: 2 * loss(net, number, device)


def plain_loss(scores, taught, threshold, activation):
    """The definition, value by value."""
    total, count = 0.0, 0
    batch, labels = scores.shape[:2]
    for b in range(batch):
        for place in np.ndindex(*scores.shape[2:]):
            s = [scores[(b, c, *place)] for c in range(labels)]
            q = [taught[(b, c, *place)] for c in range(labels)]
            if activation == "softmax":
                count += 1
                best = max(range(labels), key=lambda c, q=q: q[c])
                if q[best] >= threshold:
                    total += math.log(sum(math.exp(one) for one in s)) - s[best]
                continue
            for one, probability in zip(s, q, strict=True):
                count += 1
                p = 1 / (1 + math.exp(-one))
                if probability >= threshold:
                    total -= math.log(p)
                elif probability <= 1 - threshold:
                    total -= math.log(1 - p)
    return total / count


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("grid", [(), (4, 3), (2, 3, 2)])
def test_only_sure_answers_teach(activation, grid):
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 2, (12, 3, *grid))
    taught = np.exp(rng.normal(0, 3, scores.shape))
    taught /= taught.sum(axis=1, keepdims=True)
    if activation == "sigmoid":
        taught = rng.random(scores.shape)
    found = confident_loss(torch.from_numpy(scores), torch.from_numpy(taught), 0.8, activation)
    assert float(found) == pytest.approx(plain_loss(scores, taught, 0.8, activation), rel=1e-9)
    assert float(found) > 0
    none = torch.full(scores.shape, 0.5 if activation == "sigmoid" else 1 / 3)
    assert float(confident_loss(torch.from_numpy(scores), none, 0.8, activation)) == 0


def test_no_gradient_is_lost_to_what_was_asked_before():
    """Weights that autocast rounded without gradients must not be taken again with them."""
    task = Classification(ClassificationSettings(labels=["a", "b"]))
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    inputs = {"image": torch.rand(4, 3, 2, 2)}
    with torch.autocast("cpu", torch.bfloat16):
        said = answers(net, task, inputs)
        assert not said["scores"][0].requires_grad
        net(inputs["image"]).float().square().sum().backward()
    assert net[1].weight.grad is not None
    assert net[1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("which", ["classify", "segment"])
def test_a_network_is_taught_by_what_it_says(which, recipe, request, tmp_path):
    counted = []

    class Looks(PseudoLabels):
        def loss(self, loss, context):
            made = super().loss(loss, context)

            def both(net, number, device):
                one = made(net, number, device)
                counted.append(one.item() - loss(net, number, device).item())
                return one

            return both

    path = recipe(request.getfixturevalue(which), **CHANGES,
                  learner={"steps": 3, "precision": "bfloat16"})  # fmt: skip
    fit(path, out=tmp_path, strategies=[Looks])
    assert counted[0] == pytest.approx(0, abs=1e-2)  # before the start
    assert max(counted[1:]) > 0.05


def test_the_whole_goes_on_to_the_bit_beside_another(recipe, classify, tmp_path):
    ways = {"strategies": {"pseudo-labels": KEYS, "doubled": {}}}
    path = recipe(classify, **{**CHANGES, **ways}, learner={"steps": 4, "checkpoint_minutes": 0})

    class Taught(Doubled):
        def finished(self, net, context):
            raise EnoughError

    class Tired(Doubled):
        def stepped(self, net, step):
            if step == 3:
                raise KeyboardInterrupt

    with pytest.raises(EnoughError):
        fit(path, out=tmp_path / "whole", strategies=[PseudoLabels, Taught])
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[PseudoLabels, Tired])
    with pytest.raises(EnoughError):
        fit(path, out=tmp_path / "parts", resume=True, strategies=[PseudoLabels, Taught])
    first, second = (
        torch.load(tmp_path / one / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": {"share": 1.0}}, "learns from cases without a label too"),
        ({"strategies": {"pseudo-labels": {"threshold": 0.5}}}, "greater than 0.5"),
        ({"strategies": {"pseudo-labels": {}, "mean-teacher": {}}}, "both teach what the network"),
    ],
)
def test_what_does_not_go_is_refused(recipe, classify, change, said):
    from osler.learn.strategies.mean_teacher import MeanTeacher

    path = recipe(classify, **{**CHANGES, **change})
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=[PseudoLabels, MeanTeacher])
