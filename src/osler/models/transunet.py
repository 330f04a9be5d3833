"""TransUNet: a residual network, a transformer on its last map, and a decoder with skips.

MONAI has no TransUNet; the layers here have the names of the published checkpoints.

Source: Chen et al. 2024, "TransUNet: Rethinking the U-Net architecture design for medical image
segmentation through the lens of transformers", Medical Image Analysis,
doi:10.1016/j.media.2024.103280.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.models.checkpoints.layout import Layout, Shapes, Tensors
from osler.models.transunet_encoder import Transformer, resize_positions

NAME, NESTED = "transunet", "transunet-pp"


def conv(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution over 3 x 3, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def doubled(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` to ``(B, C, 2H, 2W)``, linear from corner to corner."""
    size = (2 * x.shape[-2], 2 * x.shape[-1])
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


class Rise(nn.Module):
    """Twice the size, with what the residual network knew of it."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = conv(inputs + skip, outputs)
        self.conv2 = conv(outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """``(B, C, H, W)`` and ``(B, S, 2H, 2W)`` to ``(B, outputs, 2H, 2W)``."""
        x = doubled(x)
        return self.conv2(self.conv1(x if skip is None else torch.cat([x, skip], dim=1)))


class Decoder(nn.Module):
    """From the transformer's map to the picture's size.

    Args:
        inputs: width of the transformer.
        head: channels of the map before it rises.
        widths: after each doubling.
        skips: channels that each doubling is given, 0 for none.
    """

    def __init__(self, inputs: int, head: int, widths: Sequence[int], skips: Sequence[int]) -> None:
        super().__init__()
        self.conv_more = conv(inputs, head)
        self.blocks = nn.ModuleList(
            Rise(a, skip, b) for a, skip, b in zip((head, *widths[:-1]), skips, widths, strict=True)
        )
        self.skips = tuple(skips)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """``(B, D, H/16, W/16)`` to ``(B, widths[-1], H, W)``."""
        x = self.conv_more(x)
        for level, block in enumerate(self.blocks):
            x = block(x, skips[level] if self.skips[level] else None)
        return x


class TransUNet(nn.Module):
    """The encoder, a decoder with skips, and scores for each pixel.

    Args:
        num_classes: scores a pixel.
        image_size, channels, width, units, embed_dim, depth, num_heads, hidden, dropout: of
            ``Transformer``.
        head_channels, decoder_channels: of ``Decoder``.
        skip_channels: that each doubling is given; None gives all but the last what there is.
    """

    def __init__(
        self,
        *,
        num_classes: int = 9,
        image_size: int = 224,
        channels: int = 3,
        width: int = 64,
        units: Sequence[int] = (3, 4, 9),
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        hidden: int = 3072,
        dropout: float = 0.1,
        head_channels: int = 512,
        decoder_channels: Sequence[int] = (256, 128, 64, 16),
        skip_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.transformer = Transformer(
            image_size=image_size,
            channels=channels,
            width=width,
            units=units,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            hidden=hidden,
            dropout=dropout,
        )
        self.decoder = self._decoder(
            embed_dim, head_channels, decoder_channels, skip_channels, width
        )
        self.segmentation_head = nn.Sequential(
            nn.Conv2d(decoder_channels[-1], num_classes, 3, padding=1)
        )

    def _decoder(
        self,
        dim: int,
        head: int,
        widths: Sequence[int],
        skips: Sequence[int] | None,
        width: int,
    ) -> nn.Module:
        given = (8 * width, 4 * width, width, 0) if skips is None else skips
        return Decoder(dim, head, widths, given)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(B, C, H, W)`` to the transformer's map of stride 16 and maps of 8, 4 and 2."""
        return self.transformer(x)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Maps of strides 2, 4, 8 and, after the transformer, 16."""
        last, skips = self.encode(x)
        return [*skips[::-1], last]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)``, sides multiples of 16, to scores ``(B, num_classes, H, W)``."""
        return self.segmentation_head(self.decoder(*self.encode(x)))


def _grid_to(value: Tensor, due: torch.Size) -> Tensor | None:
    """Positions of a class token and a grid, or of a grid, for another grid."""
    if value.ndim != 3 or len(due) != 3 or value.shape[2] != due[2]:
        return None
    tokens, side = value.shape[1], round(due[1] ** 0.5)
    if round((tokens - 1) ** 0.5) ** 2 == tokens - 1:
        value = value[:, 1:]
    elif round(tokens**0.5) ** 2 != tokens or side * side != due[1]:
        return None
    return value if value.shape == due else resize_positions(value, (side, side))


def _counts(shapes: Shapes) -> dict[str, Any]:
    """Depth of the transformer and units of the residual network, by their names."""
    layers = [int(n.split(".")[3]) for n in shapes if n.startswith("transformer.encoder.layer.")]
    units: dict[int, int] = {}
    for name in shapes:
        found = re.search(r"hybrid_model\.body\.block(\d+)\.unit(\d+)\.", name)
        if found:
            block, unit = int(found[1]), int(found[2])
            units[block] = max(units.get(block, 0), unit)
    out: dict[str, Any] = {"depth": 1 + max(layers)} if layers else {}
    if units:
        out["units"] = tuple(units[block] for block in sorted(units))
    return out


