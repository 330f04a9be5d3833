"""The image module of DeepDR-LLM: grades of diabetic retinopathy, and lesions pixel by pixel.

Source: Li et al. 2024, "Integrated image-based deep learning and language models for primary
diabetes care", Nature Medicine, doi:10.1038/s41591-024-03139-8.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.vit import TORCHVISION, VisionTransformer, vit_options


class DeepDr(VisionTransformer):
    """A ViT that pools its last tokens first and then normalises; options of that."""

    def features(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, D)``."""
        x = self.tokens(x)
        return self.norm(x[:, 0] if self.pool == "token" else x[:, 1:].mean(dim=1))


class LesionHead(nn.Module):
    """Progressive up-sampling: four times a convolution and twice the size, then scores.

    Source: Zheng et al. 2021, "Rethinking semantic segmentation from a sequence-to-sequence
    perspective with transformers", CVPR.

    Args:
        width: of the tokens.
        channels: between.
        labels: scores of each pixel.
    """

    def __init__(self, width: int, channels: int, labels: int) -> None:
        super().__init__()
        self.up1 = _up(width, channels)
        self.up2 = _up(channels, channels)
        self.up3 = _up(channels, channels)
        self.up4 = _up(channels, channels)
        self.cls = nn.Conv2d(channels, labels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, h, w)`` to ``(B, labels, 16 h, 16 w)``."""
        return self.cls(self.up4(self.up3(self.up2(self.up1(x)))))


def _up(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    )


class DeepDrLesions(VisionTransformer):
    """A ViT whose tokens after four blocks, not normalised, each have a head for pixels.

    Args:
        image_size: side of the pictures it will be given, pixels.
        tile: side of what the network sees at once, pixels, which its positions are for. A picture
            of twice this side is cut in four; one of another size is seen at once.
        num_classes: labels, the first of which is background.
        channels_up: width of the heads.
        levels: blocks (from 0) that have a head; None takes the last of each quarter. The last is
            the answer, the others help in training.
        options: of ``VisionTransformer``.
    """

    def __init__(
        self,
        *,
        image_size: int = 896,
        tile: int = 448,
        num_classes: int = 5,
        channels_up: int = 256,
        levels: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(image_size=tile, **options)
        if self.patch_size != 16:
            raise RecipeError("the heads enlarge 16 times, so patch_size is 16")
        quarters = [max(1, round(self.depth * part / 4)) - 1 for part in (1, 2, 3, 4)]
        self.seen = tuple(levels) if levels is not None else tuple(quarters)
        self.image_size, self.tile = image_size, tile
        self.heads = nn.ModuleList(
            LesionHead(self.embed_dim, channels_up, num_classes) for _ in self.seen
        )

    def maps(self, x: Tensor) -> list[Tensor]:
        """What each head is given: ``(B, D, H/16, W/16)``."""
        h, w = x.shape[-2] // 16, x.shape[-1] // 16
        return [
            level[:, 1:].transpose(1, 2).reshape(len(x), -1, h, w)
            for level in self.levels(x, self.seen)
        ]

    def scores(self, x: Tensor) -> list[Tensor]:
        """Scores of all heads ``(B, num_classes, H, W)``, the answer last, as training wants it."""
        return [head(level) for head, level in zip(self.heads, self.maps(x), strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)``, sides multiples of 16, to scores ``(B, num_classes, H, W)``."""
        if x.shape[-2:] == (2 * self.tile, 2 * self.tile):
            return merged(self.heads[-1](self.maps(quadrants(x))[-1]))
        return self.heads[-1](self.maps(x)[-1])


def quadrants(x: Tensor) -> Tensor:
    """Pictures ``(B, C, 2 h, 2 w)`` cut in four: ``(4 B, C, h, w)``.

    The first ``B`` are upper left, then upper right, lower left and lower right.
    """
    upper, lower = x.chunk(2, dim=-2)
    return torch.cat([part for row in (upper, lower) for part in row.chunk(2, dim=-1)])


def merged(tiles: Tensor) -> Tensor:
    """What ``quadrants`` cut, whole again: ``(4 B, C, h, w)`` to ``(B, C, 2 h, 2 w)``."""
    a, b, c, d = tiles.chunk(4)
    return torch.cat([torch.cat([a, b], dim=-1), torch.cat([c, d], dim=-1)], dim=-2)


def deepdr(**options: Any) -> DeepDr:
    """DeepDR's classifier; options of ``VisionTransformer``."""
    return DeepDr(**{"pool": "avg", **options})


def deepdr_lesions(**options: Any) -> DeepDrLesions:
    """DeepDR's segmentation of lesions; options of ``DeepDrLesions``."""
    return DeepDrLesions(**options)


def _lesion_options(shapes: Shapes) -> dict[str, Any]:
    options = vit_options(shapes)
    # the scores of a classifier that the encoder comes from say nothing of labels
    options.pop("num_classes", None)
    if "image_size" in options:
        options |= {"tile": options["image_size"], "image_size": 2 * options["image_size"]}
    if "heads.0.cls.weight" in shapes:
        labels, channels = shapes["heads.0.cls.weight"][:2]
        options |= {"num_classes": labels, "channels_up": channels}
    return options


_CLASSES = "deepdr-vit-base"
_LESIONS = "deepdr-vit-base-lesions"
_VIT = (r"^cls_token$", r"^blocks\.0\.attn\.qkv", r"^norm\.weight")
_NO_VIT = (r"^decoder_", r"^fc_norm\.", r"\.ls1\.", r"^reg_token$")

LAYOUTS = (
    Layout(
        "DeepDR, lesions",
        (_LESIONS,),
        marks=(*_VIT, r"^Head\.Head0\."),
        rename=(
            (r"^Head\.Head(\d+)\.", r"heads.\1."),
            (r"\.UP_stage_(\d)\.", r".up\1."),
            (r"\.cls_seg\.", ".cls."),
        ),
        heads=(r"^heads\.\d+\.cls\.", r"^norm\."),
        options=_lesion_options,
        grids={"pos_embed": 1},
    ),
    Layout(
        "DeepDR, classification",
        (_CLASSES,),
        marks=_VIT,
        without=(*_NO_VIT, r"^Head\."),
        options=vit_options,
        grids={"pos_embed": 1},
    ),
    Layout(
        "ViT of timm, to start from",
        (_LESIONS,),
        marks=_VIT,
        without=(*_NO_VIT, r"^Head\."),
        heads=(r"^heads\.", r"^head\."),
        options=_lesion_options,
        grids={"pos_embed": 1},
        borrowed=True,
    ),
    Layout(
        "ViT of torchvision, to start from",
        (_CLASSES,),
        marks=(r"^class_token$", r"^encoder\.layers\.encoder_layer_0\.self_attention\.in_proj"),
        rename=TORCHVISION,
        options=vit_options,
        grids={"pos_embed": 1},
        borrowed=True,
    ),
    Layout(
        "ViT of torchvision, to start from",
        (_LESIONS,),
        marks=(r"^class_token$", r"^encoder\.layers\.encoder_layer_0\.self_attention\.in_proj"),
        rename=TORCHVISION,
        heads=(r"^heads\.", r"^head\."),
        options=_lesion_options,
        grids={"pos_embed": 1},
        borrowed=True,
    ),
)
