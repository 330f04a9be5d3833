"""The heads of VisionFM: scores, values, labels of pixels, and that of self-distillation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class ClassificationHead(nn.Module):
    """Batch norm and three linear layers.

    Args:
        width: of the features.
        classes: scores.
        dropout: between the layers in training.
    """

    def __init__(self, width: int, classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.channel_bn = nn.BatchNorm1d(width, eps=1e-6, momentum=0.99)
        self.classifier = nn.Sequential(
            nn.Linear(width, width // 2),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width // 2, width // 4),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width // 4, classes),
        )
        self.apply(_start)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width)`` to ``(B, classes)``."""
        return self.classifier(self.channel_bn(x))


class RegressionHead(nn.Module):
    """Batch norm and two linear layers.

    Args:
        width: of the features.
        values: numbers that are predicted.
        dropout: between the layers in training.
    """

    def __init__(self, width: int, values: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.channel_bn = nn.BatchNorm1d(width, eps=1e-6, momentum=0.99)
        self.classifier = nn.Sequential(
            nn.Linear(width, width // 4),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width // 4, values),
        )
        self.apply(_start)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width)`` to ``(B, values)``."""
        return self.classifier(self.channel_bn(x))


class IbotHead(nn.Module):
    """Three linear layers to a unit vector, which is compared with learnt directions.

    The class token and patches share the layers; the last one exists under two names, as in the
    published files.

    Args:
        width: of the tokens.
        hidden: width between.
        narrow: length of the unit vector.
        out: number of directions.
    """

    def __init__(self, width: int, hidden: int, narrow: int, out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, narrow),
        )
        self.last_layer = _Directions(narrow, out)
        self.last_layer2 = _Directions(narrow, out)

    def forward(self, x: Tensor) -> Tensor:
        """Class tokens ``(B, width)`` to ``(B, out)``."""
        return self.last_layer(functional.normalize(self.mlp(x), dim=-1))

    def patches(self, x: Tensor) -> Tensor:
        """Patch tokens ``(B, N, width)`` to ``(B, N, out)``."""
        return self.last_layer2(functional.normalize(self.mlp(x), dim=-1))


class _Directions(nn.Module):
    """A linear layer whose rows have a length (``weight_g``) apart from their direction."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(out, 1))
        self.weight_v = nn.Parameter(torch.randn(out, width) * width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        length = self.weight_v.norm(dim=1, keepdim=True)
        return functional.linear(x, self.weight_v * (self.weight_g / length))


class UnetrHead(nn.Module):
    """A decoder that doubles the size four times, joining what earlier blocks saw, and the picture.

    Source: after Hatamizadeh et al. 2022, "UNETR: Transformers for 3D medical image segmentation",
    WACV, in two dimensions.

    Args:
        width: of the tokens.
        labels: scores of each pixel.
        base: 4, 2, 1 and 1/2 of it are the widths of the four steps.
        channels: of the picture.
        dropout: of whole channels before the last layer in training.
    """

    def __init__(
        self, width: int, labels: int, *, base: int = 32, channels: int = 3, dropout: float = 0.3
    ) -> None:
        super().__init__()
        a, b, c, d = 4 * base, 2 * base, base, base // 2
        self.d1, self.d2, self.d3, self.d4 = _Up(width, a), _Up(a, b), _Up(b, c), _Up(c, d)
        self.s1 = nn.Sequential(_Up(width, a), _Conv(a, a))
        self.s2 = nn.Sequential(_Up(width, b), _Conv(b, b), _Up(b, b), _Conv(b, b))
        self.s3 = nn.Sequential(
            _Up(width, c), _Conv(c, c), _Up(c, c), _Conv(c, c), _Up(c, c), _Conv(c, c)
        )
        self.s4 = nn.Sequential(_Conv(channels, d), _Conv(d, d))
        self.c1, self.c2 = _joint(a), _joint(b)
        self.c3, self.c4 = _joint(c), _joint(d)
        self.drop = nn.Dropout2d(dropout)
        self.cls = nn.Conv2d(d, labels, 1)

    def forward(self, x: Tensor, levels: Sequence[Tensor]) -> Tensor:
        """A picture and four maps, the deepest last, to ``(B, labels, H, W)``."""
        first, second, third, deepest = levels
        y = self.c1(torch.cat([self.d1(deepest), self.s1(third)], dim=1))
        y = self.c2(torch.cat([self.d2(y), self.s2(second)], dim=1))
        y = self.c3(torch.cat([self.d3(y), self.s3(first)], dim=1))
        y = self.c4(torch.cat([self.d4(y), self.s4(x)], dim=1))
        return self.cls(self.drop(y))


class _Up(nn.Module):
    """Twice the size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(before, after, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv(x)


class _Conv(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _joint(width: int) -> nn.Sequential:
    return nn.Sequential(_Conv(2 * width, width), _Conv(width, width))


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
