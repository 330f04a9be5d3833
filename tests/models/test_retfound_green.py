"""RETFound-Green in the names that timm gives ``vit_small_patch14_reg4_dinov2``."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from osler import models
from osler.errors import WeightsError
from osler.models.checkpoints.reading import read_checkpoint

NAME = "retfound-green-vit-small"
DIM, DEPTH, HEADS, GRID, PATCH = 24, 2, 3, 4, 14


def state(*, positions: int = GRID * GRID) -> dict[str, torch.Tensor]:
    """A small file in timm's names: registers, and positions for patches alone."""
    draw = torch.Generator().manual_seed(3)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw) * 0.3

    out = {
        "cls_token": some(1, 1, DIM),
        "reg_token": some(1, 4, DIM),
        "pos_embed": some(1, positions, DIM),
        "patch_embed.proj.weight": some(DIM, 3, PATCH, PATCH) * 0.1,
        "patch_embed.proj.bias": some(DIM),
        "norm.weight": some(DIM) + 1,
        "norm.bias": some(DIM),
    }
    for number in range(DEPTH):
        at = f"blocks.{number}."
        for name in ("norm1", "norm2"):
            out |= {f"{at}{name}.weight": some(DIM) + 1, f"{at}{name}.bias": some(DIM)}
        for name, (rows, columns) in {
            "attn.qkv": (3 * DIM, DIM),
            "attn.proj": (DIM, DIM),
            "mlp.fc1": (4 * DIM, DIM),
            "mlp.fc2": (DIM, 4 * DIM),
        }.items():
            out |= {f"{at}{name}.weight": some(rows, columns), f"{at}{name}.bias": some(rows)}
        out |= {f"{at}ls1.gamma": some(DIM), f"{at}ls2.gamma": some(DIM)}
    return out


def tokens(w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The same network written out without modules: what the names mean."""
    patches = functional.conv2d(
        x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH
    )
    y = patches.flatten(2).transpose(1, 2)
    if w["pos_embed"].shape[1] == GRID * GRID:
        y = y + w["pos_embed"]
        first = w["cls_token"]
    else:
        y = y + w["pos_embed"][:, 1:]
        first = w["cls_token"] + w["pos_embed"][:, :1]
    every = (len(x), -1, -1)
    y = torch.cat([first.expand(*every), w["reg_token"].expand(*every), y], 1)
    for number in range(DEPTH):

        def of(name: str, at: str = f"blocks.{number}.") -> tuple[torch.Tensor, torch.Tensor]:
            return w[f"{at}{name}.weight"], w[f"{at}{name}.bias"]

        h = functional.layer_norm(y, (DIM,), *of("norm1"), eps=1e-6)
        q, k, v = functional.linear(h, *of("attn.qkv")).chunk(3, -1)
        heads = []
        for one in range(HEADS):
            part = slice(one * DIM // HEADS, (one + 1) * DIM // HEADS)
            seen = (q[..., part] @ k[..., part].mT / (DIM // HEADS) ** 0.5).softmax(-1)
            heads.append(seen @ v[..., part])
        y = y + w[f"blocks.{number}.ls1.gamma"] * functional.linear(
            torch.cat(heads, -1), *of("attn.proj")
        )
        h = functional.layer_norm(y, (DIM,), *of("norm2"), eps=1e-6)
        h = functional.linear(functional.gelu(functional.linear(h, *of("mlp.fc1"))), *of("mlp.fc2"))
        y = y + w[f"blocks.{number}.ls2.gamma"] * h
    return functional.layer_norm(y, (DIM,), w["norm.weight"], w["norm.bias"], eps=1e-6)


@pytest.mark.parametrize("positions", [GRID * GRID, 1 + GRID * GRID])
def test_the_layout_with_and_without_a_position_of_the_class_token(tmp_path, positions):
    w = state(positions=positions)
    torch.save(w, tmp_path / "green.pth")
    net = models.create(NAME, checkpoint=tmp_path / "green.pth", num_heads=HEADS)
    assert net.report.share == 1
    assert net.report.matched == sorted(w)
    assert not net.report.missing
    assert not net.report.unexpected
    x = torch.rand(2, 3, GRID * PATCH, GRID * PATCH, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        want = tokens(w, x)
        np.testing.assert_allclose(net(x), want[:, 5:].mean(1), rtol=1e-4, atol=1e-5)
        net.pool = "token"
        np.testing.assert_allclose(net(x), want[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", [GRID * GRID, 1 + GRID * GRID])
def test_another_size_resizes_the_grid_alone(tmp_path, positions):
    w = state(positions=positions)
    torch.save(w, tmp_path / "green.pth")
    net = models.create(NAME, checkpoint=tmp_path / "green.pth", num_heads=HEADS, image_size=84)
    assert [name for name, _, _ in net.report.reshaped] == ["pos_embed"]
    assert net.pos_embed.shape == (1, positions - 16 + 36, DIM)
    if positions > 16:
        assert torch.equal(net.pos_embed[:, 0], w["pos_embed"][:, 0])
    as_trained = models.create(NAME, checkpoint=tmp_path / "green.pth", num_heads=HEADS)
    x = torch.rand(1, 3, 84, 84)
    with torch.inference_mode():
        np.testing.assert_allclose(net(x), as_trained(x), rtol=1e-4, atol=1e-5)


def test_it_is_told_from_the_larger_sibling(tmp_path):
    w = state()
    torch.save(w, tmp_path / "green.pth")
    names = [s.name for s, _ in models.recognise(read_checkpoint(tmp_path / "green.pth"))]
    assert NAME in names
    assert "retfound-dinov2-vit-large" not in names
    del w["reg_token"]
    torch.save(w, tmp_path / "green.pth")
    with pytest.raises(WeightsError, match="not in a layout"):
        models.create(NAME, checkpoint=tmp_path / "green.pth", num_heads=HEADS)
