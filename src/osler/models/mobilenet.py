"""MobileNetV3, with the names of torchvision, in which its ImageNet weights are published.

Source: Howard et al. 2019, "Searching for MobileNetV3", ICCV.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from osler.models.checkpoints.layout import Layout, Shapes

Row = tuple[int, int, int, bool, bool, int]
"""Kernel, expanded width, width, squeeze and excitation, hard swish, stride."""

LARGE: tuple[Row, ...] = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
SMALL: tuple[Row, ...] = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


def rounded(width: float, step: int = 8) -> int:
    """The nearest multiple of ``step``, never a tenth less than what was asked for."""
    near = max(step, int(width + step / 2) // step * step)
    return near if near >= 0.9 * width else near + step


def _unit(
    channels: int,
    width: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    act: type[nn.Module] | None = None,
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width, eps=1e-3, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class Excite(nn.Module):
    """Weigh each channel by what all channels say on average."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        mean = x.mean((2, 3), keepdim=True)
        return x * nn.functional.hardsigmoid(self.fc2(self.fc1(mean).relu()))


class Inverted(nn.Module):
    """Widen, look around within each channel, narrow; a shortcut where the shape stays."""

    def __init__(self, channels: int, row: Row) -> None:
        super().__init__()
        kernel, wide, width, excite, swish, stride = row
        act = nn.Hardswish if swish else nn.ReLU
        layers: list[nn.Module] = []
        if wide != channels:
            layers.append(_unit(channels, wide, act=act))
        layers.append(_unit(wide, wide, kernel, stride=stride, groups=wide, act=act))
        if excite:
            layers.append(Excite(wide, rounded(wide / 4)))
        layers.append(_unit(wide, width))
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the next."""
        return x + self.block(x) if self.shortcut else self.block(x)


class MobileNetV3(nn.Module):
    """Inverted blocks, a wide last convolution, a mean over positions and a head of two layers.

    Args:
        rows: of the table of the paper: kernel, expanded width, width, whether it squeezes and
            excites, whether it has hard swish, stride.
        channels: of the picture.
        start: width after the first convolution.
        hidden: width between the two layers of the head.
        num_classes: scores; 0 gives features and no head.
        dropout: in the head, in training.
        width: factor on all widths.
    """

    def __init__(
        self,
        *,
        rows: Sequence[Sequence[Any]] = LARGE,
        channels: int = 3,
        start: int = 16,
        hidden: int = 1280,
        num_classes: int = 0,
        dropout: float = 0.2,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        inner = rounded(start * width)
        layers: list[nn.Module] = [_unit(channels, inner, 3, stride=2, act=nn.Hardswish)]
        self.ends: list[int] = []
        """Of each scale, the last layer."""
        for kernel, wide, out, excite, swish, stride in rows:
            if stride == 2:
                self.ends.append(len(layers) - 1)
            row = (kernel, rounded(wide * width), rounded(out * width), excite, swish, stride)
            layers.append(Inverted(inner, row))
            inner = row[2]
        layers.append(_unit(inner, 6 * inner, act=nn.Hardswish))
        self.ends.append(len(layers) - 1)
        self.encoder = nn.Sequential(*layers)
        self.classifier = (
            nn.Sequential(
                nn.Linear(6 * inner, hidden),
                nn.Hardswish(),
                nn.Dropout(dropout),
                nn.Linear(hidden, num_classes),
            )
            if num_classes
            else nn.Identity()
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The last map of each scale: halves, quarters, and so on."""
        levels = []
        for number, layer in enumerate(self.encoder):
            x = layer(x)
            if number in self.ends:
                levels.append(x)
        return levels

    def features(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D)``."""
        return self.encoder(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to scores ``(B, num_classes)``, or to features."""
        return self.classifier(self.features(x))


def large(**options: Any) -> MobileNetV3:
    """MobileNetV3 large; options of ``MobileNetV3``."""
    return MobileNetV3(**options)


def small(**options: Any) -> MobileNetV3:
    """MobileNetV3 small; options of ``MobileNetV3``."""
    return MobileNetV3(**{"rows": SMALL, "hidden": 1024, **options})


def mobilenet_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes tell; the rows of the table are the published ones."""
    first, head = shapes.get("encoder.0.0.weight"), shapes.get("classifier.3.weight")
    out: dict[str, Any] = {} if first is None else {"channels": first[1]}
    if head is not None:
        out |= {"num_classes": head[0], "hidden": head[1]}
    return out


def _layout(name: str, system: str, last: int) -> Layout:
    return Layout(
        f"{name} of torchvision",
        (system,),
        marks=(r"^features\.0\.0\.weight", rf"^features\.{last}\.0\.weight"),
        without=(rf"^features\.{last + 1}\.", rf"^features\.{last}\.block"),
        rename=((r"^features\.", "encoder."),),
        heads=(r"^classifier\.",),
        options=mobilenet_options,
    )


LAYOUTS = (
    _layout("MobileNetV3 large", "mobilenet-v3-large", len(LARGE) + 1),
    _layout("MobileNetV3 small", "mobilenet-v3-small", len(SMALL) + 1),
)
