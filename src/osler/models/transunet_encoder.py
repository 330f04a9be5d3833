"""The encoder of TransUNet: a residual network, and a transformer on its last map.

Source: Chen et al. 2024, as in ``transunet.py``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError

GROUPS = 32
"""Of the group norms, which have 1e-6 for their epsilon; those of shortcuts have one group a
channel and 1e-5."""


class StandardConv(nn.Conv2d):
    """A convolution whose weights are standardised for each output channel."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H', W')``."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) / (variance + 1e-5).sqrt()
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class Unit(nn.Module):
    """Three convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.conv1 = StandardConv(inputs, inner, 1, bias=False)
        self.gn1 = nn.GroupNorm(GROUPS, inner, eps=1e-6)
        self.conv2 = StandardConv(inner, inner, 3, stride, 1, bias=False)
        self.gn2 = nn.GroupNorm(GROUPS, inner, eps=1e-6)
        self.conv3 = StandardConv(inner, outputs, 1, bias=False)
        self.gn3 = nn.GroupNorm(GROUPS, outputs, eps=1e-6)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = StandardConv(inputs, outputs, 1, stride, bias=False)
            self.gn_proj = nn.GroupNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H / stride, W / stride)``."""
        short = x if self.downsample is None else self.gn_proj(self.downsample(x))
        x = self.gn1(self.conv1(x)).relu()
        x = self.gn2(self.conv2(x)).relu()
        return (short + self.gn3(self.conv3(x))).relu()


class ResNet(nn.Module):
    """A residual network of stride 16 that also gives its maps at a half, a quarter, an eighth.

    Args:
        channels: of the picture.
        width: after the root.
        units: of each of the three blocks.
    """

    def __init__(self, channels: int, width: int, units: Sequence[int]) -> None:
        super().__init__()
        if width % GROUPS:
            raise RecipeError(f"width {width} is no multiple of {GROUPS}")
        self.root = nn.Module()
        self.root.conv = StandardConv(channels, width, 7, 2, 3, bias=False)
        self.root.gn = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.body = nn.Module()
        inputs = width
        for number, count in enumerate(units, start=1):
            outputs = width * 4 * 2 ** (number - 1)
            block = nn.Sequential()
            for unit in range(1, count + 1):
                stride = 2 if unit == 1 and number > 1 else 1
                block.add_module(f"unit{unit}", Unit(inputs, outputs, stride))
                inputs = outputs
            self.body.add_module(f"block{number}", block)
        self.outputs = inputs

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(B, C, H, W)`` to the map of stride 16, and those of strides 8, 4 and 2."""
        h, w = x.shape[-2:]
        x = self.root.gn(self.root.conv(x)).relu()
        skips = [x]
        x = functional.max_pool2d(x, 3, 2)  # no padding: a row and a column less than a quarter
        *first, last = self.body.children()
        for level, block in enumerate(first):
            x = block(x)
            rows, columns = h // 4 // 2**level, w // 4 // 2**level
            skips.append(functional.pad(x, (0, columns - x.shape[-1], 0, rows - x.shape[-2])))
        return last(x), skips[::-1]


class Attention(nn.Module):
    """Self-attention with a projection each for query, key and value."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise RecipeError(f"embed_dim {dim} cannot be shared by num_heads {heads}")
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to the same."""
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        seen = functional.scaled_dot_product_attention(q, k, v)
        return self.out(seen.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to the same."""
        return self.dropout(self.fc2(self.dropout(functional.gelu(self.fc1(x)))))


class Block(nn.Module):
    """Attention and MLP, each after a norm and beside a shortcut."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim, eps=1e-6)
        self.ffn_norm = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = FeedForward(dim, hidden, dropout)
        self.attn = Attention(dim, heads)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to the same."""
        x = x + self.attn(self.attention_norm(x))
        return x + self.ffn(self.ffn_norm(x))


class Transformer(nn.Module):
    """The residual network, patches of its last map, and blocks.

    Args:
        image_size: side that the position embeddings are for, pixels; other sizes are taken too,
            the embeddings interpolated.
        channels: of the picture; one of one channel is repeated.
        width: of the residual network after its root.
        units: of its blocks.
        embed_dim: width of the transformer.
        depth: number of blocks.
        num_heads: of each attention.
        hidden: width within the MLPs.
        dropout: after the embedding and within the MLPs, in training.
    """

    def __init__(
        self,
        *,
        image_size: int,
        channels: int,
        width: int,
        units: Sequence[int],
        embed_dim: int,
        depth: int,
        num_heads: int,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if image_size % 16:
            raise RecipeError(f"image_size {image_size} is no multiple of 16")
        self.channels = channels
        self.embeddings = nn.Module()
        self.embeddings.hybrid_model = ResNet(channels, width, units)
        outputs = self.embeddings.hybrid_model.outputs
        self.embeddings.patch_embeddings = nn.Conv2d(outputs, embed_dim, 1)
        self.embeddings.position_embeddings = nn.Parameter(
            torch.zeros(1, (image_size // 16) ** 2, embed_dim)
        )
        self.embeddings.dropout = nn.Dropout(dropout)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(
            Block(embed_dim, num_heads, hidden, dropout) for _ in range(depth)
        )
        self.encoder.encoder_norm = nn.LayerNorm(embed_dim, eps=1e-6)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(B, C, H, W)`` to a map ``(B, D, H/16, W/16)``, and those of strides 8, 4 and 2."""
        if x.shape[-2] % 16 or x.shape[-1] % 16:
            raise RecipeError(
                f"a picture of {x.shape[-2]} x {x.shape[-1]} pixels is no multiple of 16; resize "
                "or pad it"
            )
        if x.shape[1] == 1 != self.channels:
            x = x.expand(-1, self.channels, -1, -1)
        x, skips = self.embeddings.hybrid_model(x)
        x = self.embeddings.patch_embeddings(x)
        size = (x.shape[-2], x.shape[-1])
        positions = self.embeddings.position_embeddings
        if positions.shape[1] != size[0] * size[1] or size[0] != size[1]:
            positions = resize_positions(positions, size)
        tokens = self.embeddings.dropout(x.flatten(2).transpose(1, 2) + positions)
        for layer in self.encoder.layer:
            tokens = layer(tokens)
        tokens = self.encoder.encoder_norm(tokens)
        return tokens.transpose(1, 2).unflatten(2, size), skips


def resize_positions(learnt: Tensor, size: tuple[int, int]) -> Tensor:
    """Position embeddings ``(1, g * g, D)`` for another grid, linear from corner to corner."""
    side = round(learnt.shape[1] ** 0.5)
    grid = learnt.transpose(1, 2).unflatten(2, (side, side)).float()
    grid = functional.interpolate(grid, size=size, mode="bilinear", align_corners=True)
    return grid.flatten(2).transpose(1, 2).to(learnt.dtype)
