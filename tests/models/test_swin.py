"""Swin reads the files of transformers, old and new, and of its authors."""

import pytest
import torch

from osler import models

X = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def theirs():
    from transformers import SwinConfig, SwinForImageClassification

    torch.manual_seed(0)
    config = SwinConfig(
        embed_dim=8,
        depths=[2, 1, 2],
        num_heads=[1, 2, 4],
        window_size=4,
        image_size=64,
        num_labels=3,
        initializer_range=0.3,
    )
    net = SwinForImageClassification(config).eval()
    for name, value in net.named_parameters():
        if name.endswith(("bias", "bias_table")):
            value.data.normal_(std=0.2)
    return net


_OLD = [
    ("attention.relative_position_bias.relative", "attention.self.relative"),
    ("attention.q_proj", "attention.self.query"),
    ("attention.k_proj", "attention.self.key"),
    ("attention.v_proj", "attention.self.value"),
    ("attention.o_proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
]
_AUTHORS = [
    ("swin.embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("swin.embeddings.norm", "patch_embed.norm"),
    ("swin.encoder.layers", "layers"),
    ("swin.layernorm", "norm"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("attention.relative_position_bias.relative", "attn.relative"),
    ("attention.o_proj", "attn.proj"),
    ("classifier", "head"),
]


def named(weights, pairs):
    out = {}
    for name, value in weights.items():
        for ours, other in pairs:
            name = name.replace(ours, other)  # noqa: PLW2901
        out[name] = value
    return out


def authors(weights):
    """Fused query, key and value, and the buffers that the authors' files hold."""
    out = named({k: v for k, v in weights.items() if "_proj" not in k or "o_proj" in k}, _AUTHORS)
    for name in weights:
        if ".q_proj." in name:
            fused = torch.cat([weights[name.replace("q_", f"{one}_")] for one in "qkv"])
            ours = name.replace("swin.encoder.", "").replace("attention.q_proj", "attn.qkv")
            out[ours] = fused
    return {**out, "layers.0.blocks.0.attn.relative_position_index": torch.zeros(16, 16).long()}


def timm(weights):
    """timm's, which halves at the start of a stage."""
    out = {}
    for name, value in authors(weights).items():
        stage = name.split(".")[1]
        moved = name.replace(f"layers.{stage}.down", f"layers.{int(stage) + 1}.down") if (
            ".downsample." in name
        ) else name  # fmt: skip
        out[moved.replace("head.", "head.fc.")] = value
    return out


def torchvision(weights):
    """torchvision's, in one list of stages and halvings."""
    out = {}
    for name, value in authors(weights).items():
        stage = name.split(".")[1]
        moved = name.replace("patch_embed.proj", "features.0.0")
        moved = moved.replace("patch_embed.norm", "features.0.2")
        if name.startswith("layers."):
            moved = moved.replace(f"layers.{stage}.blocks", f"features.{2 * int(stage) + 1}")
            moved = moved.replace(f"layers.{stage}.downsample", f"features.{2 * int(stage) + 2}")
        out[moved.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")] = value
    return out


OTHERS = {"authors": authors, "timm": timm, "torchvision": torchvision}


@pytest.mark.parametrize("layout", ["folder", "new", "old", *OTHERS])
def test_every_layout_gives_the_same_numbers(theirs, layout, tmp_path):
    weights, path = theirs.state_dict(), tmp_path / "net.pth"
    if layout == "folder":
        path = tmp_path
        theirs.save_pretrained(path)
    elif layout in OTHERS:
        torch.save({"model": OTHERS[layout](weights)}, path)
    else:
        torch.save(named(weights, _OLD if layout == "old" else []), path)
    net = models.create("swin-tiny", checkpoint=path, image_size=64)
    with torch.inference_mode():
        torch.testing.assert_close(net(X), theirs(X).logits, rtol=1e-5, atol=1e-6)
        levels = net.pyramid(X)
    assert [tuple(level.shape[1:]) for level in levels] == [(8, 16, 24), (16, 8, 12), (32, 4, 6)]
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


def test_a_small_picture_does_not_change_what_is_said_of_the_next():
    net = models.create("swin-tiny", weights="random", embed_dim=8, num_heads=[1, 2, 2, 4])
    large = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        first = net(large)
        assert torch.isfinite(net(large[:, :, :64, :96])).all()
        assert torch.equal(net(large), first)
        torch.testing.assert_close(first, net.swin(large).pooler_output)
