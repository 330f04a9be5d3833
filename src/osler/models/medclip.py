"""MedCLIP: chest radiographs and reports in one space, learnt from unpaired pictures and texts.

Source: Wang et al. 2022, "MedCLIP: contrastive learning from unpaired medical images and text",
EMNLP, arXiv:2210.10163.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.clinical_pair import (
    NOT_NEEDED,
    TEXT_NAMES,
    UNUSED,
    ClinicalPair,
    of_vision,
    text_options,
)
from osler.models.clinical_pair import example as pair
from osler.models.resnet import ResNet, resnet_options
from osler.models.swin import OLD_NAMES, Swin, swin_options

__all__ = ("LAYOUTS", "MedClip", "MedClipResNet", "example", "medclip", "medclip_resnet")


class _Grey(ClinicalPair):
    """A pair whose pictures have one channel, which its encoder sees three times."""

    def features(self, image: Tensor) -> Tensor:
        """``(B, 1, H, W)`` to the encoder's features ``(B, F)``, for probes."""
        seen: Tensor = self.vision.features(_thrice(image))
        return seen

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """``(B, 1, H, W)`` to the encoder's maps of several scales."""
        levels: list[Tensor] = self.vision.pyramid(_thrice(image))
        return levels


class MedClip(_Grey):
    """A Swin beside a clinical BERT.

    Args:
        image_size: side of the pictures, pixels.
        patch_size: side of a patch, pixels.
        embed_dim: width of Swin's first stage.
        depths: blocks a stage.
        num_heads: of attention, a stage.
        window: side of a window, in patches.
        mlp_ratio: width within the MLPs over that of their stage.
        options: of ``ClinicalPair``.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 4,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        mlp_ratio: float = 4.0,
        **options: Any,
    ) -> None:
        net = Swin(
            image_size=image_size,
            patch_size=patch_size,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            window=window,
            mlp_ratio=mlp_ratio,
        )
        width = embed_dim * 2 ** (len(depths) - 1)
        super().__init__(net, width, unit_features=False, image_size=image_size, **options)


class MedClipResNet(_Grey):
    """A ResNet beside a clinical BERT.

    Args:
        image_size: side of the pictures, pixels.
        layers: blocks a stage.
        widths: width a stage.
        stem: channels after the first convolution.
        options: of ``ClinicalPair``.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        layers: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        stem: int = 64,
        **options: Any,
    ) -> None:
        net = ResNet(layers=layers, widths=widths, stem=stem)
        super().__init__(net, net.embed_dim, unit_features=False, image_size=image_size, **options)


def _thrice(image: Tensor) -> Tensor:
    return image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image


def medclip(**options: Any) -> MedClip:
    """MedCLIP with a Swin; options of ``MedClip``."""
    return MedClip(**options)


def medclip_resnet(**options: Any) -> MedClipResNet:
    """MedCLIP with a ResNet; options of ``MedClipResNet``."""
    return MedClipResNet(**options)


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """Pictures of one channel, and three texts for each of them."""
    out = pair(name, options, batch, size)
    return {**out, "image": out["image"][:, :1]}


def _swin_options(shapes: Shapes) -> dict[str, Any]:
    seen = swin_options(of_vision(shapes))
    wanted = ("patch_size", "embed_dim", "depths", "num_heads", "window", "mlp_ratio")
    return {**{k: seen[k] for k in wanted if k in seen}, **text_options(shapes)}


def _resnet_options(shapes: Shapes) -> dict[str, Any]:
    seen = resnet_options(of_vision(shapes))
    wanted = ("layers", "widths", "stem")
    return {**{k: seen[k] for k in wanted if k in seen}, **text_options(shapes)}


LAYOUTS = (
    Layout(
        "MedCLIP, Swin",
        ("medclip",),
        marks=(
            r"^vision_model\.model\.encoder\.layers\.0\.blocks\.0\.",
            r"^(vision|text)_model\.projection_head\.weight$",
        ),
        rename=(
            (r"^vision_model\.model\.", "vision.swin."),
            (r"^vision_model\.projection_head\.", "vision_projection."),
            *TEXT_NAMES,
            *OLD_NAMES,
        ),
        drop=(*NOT_NEEDED, r"relative_position_index$"),
        heads=UNUSED,
        options=_swin_options,
    ),
    Layout(
        "MedCLIP, ResNet",
        ("medclip-resnet-50",),
        marks=(
            r"^vision_model\.model\.layer1\.",
            r"^(vision_model\.model\.fc|text_model\.projection_head)\.weight$",
        ),
        rename=(
            (r"^vision_model\.model\.fc\.", "vision_projection."),
            (r"^vision_model\.model\.", "vision."),
            *TEXT_NAMES,
        ),
        drop=NOT_NEEDED,
        # a file of the encoder of pictures alone may go without
        heads=(*UNUSED, r"^logit_scale$"),
        options=_resnet_options,
    ),
)
