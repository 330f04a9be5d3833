"""Pruning: the schedule and the masks against slow ones, end to end, resumed."""

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.pruning import Masks, Pruning, sparsity_at


def test_the_schedule():
    said = [sparsity_at(step, 10, 0.8) for step in (0, 5, 10, 20)]
    assert said == pytest.approx([0, 0.8 * (1 - 0.125), 0.8, 0.8])


@pytest.mark.parametrize("scope", ["layer", "network"])
def test_the_smallest_weights_go_and_stay_away(scope):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(10, 5))
    before = [net[0].weight.detach().clone(), net[2].weight.detach().clone()]
    masks = Masks(["0", "2"], net)
    masks.update(net, 0.4, what="weights", scope=scope)
    masks.apply_to(net)
    flat = [sorted(one.abs().flatten().tolist()) for one in before]
    if scope == "network":
        whole = sorted(flat[0] + flat[1])
        limits = [whole[round(0.4 * len(whole))]] * 2
    else:
        limits = [one[round(0.4 * len(one))] for one in flat]
    for old, now, limit in zip(before, (net[0].weight, net[2].weight), limits, strict=True):
        slow = np.where(np.abs(old.numpy()) >= limit, old.numpy(), 0)
        np.testing.assert_array_equal(now.detach(), slow)
    first = masks.mask(0).clone()
    with torch.no_grad():
        net[0].weight.add_(5.0 * ~first)
    masks.update(net, 0.6, what="weights", scope=scope)
    assert not (masks.mask(0) & ~first).any()  # what was left out does not come back


def test_whole_filters_go():
    net = nn.Sequential(nn.Conv2d(2, 4, 3))
    with torch.no_grad():
        for n in range(4):
            net[0].weight[n] = (n - 1.5) / 10
    masks = Masks(["0"], net)
    masks.update(net, 0.5, what="filters", scope="layer")
    assert masks.mask(0).flatten(1).all(1).tolist() == [True, False, False, True]


def test_a_network_grows_sparse_and_goes_on_to_the_bit(recipe, classify, tmp_path, request):
    learner = {"steps": 5, "validate_every": 2, "checkpoint_minutes": 0}
    keys = {"pruning": {"sparsity": 0.75, "every": 1}, "mc-dropout": {"passes": 2}}
    classify["network"]["options"]["layers"] = [1, 1, 1, 1]
    path = recipe(classify, strategies=keys, learner=learner)
    run = fit(path, out=tmp_path / "whole")
    request.getfixturevalue("graphless")
    kept = json.loads((tmp_path / "whole" / "run.json").read_text())["strategies"]["pruning"]
    assert kept["sparsity"] == pytest.approx(0.75, abs=0.01)
    model = onnx.load(run.bundle / "model.onnx")
    convs = [
        onnx.numpy_helper.to_array(one)
        for one in model.graph.initializer
        if len(one.dims) == 4 and one.dims[2] == 3
    ]
    assert np.mean(np.concatenate([one.ravel() for one in convs]) == 0) > 0.7

    class Tired(Pruning):
        taken = 0

        def stepped(self, net, step):
            type(self).taken += 1
            if self.taken == 4:  # the first of the second stage
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[Tired])
    fit(path, out=tmp_path / "parts", resume=True)
    first, second = (
        torch.load(tmp_path / one / "recovering" / "checkpoint.pt", weights_only=True)["net"]
        for one in ("whole", "parts")
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("keys", [{"sparsity": 1.0}, {"what": "neurons"}, {"every": 0}])
def test_what_cannot_be_pruned_is_refused(recipe, classify, keys):
    path = recipe({**classify, "cohort": "nowhere.csv"}, strategies={"pruning": keys})
    with pytest.raises(RecipeError, match=next(iter(keys))):
        check_recipe(read_yaml(path), path)
