"""What a network is asked and says while its loss is computed.

A strategy that compares a network with another, or with itself, needs the very batch that the task
saw, augmented as it was. It listens to the calls instead of drawing the batch again.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from osler.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a network.

    Attributes:
        inputs: that it was given.
        said: what came of it.
    """

    inputs: tuple[Tensor, ...]
    said: Any


@contextmanager
def heard(net: nn.Module) -> Iterator[list[Call]]:
    """A list to which each call of the network is added, where gradients are on."""
    calls: list[Call] = []

    def keep(module: nn.Module, args: tuple[Any, ...], said: Any) -> None:
        del module
        if torch.is_grad_enabled():
            calls.append(Call(args, said))

    handle = net.register_forward_hook(keep)
    try:
        yield calls
    finally:
        handle.remove()


def scores_of(task: Task, said: Any) -> dict[str, Tensor]:
    """The scores by output; of several depths the finest."""
    return {
        name: value[0] if isinstance(value, list | tuple) else value
        for name, value in task.named(said).items()
    }


def activations_of(task: Task) -> Mapping[str, str]:
    """``softmax``, ``sigmoid`` or ``none`` by output."""
    return {one.name: one.activation for one in task.outputs()}
