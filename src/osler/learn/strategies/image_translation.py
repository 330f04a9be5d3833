"""Two small networks that translate images between two sets, and two that judge them.

Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
ICCV, with the least-squares loss of section 4 and smaller networks.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

_CONV: Mapping[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: Mapping[int, Any] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


class _Residual(nn.Module):
    """Two convolutions beside what goes past them."""

    def __init__(self, width: int, dims: int) -> None:
        super().__init__()
        conv, norm = _CONV[dims], _NORM[dims]
        self.inner = nn.Sequential(
            conv(width, width, 3, padding=1), norm(width, affine=True), nn.ReLU(),
            conv(width, width, 3, padding=1), norm(width, affine=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.inner(x)
        return out


class Translator(nn.Module):
    """Adds to an image what it lacks of the other set; nothing before it is trained.

    Args:
        channels: of the images.
        dims: 2 or 3.
        width: of its features, at half resolution.
        blocks: residual ones.
    """

    def __init__(self, channels: int, dims: int, *, width: int = 16, blocks: int = 3) -> None:
        super().__init__()
        conv, norm = _CONV[dims], _NORM[dims]
        self.down = nn.Sequential(
            conv(channels, width, 3, padding=1), nn.ReLU(),
            conv(width, width, 3, stride=2, padding=1), norm(width, affine=True), nn.ReLU(),
            *(_Residual(width, dims) for _ in range(blocks)),
        )  # fmt: skip
        self.out = conv(width + channels, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` to the same shape."""
        deep = functional.interpolate(self.down(x), size=x.shape[2:], mode="nearest")
        out: Tensor = x + self.out(torch.cat([deep, x], dim=1))
        return out


def patch_judge(channels: int, dims: int, width: int) -> nn.Module:
    """Scores of overlapping patches: one where they look like the set, nought where not."""
    conv, norm = _CONV[dims], _NORM[dims]
    return nn.Sequential(
        conv(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
        conv(width, 2 * width, 4, stride=2, padding=1), norm(2 * width, affine=True),
        nn.LeakyReLU(0.2), conv(2 * width, 1, 3, padding=1),
    )  # fmt: skip


class CyclePair(nn.Module):
    """Translators there and back, and a judge of each set."""

    def __init__(self, channels: int, dims: int, width: int) -> None:
        super().__init__()
        self.there = Translator(channels, dims, width=width)
        self.back = Translator(channels, dims, width=width)
        self.judge_there = patch_judge(channels, dims, width)
        self.judge_here = patch_judge(channels, dims, width)

    def forward(self, x: Tensor) -> Tensor:
        """An image of this set as one of the other."""
        out: Tensor = self.there(x)
        return out


def cycle_loss(
    pair: CyclePair, here: Tensor, there: Tensor, *, cycle: float, identity: float
) -> Tensor:
    """The losses of translators and judges together, each of which moves its own weights alone.

    Args:
        pair: the four networks.
        here: images of the one set ``(B, C, ...)``.
        there: images of the other.
        cycle: weight of coming back to where one was; ``lambda`` of the paper.
        identity: weight of leaving images of the set that is translated to as they are.
    """
    to, fro = pair.there(here), pair.back(there)
    fooling = _gap(_held(pair.judge_there, to), 1) + _gap(_held(pair.judge_here, fro), 1)
    home = (pair.back(to) - here).abs().mean() + (pair.there(fro) - there).abs().mean()
    same = (pair.there(there) - there).abs().mean() + (pair.back(here) - here).abs().mean()
    judged = (
        _gap(pair.judge_there(there), 1) + _gap(pair.judge_there(to.detach()), 0)
        + _gap(pair.judge_here(here), 1) + _gap(pair.judge_here(fro.detach()), 0)
    )  # fmt: skip
    return fooling + cycle * home + identity * same + judged / 2


def _held(judge: nn.Module, images: Tensor) -> Tensor:
    """What a judge says, through whose weights no gradient flows."""
    still = {name: one.detach() for name, one in judge.named_parameters()}
    out: Tensor = functional_call(judge, still, (images,))
    return out


def _gap(scores: Tensor, wanted: float) -> Tensor:
    return (scores.float() - wanted).square().mean()
