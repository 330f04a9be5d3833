"""What mmFormer is made of: encoders of convolutions, transformers, fusion and a decoder.

Source: Zhang et al. 2022, as in ``mmformer.py``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError

LEVELS = 5
"""Scales of an encoder, each half the size of the one before."""


def conv(dims: int, inputs: int, outputs: int, side: int, **options: Any) -> nn.Module:
    """A convolution that keeps the size, flat or deep."""
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    return kind(inputs, outputs, side, padding=side // 2, **options)


class Conv(nn.Module):
    """Instance norm, a leaky ReLU and a convolution."""

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        side: int = 3,
        *,
        stride: int = 1,
        padding: str = "reflect",
    ) -> None:
        super().__init__()
        self.conv = conv(dims, inputs, outputs, side, stride=stride, padding_mode=padding)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` to ``(B, C', ...)``."""
        return self.conv(functional.leaky_relu(functional.instance_norm(x), 0.2))


class Encoder(nn.Module):
    """Five scales of residual convolutions."""

    def __init__(self, dims: int, channels: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.e1_c1 = conv(dims, channels, width, 3, padding_mode="reflect")
        for level, outputs in enumerate(widths, start=1):
            if level > 1:
                first = Conv(dims, widths[level - 2], outputs, stride=2)
                self.add_module(f"e{level}_c1", first)
            self.add_module(f"e{level}_c2", Conv(dims, outputs, outputs))
            self.add_module(f"e{level}_c3", Conv(dims, outputs, outputs))

    def forward(self, x: Tensor) -> list[Tensor]:
        """``(B, C, ...)`` to maps of the full size, a half, ... and a sixteenth."""
        out = []
        for level in range(1, LEVELS + 1):
            one, two, three = (getattr(self, f"e{level}_c{part}") for part in (1, 2, 3))
            x = one(x)
            x = x + three(two(x))
            out.append(x)
        return out


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise RecipeError(f"embed_dim {dim} cannot be shared by num_heads {heads}")
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, there: Tensor | None) -> Tensor:
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(
            *qkv, attn_mask=None if there is None else there[:, None, None]
        )
        return self.dropout(self.proj(seen.transpose(1, 2).flatten(2)))


class _Forward(nn.Module):
    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, there: Tensor | None) -> Tensor:
        return self.net(x)


class _Normed(nn.Module):
    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(dim), fn

    def forward(self, x: Tensor, there: Tensor | None) -> Tensor:
        return self.fn(self.norm(x), there)


class _Beside(nn.Module):
    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor, there: Tensor | None) -> Tensor:
        return x + self.fn(x, there)


class Transformer(nn.Module):
    """Blocks of attention and MLP; positions are added before each."""

    def __init__(self, dim: int, depth: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.cross_attention_list = nn.ModuleList(
            _Beside(_Normed(dim, _Attention(dim, heads, dropout))) for _ in range(depth)
        )
        self.cross_ffn_list = nn.ModuleList(
            _Beside(_Normed(dim, _Forward(dim, hidden, dropout))) for _ in range(depth)
        )

    def forward(self, x: Tensor, positions: Tensor, there: Tensor | None = None) -> Tensor:
        """``(B, N, D)`` to the same; ``there`` ``(B, N)`` says which tokens may be looked at."""
        for attend, think in zip(self.cross_attention_list, self.cross_ffn_list, strict=True):
            x = attend(x + positions, there)
            x = think(x, there)
        return x


class Fusion(nn.Module):
    """The maps of all inputs at one scale become one."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fusion_layer = nn.Sequential(
            Conv(dims, inputs, outputs, 1, padding="zeros"),
            Conv(dims, outputs, outputs, 3, padding="zeros"),
            Conv(dims, outputs, outputs, 1, padding="zeros"),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, M * C, ...)`` to ``(B, C, ...)``."""
        return self.fusion_layer(x)


def enlarged(x: Tensor, factor: int) -> Tensor:
    """A map as many times larger, linear from corner to corner."""
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    return functional.interpolate(x, scale_factor=factor, mode=mode, align_corners=True)


class Decoder(nn.Module):
    """From the coarsest map to the finest.

    Args:
        dims: 2 or 3.
        classes: scores a place.
        width: of the finest map.
        inputs: maps that are joined at each scale; 0 where only one input is drawn from.
    """

    def __init__(self, dims: int, classes: int, width: int, inputs: int = 0) -> None:
        super().__init__()
        self.inputs = inputs
        for level in range(LEVELS - 1, 0, -1):
            outputs = width * 2 ** (level - 1)
            self.add_module(f"d{level}_c1", Conv(dims, 2 * outputs, outputs))
            self.add_module(f"d{level}_c2", Conv(dims, 2 * outputs, outputs))
            self.add_module(f"d{level}_out", Conv(dims, outputs, outputs, 1))
            if inputs:
                self.add_module(f"seg_d{level}", conv(dims, 2 * outputs, classes, 1))
        self.seg_layer = conv(dims, width, classes, 1)
        for level in range(LEVELS, 0, -1) if inputs else ():
            outputs = width * 2 ** (level - 1)
            self.add_module(f"RFM{level}", Fusion(dims, inputs * outputs, outputs))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Maps from the finest to the coarsest, to scores, and to those of coarser scales."""
        joined = [self._joined(level, x) for level, x in enumerate(maps, start=1)]
        x, coarser = joined[-1], []
        for level in range(LEVELS - 1, 0, -1):
            if self.inputs:
                coarser.append(getattr(self, f"seg_d{level}")(x))
            x = getattr(self, f"d{level}_c1")(enlarged(x, 2))
            skip = joined[level - 1]
            both = torch.cat([skip, x] if self.inputs else [x, skip], dim=1)
            x = getattr(self, f"d{level}_out")(getattr(self, f"d{level}_c2")(both))
        return self.seg_layer(x), coarser[::-1]

    def _joined(self, level: int, x: Tensor) -> Tensor:
        return getattr(self, f"RFM{level}")(x) if self.inputs else x
