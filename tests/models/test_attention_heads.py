"""Heads are in no checkpoint: they are told by the width where every published network does."""

import pytest
import torch
from torch.nn import functional

from osler import models
from osler.errors import RecipeError
from osler.models.attention_heads import heads_for

RETFOUND, DINO = "retfound-vit-large", "retfound-dinov2-vit-large"


def kept(path, name, **options):
    torch.manual_seed(2)
    net = models.create(name, weights="random", image_size=32, depth=2, num_classes=3, **options)
    for value in net.parameters():
        value.data.normal_(std=0.2)
    torch.save({"model": net.state_dict()}, path)
    return net


def test_a_smaller_published_width_has_its_own_heads(tmp_path):
    theirs = kept(tmp_path / "small.pth", RETFOUND, embed_dim=128, num_heads=2)
    net = models.create(RETFOUND, checkpoint=tmp_path / "small.pth")
    assert net.options["num_heads"] == 2
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(net(x), theirs(x))


def test_a_width_that_tells_no_heads_asks_for_them(tmp_path):
    kept(tmp_path / "odd.pth", RETFOUND, embed_dim=48, num_heads=4)
    with pytest.raises(RecipeError, match="width of 48 is in no checkpoint: say num_heads"):
        models.create(RETFOUND, checkpoint=tmp_path / "odd.pth")


@pytest.mark.parametrize(("width", "heads"), [(384, 6), (1024, 16), (1280, 16), (1536, 24)])
def test_published_widths(width, heads):
    assert heads_for(width, "num_heads") == heads
    assert heads_for(width, "num_heads", told=8) == 8


def test_the_gated_mlp_and_registers_of_dinov2_under_its_own_names(tmp_path):
    options = {"embed_dim": 24, "num_heads": 2, "patch_size": 16, "registers": 4}
    theirs = kept(tmp_path / "_.pth", DINO, mlp="swiglu", mlp_ratio=2.0, **options)
    weights = {
        "backbone."
        + k.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")
        .replace("reg_token", "register_tokens"): v
        for k, v in theirs.state_dict().items() if not k.startswith("head.")
    }  # fmt: skip
    torch.save({"teacher": weights}, tmp_path / "giant.pth")
    net = models.create(DINO, checkpoint=tmp_path / "giant.pth", num_heads=2, image_size=32)
    assert net.report.share == 1
    assert not net.report.unexpected
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(net(x), theirs.features(x))
    mlp, tokens = net.blocks[0].mlp, torch.rand(1, 3, 24)
    wide = functional.linear(tokens, mlp.fc1.weight, mlp.fc1.bias)
    gated = functional.silu(wide[..., :48]) * wide[..., 48:]
    due = functional.linear(gated, mlp.fc2.weight, mlp.fc2.bias)
    assert torch.allclose(mlp(tokens), due, rtol=1e-5, atol=1e-6)


def test_an_averaged_vit_of_timm_is_taken_where_it_is_named(tmp_path):
    theirs = kept(tmp_path / "avg.pth", RETFOUND, embed_dim=64, num_heads=1)
    net = models.create("vit-base", checkpoint=tmp_path / "avg.pth")
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(net(x), theirs(x))


def test_what_was_kept_has_the_heads_it_was_made_with(tmp_path):
    """Also where they were not written down, since the card had none at that time."""
    import json

    torch.manual_seed(3)
    sizes = {**models.find("transunet").card.tiny, "embed_dim": 24, "num_heads": 12}
    made = models.create("transunet", weights="random", **sizes)
    models.keep(made, tmp_path / "net")
    config = tmp_path / "net/config.json"
    said = json.loads(config.read_text())
    assert said["osler_options"].pop("num_heads") == 12
    config.write_text(json.dumps(said))
    again = models.create("transunet", checkpoint=tmp_path / "net")
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(again(x), made(x))
