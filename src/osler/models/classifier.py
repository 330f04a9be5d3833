"""A small convolutional classifier of fundus canvases."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.models.normalise import LocalContrast


class Classifier(nn.Module):
    """The falling half of a U-Net, pooled over the canvas.

    Args:
        labels: number of scores.
        widths: channels a level, from half resolution down.
        dropout: share of pooled features dropped in training.
    """

    def __init__(
        self, *, labels: int, widths: Sequence[int] = (16, 32, 48, 64, 96), dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.normalise = LocalContrast(window=40, wide=72)
        inputs = LocalContrast.channels * 4
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(i, o, 3, padding=1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
                nn.Conv2d(o, o, 3, padding=1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
            )
            for i, o in zip((inputs, *widths[:-1]), widths, strict=True)
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(3 * widths[-1], labels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4, H, W)``, 0 to 1, sides multiples of 32, to scores ``(B, L)``."""
        x = functional.pixel_unshuffle(self.normalise(x), 2)
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
        mean = x.mean(dim=(2, 3))
        spread = (x - mean[:, :, None, None]).square().mean(dim=(2, 3)).add(1e-6).sqrt()
        return self.head(torch.cat([mean, x.amax(dim=(2, 3)), spread], dim=1))
