"""The smallest change of a case that fools a network most: a check, not a defence."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Objective = Callable[[Tensor], Tensor]
"""The loss of a batch, from the inputs alone."""


def fgsm(loss: Objective, x: Tensor, *, size: float, low: float, high: float) -> Tensor:
    """One step of a size along the sign of the gradient.

    Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", ICLR.

    Args:
        loss: to be raised.
        x: inputs.
        size: of the greatest change of a value.
        low: least value that an input may have.
        high: greatest.
    """
    return pgd(loss, x, size=size, steps=1, step=size, low=low, high=high, start=None)


def pgd(
    loss: Objective, x: Tensor, *, size: float, steps: int, step: float, low: float, high: float,
    start: int | None = 1,
) -> Tensor:  # fmt: skip
    """Steps along the sign of the gradient, brought back within ``size`` of the case each time.

    Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", ICLR.

    Args:
        loss: to be raised.
        x: inputs.
        size: of the greatest change of a value.
        steps: how many.
        step: size of each.
        low: least value that an input may have.
        high: greatest.
        start: seed of a random start within ``size``; None starts at the case.
    """
    changed = x.clone()
    if start is not None:
        generator = torch.Generator().manual_seed(start)
        away = torch.rand(x.shape, generator=generator).to(x) * 2 - 1
        changed = (x + size * away).clamp(low, high)
    for _ in range(steps):
        changed = changed.detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss(changed), changed)
        with torch.no_grad():
            moved = changed + step * slope.sign()
            changed = torch.minimum(torch.maximum(moved, x - size), x + size).clamp(low, high)
    return changed.detach()


def slope_by_differences(
    loss: Callable[[NDArray[np.float32]], NDArray[np.float64]], x: NDArray[np.float32], *,
    pairs: int, width: float, seed: int,
) -> NDArray[np.float32]:  # fmt: skip
    """The gradient of a graph that only answers, from pairs of random changes.

    Ilyas et al. 2018, "Black-box adversarial attacks with limited queries and information", ICML
    (natural evolution strategies, antithetic).

    Args:
        loss: of each case ``(B,)`` of a batch.
        x: one case ``(1, ...)``.
        pairs: of changes, each and its opposite.
        width: standard deviation of the changes.
        seed: of the changes.
    """
    rng = np.random.default_rng(seed)
    out = np.zeros(x.shape, np.float64)
    for _ in range(pairs):
        change = rng.standard_normal(x.shape).astype(np.float32)
        up, down = (float(loss(x + sign * width * change)[0]) for sign in (1, -1))
        out += (up - down) * change
    return (out / (2 * width * pairs)).astype(np.float32)
