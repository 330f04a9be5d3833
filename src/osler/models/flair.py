"""FLAIR: fundus photographs and what ophthalmologists say of them, in one space.

Source: Silva-Rodriguez et al. 2025, "A foundation language-image model of the retina (FLAIR):
encoding expert knowledge in text supervision", Medical Image Analysis 99, arXiv:2308.07898.
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
    example,
    of_vision,
    text_options,
)
from osler.models.resnet import ResNet, resnet_options

__all__ = ("LAYOUTS", "NAMES", "Flair", "example", "flair", "flair_options")


class Flair(ClinicalPair):
    """A ResNet beside a clinical BERT.

    Args:
        layers: blocks a stage of the ResNet.
        widths: width a stage.
        stem: channels after its first convolution.
        channels: of the picture.
        options: of ``ClinicalPair``.
    """

    caption = "A fundus photograph of {}"

    def __init__(
        self,
        *,
        layers: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        stem: int = 64,
        channels: int = 3,
        **options: Any,
    ) -> None:
        net = ResNet(layers=layers, widths=widths, stem=stem, channels=channels)
        super().__init__(net, net.embed_dim, **options)
        self.vision: ResNet = net

    def features(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to the encoder's features ``(B, 2048)``, for probes and adapters."""
        return self.vision.features(image)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)`` to the map after each stage, at 1/4, 1/8, 1/16 and 1/32."""
        return self.vision.pyramid(image)


def flair(**options: Any) -> Flair:
    """FLAIR; options of ``Flair``."""
    return Flair(**options)


def flair_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a checkpoint (in our names) tell."""
    seen = resnet_options(of_vision(shapes))
    wanted = ("layers", "widths", "stem", "channels")
    return {**{k: seen[k] for k in wanted if k in seen}, **text_options(shapes)}


def _config(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the config.json of its authors says; the rest of it is in the shapes."""
    side = said.get("image_size")
    return {"image_size": side} if isinstance(side, int) else {}


NAMES = (
    (r"^vision_model\.model\.", "vision."),
    (r"^vision_model\.projection_head_vision\.projection\.", "vision_projection."),
    *TEXT_NAMES,
)
"""Published names of FLAIR and its kin, and ours."""

LAYOUTS = (
    Layout(
        "FLAIR",
        ("flair",),
        marks=(
            r"^vision_model\.model\.layer1\.",
            r"^(vision|text)_model\.projection_head_(vision|text)\.projection\.weight$",
        ),
        without=(r"^attention\.W_",),
        rename=NAMES,
        drop=NOT_NEEDED,
        heads=UNUSED,
        options=flair_options,
        config=_config,
    ),
)
