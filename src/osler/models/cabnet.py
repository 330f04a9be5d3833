"""CABNet: attention over channels, places and grades on the last map of any backbone.

Source: He et al. 2021, "CABNet: Category attention block for imbalanced diabetic retinopathy
grading", IEEE Transactions on Medical Imaging, doi:10.1109/TMI.2020.3023463.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes, Tensors

NAME = "cabnet"


class GlobalAttention(nn.Module):
    """Which channels matter, then which places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1)
        self.conv2 = nn.Conv2d(width, width, 1)

    def channels(self, x: Tensor) -> Tensor:
        """Weights ``(B, C, 1, 1)``, 0 to 1."""
        return self.conv2(self.conv1(x.mean(dim=(2, 3), keepdim=True)).relu()).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        x = x * self.channels(x)
        return x * x.mean(dim=1, keepdim=True).sigmoid()


class CategoryAttention(nn.Module):
    """As many maps for each grade as for any other, so that rare grades are seen too.

    Args:
        width: channels of the map.
        classes: grades.
        maps: for each grade.
    """

    def __init__(self, width: int, classes: int, maps: int) -> None:
        super().__init__()
        self.classes = classes
        self.conv = nn.Conv2d(width, classes * maps, 1)
        self.bn = nn.BatchNorm2d(classes * maps, eps=1e-3)  # Keras' epsilon

    def categories(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores ``(B, L)`` and maps ``(B, L, H, W)`` of the grades, not negative."""
        maps = self.bn(self.conv(x)).relu().unflatten(1, (self.classes, -1))
        return maps.amax(dim=(3, 4)).mean(dim=2), maps.mean(dim=2)

    def map(self, x: Tensor) -> Tensor:
        """``(B, 1, H, W)``: where the grades look; it has no upper bound."""
        scores, maps = self.categories(x)
        return (scores[:, :, None, None] * maps).mean(dim=1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        return x * self.map(x)


class CABNet(nn.Module):
    """A backbone, the two attentions, and scores.

    Args:
        num_classes: grades.
        maps: for each grade.
        backbone: name of a network of the list that gives a pyramid; None takes maps instead of
            pictures.
        backbone_options: for it, beyond what its card says.
        backbone_checkpoint: its published weights; random if absent.
        width: channels of the map; None asks the backbone.
    """

    def __init__(
        self,
        *,
        num_classes: int = 5,
        maps: int = 5,
        backbone: str | None = "densenet-121",
        backbone_options: Mapping[str, Any] | None = None,
        backbone_checkpoint: str | Path | None = None,
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone: nn.Module | None = None
        if backbone is not None:
            self.backbone = _backbone(backbone, backbone_options or {}, backbone_checkpoint)
            width = _width(self.backbone)
        if width is None:
            raise RecipeError("without a backbone, say the 'width' of the maps")
        self.gab = GlobalAttention(width)
        self.cab = CategoryAttention(width, num_classes, maps)
        self.head = nn.Linear(width, num_classes)

    @property
    def options(self) -> dict[str, Any]:
        """What it was built with; with all of the backbone's options instead of its file."""
        return self._options

    @options.setter
    def options(self, options: Mapping[str, Any]) -> None:
        kept = {name: value for name, value in options.items() if name != "backbone_checkpoint"}
        if self.backbone is not None:
            kept["backbone_options"] = dict(self.backbone.options)  # type: ignore[call-overload]
        self._options = kept

    def map(self, x: Tensor) -> Tensor:
        """The map ``(B, C, h, w)`` that attention works on."""
        if self.backbone is None:
            return x
        return self.backbone.pyramid(x)[-1]  # type: ignore[operator]

    def features(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, C)``."""
        return self.cab(self.gab(self.map(x))).mean(dim=(2, 3))

    def attention(self, x: Tensor) -> Tensor:
        """``(B, L, h, w)``: where each grade looks."""
        return self.cab.categories(self.gab(self.map(x)))[1]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)``, or a map ``(B, C, h, w)`` without a backbone, to scores ``(B, L)``."""
        return self.head(self.features(x))


def _backbone(name: str, options: Mapping[str, Any], checkpoint: str | Path | None) -> nn.Module:
    from osler.models.creating import create

    if name == NAME:
        raise RecipeError("CABNet cannot stand on itself")
    if checkpoint is not None:
        net = create(name, checkpoint=checkpoint, **options)
    else:
        net = create(name, weights="random", **options)
    if not hasattr(net, "pyramid"):
        raise RecipeError(f"the network '{name}' gives no maps that CABNet could stand on")
    return net


def _width(backbone: nn.Module) -> int:
    """Channels of a backbone's last map, by trying it."""
    near = next(backbone.parameters())
    size = backbone.options.get("image_size", 64)  # type: ignore[union-attr,operator]
    channels = backbone.options.get("channels", 3)  # type: ignore[union-attr,operator]
    was = backbone.training
    with torch.no_grad():
        x = torch.zeros(1, channels, size, size, device=near.device)
        width: int = backbone.eval().pyramid(x)[-1].shape[1]  # type: ignore[operator]
    backbone.train(was)
    return width


def smooth(grades: Tensor, classes: int, *, share: float = 0.1, published: bool = False) -> Tensor:
    """Targets ``(B, L)`` that leave a little to the other grades.

    Args:
        grades: ``(B,)``.
        classes: L.
        share: that is spread over all grades.
        published: as the official code has it, 0.9 y + 0.05 for any number of grades, which sums
            to 1.15 for five.
    """
    hot = nn.functional.one_hot(grades, classes).float()
    return hot * (1 - share) + (share / 2 if published else share / classes)


def _options(shapes: Shapes) -> dict[str, Any]:
    """The sizes of the attention, which come without a backbone."""
    width, classes = shapes["gab.conv1.bias"][0], shapes["head.bias"][0]
    return {
        "backbone": None,
        "width": width,
        "num_classes": classes,
        "maps": shapes["cab.conv.bias"][0] // classes,
    }


def _from_keras(tensors: Tensors, net: nn.Module) -> Tensors:
    """Kernels ``(1, 1, in, out)`` and ``(in, out)`` as torch has them."""
    return {
        name: value.permute(3, 2, 0, 1).contiguous()
        if value.ndim == 4
        else value.T.contiguous()
        if value.ndim == 2
        else value
        for name, value in tensors.items()
    }


LAYOUTS = (
    Layout(
        "GAB and CAB as Keras arrays",
        (NAME,),
        marks=(r"^gab_conv1_kernel$", r"^cab_conv_kernel$", r"^dense_kernel$"),
        rename=(
            (r"^gab_conv(\d)_", r"gab.conv\1."),
            (r"^cab_conv_", "cab.conv."),
            (r"^cab_bn_", "cab.bn."),
            (r"^dense_", "head."),
            (r"\.(kernel|gamma)$", ".weight"),
            (r"\.beta$", ".bias"),
            (r"\.moving_mean$", ".running_mean"),
            (r"\.moving_variance$", ".running_var"),
        ),
        heads=(r"^backbone\.", r"\.num_batches_tracked$"),
        transform=_from_keras,
        options=_options,
    ),
)
