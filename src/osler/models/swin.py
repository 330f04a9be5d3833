"""Swin: a transformer over shifted windows, from transformers, with a head.

Source: Liu et al. 2021, "Swin transformer: hierarchical vision transformer using shifted
windows", ICCV.
"""

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from osler.models.checkpoints.layout import Layout, Shapes, Tensors
from osler.models.checkpoints.shapes import commonest


class Swin(nn.Module):
    """The tower of transformers, a mean over positions and a head.

    Args:
        channels: of the picture.
        embed_dim: width of the first stage; each further one has twice as many.
        depths: blocks a stage.
        num_heads: of attention, a stage.
        window: side of a window, in patches.
        patch_size: side of a patch, pixels.
        mlp_ratio: width within the MLPs over that of their stage.
        image_size: side of the square that it was trained on; any other is taken.
        num_classes: scores; 0 gives features.
        drop_path: greatest share of skipped blocks in training.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        patch_size: int = 4,
        mlp_ratio: float = 4.0,
        image_size: int = 224,
        num_classes: int = 0,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        from transformers import SwinConfig, SwinModel

        config = SwinConfig(
            image_size=image_size,
            patch_size=patch_size,
            num_channels=channels,
            embed_dim=embed_dim,
            depths=list(depths),
            num_heads=list(num_heads),
            window_size=window,
            mlp_ratio=float(mlp_ratio),
            drop_path_rate=drop_path,
        )
        self.swin = SwinModel(config)
        self.window, self.patch_size = window, patch_size
        width = embed_dim * 2 ** (len(depths) - 1)
        self.head = nn.Linear(width, num_classes) if num_classes else nn.Identity()

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Maps after the patches and after each stage, at 1/4, 1/8, 1/16 and 1/32."""
        said = self._said(x, output_hidden_states=True)
        maps = said.reshaped_hidden_states
        # the last stage does not halve, so the two last maps have one size
        return [*maps[:-2], maps[-1]]

    def features(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D)``."""
        return self._said(x).pooler_output

    def _said(self, x: Tensor, **wanted: bool) -> Any:
        """What the tower says, its windows set for this picture.

        transformers makes a window smaller for good once a picture was small, and then fails:
        windows keep their side here, smaller maps are padded to it and are not shifted.
        """
        h, w = -(-x.shape[-2] // self.patch_size), -(-x.shape[-1] // self.patch_size)
        for stage in self.swin.encoder.layers:
            for number, block in enumerate(stage.blocks):
                shifted = number % 2 and min(h, w) > self.window
                block.shift_size = self.window // 2 if shifted else 0
            h, w = (h + 1) // 2, (w + 1) // 2
        return self.swin(x, always_partition=True, **wanted)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to scores ``(B, num_classes)``, or to features."""
        return self.head(self.features(x))


def swin_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a Swin's tensors (in our names) tell, heads and window included."""
    patch = shapes.get("swin.embeddings.patch_embeddings.projection.weight")
    if patch is None:
        return {}
    depths: dict[int, int] = {}
    heads: dict[int, int] = {}
    out: dict[str, Any] = {"embed_dim": patch[0], "channels": patch[1], "patch_size": patch[2]}
    for name, shape in shapes.items():
        found = re.match(r"swin\.encoder\.layers\.(\d+)\.blocks\.(\d+)\.(.*)", name)
        if not found:
            continue
        stage, block = int(found[1]), int(found[2])
        depths[stage] = max(depths.get(stage, 0), block + 1)
        if found[3].endswith("relative_position_bias_table"):
            heads[stage] = shape[1]
            if stage == 0:
                out["window"] = (round(shape[0] ** 0.5) + 1) // 2
    hidden = commonest(shapes, r"^swin\.encoder\.layers\.0\.blocks\.\d+\.mlp\.fc1\.", 0)
    if hidden is not None:
        out["mlp_ratio"] = hidden / patch[0]
    out["depths"] = [depths[stage] for stage in sorted(depths)]
    if len(heads) == len(depths):
        out["num_heads"] = [heads[stage] for stage in sorted(heads)]
    head = shapes.get("head.weight")
    if head is not None:
        out["num_classes"] = head[0]
    return out


