"""TransUNet++: gates between convolution and transformer at each level, and nested skips.

The field's reviews name a "TransUNet++" of which no publication was found; this is our reading of
their description. At each level a gate, computed from both, weighs what the residual network saw
there against what the transformer made of the whole picture; the levels are joined as in U-Net++.

Source: Chen et al. 2024, TransUNet, doi:10.1016/j.media.2024.103280; Zhou et al. 2018, "UNet++: A
nested U-Net architecture for medical image segmentation", doi:10.1007/978-3-030-00889-5_1.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.models.transunet import LAYOUTS, TransUNet, conv, doubled

__all__ = ["LAYOUTS", "Gate", "TransUNetPP"]  # Google's arrays fill its encoder too


class Gate(nn.Module):
    """Weighs two maps, channel by channel, by what both hold on the whole.

    Args:
        seen: channels of the residual network's map.
        dim: width of the transformer.
    """

    def __init__(self, seen: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(dim, seen, 1)
        self.weigh = nn.Linear(2 * seen, seen)

    def shares(self, seen: Tensor, thought: Tensor) -> Tensor:
        """``(B, C)``: the share of the residual network, 0 to 1."""
        both = torch.cat([seen.mean(dim=(2, 3)), thought.mean(dim=(2, 3))], dim=1)
        return self.weigh(both).sigmoid()

    def forward(self, seen: Tensor, thought: Tensor) -> Tensor:
        """``(B, C, H, W)`` and ``(B, D, h, w)`` to ``(B, C, H, W)``."""
        drawn = functional.interpolate(
            self.project(thought), size=seen.shape[-2:], mode="bilinear", align_corners=True
        )
        share = self.shares(seen, drawn)[:, :, None, None]
        return share * seen + (1 - share) * drawn


class NestedDecoder(nn.Module):
    """Gates at strides 8, 4 and 2, and convolutions over all that came before at each level.

    Args:
        inputs: width of the transformer.
        head: channels of the map of stride 16.
        widths: of strides 8, 4 and 2 and of the full size.
        skips: channels of the maps of strides 8, 4 and 2.
    """

    def __init__(self, inputs: int, head: int, widths: Sequence[int], skips: Sequence[int]) -> None:
        super().__init__()
        self.conv_more = conv(inputs, head)
        self.gates = nn.ModuleList(Gate(skip, inputs) for skip in skips)
        self.enter = nn.ModuleList(
            conv(skip, width) for skip, width in zip(skips, widths, strict=False)
        )
        # from the coarsest to the finest; a level has one more node than the coarser one
        levels = [head, *widths[:-1]]
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                conv(levels[level] * (1 + done) + levels[level - 1], levels[level])
                for done in range(level)
            )
            for level in range(1, len(levels))
        )
        self.last = conv(levels[-1], widths[-1])

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """``(B, D, H/16, W/16)`` and the skips to ``(B, widths[-1], H, W)``."""
        coarser = [self.conv_more(x)]
        for gate, enter, nodes, skip in zip(self.gates, self.enter, self.nodes, skips, strict=True):
            own = [enter(gate(skip, x))]
            for node, below in zip(nodes, coarser, strict=True):
                own.append(node(torch.cat([*own, doubled(below)], dim=1)))
            coarser = own
        return self.last(doubled(coarser[-1]))


class TransUNetPP(TransUNet):
    """TransUNet with gates and nested skips; options of ``TransUNet``."""

    def __init__(
        self, *, decoder_channels: Sequence[int] = (256, 128, 64, 32), **options: Any
    ) -> None:
        super().__init__(decoder_channels=decoder_channels, **options)

    def _decoder(
        self,
        dim: int,
        head: int,
        widths: Sequence[int],
        skips: Sequence[int] | None,
        width: int,
    ) -> nn.Module:
        given = (8 * width, 4 * width, width) if skips is None else skips
        return NestedDecoder(dim, head, widths, given)
