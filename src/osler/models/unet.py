"""A U-Net that works on blocks of 2 × 2 pixels: small enough for a CPU, sharp at full size.

Ronneberger et al. 2015, "U-Net", MICCAI. The first and last steps fold pixels into channels and
back (Shi et al. 2016, "Real-time single image super-resolution", CVPR), which leaves the
costliest level of a U-Net out and still predicts every pixel.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.models.normalise import LocalContrast


class UNet(nn.Module):
    """Segmentation of a fundus canvas.

    Args:
        labels: number of output maps.
        widths: channels a level, from half resolution down.
        dropout: share of channels dropped at the lowest level in training.
        context: dilated block at the lowest level, for structures larger than its window.
    """

    def __init__(
        self,
        *,
        labels: int,
        widths: Sequence[int] = (32, 64, 96, 128, 160),
        dropout: float = 0.1,
        context: bool = True,
    ) -> None:
        super().__init__()
        self.labels = labels
        self.deepest = int(widths[-1])
        self.stride = 2 ** len(widths)  # of the deepest features, canvas pixels
        self.normalise = LocalContrast()
        inputs = LocalContrast.channels * 4
        self.down = nn.ModuleList(
            _Block(i, o) for i, o in zip((inputs, *widths[:-1]), widths, strict=True)
        )
        self.context = _Context(widths[-1]) if context else nn.Identity()
        self.dropout = nn.Dropout2d(dropout)
        rising = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(_Block(deep + skip, skip) for deep, skip in rising)
        self.head = nn.Conv2d(widths[0], labels * 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4, H, W)``, 0 to 1, sides multiples of 32, to logits ``(B, L, H, W)``."""
        return self.decode(self.encode(x))

    def encode(self, x: Tensor) -> list[Tensor]:
        """Feature maps from half resolution down."""
        x = functional.pixel_unshuffle(self.normalise(x), 2)
        levels: list[Tensor] = []
        for block in self.down:
            if levels:
                x = functional.max_pool2d(x, 2)
            x = block(x)
            levels.append(x)
        levels[-1] = self.context(levels[-1])
        return levels

    def decode(self, levels: list[Tensor]) -> Tensor:
        """Logits from the feature maps of ``encode``."""
        x = self.dropout(levels[-1])
        for block, skip in zip(self.up, levels[-2::-1], strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skip], dim=1))
        return functional.pixel_shuffle(self.head(x), 2)


class _Block(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class _Context(nn.Module):
    """Adds what lies farther away: dilated convolutions beside the straight path."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width // 4, 3, padding=d, dilation=d, bias=False),
                nn.BatchNorm2d(width // 4),
                nn.ReLU(inplace=True),
            )
            for d in (1, 2, 4, 8)
        )
        self.join = nn.Conv2d(width // 4 * 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.join(torch.cat([path(x) for path in self.paths], dim=1))
