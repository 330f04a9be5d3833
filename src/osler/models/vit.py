"""A plain vision transformer, with the names of timm, in which most checkpoints are written.

transformers' ViT splits the fused query, key and value and pools otherwise, and timm needs
torchvision; five systems of the list are this network with other options.

Source: Dosovitskiy et al. 2021, "An image is worth 16x16 words", ICLR.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Shapes, resize_grid
from osler.models.checkpoints.shapes import commonest

Pool = Literal["token", "avg", "none"]

TORCHVISION = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.layers\.encoder_layer_", "blocks."),
    (r"^(blocks\.\d+\.)ln_", r"\1norm"),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    # the file of 2021 says linear_1, later ones the place in the list
    (r"\.mlp\.(0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(3|linear_2)\.", ".mlp.fc2."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
)
"""torchvision's names of a vision transformer, in order, as ours."""


class Attention(nn.Module):
    """Self-attention with one projection for query, key and value."""

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % heads:
            raise RecipeError(f"embed_dim {dim} cannot be shared by num_heads {heads}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to the same."""
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        return self.proj(seen.transpose(1, 2).reshape(b, n, d))

    def weights(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to what each token looks at, ``(B, heads, N, N)``."""
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return (qkv[0] @ qkv[1].transpose(-2, -1) * (d // self.heads) ** -0.5).softmax(dim=-1)


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to the same."""
        return self.fc2(functional.gelu(self.fc1(x)))


class SwiGlu(nn.Module):
    """A linear layer whose one half, through SiLU, weighs the other, and a second one.

    Source: Shazeer 2020, "GLU variants improve transformer", arXiv:2002.05202; as in the largest
    DINOv2.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to the same."""
        gate, value = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(functional.silu(gate) * value)


class LayerScale(nn.Module):
    """A learnt factor a channel."""

    def __init__(self, dim: int, start: float = 1e-5) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), start))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to the same."""
        return x * self.gamma


class Block(nn.Module):
    """Attention and MLP, each after a norm and beside a shortcut.

    Args:
        dim: width.
        heads: of the attention.
        hidden: width within the MLP.
        layer_scale: a learnt factor a channel after each part.
        qkv_bias: whether query, key and value have one.
        eps: of the norms.
        drop_path: share of samples in training whose block is skipped.
        mlp: ``gelu``, or ``swiglu`` with a gate.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        layer_scale: bool = False,
        qkv_bias: bool = True,
        eps: float = 1e-6,
        drop_path: float = 0.0,
        mlp: Literal["gelu", "swiglu"] = "gelu",
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads, qkv_bias=qkv_bias)
        self.ls1 = LayerScale(dim) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = SwiGlu(dim, hidden) if mlp == "swiglu" else Mlp(dim, hidden)
        self.ls2 = LayerScale(dim) if layer_scale else nn.Identity()
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to the same."""
        x = x + self._dropped(self.ls1(self.attn(self.norm1(x))))
        return x + self._dropped(self.ls2(self.mlp(self.norm2(x))))

    def _dropped(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return x
        keep = 1 - self.drop_path
        return x * x.new_empty(len(x), 1, 1).bernoulli_(keep) / keep


class PatchEmbed(nn.Module):
    """Patches to tokens."""

    def __init__(self, patch: int, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, N, D)``, row by row."""
        return self.proj(x).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Patches, a class token, blocks, and what is asked of them.

    Args:
        image_size: side of the square that the position embeddings are for, pixels; other sizes
            are taken too, their embeddings interpolated.
        patch_size: side of a patch, pixels.
        channels: of the picture.
        embed_dim: width.
        depth: number of blocks.
        num_heads: of each attention.
        mlp_ratio: width within the MLP over ``embed_dim``.
        num_classes: scores; 0 gives features.
        pool: the class token, the mean over patches, or (``none``) all tokens.
        norm: ``before`` pools normalised tokens (timm's ``norm``); ``after`` normalises what was
            pooled (timm's ``fc_norm``).
        layer_scale: a learnt factor a channel, as DINOv2 has it.
        registers: further tokens that are no patch, after the class token; they have no position.
        class_position: whether the class token has one (timm's ``no_embed_class`` is the contrary).
        qkv_bias: whether query, key and value have one.
        eps: of the norms.
        drop_path: greatest share of skipped blocks in training, rising with depth.
        mlp: within the blocks, ``gelu`` or ``swiglu``, as the largest DINOv2 has it.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        channels: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        num_classes: int = 0,
        pool: Pool = "token",
        norm: Literal["before", "after"] = "before",
        layer_scale: bool = False,
        registers: int = 0,
        class_position: bool = True,
        qkv_bias: bool = True,
        eps: float = 1e-6,
        drop_path: float = 0.0,
        mlp: Literal["gelu", "swiglu"] = "gelu",
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise RecipeError(
                f"image_size {image_size} is no multiple of patch_size {patch_size}; "
                f"{round(image_size / patch_size) * patch_size} would be"
            )
        grid = image_size // patch_size
        self.patch_size, self.pool, self.registers = patch_size, pool, registers
        self.embed_dim, self.depth = embed_dim, depth
        self.patch_embed = PatchEmbed(patch_size, channels, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.reg_token = nn.Parameter(torch.zeros(1, registers, embed_dim)) if registers else None
        self.position_prefix = int(class_position)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.position_prefix + grid * grid, embed_dim))
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                round(embed_dim * mlp_ratio),
                layer_scale=layer_scale,
                qkv_bias=qkv_bias,
                eps=eps,
                drop_path=drop_path * level / max(depth - 1, 1),
                mlp=mlp,
            )
            for level in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=eps) if norm == "before" else nn.Identity()
        self.fc_norm = nn.LayerNorm(embed_dim, eps=eps) if norm == "after" else nn.Identity()
        self.head: nn.Module = nn.Linear(embed_dim, num_classes) if num_classes else nn.Identity()
        self.apply(_start)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)

    def embed(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)``, sides multiples of the patch, to tokens ``(B, 1 + R + N, D)``."""
        h, w = x.shape[-2] // self.patch_size, x.shape[-1] // self.patch_size
        if x.shape[-2] % self.patch_size or x.shape[-1] % self.patch_size:
            raise RecipeError(
                f"a picture of {x.shape[-2]} x {x.shape[-1]} pixels is no multiple of the patch "
                f"of {self.patch_size}; resize or pad it"
            )
        positions = self._positions(h, w)
        prefix = self.position_prefix
        tokens = self.patch_embed(x) + positions[:, prefix:]
        first = self.cls_token + positions[:, :1] if prefix else self.cls_token
        first = first.expand(len(x), -1, -1)
        if self.reg_token is None:
            return torch.cat([first, tokens], dim=1)
        return torch.cat([first, self.reg_token.expand(len(x), -1, -1), tokens], dim=1)

    def _positions(self, h: int, w: int) -> Tensor:
        prefix = self.position_prefix
        side = isqrt(self.pos_embed.shape[1] - prefix)
        if (h, w) == (side, side):
            return self.pos_embed
        if h == w:
            return resize_grid(self.pos_embed, prefix + h * w, prefix=prefix)
        grid = self.pos_embed[:, prefix:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=(h, w), mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :prefix], grid.flatten(2).transpose(1, 2)], dim=1)

    def tokens(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the tokens after the last block, not normalised."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return x

    def levels(self, x: Tensor, blocks: Sequence[int], *, norm: bool = False) -> list[Tensor]:
        """Tokens after each of ``blocks`` (counted from 0), normalised by the last norm or not."""
        out = []
        x = self.embed(x)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in blocks:
                out.append(self.norm(x) if norm else x)
        return out

    def attention(self, x: Tensor) -> Tensor:
        """What each token of the last block looks at, ``(B, heads, tokens, tokens)``."""
        x = self.embed(x)
        *others, last = self.blocks
        for block in others:
            x = block(x)
        return last.attn.weights(last.norm1(x))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Maps ``(B, D, H/P, W/P)`` after each quarter of the blocks."""
        h, w = x.shape[-2] // self.patch_size, x.shape[-1] // self.patch_size
        wanted = sorted({max(1, round(self.depth * part / 4)) - 1 for part in (1, 2, 3, 4)})
        return [
            level[:, 1 + self.registers :].transpose(1, 2).reshape(len(x), -1, h, w)
            for level in self.levels(x, wanted)
        ]

    def features(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D)``, or to all tokens where nothing is pooled."""
        x = self.norm(self.tokens(x))
        if self.pool == "token":
            x = x[:, 0]
        elif self.pool == "avg":
            x = x[:, 1 + self.registers :].mean(dim=1)
        return self.fc_norm(x)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to scores ``(B, num_classes)``, or to features."""
        return self.head(self.features(x))


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def vit_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a plain ViT's tensors (in our names) tell; heads cannot be seen."""
    patch = shapes.get("patch_embed.proj.weight")
    if patch is None:
        return {}
    out: dict[str, Any] = {
        "embed_dim": patch[0],
        "channels": patch[1],
        "patch_size": patch[2],
    }
    numbers = [int(name.split(".")[1]) for name in shapes if name.startswith("blocks.")]
    if numbers:
        out["depth"] = 1 + max(numbers)
    # what most blocks have: one damaged tensor must not decide
    first = commonest(shapes, r"^blocks\.\d+\.mlp\.fc1\.weight", 0)
    second = commonest(shapes, r"^blocks\.\d+\.mlp\.fc2\.weight", 1)
    if first and second and first == 2 * second:
        out |= {"mlp": "swiglu", "mlp_ratio": second / patch[0]}
    elif first:
        out["mlp_ratio"] = first / patch[0]
    if commonest(shapes, r"^blocks\.\d+\.attn\.qkv\.weight", 0) and not commonest(
        shapes, r"^blocks\.\d+\.attn\.qkv\.bias", 0
    ):
        out["qkv_bias"] = False
    if "fc_norm.weight" in shapes and "norm.weight" not in shapes:
        out |= {"pool": "avg", "norm": "after"}
    positions = shapes.get("pos_embed")
    if positions is not None:
        length = positions[1]
        prefix = int(isqrt(length) ** 2 != length)
        if isqrt(length - prefix) ** 2 == length - prefix:
            out["image_size"] = isqrt(length - prefix) * patch[2]
            if not prefix:
                out["class_position"] = False
    registers = shapes.get("reg_token")
    if registers is not None:
        out["registers"] = registers[1]
    head = shapes.get("head.weight")
    if head is not None:
        out["num_classes"] = head[0]
    return out
