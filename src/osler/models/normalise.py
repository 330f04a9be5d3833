"""Illumination and contrast taken out of a fundus photograph, inside the network.

It is part of the graph, so a bundle needs nothing but the photograph's canvas, and augmented
patches are normalised exactly as photographs are.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LocalContrast(nn.Module):
    """Appends locally standardised colour to a canvas.

    Each colour is also given as its difference from the local mean, divided by the local
    standard deviation (over a wider window), both taken over the field of view only. This
    removes the camera's vignetting and the pigment's colour, after Foracchia et al. 2005,
    "Luminosity and contrast normalization in retinal images", Medical Image Analysis 9(3).

    Args:
        window: side of the window of the mean, canvas pixels; a multiple of 8.
        wide: side of the window of the standard deviation, canvas pixels.
    """

    channels = 7

    def __init__(self, *, window: int = 72, wide: int = 136) -> None:
        super().__init__()
        self.window = window // 8 | 1
        self.wide = wide // 8 | 1

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4, H, W)``, colour and field in 0 to 1, to ``(B, 7, H, W)``."""
        field = x[:, 3:4]
        colour = x[:, :3] * field
        both = torch.cat([colour, colour * colour, field], dim=1)
        small = functional.avg_pool2d(both, 8)
        near = _blur(small, self.window)
        far = _blur(small, self.wide)
        mean = near[:, 0:3] / (near[:, 6:7] + 1e-3)
        far_mean = far[:, 0:3] / (far[:, 6:7] + 1e-3)
        variance = far[:, 3:6] / (far[:, 6:7] + 1e-3) - far_mean * far_mean
        deviation = torch.sqrt(variance.clamp(min=0.0) + 4e-4)
        statistics = functional.interpolate(
            torch.cat([mean, deviation], dim=1),
            scale_factor=8.0,
            mode="bilinear",
            align_corners=False,
        )
        local = (colour - statistics[:, 0:3]) / statistics[:, 3:6] * field
        return torch.cat([colour * 2 - field, local.clamp(-4.0, 4.0), field], dim=1)


def _blur(x: Tensor, window: int) -> Tensor:
    """Two box filters, close to a Gaussian; zeros beyond the border cancel in the ratio."""
    for _ in range(2):
        x = functional.avg_pool2d(x, window, stride=1, padding=window // 2)
    return x
