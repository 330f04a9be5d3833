"""Grading from a map of features: attention decides which places speak."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.models.unet import UNet


class LesionFeatures(nn.Module):
    """A lesion network that also gives a coarse map of what it saw, for a grader.

    The map has a cell for each 32 × 32 pixels of the canvas: the encoder's deepest features, the
    greatest and the mean probability of each lesion in the cell, and how much of the cell lies
    in the field.

    Args:
        net: the lesion network.
    """

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net = net

    @property
    def channels(self) -> int:
        """Channels of the map."""
        return self.net.deepest + 3 * self.net.labels + 1

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 4, H, W)`` to logits ``(B, L, H, W)`` and the map ``(B, C, ⌈H/32⌉, ⌈W/32⌉)``."""
        levels = self.net.encode(x)
        logits = self.net.decode(levels)
        probability = logits.sigmoid() * x[:, 3:4]
        cells = torch.cat(
            [
                functional.max_pool2d(levels[-1], 32 // self.net.stride),
                functional.max_pool2d(probability, 32),
                functional.avg_pool2d(probability, 32).clamp(min=0).sqrt(),
                functional.avg_pool2d((probability > 0.5).float(), 32).sqrt(),
                functional.avg_pool2d(x[:, 3:4], 32),
            ],
            dim=1,
        )
        return logits, cells


class Grader(nn.Module):
    """Gated attention over cells, beside the cells' mean and maximum.

    Source: Ilse et al. 2018, "Attention-based deep multiple instance learning", ICML.

    Args:
        channels: of the map of features; the last one is the share of a cell inside the field.
        outputs: scores a head, in order.
        width: hidden width.
        dropout: share of hidden features dropped in training.
    """

    def __init__(
        self, *, channels: int, outputs: tuple[int, ...], width: int = 48, dropout: float = 0.4
    ) -> None:
        super().__init__()
        self.scale = nn.BatchNorm2d(channels, affine=False)
        self.drop = nn.Dropout2d(dropout / 2)
        self.cells = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
        )
        self.look = nn.Conv2d(width, width, 1)
        self.gate = nn.Conv2d(width, width, 1)
        self.weigh = nn.Conv2d(width, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(3 * width, count) for count in outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``(B, C, h, w)`` to scores ``(B, K)`` a head, and the attention ``(B, 1, h, w)``."""
        field = (x[:, -1:] > 0.05).to(x.dtype)
        cells = self.cells(self.drop(self.scale(x))) * field
        raw = self.weigh(torch.tanh(self.look(cells)) * torch.sigmoid(self.gate(cells)))
        raw = raw + (field - 1) * 1e4
        shape = raw.shape
        attention = raw.flatten(1).softmax(dim=1).reshape(shape)
        chosen = (cells * attention).sum(dim=(2, 3))
        mean = (cells * field).sum(dim=(2, 3)) / field.sum(dim=(2, 3)).clamp(min=1)
        pooled = self.dropout(torch.cat([chosen, mean, cells.amax(dim=(2, 3))], dim=1))
        return (*[head(pooled) for head in self.heads], attention)
