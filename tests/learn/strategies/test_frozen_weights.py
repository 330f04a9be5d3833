"""Linear probe and last blocks: what rests stays to the bit, and what learns does."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from tuning_runs import checkpoint_of, goes_on_to_the_bit, trained

from osler.bundles import load
from osler.bundles.answering import answer
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.errors import RecipeError
from osler.learn.blocks import blocks_of
from osler.learn.fitting import fit
from osler.learn.networks import build
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.freezing import Rested, freeze, heads_of
from osler.learn.strategies.last_blocks import LastBlocks
from osler.learn.strategies.linear_probe import LinearProbe
from osler.learn.strategies.strategy import Strategy, Wrapped
from osler.models import create

WAYS = [LinearProbe, LastBlocks]
VIT = {
    "name": "vit-base",
    "options": {
        "image_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2,
        "mlp_ratio": 2.0,
    },
}  # fmt: skip


class _Named:
    """A task as far as heads need it."""

    @staticmethod
    def named(said):
        return dict(enumerate(said)) if isinstance(said, tuple) else {"scores": said}


def started(path, *, seed=1):
    content = {**read_yaml(path), "strategies": {}}
    recipe, task = check_recipe(content, path)
    torch.manual_seed(seed)
    settings = task.settings.model_copy(update={"labels": ["disc", "square"]})
    return build(recipe, type(task)(settings), path).state_dict()


def changed(path, after):
    """The names of tensors that a training changed, of all there are."""
    before = started(path)
    own = {name.removeprefix("net."): value for name, value in after.items()}
    assert own.keys() == before.keys()
    return {name for name in own if not torch.equal(own[name], before[name])}


def test_a_probe_changes_the_head_alone_and_answers_without_torch(
    recipe, classify, shapes, tmp_path
):
    path = recipe(classify, strategies={"linear-probe": {}})
    fit(path, out=tmp_path, strategies=WAYS)
    assert changed(path, checkpoint_of(tmp_path)["net"]) == {"fc.weight", "fc.bias"}
    kept = json.loads((tmp_path / "run.json").read_text())["strategies"]["linear-probe"]
    assert kept["heads"] == ["fc"]
    assert kept["parameters that learn"] == 8 * 2 + 2
    cohort = read_cohort(shapes / "cohort.csv")
    found = answer(load(tmp_path / "bundle"), open_row(replace(cohort.rows[0], labels={}), cohort))
    assert sum(found[0].probabilities.values()) == pytest.approx(1)


def test_last_blocks_change_nothing_before_them(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"last-blocks": {"blocks": 2}})
    names = changed(path, trained(path, tmp_path, LastBlocks))
    assert {name.split(".")[0] for name in names} == {"layer4", "fc"}
    assert any("running_mean" in name for name in names)  # of the blocks that learn


def test_a_block_of_tokens_takes_the_norm_after_it_along(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"last-blocks": {}}, network=VIT)
    names = changed(path, trained(path, tmp_path, LastBlocks))
    assert {".".join(name.split(".")[:2]) for name in names} == {
        "blocks.2", "norm.weight", "norm.bias", "head.weight", "head.bias"
    }  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_masks_are_learnt_so_too(recipe, segment, tmp_path, way):
    kept = {}

    class Told(way):
        def prepared(self, net, context):
            net = super().prepared(net, context)
            kept.update(context.record)
            return net

    trained(recipe(segment, strategies={way.name: {}}), tmp_path, Told)
    assert 0 < kept["parameters that learn"] < kept["parameters"]


@pytest.mark.parametrize("way", WAYS)
def test_it_goes_on_to_the_bit_with_batches_that_are_added(recipe, classify, tmp_path, way):
    goes_on_to_the_bit(
        recipe, classify, way, tmp_path, strategies={way.name: {}}, learner={"accumulate": 2}
    )


def test_it_goes_with_another_strategy_and_bfloat16(recipe, classify, tmp_path):
    class Softer(Strategy):
        name, title, role, source = "softer", "Softer", "objective", "a test"

        def prepared(self, net, context):
            return Wrapped(net, {"scale": nn.Linear(1, 1)})

        def loss(self, loss, context):
            def scaled(net, number, device):
                return loss(net, number, device) * net.beside["scale"].bias.exp().sum()

            return scaled

        def finished(self, net, context):
            return net.net

    from osler.tasks.task import Settings

    Softer.Settings = Settings
    learner = {**classify["learner"], "precision": "bfloat16"}
    path = recipe(classify, strategies={"linear-probe": {}, "softer": {}}, learner=learner)
    start = started(path)
    for name, value in trained(path, tmp_path, LinearProbe, Softer).items():
        own = name.removeprefix("net.net.")
        if own in start and not own.startswith("fc."):
            assert torch.equal(value, start[own]), name


def test_each_network_of_several_is_taken_out():
    several = nn.ModuleList(Rested(nn.Sequential(nn.Linear(2, 2))) for _ in range(2))
    out = LinearProbe(LinearProbe.Settings()).finished(nn.Sequential(several), None)
    assert [type(one) for one in out[0]] == [nn.Sequential, nn.Sequential]
    assert type(LinearProbe(None).finished(Rested(nn.Linear(2, 2)), None)) is nn.Linear


def test_what_rests_keeps_statistics_and_has_no_dropout():
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)),
        nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 2),
    )  # fmt: skip
    whole = Wrapped(net, still=freeze(net, {"3.weight", "3.bias"})).train()
    assert not whole.net[0][1].training
    assert not whole.net[0][2].training
    assert whole.net[1].training  # before the head that learns
    before = whole.net[0][1].running_mean.clone()
    whole(torch.randn(4, 3, 8, 8)).sum().backward()
    assert torch.equal(before, whole.net[0][1].running_mean)
    assert whole.net[0][0].weight.grad is None


def test_each_output_has_its_head():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.second = nn.Linear(4, 3)  # made first, run last
            self.trunk, self.first = nn.Linear(5, 4), nn.Linear(4, 2)

        def forward(self, x):
            x = self.trunk(x)
            first = self.first(x)
            return first, self.second(x)

    net = Two().requires_grad_(False)
    assert heads_of(net, _Named(), [torch.rand(2, 5)]) == ["first", "second"]
    assert not any(one.requires_grad for one in net.parameters())
    with pytest.raises(RecipeError, match="no linear or convolutional layer"):
        heads_of(nn.ReLU(), _Named(), [torch.rand(2, 5)])


def test_a_probe_of_fixed_features_is_their_regression():
    """Gradient steps on the head alone reach what logistic regression by Newton's steps does."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = (x @ [1.0, -2.0, 0.5] + rng.normal(size=60) > 0).astype(float)
    design = np.c_[x, np.ones(60)]
    w = np.zeros(4)
    for _ in range(30):
        p = 1 / (1 + np.exp(-design @ w))
        hess = design.T @ (design * (p * (1 - p))[:, None]) / 60
        w -= np.linalg.solve(hess, design.T @ (p - y) / 60)
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3))
    freeze(net, {"1.weight", "1.bias"})
    best = torch.optim.LBFGS([p for p in net.parameters() if p.requires_grad], max_iter=200)
    xs, ys = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)

    def closure():
        best.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(net(xs)[:, 0], ys)
        loss.backward()
        return loss

    best.step(closure)
    np.testing.assert_allclose(
        [*net[1].weight[0].detach().numpy(), net[1].bias.item()], w, rtol=2e-3, atol=2e-3
    )


@pytest.mark.parametrize(
    ("strategies", "said"),
    [
        ({"last-blocks": {"blocks": 9}}, "the network has 8 blocks"),
        ({"linear-probe": {"heads": ["cf"]}}, "no part 'cf' with weights; the nearest is 'fc'"),
        ({"last-blocks": {"blocks": 0}}, "greater than or equal to 1"),
        ({"linear-probe": {}, "last-blocks": {}}, "both say which weights learn"),
    ],
)
def test_what_cannot_be_is_refused(recipe, classify, tmp_path, strategies, said):
    with pytest.raises(RecipeError, match=said):
        fit(recipe(classify, strategies=strategies), out=tmp_path, strategies=WAYS)


def test_blocks_of_the_fixture_are_those_that_the_tests_count():
    options = {"widths": [4, 4, 8, 8], "stem": 4, "num_classes": 2}
    assert len(blocks_of(create("resnet-18", weights="random", **options))) == 8
