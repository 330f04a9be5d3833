"""The statistics of batch normalisation, counted anew for the weights that are judged.

Running statistics lag behind the weights: by a hundred steps at a momentum of 0.01, and the running
average of weights has seen none of its own. In a deep network that is trained for some hundred
steps they are so far off that it gives one answer to everything. So they are counted before
weights are judged, over batches that teach (Wu & Johnson 2021, 'Rethinking "Batch" in BatchNorm',
arXiv:2105.07576, section 3).
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

BATCHES = 16
"""Batches over which statistics are counted."""


def settle(net: nn.Module, run: Callable[[nn.Module, int], object], *, batches: int) -> None:
    """Count the statistics of every batch normalisation anew; weights stay as they are.

    Args:
        net: in whichever mode; left in evaluation mode. Without batch normalisation nothing runs,
            and a layer that rests while the network trains keeps the statistics it has.
        run: ``run(net, number)`` runs the network on the batch of this number.
        batches: how many.
    """
    net.train()
    layers = [
        one
        for one in net.modules()
        if isinstance(one, _BatchNorm) and one.track_running_stats and one.training
    ]
    net.eval()
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
        layer.train()
    try:
        with torch.no_grad():
            for number in range(batches):
                run(net, number)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        net.eval()
