"""Boxes as points: each object is the peak of a heatmap at its centre, with its size beside it.

Source: Zhou, Wang & Krähenbühl 2019, "Objects as points", arXiv:1904.07850; the path upwards is a
feature pyramid (Lin et al. 2017, "Feature pyramid networks for object detection", CVPR). Small on
purpose: a processor trains it.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from osler.errors import RecipeError

_RARE = 0.01  # probability of a peak that an untrained network says everywhere
_GROUPS = 8


class CentreDetector(nn.Module):
    """A feature pyramid with three heads at one stride.

    Args:
        dims: 2 for pictures, 3 for volumes.
        channels: of the input.
        labels: classes of objects.
        widths: of the stages; the first works at full resolution where ``stride`` is 1 and at half
            of it else, each further one at half of the one before.
        stride: pixels of the input a cell of the heatmap, a power of 2 from 1 to the deepest
            stage's.
        blocks: residual blocks a stage.
        head: width of the heads and of the pyramid.
    """

    def __init__(
        self,
        *,
        dims: int = 2,
        channels: int = 3,
        labels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128),
        stride: int = 4,
        blocks: int = 1,
        head: int = 32,
    ) -> None:
        super().__init__()
        first = 1 if stride == 1 else 2
        strides = [first * 2**level for level in range(len(widths))]
        if dims not in (2, 3) or stride not in strides:
            raise RecipeError(
                f"centre-detector with dims {dims} and stride {stride}; dims is 2 or 3, and with "
                f"{len(widths)} widths stride is one of {strides if stride == 1 else [1, *strides]}"
            )
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.shallowest = strides.index(stride)
        self.stages = nn.ModuleList()
        before = channels
        for level, width in enumerate(widths):
            step = first if level == 0 else 2
            self.stages.append(
                nn.Sequential(
                    conv(before, width, 3, step, 1, bias=False),
                    nn.GroupNorm(_groups(width), width),
                    nn.ReLU(inplace=True),
                    *(_Block(conv, width) for _ in range(blocks)),
                )
            )
            before = width
        used = widths[self.shallowest :]
        self.lateral = nn.ModuleList(conv(width, head, 1) for width in used)
        self.smooth = nn.ModuleList(_Block(conv, head) for _ in used[:-1])
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.heatmap, self.size, self.offset = (
            nn.Sequential(conv(head, head, 3, 1, 1), nn.ReLU(inplace=True), conv(head, count, 1))
            for count in (labels, dims, dims)
        )
        lasts: list[Any] = [self.heatmap[-1], self.size[-1], self.offset[-1]]
        for last, bias in zip(lasts, (-math.log((1 - _RARE) / _RARE), 0.0, 0.0), strict=True):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.constant_(last.bias, bias)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The way down's maps, the finest first."""
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels

    def features(self, x: Tensor) -> Tensor:
        """The mean ``(B, width)`` of the deepest map."""
        return self.pyramid(x)[-1].flatten(2).mean(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(B, C, [D,] H, W)`` to three maps of ``1/stride`` of its size.

        Returns:
            scores (logits) ``(B, labels, ...)`` of a centre in each cell; the logarithm of the
            box's sides there ``(B, dims, ...)`` in a unit that the loss chooses; and how far the
            centre lies from the cell's own ``(B, dims, ...)``, cells.
        """
        levels = self.pyramid(x)[self.shallowest :]
        y = self.lateral[-1](levels[-1])
        for level in range(len(levels) - 2, -1, -1):
            y = self.smooth[level](self.enlarge(y) + self.lateral[level](levels[level]))
        return self.heatmap(y), self.size(y), self.offset(y)


class _Block(nn.Module):
    """Two convolutions with a shortcut around them."""

    def __init__(self, conv: Any, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            conv(width, width, 3, 1, 1, bias=False),
            nn.GroupNorm(_groups(width), width),
            nn.ReLU(inplace=True),
            conv(width, width, 3, 1, 1, bias=False),
            nn.GroupNorm(_groups(width), width),
        )
        self.after = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(x + self.inner(x))
        return out


def _groups(width: int) -> int:
    """The most groups up to 8 that share out a width."""
    return math.gcd(width, _GROUPS)


def flat(**options: Any) -> CentreDetector:
    """Of pictures; options of ``CentreDetector``."""
    return CentreDetector(**{"dims": 2, **options})


def deep(**options: Any) -> CentreDetector:
    """Of volumes; options of ``CentreDetector``."""
    return CentreDetector(**{"dims": 3, "channels": 1, **options})


SIZES = {"centre-detector-3d": [(16, 32, 16)]}
