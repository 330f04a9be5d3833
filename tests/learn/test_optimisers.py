"""The optimiser's groups, the depth of parameters, and the learning rate of each step."""

import math

import pytest
import test_loop
import torch
from torch import nn

from osler import models
from osler.learn.learner import Learner
from osler.learn.optimisers import depths_of, make_optimiser, parameter_groups
from osler.learn.schedules import rate_at


class Transformer(nn.Module):
    def __init__(self, depth=3):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.embed = nn.Conv2d(2, 4, 2, stride=2)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(4, 2, 8, batch_first=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


def test_a_transformer_has_its_blocks_and_two_depths_more():
    depths = depths_of(Transformer())
    assert depths["token"] == depths["embed.weight"] == 0
    assert depths["blocks.0.linear1.weight"] == 1
    assert depths["blocks.2.self_attn.in_proj_weight"] == 3
    assert depths["norm.weight"] == depths["head.bias"] == 4


def test_a_convolutional_network_counts_by_stages():
    unit = lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1))  # noqa: E731
    net = nn.ModuleDict({
        "stem": nn.Conv2d(2, 2, 1),
        "layer1": nn.Sequential(unit(), unit()),
        "between": nn.Conv2d(2, 2, 2),
        "layer2": nn.Sequential(unit()),
        "fc": nn.Linear(2, 2),
    })  # fmt: skip
    depths = depths_of(net)
    assert depths["stem.weight"] == 0
    assert (depths["layer1.0.0.weight"], depths["layer1.1.2.bias"]) == (1, 2)
    assert depths["between.weight"] == 2
    assert depths["layer2.0.1.weight"] == 3
    assert depths["fc.bias"] == 4


def test_without_blocks_all_are_alike():
    assert set(depths_of(nn.Linear(2, 2)).values()) == {0}


@pytest.mark.parametrize(
    ("name", "least"),
    [("unet", 12), ("classifier", 7), ("swin-unetr", 20), ("retfound-vit-large", 26)],
)
def test_depths_of_networks_grow_from_the_stem_to_the_head(name, least):
    with torch.device("meta"):
        net = models.create(name, weights="random")
    depths = list(depths_of(net).values())
    assert depths[0] <= 1
    assert max(depths) + 1 == least
    assert depths[-1] == max(depths)


def test_layer_decay_slows_early_layers():
    learner = Learner(steps=1, layer_decay=0.5, weight_decay=0.1)
    net = Transformer()
    groups, factors = parameter_groups(net, learner)
    found = {
        id(p): (factor, group["weight_decay"])
        for group, factor in zip(groups, factors, strict=True)
        for p in group["params"]
    }
    assert found[id(net.head.weight)] == (1.0, 0.1)
    assert found[id(net.head.bias)] == (1.0, 0.0)
    assert found[id(net.blocks[2].linear1.weight)] == (0.5, 0.1)
    assert found[id(net.embed.weight)] == (0.5**4, 0.1)
    assert len(found) == sum(1 for _ in net.parameters())


def test_the_loop_steps_each_group_at_its_own_rate(tmp_path):
    """One step of plain gradient descent moves each weight by its rate times its gradient."""
    torch.manual_seed(0)
    unit = lambda: nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1))  # noqa: E731
    net = nn.Sequential(unit(), unit(), nn.Conv2d(2, 1, 1))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    test_loop.loss(net, 0, torch.device("cpu")).backward()
    grads = {name: p.grad.clone() for name, p in net.named_parameters()}
    test_loop.run(
        tmp_path, net=net, steps=1, warmup=0, schedule="constant", rate=0.1, layer_decay=0.5,
        optimiser="sgd", momentum=0.0, weight_decay=0.0, ema=0.0, clip=None, validate=None,
    )  # fmt: skip
    for name, p in net.named_parameters():
        rate = 0.1 * {"0": 0.25, "1": 0.5, "2": 1.0}[name[0]]
        torch.testing.assert_close(p, before[name] - rate * grads[name], rtol=1e-5, atol=1e-7)


def test_frozen_parameters_are_in_no_group():
    net = Transformer()
    net.embed.requires_grad_(False)
    optimiser, _ = make_optimiser(net, Learner(steps=1, layer_decay=0.7))
    held = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert id(net.embed.weight) not in held
    assert id(net.token) in held


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_the_optimiser_is_the_one_named(name, kind):
    optimiser, factors = make_optimiser(Transformer(), Learner(steps=1, optimiser=name))
    assert isinstance(optimiser, kind)
    assert factors == (1.0, 1.0)
    assert optimiser.param_groups[0].get("nesterov", True)


def test_the_schedules_at_their_ends_and_in_their_middle():
    common = {"steps": 110, "warmup": 10, "rate": 2.0}
    cosine = Learner(**common)
    assert [rate_at(s, cosine) for s in (0, 4, 9, 10)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    assert rate_at(60, cosine) == pytest.approx(2 * (0.01 + 0.99 * 0.5))
    assert rate_at(110, cosine) == rate_at(500, cosine) == pytest.approx(0.02)
    poly = Learner(**common, schedule="poly", power=0.9, floor=0.0)
    assert rate_at(10, poly) == 2.0
    assert rate_at(60, poly) == pytest.approx(2 * 0.5**0.9)
    assert rate_at(110, poly) == 0.0
    lifted = Learner(**common, schedule="poly", power=2, floor=0.1)
    assert rate_at(85, lifted) == pytest.approx(2 * (0.1 + 0.9 * 0.25**2))
    constant = Learner(**common, schedule="constant")
    assert rate_at(10, constant) == rate_at(109, constant) == 2.0


def test_the_cosine_is_torchs():
    """An independent implementation."""
    learner = Learner(steps=40, warmup=0, rate=0.5, floor=0.2)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 40, eta_min=0.1)
    for step in range(40):
        assert math.isclose(rate_at(step, learner), schedule.get_last_lr()[0], rel_tol=1e-9)
        optimiser.step()
        schedule.step()
