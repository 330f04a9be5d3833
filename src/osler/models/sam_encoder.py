"""The image encoder of Segment Anything: a ViT whose blocks attend within windows or everywhere.

Source: Kirillov et al. 2023, "Segment Anything", ICCV; Li et al. 2022, "Exploring plain vision
transformer backbones for object detection", ECCV (windows and relative positions).
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError

MANY = 1024
"""Places above which a map is attended to head by head, so that memory stays bounded."""


class LayerNorm2d(nn.Module):
    """A layer norm over the channels of a map."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        x = x.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Self-attention over a map, with learnt relative positions along each side.

    Args:
        dim: width.
        heads: that share it.
        side: of the map that the relative positions are for, tokens; they are interpolated for
            other sides.
    """

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        if dim % heads:
            raise RecipeError(f"embed_dim {dim} cannot be shared by num_heads {heads}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, D)`` to the same."""
        b, h, w, d = x.shape
        qkv = self.qkv(x).reshape(b, h * w, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # head by head where there are many places: what positions add is (N, N) for each head
        step = 1 if h * w > MANY else self.heads
        parts = []
        for first in range(0, self.heads, step):
            one = slice(first, first + step)
            added = self._positions(q[:, one].unflatten(2, (h, w)))
            parts.append(
                functional.scaled_dot_product_attention(
                    q[:, one], k[:, one], v[:, one], attn_mask=added
                )
            )
        seen = torch.cat(parts, dim=1)
        return self.proj(seen.transpose(1, 2).reshape(b, h, w, d))

    def _positions(self, q: Tensor) -> Tensor:
        """What a query ``(B, heads, H, W, d)`` adds for a key so far above and so far left."""
        _, _, h, w, _ = q.shape
        down = torch.einsum("bnhwc,hkc->bnhwk", q, _relative(self.rel_pos_h, h))
        right = torch.einsum("bnhwc,wkc->bnhwk", q, _relative(self.rel_pos_w, w))
        both = down[..., :, None] + right[..., None, :]
        return both.flatten(4, 5).flatten(2, 3)


def _relative(learnt: Tensor, side: int) -> Tensor:
    """Embeddings of all pairs ``(query, key)`` of a side, ``(side, side, d)``."""
    if learnt.shape[0] != 2 * side - 1:
        learnt = resize_relative(learnt, 2 * side - 1)
    place = torch.arange(side, device=learnt.device)
    return learnt[place[:, None] - place[None, :] + side - 1]


def resize_relative(learnt: Tensor, length: int) -> Tensor:
    """Relative positions ``(2s - 1, d)`` for another side, linear."""
    resized = functional.interpolate(
        learnt.T[None].float(), size=length, mode="linear", align_corners=False
    )
    return resized[0].T.to(learnt.dtype)


def resize_positions(learnt: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Absolute positions ``(1, h, w, D)`` for another grid."""
    resized = functional.interpolate(
        learnt.permute(0, 3, 1, 2).float(), size=size, mode=mode, align_corners=False
    )
    return resized.permute(0, 2, 3, 1).to(learnt.dtype)


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to the same."""
        return self.lin2(functional.gelu(self.lin1(x)))


class Block(nn.Module):
    """Attention, within windows or everywhere, and an MLP.

    Args:
        dim: width.
        heads: of the attention.
        hidden: width within the MLP.
        window: side of a window, tokens; 0 attends everywhere.
        side: of the whole map, tokens.
    """

    def __init__(self, dim: int, heads: int, hidden: int, *, window: int, side: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, window or side)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp: nn.Module = Mlp(dim, hidden)
        self.window = window

    def attend(self, x: Tensor) -> Tensor:
        """``(B, H, W, D)`` after the first shortcut."""
        inner = self.norm1(x)
        if self.window:
            windows, grid = to_windows(inner, self.window)
            inner = from_windows(self.attn(windows), grid, x.shape[1:3])
        else:
            inner = self.attn(inner)
        return x + inner

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, D)`` to the same."""
        x = self.attend(x)
        return x + self.mlp(self.norm2(x))


def to_windows(x: Tensor, side: int) -> tuple[Tensor, tuple[int, int, int]]:
    """``(B, H, W, D)``, padded with zeros below and right, to ``(B * n, side, side, D)``."""
    b, h, w, d = x.shape
    x = functional.pad(x, (0, 0, 0, -w % side, 0, -h % side))
    rows, columns = x.shape[1] // side, x.shape[2] // side
    x = x.reshape(b, rows, side, columns, side, d).transpose(2, 3)
    return x.reshape(-1, side, side, d), (b, rows, columns)


def from_windows(x: Tensor, grid: tuple[int, int, int], size: torch.Size) -> Tensor:
    """The way back from ``to_windows``; the padding is cut off."""
    (b, rows, columns), side = grid, x.shape[1]
    x = x.reshape(b, rows, columns, side, side, -1).transpose(2, 3)
    return x.reshape(b, rows * side, columns * side, -1)[:, : size[0], : size[1]]


class PatchEmbed(nn.Module):
    """Patches to a map of tokens."""

    def __init__(self, patch: int, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, h, w, D)``."""
        return self.proj(x).permute(0, 2, 3, 1)


def neck(inputs: int, outputs: int) -> nn.Sequential:
    """From the width of an encoder to that of the decoder, ``(B, C, h, w)``."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        LayerNorm2d(outputs),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        LayerNorm2d(outputs),
    )


class ImageEncoder(nn.Module):
    """Patches, positions, blocks and a neck.

    Args:
        image_size: side that the positions are for, pixels; other sizes are taken too, the
            positions interpolated.
        patch_size: side of a patch, pixels.
        channels: of the picture.
        embed_dim: width.
        depth: number of blocks.
        num_heads: of each attention.
        mlp_ratio: width within the MLP over ``embed_dim``.
        window_size: side of a window, tokens.
        global_blocks: numbers of the blocks that attend everywhere.
        out_channels: of the embedding.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        channels: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        window_size: int,
        global_blocks: Collection[int],
        out_channels: int,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise RecipeError(
                f"image_size {image_size} is no multiple of patch_size {patch_size}; "
                f"{round(image_size / patch_size) * patch_size} would be"
            )
        side = image_size // patch_size
        self.patch_size = patch_size
        self.patch_embed = PatchEmbed(patch_size, channels, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, embed_dim))
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                int(embed_dim * mlp_ratio),
                window=0 if number in global_blocks else window_size,
                side=side,
            )
            for number in range(depth)
        )
        self.neck = neck(embed_dim, out_channels)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def embed(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)``, sides multiples of the patch, to tokens ``(B, h, w, D)``."""
        if x.shape[-2] % self.patch_size or x.shape[-1] % self.patch_size:
            raise RecipeError(
                f"a picture of {x.shape[-2]} x {x.shape[-1]} pixels is no multiple of the patch "
                f"of {self.patch_size}; resize or pad it"
            )
        tokens = self.patch_embed(x)
        size = (tokens.shape[1], tokens.shape[2])
        positions: Tensor = self.pos_embed
        if size != tuple(positions.shape[1:3]):
            positions = resize_positions(positions, size)
        return tokens + positions

    def levels(self, x: Tensor) -> list[Tensor]:
        """Tokens ``(B, h, w, D)`` after each block."""
        out = [self.embed(x)]
        for block in self.blocks:
            out.append(block(out[-1]))
        return out[1:]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to an embedding ``(B, out_channels, h, w)``."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))
