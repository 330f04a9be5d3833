"""The network of a recipe, with the sizes that its task knows."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from osler import models
from osler.errors import RecipeError
from osler.learn.recipe import Recipe
from osler.tasks.task import Task

_COLOUR = 3  # channels of a network that has no option for them
_NAMES = {
    "channels": ("channels", "in_channels", "in_chans"),
    "labels": ("labels", "num_classes", "classes", "out_channels"),
    "dims": ("dims", "spatial_dims"),
    "size": ("image_size", "img_size", "size"),
}


def build(recipe: Recipe, task: Task, path: Path) -> nn.Module:
    """The network, with random or published weights, ready to be trained.

    Raises:
        RecipeError: the network does not take an option, or a size that the task needs.
    """
    said = recipe.network
    name, options = said.name, dict(said.options)
    if name is None:
        name, own = task.network()
        options = {**own, **options}
    for key, value in sizes(name, task).items():
        options.setdefault(key, value)
    if said.checkpoint is not None:
        place = path.parent / said.checkpoint
        net = models.create(name, checkpoint=place, partial=said.partial, **options)
    else:
        net = models.create(name, weights="random", **options)
    return net.train()


def check(net: nn.Module, task: Task, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a network whose answer does not have the labels that the task asks for.

    Args:
        net: the network.
        task: the task.
        inputs: of one batch.

    Raises:
        RecipeError: an output is missing or has another number of channels.
    """
    with torch.no_grad():
        said = task.named(net.train()(*(torch.from_numpy(one) for one in inputs.values())))
    for spec in task.outputs():
        value = said.get(spec.name)
        first = value[0] if isinstance(value, list | tuple) else value
        if first is None:
            raise RecipeError(f"the network gives no '{spec.name}', which the task needs")
        if spec.labels and first.shape[1] != len(spec.labels):
            raise RecipeError(
                f"the network gives {first.shape[1]} values of '{spec.name}' and the task has "
                f"{len(spec.labels)} labels; set the option of network.options that says how many"
            )


def sizes(name: str, task: Task) -> dict[str, Any]:
    """What the task knows of a network's sizes, under the network's own names for them."""
    taken = _parameters(name)
    out: dict[str, Any] = {}
    for key, value in task.wanted().items():
        known = next((one for one in _NAMES.get(key, (key,)) if one in taken), None)
        if known is None:
            if key == "channels" and value != _COLOUR:
                raise RecipeError(
                    f"the network '{name}' takes pictures of {_COLOUR} channels and the task gives "
                    f"{value}; settings.image.colour: true repeats a grey one"
                )
            continue
        if key != "size":
            out[known] = value
        elif len(set(value)) == 1:
            out[known] = value[0]  # networks of square pictures take one side
    return out


def _parameters(name: str) -> set[str]:
    system = models.find(name)
    module, _, function = system.builder.partition(":")
    made = getattr(import_module(module), function)
    taken = set(inspect.signature(made).parameters)
    if not taken:
        raise RecipeError(f"the network '{name}' takes no options")
    return taken | set(system.card.options) | set(system.card.tiny)
