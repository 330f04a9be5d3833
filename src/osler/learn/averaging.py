"""The running average of a network's weights."""

import torch
from torch import nn


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Move the average of weights and of normalisation's statistics towards the network's.

    ``average = d * average + (1 - d) * weights`` after each step (Polyak and Juditsky 1992, SIAM J
    Control Optim 30(4); exponential as in Tarvainen and Valpola 2017, "Mean teachers", NeurIPS),
    with ``d`` the smaller of ``decay`` and ``(1 + step) / (10 + step)``, so that early weights are
    forgotten faster. What is counted in whole numbers is copied.

    Args:
        average: of the same structure as ``net``, changed in place.
        net: the network that learns.
        decay: 0 to below 1.
        step: steps taken, from 1.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)
