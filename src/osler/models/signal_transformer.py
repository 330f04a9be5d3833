"""A transformer over pieces of signals, such as an ECG, of any leads and any length.

Sources: (1) Vaswani et al. 2017, "Attention is all you need", NeurIPS; (2) Nie et al. 2023, "A
time series is worth 64 words", ICLR, arXiv:2211.14730 (pieces of each channel as tokens). It is no
copy of any network there.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.models.masked_attention import MaskedEncoder
from osler.models.signal_resnet import check_leads
from osler.models.signal_resnet import example as example_signals


class SignalTransformer(nn.Module):
    """Each piece of each lead is a token; a lead that is missing has none that anyone sees.

    Args:
        leads: most that there are; each has a learnt name.
        num_classes: scores; 0 gives features.
        patch: samples of a piece.
        embed_dim: width, even.
        depth: number of blocks.
        num_heads: of each attention.
        dropout: share of numbers dropped in training.
    """

    def __init__(
        self,
        *,
        leads: int = 12,
        num_classes: int = 0,
        patch: int = 50,
        embed_dim: int = 192,
        depth: int = 6,
        num_heads: int = 6,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.piece = nn.Linear(patch, embed_dim)
        self.lead = nn.Parameter(torch.zeros(leads, embed_dim))
        self.encoder = MaskedEncoder(embed_dim, depth, num_heads, 4 * embed_dim, dropout=dropout)
        self.head = nn.Linear(embed_dim, num_classes) if num_classes else nn.Identity()
        nn.init.trunc_normal_(self.lead, std=0.02)

    def features(
        self, x: Tensor, present: Tensor | None = None, length: Tensor | None = None
    ) -> Tensor:
        """The same as ``forward`` to features ``(B, D)``."""
        b, leads, samples = x.shape
        if present is None:
            present = torch.ones(b, leads, dtype=torch.bool, device=x.device)
        check_leads(leads, present.shape[1], len(self.lead))
        if length is None:
            length = torch.full((b,), samples, device=x.device)
        before = torch.arange(samples, device=x.device) < length[:, None]
        # not a product: what is not there may be no number
        x = torch.where(present[:, :, None] & before[:, None], x, torch.zeros_like(x))
        count = -(-samples // self.patch)
        x = functional.pad(x, (0, count * self.patch - samples))
        tokens = self.piece(x.reshape(b, leads, count, self.patch))
        tokens = tokens + self.lead[:leads, None] + self._times(count).to(x)
        begun = torch.arange(count, device=x.device) * self.patch < length[:, None]
        there = present[:, :, None] & begun[:, None]
        return self.encoder(tokens.flatten(1, 2), there.flatten(1))[:, 0]

    def _times(self, count: int) -> Tensor:
        """Sines and cosines ``(count, D)`` of a piece's place, so that any length has them."""
        half = self.lead.shape[1] // 2
        rates = torch.exp(torch.arange(half) * (-math.log(10_000.0) / half))
        angles = torch.arange(count)[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    def forward(
        self, x: Tensor, present: Tensor | None = None, length: Tensor | None = None
    ) -> Tensor:
        """Scores ``(B, num_classes)``, or features.

        Args:
            x: ``(B, leads, T)``; fewer leads than the most are the first of them.
            present: ``(B, leads)``, which leads there are; all where it is not given.
            length: ``(B,)``, samples of each signal; what comes after is not looked at.
        """
        return self.head(self.features(x, present, length))


SIZES = {"signal-transformer": [(77,), (40,)]}


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """Signals of which the first lacks its last lead, and the others end early."""
    return example_signals(name, options, batch, size)
