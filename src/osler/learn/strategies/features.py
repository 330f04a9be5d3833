"""What a network knows before it answers: the input of its last weighted layer.

Any network has such a layer, whatever it is called, so strategies that work on features (a probe,
prototypes, contrast, distillation, active learning) need no door of its own in each network.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def output_layer(net: nn.Module, inputs: Sequence[Tensor]) -> str:
    """The name of the last linear or convolutional layer that a network runs: its head.

    Args:
        net: in whichever mode, which it is left in.
        inputs: of one batch.

    Raises:
        ValueError: it runs no such layer.
    """
    ran: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear | _ConvNd)
    ]
    modes = [(module, module.training) for module in net.modules()]
    try:
        net.eval()
        with torch.no_grad():
            net(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    if not ran:
        raise ValueError("the network runs no linear or convolutional layer")
    return ran[-1]


@contextmanager
def tapped(net: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """A list to which each call of the network adds the input of a layer.

    Args:
        net: the network.
        layer: of `output_layer`.
    """
    seen: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        del module
        seen.append(args[0])

    handle = net.get_submodule(layer).register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def features_of(net: nn.Module, inputs: Sequence[Tensor], layer: str) -> tuple[Tensor, Any]:
    """Features ``(B, C)``, with gradients where they are on, and what the network said.

    What lies on a grid or in a row of tokens is averaged over it.
    """
    with tapped(net, layer) as seen:
        said = net(*inputs)
    return pooled(seen[-1], net.get_submodule(layer)), said


def pooled(features: Tensor, layer: nn.Module) -> Tensor:
    """The mean over every axis but the batch's and the channels'."""
    if features.ndim <= 2:
        return features
    if isinstance(layer, nn.Linear):  # channels last
        return features.flatten(1, -2).mean(dim=1)
    return features.flatten(2).mean(dim=2)