def _split(tensors: Tensors, net: nn.Module) -> Tensors:
    """Query, key and value of each block in a tensor of its own."""
    out: Tensors = {}
    for name, value in tensors.items():
        if ".attention.qkv." not in name:
            out[name] = value
            continue
        for part, one in zip("qkv", value.chunk(3), strict=True):
            out[name.replace("qkv", f"{part}_proj")] = one
    return out


_TABLE = ".attention.relative_position_bias.relative_position_bias_table"

OLD_NAMES = (
    (r"\.attention\.self\.relative_position_bias_table$", _TABLE),
    (r"(blocks\.\d+)\.attention\.self\.query\.", r"\1.attention.q_proj."),
    (r"(blocks\.\d+)\.attention\.self\.key\.", r"\1.attention.k_proj."),
    (r"(blocks\.\d+)\.attention\.self\.value\.", r"\1.attention.v_proj."),
    (r"(blocks\.\d+)\.attention\.output\.dense\.", r"\1.attention.o_proj."),
    (r"(blocks\.\d+)\.intermediate\.dense\.", r"\1.mlp.fc1."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
"""Names within a block before release 5 of transformers, and after."""

_AUTHORS = (
    r"^layers\.0\.blocks\.0\.attn\.relative_position_bias_table",
    r"^patch_embed\.proj",
)
_AUTHORS_NAMES = (
    (r"^patch_embed\.proj\.", "swin.embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.norm\.", "swin.embeddings.norm."),
    (r"^norm\.", "swin.layernorm."),
    (r"^layers\.", "swin.encoder.layers."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.relative_position_bias_table$", _TABLE),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
)

LAYOUTS = (
    Layout(
        "Swin of transformers",
        ("swin-tiny",),
        marks=(
            r"^(swin\.)?encoder\.layers\.0\.blocks\.0\.layernorm_before\.",
            r"^(swin\.)?embeddings\.patch_embeddings\.projection\.",
        ),
        without=(r"continuous_position_bias_mlp", r"^decoder\."),
        strip=("swin.",),
        drop=(r"relative_position_index$", r"^embeddings\.mask_token$", r"^hidden_states_norms\."),
        rename=(
            (r"^classifier\.", "head."),
            (r"^(embeddings|encoder|layernorm)\.", r"swin.\1."),
            *OLD_NAMES,
        ),
        options=swin_options,
    ),
    Layout(
        "Swin of its authors",
        ("swin-tiny",),
        marks=(*_AUTHORS, r"^layers\.0\.downsample\."),
        without=(r"\.logit_scale$",),
        drop=(r"relative_position_index$", r"\.attn_mask$"),
        rename=_AUTHORS_NAMES,
        transform=_split,
        options=swin_options,
    ),
    Layout(
        "Swin of timm",
        ("swin-tiny",),
        marks=(*_AUTHORS, r"^layers\.1\.downsample\."),
        without=(r"\.logit_scale$", r"^layers\.0\.downsample\."),
        drop=(r"relative_position_index$", r"\.attn_mask$"),
        rename=(
            # timm halves at the start of a stage, its authors at the end of the one before
            *((rf"^layers\.{n + 1}\.downsample\.", f"layers.{n}.downsample.") for n in range(3)),
            (r"^head\.fc\.", "head."),
            *_AUTHORS_NAMES,
        ),
        transform=_split,
        options=swin_options,
    ),
    Layout(
        "Swin of torchvision",
        ("swin-tiny",),
        marks=(r"^features\.1\.0\.attn\.relative_position_bias_table", r"^features\.2\.reduction"),
        without=(r"\.logit_scale$", r"\.cpb_mlp\."),
        drop=(r"relative_position_index$",),
        rename=(
            (r"^features\.0\.0\.", "patch_embed.proj."),
            (r"^features\.0\.2\.", "patch_embed.norm."),
            *((rf"^features\.{2 * n + 1}\.", f"layers.{n}.blocks.") for n in range(4)),
            *((rf"^features\.{2 * n + 2}\.", f"layers.{n}.downsample.") for n in range(3)),
            (r"\.mlp\.0\.", ".mlp.fc1."),
            (r"\.mlp\.3\.", ".mlp.fc2."),
            *_AUTHORS_NAMES,
        ),
        transform=_split,
        options=swin_options,
    ),
)
