r"""Attributions by gradients: what each pixel of the input does to the score.

- Integrated gradients [1]_: :math:`(x_i - x'_i) \int_0^1 \partial_i S(x' + t (x - x'))\, dt`, whose
  sum over the picture is :math:`S(x) - S(x')` (completeness). The integral is taken by Gauss and
  Legendre's rule; how far the sum is off is told, since only that says whether the steps were
  enough.
- Gradient times input [2]_: :math:`x_i\, \partial_i S(x)`.
- SmoothGrad [3]_: :math:`\max_c \bigl| \frac{1}{n} \sum_n \partial_{c} S(x + \epsilon_n) \bigr|`
  over the channels, with Gaussian noise of a share of the input's range.

References:
    .. [1] Sundararajan, Taly & Yan, "Axiomatic attribution for deep networks", ICML 2017.
    .. [2] Shrikumar, Greenside & Kundaje, "Learning important features through propagating
       activation differences", ICML 2017, section 3.
    .. [3] Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017, arXiv:1706.03825.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from osler.errors import InputError
from osler.explain.inside.places import Target

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True, eq=False)
class Integrated:
    """Integrated gradients, and whether they add up.

    Attributes:
        values: ``(C, [D,] H, W)``, each input's share of the difference.
        difference: the score of the input less that of the baseline.
        gap: sum of the values less ``difference``; 0 were the integral exact.
    """

    values: "Tensor"
    difference: float
    gap: float


def integrated_gradients(
    net: "nn.Module",
    x: "Tensor",
    target: Target,
    *,
    baseline: "Tensor",
    steps: int = 64,
    batch: int = 8,
) -> Integrated:
    """Share the difference between the scores of an input and a baseline among the pixels.

    Args:
        net: in eval mode.
        x: ``(1, C, [D,] H, W)``.
        target: what is asked.
        baseline: the same shape, an input without evidence.
        steps: points of the quadrature.
        batch: points at a time.

    Raises:
        InputError: the shapes differ.
    """
    import torch

    if baseline.shape != x.shape:
        raise InputError(f"the baseline is {tuple(baseline.shape)}, the input {tuple(x.shape)}")
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    at = torch.tensor((nodes + 1) / 2, dtype=x.dtype, device=x.device)
    share = torch.tensor(weights / 2, dtype=x.dtype, device=x.device)
    total = torch.zeros_like(x[0])
    ones = [1] * (x.ndim - 1)
    for some, by in zip(torch.split(at, batch), torch.split(share, batch), strict=True):
        between = baseline + some.reshape(-1, *ones) * (x - baseline)
        total += (gradient(net, between, target) * by.reshape(-1, *ones)).sum(dim=0)
    values = (x - baseline)[0] * total
    with torch.no_grad():
        difference = float(target(net(x))[0] - target(net(baseline))[0])
    return Integrated(values, difference, float(values.sum(dtype=torch.float64)) - difference)


def gradient(net: "nn.Module", x: "Tensor", target: Target) -> "Tensor":
    """The gradient of each input's score, the shape of ``x``."""
    import torch

    with torch.enable_grad():
        given = x.detach().clone().requires_grad_()
        # samples do not see each other in eval mode, so that the sum's gradient is each one's own
        slope: Tensor = torch.autograd.grad(target(net(given)).sum(), given)[0]
    return slope


def gradient_times_input(net: "nn.Module", x: "Tensor", target: Target) -> "Tensor":
    """``(1, C, [D,] H, W)`` to the attribution of each, ``(C, [D,] H, W)``."""
    return (x * gradient(net, x, target))[0].detach()


def smooth_grad(
    net: "nn.Module",
    x: "Tensor",
    target: Target,
    *,
    noise: float = 0.15,
    samples: int = 25,
    batch: int = 8,
    seed: int = 0,
) -> "Tensor":
    """The gradient, averaged over noisy copies of the input.

    Args:
        net: in eval mode.
        x: ``(1, C, [D,] H, W)``.
        target: what is asked.
        noise: standard deviation over the range of ``x``.
        samples: copies.
        batch: copies at a time.
        seed: of the noise.

    Returns:
        ``([D,] H, W)``, at least 0.
    """
    import torch

    random = torch.Generator().manual_seed(seed)
    spread = noise * float(x.amax() - x.amin())
    total = torch.zeros_like(x[0])
    done = 0
    while done < samples:
        count = min(batch, samples - done)
        drawn = torch.randn((count, *x.shape[1:]), generator=random, dtype=x.dtype).to(x.device)
        total += gradient(net, x + spread * drawn, target).sum(dim=0)
        done += count
    return (total / samples).abs().amax(dim=0)
