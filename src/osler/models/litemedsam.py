"""LiteMedSAM: Segment Anything with a TinyViT for its encoder, small enough for a laptop.

Source: Ma et al. 2024, "Segment anything in medical images", Nature Communications (its small
version, from the same authors); Wu et al. 2022, "TinyViT: fast pretraining distillation for small
vision transformers", ECCV.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.checkpoints.shapes import commonest, count
from osler.models.preprocessing import Preprocessing, Step
from osler.models.sam import Sam, decoder_options, example
from osler.models.sam_encoder import from_windows, neck, to_windows

__all__ = ["LAYOUTS", "TinyViT", "example", "litemedsam"]  # its example inputs are those of SAM


class ConvNorm(nn.Sequential):
    """A convolution without bias and a batch norm."""

    def __init__(
        self, inputs: int, outputs: int, side: int = 1, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.add_module(
            "c",
            nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, groups=groups, bias=False),
        )
        self.add_module("bn", nn.BatchNorm2d(outputs))


class Inverted(nn.Module):
    """Wider, across, narrower, beside a shortcut."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        inner = functional.gelu(self.conv2(functional.gelu(self.conv1(x))))
        return functional.gelu(x + self.conv3(inner))


class Merging(nn.Module):
    """To the next stage's width, and with a stride to fewer places."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride=stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H / stride, W / stride)``."""
        return self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x)))))


class WindowAttention(nn.Module):
    """Attention within a window, with a learnt number for each distance."""

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        if dim % heads:
            raise RecipeError(f"{dim} channels cannot be shared by {heads} heads")
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, side * side))
        place = torch.arange(side)
        apart = (place[:, None] - place[None, :]).abs()
        number = apart[:, None, :, None] * side + apart[None, :, None, :]
        self.register_buffer("distances", number.reshape(side**2, side**2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, side, side, D)`` to the same."""
        inner = self.qkv(self.norm(x.flatten(1, 2))).unflatten(2, (self.heads, -1))
        q, k, v = inner.transpose(1, 2).chunk(3, dim=-1)  # each head has its own q, k and v
        biases = self.attention_biases[:, self.distances]
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=biases[None])
        return self.proj(seen.transpose(1, 2).flatten(2)).reshape(x.shape)


class Mlp(nn.Module):
    """A norm and two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to the same."""
        return self.fc2(functional.gelu(self.fc1(self.norm(x))))


class WindowBlock(nn.Module):
    """Attention within windows, a convolution across their borders, and an MLP."""

    def __init__(self, dim: int, heads: int, hidden: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(dim, heads, window)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)
        self.mlp = Mlp(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        tokens = x.permute(0, 2, 3, 1)
        windows, grid = to_windows(tokens, self.window)
        tokens = tokens + from_windows(self.attn(windows), grid, tokens.shape[1:3])
        x = self.local_conv(tokens.permute(0, 3, 1, 2))
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one width, and the way to the next."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H', W')``."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class Stem(nn.Module):
    """Pixels to channels; no place is lost."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(channels, dim // 2), nn.GELU(), ConvNorm(dim // 2, dim))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D, H, W)``."""
        return self.seq(x)


class TinyViT(nn.Module):
    """Convolutions at full size, then windows at a half and a quarter of it.

    Args:
        channels: of the picture.
        dims: width of each stage.
        depths: blocks of each stage.
        heads: of each stage's attention; the first stage has none.
        windows: side of each stage's windows.
        strides: between stages.
        expand: width within the first stage's blocks over its width.
        mlp_ratio: width within the others' MLPs over theirs.
        out_channels: of the embedding.
    """

    def __init__(
        self,
        *,
        channels: int,
        dims: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        windows: Sequence[int],
        strides: Sequence[int],
        expand: float,
        mlp_ratio: float,
        out_channels: int,
    ) -> None:
        super().__init__()
        self.patch_embed = Stem(channels, dims[0])
        stages = []
        for level, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            blocks: list[nn.Module] = [
                WindowBlock(dim, heads[level], int(dim * mlp_ratio), windows[level])
                if level
                else Inverted(dim, int(dim * expand))
                for _ in range(depth)
            ]
            last = level == len(dims) - 1
            stages.append(
                Stage(blocks, None if last else Merging(dim, dims[level + 1], strides[level]))
            )
        self.layers = nn.ModuleList(stages)
        self.neck = neck(dims[-1], out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to an embedding ``(B, out_channels, H / 4, W / 4)``."""
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        return self.neck(x)


def litemedsam(
    *,
    image_size: int = 256,
    channels: int = 3,
    dims: Sequence[int] = (64, 128, 160, 320),
    depths: Sequence[int] = (2, 2, 6, 2),
    heads: Sequence[int] = (2, 4, 5, 10),
    windows: Sequence[int] = (7, 7, 14, 7),
    strides: Sequence[int] = (2, 2, 1),
    expand: float = 4.0,
    mlp_ratio: float = 4.0,
    dim: int = 256,
    **decoder: Any,
) -> Sam:
    """LiteMedSAM; options of ``TinyViT`` and of ``Sam``."""
    encoder = TinyViT(
        channels=channels,
        dims=dims,
        depths=depths,
        heads=heads,
        windows=windows,
        strides=strides,
        expand=expand,
        mlp_ratio=mlp_ratio,
        out_channels=dim,
    )
    steps = (
        Step(resize_long=image_size, interpolation="area", rounding="nearest"),
        Step(min_max=True),
        Step(pad=image_size),
    )
    return Sam(
        encoder,
        preprocessing=Preprocessing(steps=steps),
        image_size=image_size,
        dim=dim,
        **decoder,
    )


def _options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes tell; strides cannot be seen."""
    out = decoder_options(shapes)
    stages = count(shapes, r"^image_encoder\.layers\.(\d+)\.") or 0
    each: dict[str, list[int | None]] = {"dims": [], "depths": [], "heads": [], "windows": []}
    for level in range(stages):
        blocks = rf"^image_encoder\.layers\.{level}\.blocks\."
        each["depths"].append(count(shapes, blocks + r"(\d+)\."))
        each["dims"].append(
            commonest(shapes, blocks + r"\d+\.(conv3\.bn|attn\.norm)\.(weight|bias)", 0)
        )
        biases = [shape for name, shape in shapes.items() if re.match(blocks + r".*biases", name)]
        each["heads"].append(biases[0][0] if biases else 1)
        each["windows"].append(round(biases[0][1] ** 0.5) if biases else 1)
    if all(None not in some and some for some in each.values()):
        out |= {name: tuple(some) for name, some in each.items()}
        wide = commonest(shapes, r"layers\.0\.blocks\.\d+\.conv1\.bn\.(weight|bias)", 0)
        hidden = commonest(shapes, r"layers\.1\.blocks\.\d+\.mlp\.fc1\.", 0)
        if wide and hidden:
            out["expand"] = wide / out["dims"][0]
            out["mlp_ratio"] = hidden / out["dims"][1]
    first = shapes.get("image_encoder.patch_embed.seq.0.c.weight")
    if first:
        out["channels"] = first[1]
    return out


LAYOUTS = (
    Layout(
        "LiteMedSAM",
        ("litemedsam",),
        marks=(
            r"^image_encoder\.patch_embed\.seq\.0\.c\.weight",
            r"^image_encoder\.layers\.1\.blocks\.0\.attn\.attention_biases",
            r"^mask_decoder\.",
        ),
        drop=(
            r"\.attention_bias_idxs$",
            r"\.attn\.ab$",
            r"^image_encoder\.(norm_)?head\.",
        ),
        heads=(r"\.num_batches_tracked$",),
        options=_options,
    ),
)
