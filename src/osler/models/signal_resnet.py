"""A residual network over signals of several leads, such as an ECG, of which some may be missing.

Sources: (1) He et al. 2016, "Deep residual learning for image recognition", CVPR; (2) Strodthoff
et al. 2021, "Deep learning for ECG analysis: benchmarks and insights from PTB-XL", IEEE JBHI,
doi:10.1109/JBHI.2020.3022989. It is no copy of any network there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError


class Residual(nn.Module):
    """Two convolutions beside a shortcut; what lies after the end of a signal stays zero."""

    def __init__(self, channels: int, width: int, kernel: int, *, stride: int) -> None:
        super().__init__()
        around = kernel // 2
        self.conv1 = nn.Conv1d(channels, width, kernel, stride, around, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, kernel, 1, around, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.stride = stride
        self.shortcut = None
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv1d(channels, width, 1, stride, bias=False), nn.BatchNorm1d(width)
            )

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        """``(B, C, T)`` to ``(B, width, T / stride)``; ``inside`` ``(B, 1, T)`` of the output."""
        beside = x if self.shortcut is None else self.shortcut(x)
        x = functional.relu(self.bn1(self.conv1(x))) * inside
        return functional.relu(self.bn2(self.conv2(x)) + beside) * inside


class SignalResNet(nn.Module):
    """A residual network over time.

    A lead that is missing adds a learnt constant in place of what it would have said, and what
    stands in the array in its place is not looked at.

    Args:
        leads: most that there are.
        num_classes: scores; 0 gives features.
        widths: of the stages; each but the first halves time.
        blocks: of each stage.
        kernel: of the convolutions, samples; the first has twice as many and one less.
    """

    def __init__(
        self,
        *,
        leads: int = 12,
        num_classes: int = 0,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        kernel: int = 7,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(leads, widths[0], 2 * kernel - 1, 2, kernel - 1, bias=False)
        self.absent = nn.Parameter(torch.zeros(leads, widths[0]))
        self.bn1 = nn.BatchNorm1d(widths[0])
        inner = widths[0]
        self.stages = nn.ModuleList()
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            stage = nn.ModuleList()
            for place in range(count):
                stride = 2 if number and place == 0 else 1
                stage.append(Residual(inner, width, kernel, stride=stride))
                inner = width
            self.stages.append(stage)
        self.head = nn.Linear(inner, num_classes) if num_classes else nn.Identity()
        nn.init.normal_(self.absent, std=0.02)

    def features(
        self, x: Tensor, present: Tensor | None = None, length: Tensor | None = None
    ) -> Tensor:
        """The same as ``forward`` to features ``(B, D)``, the mean over the signal's time."""
        b, leads, samples = x.shape
        if present is None:
            present = torch.ones(b, leads, dtype=torch.bool, device=x.device)
        check_leads(leads, present.shape[1], self.conv1.in_channels)
        fewer = self.conv1.in_channels - leads
        x, present = functional.pad(x, (0, 0, 0, fewer)), functional.pad(present, (0, fewer))
        if length is None:
            length = torch.full((b,), samples, device=x.device)
        # not a product: what is not there may be no number
        x = torch.where(present[:, :, None] & _inside(length, samples), x, torch.zeros_like(x))
        x = self.conv1(x) + ((~present).to(x) @ self.absent)[:, :, None]
        length = (length + 1) // 2
        inside = _inside(length, x.shape[2]).to(x)
        x = functional.relu(self.bn1(x)) * inside
        for number, stage in enumerate(self.stages):
            if number:
                length = (length + 1) // 2
                inside = _inside(length, (x.shape[2] + 1) // 2).to(x)
            for block in stage:
                x = block(x, inside)
        return x.sum(2) / length[:, None].to(x)

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


def check_leads(leads: int, presences: int, most: int) -> None:
    """Refuse more leads than a network has names for.

    Raises:
        RecipeError: there are more than ``most``, or ``present`` is of another number.
    """
    if leads > most or presences != leads:
        raise RecipeError(
            f"the network knows {most} leads; the signal has {leads} and 'present' {presences}; "
            "build it with leads=, or choose leads"
        )


def _inside(length: Tensor, samples: int) -> Tensor:
    """``(B, 1, T)``: which samples lie before the end."""
    return (torch.arange(samples, device=length.device) < length[:, None])[:, None]


SIZES = {"signal-resnet": [(77,), (40,)]}


def example(
    name: str, options: Mapping[str, Any], batch: int, size: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """Signals of which the first lacks its last lead, and the others end early."""
    leads = options.get("leads", 12)
    samples = (size or (96,))[-1]
    generator = torch.Generator().manual_seed(0)
    present = torch.ones(batch, leads, dtype=torch.bool)
    present[:1, -1] = False
    length = torch.full((batch,), samples)
    length[1:] = samples * 3 // 4
    signal = torch.randn(batch, leads, samples, generator=generator)
    return {"x": signal, "present": present, "length": length}