def _options(shapes: Shapes) -> dict[str, Any]:
    """What a published checkpoint tells; heads cannot be seen."""
    out = _counts(shapes)
    told = {
        "image_size": ("transformer.embeddings.position_embeddings", 1),
        "embed_dim": ("transformer.encoder.encoder_norm.weight", 0),
        "width": ("transformer.embeddings.hybrid_model.root.gn.weight", 0),
        "channels": ("transformer.embeddings.hybrid_model.root.conv.weight", 1),
        "hidden": ("transformer.encoder.layer.0.ffn.fc1.bias", 0),
        "head_channels": ("decoder.conv_more.1.weight", 0),
        "num_classes": ("segmentation_head.0.bias", 0),
    }
    for option, (name, axis) in told.items():
        if name in shapes:
            out[option] = shapes[name][axis]
    if "image_size" in out:
        out["image_size"] = 16 * round(out["image_size"] ** 0.5)
    rising = re.compile(r"decoder\.blocks\.(\d+)\.conv1\.1\.weight")
    levels = sorted(int(one[1]) for name in shapes if (one := rising.match(name)))
    if levels and "head_channels" in out:
        widths = [shapes[f"decoder.blocks.{level}.conv1.1.weight"][0] for level in levels]
        taken = [shapes[f"decoder.blocks.{level}.conv1.0.weight"][1] for level in levels]
        risen = [out["head_channels"], *widths[:-1]]
        out["decoder_channels"] = tuple(widths)
        out["skip_channels"] = tuple(a - b for a, b in zip(taken, risen, strict=True))
    return out


_FLAX = (
    (r"/", "."),
    (r"^Transformer\.posembed_input\.pos_embedding$", "transformer.embeddings.position_embeddings"),
    (r"^Transformer\.encoder_norm\.", "transformer.encoder.encoder_norm."),
    (r"^Transformer\.encoderblock_(\d+)\.", r"transformer.encoder.layer.\1."),
    (r"\.LayerNorm_0\.", ".attention_norm."),
    (r"\.LayerNorm_2\.", ".ffn_norm."),
    (r"\.MlpBlock_3\.Dense_0\.", ".ffn.fc1."),
    (r"\.MlpBlock_3\.Dense_1\.", ".ffn.fc2."),
    (r"\.MultiHeadDotProductAttention_1\.", ".attn."),
    (r"^embedding\.", "transformer.embeddings.patch_embeddings."),
    (r"^conv_root\.", "transformer.embeddings.hybrid_model.root.conv."),
    (r"^gn_root\.", "transformer.embeddings.hybrid_model.root.gn."),
    (r"^block(\d+)\.unit0*(\d+)\.", r"transformer.embeddings.hybrid_model.body.block\1.unit\2."),
    (r"\.conv_proj\.", ".downsample."),
    (r"\.(kernel|scale)$", ".weight"),
)


def _flax_options(shapes: Shapes) -> dict[str, Any]:
    """What Google's arrays tell, heads too; their grid is that of another size of picture."""
    out = _counts(shapes)
    query = shapes.get("transformer.encoder.layer.0.attn.query.weight")
    if query and len(query) == 3:
        out |= {"embed_dim": query[0], "num_heads": query[1]}
    root = shapes.get("transformer.embeddings.hybrid_model.root.conv.weight")
    if root:
        out |= {"channels": root[2], "width": root[3]}
    hidden = shapes.get("transformer.encoder.layer.0.ffn.fc1.bias")
    if hidden:
        out["hidden"] = hidden[0]
    return out


def _from_flax(tensors: Tensors, net: nn.Module) -> Tensors:
    """Kernels ``(h, w, in, out)`` and ``(in, heads, d)`` as torch has them."""
    return {name: _turned(name, value).contiguous() for name, value in tensors.items()}


def _turned(name: str, value: Tensor) -> Tensor:
    if value.ndim == 3 and name.endswith(".attn.out.weight"):  # (heads, d, out)
        return value.flatten(0, 1).T
    if value.ndim == 3 and ".attn." in name:  # (in, heads, d)
        return value.flatten(1).T
    if value.ndim == 2 and ".attn." in name and name.endswith(".bias"):
        return value.flatten()
    if name.endswith("position_embeddings"):
        return value
    if name.endswith(".weight") and value.ndim == 4 and not re.search(r"\.gn", name):
        return value.permute(3, 2, 0, 1)
    if name.endswith(".weight") and value.ndim == 2:
        return value.T
    return value.flatten()  # norms come as (1, 1, 1, C)


_POSITIONS = r"^transformer\.embeddings\.position_embeddings$"

LAYOUTS = (
    Layout(
        "TransUNet",
        (NAME,),
        marks=(
            r"^transformer\.embeddings\.hybrid_model\.root\.conv",
            r"^decoder\.conv_more\.",
            r"^segmentation_head\.",
        ),
        heads=(r"^segmentation_head\.", r"\.num_batches_tracked$"),
        options=_options,
        refits=((_POSITIONS, _grid_to),),
    ),
    Layout(
        "Google's R50+ViT (npz)",
        (NAME, NESTED),
        marks=(r"^Transformer/encoderblock_0/MultiHeadDotProductAttention_1/", r"^conv_root/"),
        rename=_FLAX,
        drop=(r"^head/", r"^cls$", r"^pre_logits/"),
        heads=(r"^decoder\.", r"^segmentation_head\."),
        transform=_from_flax,
        options=_flax_options,
        refits=((_POSITIONS, _grid_to),),
    ),
)
