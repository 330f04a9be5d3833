"""Any network of timm by its name, ``timm/NAME``, where timm is installed.

timm needs torchvision, whose builds follow torch's; so neither is needed for anything else here.
"""

from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from osler.errors import MissingExtraError, RecipeError
from osler.models.checkpoints.layout import Layout


class TimmNet(nn.Module):
    """A network of timm with random weights.

    Args:
        architecture: its name there, such as ``convnext_tiny``.
        channels: of the picture.
        num_classes: scores; 0 gives features.
        options: what timm's ``create_model`` takes beside.
    """

    def __init__(
        self, *, architecture: str, channels: int = 3, num_classes: int = 0, **options: Any
    ) -> None:
        super().__init__()
        timm = _timm(architecture)
        # nothing is downloaded: weights come from a file or are random
        self.net: Any = timm.create_model(
            architecture, pretrained=False, in_chans=channels, num_classes=num_classes, **options
        )

    def features(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D)``."""
        return self.net.forward_head(self.net.forward_features(x), pre_logits=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to scores ``(B, num_classes)``, or to features."""
        return self.net(x)


def _timm(architecture: str) -> Any:
    if find_spec("timm") is None:
        raise MissingExtraError("timm", extra="timm", purpose=f"build 'timm/{architecture}'")
    import timm

    if not timm.is_model(architecture):
        near = ", ".join(timm.list_models(f"*{architecture.split('_', maxsplit=1)[0]}*")[:5])
        raise RecipeError(
            f"timm has no network '{architecture}'" + (f"; near: {near}" if near else "")
        )
    return timm


LAYOUTS = (
    Layout(
        "timm",
        ("timm",),
        marks=(),
        rename=((r"^", "net."),),
        heads=(r"^net\.(head|fc|classifier|head\.fc)\.",),
    ),
)
