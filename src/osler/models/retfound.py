"""RETFound: vision transformers pretrained on retinal photographs and OCT.

Source: Zhou et al. 2023, "A foundation model for generalizable disease detection from retinal
images", Nature, doi:10.1038/s41586-023-06555-x.
"""

from typing import Any

from torch import Tensor

from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.vit import VisionTransformer, vit_options


class RetFound(VisionTransformer):
    """A ViT that averages patches and normalises the average.

    Args:
        fc_norm_twice: normalise the average twice before the head, as the official code has done
            since February 2025 under timm 0.9; which of the two a fine-tuned checkpoint wants
            depends on when it was trained and is not written in it.
        options: of ``VisionTransformer``.
    """

    def __init__(self, *, fc_norm_twice: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.fc_norm_twice = fc_norm_twice

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to scores ``(B, num_classes)``, or to features ``(B, D)``."""
        x = self.features(x)
        return self.head(self.fc_norm(x) if self.fc_norm_twice else x)


def retfound(**options: Any) -> RetFound:
    """RETFound by masked autoencoding; options of ``RetFound``."""
    return RetFound(**{"pool": "avg", "norm": "after", **options})


def retfound_dinov2(**options: Any) -> VisionTransformer:
    """RETFound by DINOv2; options of ``VisionTransformer``."""
    return VisionTransformer(**{"pool": "token", "layer_scale": True, **options})


def retfound_green(**options: Any) -> VisionTransformer:
    """RETFound-Green, by token reconstruction; options of ``VisionTransformer``.

    Source: Engelmann and Bernabeu 2025, "Training a high-performance retinal foundation model with
    half-the-data and 400 times less compute", Nature Communications.
    """
    return VisionTransformer(
        **{
            "pool": "avg",
            "layer_scale": True,
            "registers": 4,
            "class_position": False,
            **options,
        }
    )


def _dino_options(shapes: Shapes) -> dict[str, Any]:
    """A pretrained file may be of larger pictures; the official code takes it to those of 224."""
    options = vit_options(shapes)
    if "head.weight" not in shapes:
        options.pop("image_size", None)
    return options


_MAE = "retfound-vit-large"
_DINO = "retfound-dinov2-vit-large"
_GREEN = "retfound-green-vit-small"

LAYOUTS = (
    Layout(
        "RETFound, pretrained (MAE)",
        (_MAE,),
        marks=(r"^decoder_blocks\.0\.", r"^blocks\.0\.attn\.qkv", r"^mask_token$"),
        drop=(r"^decoder_", r"^mask_token$", r"^norm\."),
        heads=(r"^head\.", r"^fc_norm\."),
        options=vit_options,
        grids={"pos_embed": 1},
    ),
    Layout(
        "RETFound, fine-tuned",
        (_MAE,),
        marks=(r"^fc_norm\.weight", r"^blocks\.0\.attn\.qkv", r"^head\."),
        without=(r"\.ls1\.gamma",),
        options=vit_options,
        grids={"pos_embed": 1},
    ),
    Layout(
        "RETFound, DINOv2",
        (_DINO,),
        marks=(r"blocks\.0\.(0\.)?ls1\.gamma",),
        without=(r"^reg_token$",),
        strip=("backbone.",),
        rename=(
            # blocks in chunks, as DINOv2 saves them: blocks.CHUNK.BLOCK
            (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),
            (r"^register_tokens$", "reg_token"),
            # the gated MLP of the largest
            (r"\.mlp\.w12\.", ".mlp.fc1."),
            (r"\.mlp\.w3\.", ".mlp.fc2."),
        ),
        drop=(r"^dino_head\.", r"^ibot_head\.", r"^mask_token$"),
        options=_dino_options,
        grids={"pos_embed": 1},
    ),
    Layout(
        "RETFound-Green",
        (_GREEN,),
        marks=(r"^reg_token$", r"^blocks\.0\.ls1\.gamma"),
        drop=(r"^mask_token$",),
        options=lambda shapes: {"class_position": True, **vit_options(shapes)},
        grids={"pos_embed": lambda net: net.position_prefix},
    ),
)
