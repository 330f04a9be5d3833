"""EfficientNet, with the names of torchvision, in which its ImageNet weights are published.

Source: Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural
networks", ICML.
"""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from osler.models.checkpoints.layout import Layout, Shapes

ROWS: tuple[tuple[int, int, int, int, int], ...] = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Of the paper's table for B0: widening, kernel, stride, width, blocks."""


class Excite(nn.Module):
    """Weigh each channel by what all channels say on average."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        mean = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(nn.functional.silu(self.fc1(mean))))


class Inverted(nn.Module):
    """Widen, look around within each channel, excite, narrow; a shortcut where the shape stays."""

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        wide: int,
        kernel: int,
        stride: int,
        eps: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        inner = channels * wide
        layers: list[nn.Module] = [] if wide == 1 else [unit(channels, inner, eps=eps)]
        layers.append(unit(inner, inner, kernel, stride=stride, groups=inner, eps=eps))
        layers.append(Excite(inner, max(1, channels // 4)))
        layers.append(unit(inner, width, eps=eps, act=False))
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and channels == width
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the next."""
        y = self.block(x)
        if not self.shortcut:
            return y
        if self.training and self.drop_path:
            keep = 1 - self.drop_path
            y = y * y.new_empty(len(y), 1, 1, 1).bernoulli_(keep) / keep
        return x + y


def unit(
    channels: int,
    width: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    eps: float = 1e-5,
    act: bool = True,
) -> nn.Sequential:
    """A convolution, a norm, and SiLU."""
    conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(width, eps=eps)
    return nn.Sequential(conv, norm, nn.SiLU()) if act else nn.Sequential(conv, norm)


class EfficientNet(nn.Module):
    """Inverted blocks that excite, a wide last convolution, a mean over positions and a head.

    Args:
        rows: of the paper's table: widening, kernel, stride, width and blocks of each stage.
        channels: of the picture.
        start: width after the first convolution.
        num_classes: scores; 0 gives features.
        dropout: before the head, in training.
        eps: of the norms; 1e-3 in torchvision's B5 to B7.
        drop_path: greatest share of skipped blocks in training, rising with depth.
    """

    def __init__(
        self,
        *,
        rows: Sequence[Sequence[int]] = ROWS,
        channels: int = 3,
        start: int = 32,
        num_classes: int = 0,
        dropout: float = 0.2,
        eps: float = 1e-5,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        total, done, inner = sum(row[4] for row in rows), 0, start
        layers: list[nn.Module] = [unit(channels, start, 3, stride=2, eps=eps)]
        self.ends: list[int] = []
        """Of each scale, the last stage."""
        for wide, kernel, stride, width, count in rows:
            if stride == 2:
                self.ends.append(len(layers) - 1)
            blocks = []
            for place in range(count):
                blocks.append(
                    Inverted(
                        inner,
                        width,
                        wide=wide,
                        kernel=kernel,
                        stride=stride if place == 0 else 1,
                        eps=eps,
                        drop_path=drop_path * done / total,
                    )
                )
                inner, done = width, done + 1
            layers.append(nn.Sequential(*blocks))
        layers.append(unit(inner, 4 * inner, eps=eps))
        self.ends.append(len(layers) - 1)
        self.encoder = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * inner, num_classes) if num_classes else nn.Identity()
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
        return self.head(self.dropout(self.features(x)))


def efficientnet_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes tell; strides are those of the paper's table."""
    first = shapes.get("encoder.0.0.weight")
    if first is None:
        return {}
    counts: dict[int, int] = {}
    for name in shapes:
        found = re.match(r"encoder\.(\d+)\.(\d+)\.block\.", name)
        if found:
            counts[int(found[1])] = max(counts.get(int(found[1]), 0), int(found[2]) + 1)
    out: dict[str, Any] = {"start": first[0], "channels": first[1]}
    rows, inner = [], first[0]
    for stage in sorted(counts):
        name = f"encoder.{stage}.0.block"
        widened = f"{name}.3.0.weight" in shapes
        around = shapes.get(f"{name}.{1 if widened else 0}.0.weight")
        last = shapes.get(f"{name}.{3 if widened else 2}.0.weight")
        if around is None or last is None:
            return out
        stride = ROWS[stage - 1][2] if stage <= len(ROWS) else 1
        rows.append([around[0] // inner, around[2], stride, last[0], counts[stage]])
        inner = last[0]
    out["rows"] = rows
    head = shapes.get("head.weight")
    if head is not None:
        out["num_classes"] = head[0]
    return out


LAYOUTS = (
    Layout(
        "EfficientNet of torchvision",
        ("efficientnet-b0",),
        marks=(r"^features\.0\.0\.weight", r"^features\.1\.0\.block\.1\.fc1\.weight"),
        rename=((r"^features\.", "encoder."), (r"^classifier\.1\.", "head.")),
        options=efficientnet_options,
    ),
)
