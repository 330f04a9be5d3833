"""The plain ViT says what transformers and torch's own encoder say with the same weights."""

import pytest
import torch
from torch import nn

from osler import models

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def theirs():
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        image_size=32,
        patch_size=8,
        num_labels=5,
        initializer_range=0.3,
    )
    net = ViTForImageClassification(config).eval()
    for name, value in net.named_parameters():
        if name.endswith("bias"):
            value.data.normal_(std=0.2)
    return net


def old_name(name):
    """As transformers named it before release 5, and as the hub's files still do."""
    pairs = [
        ("vit.layers.", "vit.encoder.layer."),
        ("attention.q_proj", "attention.attention.query"),
        ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ]
    for new, old in pairs:
        name = name.replace(new, old)
    return name


def checked(net, theirs):
    with torch.inference_mode():
        torch.testing.assert_close(net(X), theirs(X).logits, rtol=1e-4, atol=1e-5)
        tokens = theirs.vit(X).last_hidden_state
        torch.testing.assert_close(net.norm(net.tokens(X)), tokens, rtol=1e-4, atol=1e-5)
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


def test_a_folder_of_transformers(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    checked(models.create("vit-base", checkpoint=tmp_path, image_size=32, num_heads=4), theirs)


@pytest.mark.parametrize("name", [old_name, lambda name: name])
def test_both_generations_of_names(theirs, name, tmp_path):
    torch.save({name(k): v for k, v in theirs.state_dict().items()}, tmp_path / "net.bin")
    net = models.create("vit-base", checkpoint=tmp_path / "net.bin", image_size=32, num_heads=4)
    checked(net, theirs)


def test_timm_s_names(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    first = models.create("vit-base", checkpoint=tmp_path, image_size=32, num_heads=4)
    torch.save(first.state_dict(), tmp_path / "timm.pth")
    net = models.create(
        "vit-base", checkpoint=tmp_path / "timm.pth", image_size=32, num_heads=4, eps=1e-12
    )
    checked(net, theirs)


def test_torchvision_s_names(tmp_path):
    torch.manual_seed(1)
    blocks = [
        nn.TransformerEncoderLayer(
            16, 2, 32, 0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True,
            norm_first=True,
        ).eval()
        for _ in range(2)
    ]  # fmt: skip
    patch, norm, head = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(16, eps=1e-6), nn.Linear(16, 3)
    weights = {
        "class_token": torch.randn(1, 1, 16),
        "encoder.pos_embedding": torch.randn(1, 17, 16),
    }
    parts = {"conv_proj": patch, "encoder.ln": norm, "heads.head": head}
    for number, block in enumerate(blocks):
        inner = {
            "ln_1": block.norm1, "ln_2": block.norm2, "self_attention": block.self_attn,
            "mlp.0": block.linear1, "mlp.3": block.linear2,
        }  # fmt: skip
        parts |= {f"encoder.layers.encoder_layer_{number}.{k}": v for k, v in inner.items()}
    for name, part in parts.items():
        weights |= {f"{name}.{k}": v.detach().clone() for k, v in part.state_dict().items()}
    torch.save(weights, tmp_path / "vit_b_16.pth")
    net = models.create(
        "vit-base", checkpoint=tmp_path / "vit_b_16.pth", image_size=32, num_heads=2
    )
    with torch.no_grad():
        x = torch.cat([weights["class_token"].expand(2, -1, -1), patch(X).flatten(2).mT], dim=1)
        x = x + weights["encoder.pos_embedding"]
        for block in blocks:
            x = block(x)
        torch.testing.assert_close(net(X), head(norm(x)[:, 0]), rtol=1e-4, atol=1e-5)
    assert not net.report.unexpected
    assert not net.report.missing


def test_positions_are_resized_to_another_picture(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    net = models.create("vit-base", checkpoint=tmp_path, image_size=48, num_heads=4)
    assert [name for name, _, _ in net.report.reshaped] == ["pos_embed"]
    x = torch.randn(1, 3, 48, 48)
    with torch.inference_mode():
        want = theirs(x, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(net(x), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("width", "heads"), [(192, 3), (384, 6)])
def test_heads_of_published_widths_are_known(width, heads, tmp_path):
    options = {"image_size": 32, "embed_dim": width, "num_heads": heads, "depth": 1}
    first = models.create("vit-base", weights="random", **options)
    torch.save(first.state_dict(), tmp_path / "vit.pth")
    net = models.create("vit-base", checkpoint=tmp_path / "vit.pth", image_size=32)
    with torch.inference_mode():
        assert torch.equal(net(X), first(X))
