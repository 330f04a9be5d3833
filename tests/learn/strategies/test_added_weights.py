"""LoRA, adapters and visual prompts: what they add, that it starts at nothing, and what is left."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from tuning_runs import Enough, goes_on_to_the_bit, trained

from osler import models
from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.strategies.adapters import Adapters, Bottleneck, add_adapters
from osler.learn.strategies.lora import Lora, LoraSettings, add_updates, low_rank_layers, merged
from osler.learn.strategies.visual_prompts import VisualPrompts, add_prompts
from osler.models import create
from osler.models.trying import example

WAYS = [Lora, Adapters, VisualPrompts]
SMALL = {"widths": [4, 4, 8, 8], "stem": 4, "num_classes": 2}
TOKENS = {"image_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2,
          "mlp_ratio": 2.0}  # fmt: skip
VIT = {"name": "vit-base", "options": TOKENS}


def vit(**more):
    torch.manual_seed(0)
    return create("vit-base", weights="random", **TOKENS, num_classes=2, **more).eval()


def shaken(net, kind):
    """Random values in what a strategy has added."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, one in net.named_parameters():
            if kind in name:
                one.normal_(0, 0.3)
    return net


@pytest.mark.parametrize("layers", ["all", "linear", "convolution"])
def test_low_rank_updates_start_at_nothing_and_merge_to_the_same(layers):
    net = vit()
    x = torch.rand(2, 3, 32, 32)
    before = net(x)
    said = LoraSettings(rank=3, alpha=6, layers=layers)
    names = low_rank_layers(net, [x], said)
    assert ("patch_embed.proj" in names) == (layers != "linear")
    assert ("blocks.0.attn.qkv" in names) == (layers != "convolution")
    add_updates(net, names, said, seed=1)
    torch.testing.assert_close(net(x), before)
    keys = set(vit().state_dict())
    apart = shaken(net, ".lora_")(x)
    assert (apart - before).abs().max() > 1e-3
    whole = merged(net)
    torch.testing.assert_close(whole(x), apart, rtol=1e-4, atol=1e-5)
    assert set(whole.state_dict()) == keys


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_an_update_of_a_convolution_is_its_product(axes, side):
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
    layer = kind(3, 4, side, stride=2, padding=side // 2)
    net = nn.Sequential(layer)
    before = layer.weight.detach().clone()
    add_updates(net, ["0"], LoraSettings(rank=2, alpha=5), seed=1)
    shaken(net, ".lora_")
    down = net[0].lora_A["default"].weight.detach().numpy()
    up = net[0].lora_B["default"].weight.detach().numpy()
    due = before.numpy().copy()
    for o in range(4):
        for r in range(2):
            due[o] += 5 / 2 * up[o, r].item() * down[r]
    x = torch.rand(2, 3, *[6] * axes)
    apart = net(x)
    np.testing.assert_allclose(merged(net)[0].weight.detach().numpy(), due, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net(x), apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["signal-resnet", "resenc-unet"])
def test_networks_that_ask_their_layers_and_those_of_volumes_merge_too(name):
    card = models.find(name).card
    net = create(name, weights="random", **card.tiny).eval()
    inputs = list(example(name).values())
    said = LoraSettings(rank=2)
    add_updates(net, low_rank_layers(net, inputs, said), said, seed=1)
    with torch.no_grad():
        apart = shaken(net, ".lora_B")(*inputs)
        torch.testing.assert_close(merged(net)(*inputs), apart, rtol=1e-3, atol=1e-4)


def test_layers_that_take_no_update_are_passed_over():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
            self.dilated = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
            self.read = nn.Linear(4, 4)
            self.heads = nn.MultiheadAttention(4, 2, batch_first=True)
            self.plain = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.plain(self.dilated(self.grouped(x))).flatten(2).transpose(1, 2)
            x, _ = self.heads(x, x, x)
            return x @ self.read.weight

    net = Odd().eval()
    assert low_rank_layers(net, [torch.rand(1, 4, 4, 4)], LoraSettings()) == ["plain"]


def test_a_bottleneck_is_what_the_paper_says():
    torch.manual_seed(0)
    one = Bottleneck(5, 2, 2)
    x = torch.randn(2, 5, 3, 3)
    assert torch.equal(one(x), x)
    shaken(one, "")
    d, u = (m.weight.detach().numpy()[:, :, 0, 0] for m in (one.down, one.up))
    b, c = (m.bias.detach().numpy() for m in (one.down, one.up))
    h = x.numpy()[1, :, 2, 0]
    due = h + u @ np.maximum(d @ h + b, 0) + c
    np.testing.assert_allclose(one(x).detach().numpy()[1, :, 2, 0], due, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "places"),
    [
        (vit, [f"blocks.{n}.{part}" for n in range(3) for part in ("attn", "mlp")]),
        (lambda: create("resnet-18", weights="random", **SMALL).eval(),
         [f"layer{s}.{n}" for s in (1, 2, 3, 4) for n in (0, 1)]),
    ],
)  # fmt: skip
def test_adapters_lie_after_each_part_and_change_nothing_at_first(make, places):
    net = make()
    x = torch.rand(2, 3, 32, 32)
    before = net(x)
    head = "head" if hasattr(net, "head") else "fc"
    assert add_adapters(net, [x], [head], width=2) == places
    assert torch.equal(net(x), before)
    assert not torch.equal(shaken(copy.deepcopy(net), ".adapter.")(x), before)
    if head == "head":
        assert net.attention(x).shape == (2, 2, 17, 17)  # asks its last block for its parts


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("pool", ["token", "avg"])
def test_prompts_are_further_tokens(deep, pool):
    net = vit(pool=pool)
    x = torch.rand(2, 3, 32, 32)
    plain = copy.deepcopy(net)
    torch.manual_seed(3)
    assert add_prompts(net, [x], 4, deep=deep) == ["blocks"]
    given = [one for name, one in net.named_parameters() if name.endswith(".prompt")]
    assert [tuple(one.shape) for one in given] == [(4, 24)] * (3 if deep else 1)
    row = plain.embed(x)  # the paper's order: prompts after the class token
    rest = row[:, 1:]
    first = row[:, :1]
    prompts = given[0].expand(2, -1, -1)
    for n, block in enumerate(plain.blocks):
        if deep:
            prompts = given[n].expand(2, -1, -1)
        said = block(torch.cat([first, prompts, rest], dim=1))
        first, prompts, rest = said[:, :1], said[:, 1:5], said[:, 5:]
    out = plain.norm(torch.cat([first, rest], dim=1))
    out = out[:, 0] if pool == "token" else out[:, 1:].mean(dim=1)
    torch.testing.assert_close(net(x), plain.head(out), rtol=1e-4, atol=1e-5)


