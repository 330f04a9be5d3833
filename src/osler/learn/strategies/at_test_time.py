"""What strategies have in common that fit a network to the cases that test, without their truth."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from osler.errors import RecipeError
from osler.learn.recipe import Recipe
from osler.learn.strategies.strategy import Context, Strategy
from osler.tasks.task import Sample, Task

LEAST = 16
"""Batches that are looked at, at least."""


def normalisations(net: nn.Module) -> list[_BatchNorm]:
    """The layers of batch normalisation with running statistics."""
    return [one for one in net.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]


class AtTestTime(Strategy):
    """Changes a trained network for the cases that test; needs batch normalisation."""

    def faults(self, recipe: Recipe, task: Task) -> list[str]:
        """Somebody must test."""
        if recipe.hold.test is None:
            return ["fits the network to the cases that test, and hold.test names none"]
        return []

    def before(self, net: nn.Module, context: Context) -> None:
        """Refuse a network without batch normalisation before it is trained."""
        if not normalisations(net):
            raise RecipeError(
                f"{self.name} fits the statistics of batch normalisation, and the network "
                f"'{context.recipe.network.name or 'of the task'}' has none (instance, group and "
                "layer normalisation take theirs from each case anyway)"
            )


def batches_of(
    samples: Sequence[Sample], context: Context, device: torch.device
) -> Iterator[list[Tensor]]:
    """Batches in which each case is drawn once at least, as the network takes them.

    A last batch that is not full is filled with cases of the next round, so that all weigh alike.
    """
    size = min(context.learner.batch, max(2, len(samples)))
    batches = context.batches(samples, batch=size, seed=23)
    for number in range(max(LEAST, math.ceil(len(samples) / size))):
        yield [torch.from_numpy(array).to(device) for array in batches(number)[0].values()]