def test_networks_without_tokens_are_refused(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"visual-prompts": {}})
    with pytest.raises(RecipeError, match="no row of tokens that a prompt could join"):
        fit(path, out=tmp_path, strategies=WAYS)


@pytest.mark.parametrize("other", ["pruning", "quantisation-aware"])
def test_updates_do_not_go_with_weights_that_are_cut_or_rounded(recipe, classify, tmp_path, other):
    path = recipe(classify, strategies={"lora": {}, other: {}})
    with pytest.raises(RecipeError, match="updates are added to the weights in the end"):
        fit(path, out=tmp_path, strategies=WAYS)


@pytest.mark.parametrize(
    ("way", "network", "added"),
    [("lora", None, ".lora_"), ("adapters", None, ".adapter."), ("visual-prompts", VIT, ".prompt")],
)
def test_a_fit_changes_what_was_added_and_the_head(recipe, classify, tmp_path, way, network, added):
    keys = {"lora": {"rank": 2}, "adapters": {"width": 2, "norms": False}}.get(way, {"tokens": 3})
    base = {**classify, "network": network or classify["network"]}
    kind = next(one for one in WAYS if one.name == way)
    learnt = goes_on_to_the_bit(recipe, base, kind, tmp_path, strategies={way: keys})
    start = {}

    class Early(kind):
        def prepared(self, net, context):
            net = super().prepared(net, context)
            start.update({name: one.clone() for name, one in net.state_dict().items()})
            raise Enough

    with pytest.raises(Enough):
        fit(recipe(base, strategies={way: keys}), out=tmp_path / "early", strategies=[Early])
    changed = {name for name, one in learnt.items() if not torch.equal(one, start[name])}
    assert changed
    assert all(added in name or name.startswith(("net.fc.", "net.head.")) for name in changed)
    assert any(added in name for name in changed)


@pytest.mark.parametrize("way", [Lora, Adapters])
def test_masks_are_learnt_so_too(recipe, segment, tmp_path, way):
    assert trained(recipe(segment, strategies={way.name: {}}), tmp_path, way)


def test_a_bundle_with_bfloat16_and_less_memory_holds_no_updates(recipe, classify, tmp_path):
    learner = {**classify["learner"], "precision": "bfloat16", "checkpointing": True}
    path = recipe(classify, strategies={"lora": {"dropout": 0.1}}, learner=learner)
    run = fit(path, out=tmp_path, strategies=WAYS)
    graph = (run.bundle / "model.onnx").read_bytes()
    assert b"lora_" not in graph
    assert b"layer4" in graph
