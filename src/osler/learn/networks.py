"""The network of a recipe, with the sizes that its task knows."""

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from osler import models
from osler.errors import RecipeError
from osler.learn.advice import out_of_memory
from osler.learn.joining import Joined
from osler.learn.recipe import Recipe, TableNetwork
from osler.tasks.case_input import PRESENT, SIGNAL, TABLE
from osler.tasks.task import Task

_COLOUR = 3  # channels of a network that has no option for them
_NAMES = {
    "channels": ("channels", "in_channels", "in_chans", "leads", "numbers"),
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
    with _options_named(name, said.options):
        if said.checkpoint is not None:
            place = path.parent / said.checkpoint
            net = models.create(name, checkpoint=place, partial=said.partial, **options)
        else:
            net = models.create(name, weights="random", **options)
    others = {
        key: models.create(kind, weights="random", **more)
        for key, (kind, more) in task.beside().items()
    }
    whole: nn.Module = task.completed(_joined(net, said.table, task), others)
    return whole.train()


def _joined(net: nn.Module, beside: TableNetwork, task: Task) -> nn.Module:
    """The network with those of the other parts of a case, where its task has such parts."""
    specs = {one.name: one for one in task.inputs()}
    first = next(iter(specs))
    if PRESENT in specs:  # one network reads all that is there
        return net
    if first not in (SIGNAL, TABLE) and TABLE not in specs:
        return net
    parts = {first: net}
    if TABLE in specs and first != TABLE:
        sized = {
            "channels": len(specs[TABLE].channels),
            "labels": task.wanted().get("labels"),
            "categories": (),
        }
        options = {**beside.options}
        for key, value in _named(beside.name, sized).items():
            options.setdefault(key, value)
        parts[TABLE] = models.create(beside.name, weights="random", **options)
    return Joined(list(specs), parts)


def check(
    net: nn.Module,
    task: Task,
    inputs: Mapping[str, NDArray[Any]],
    targets: Mapping[str, NDArray[Any]],
) -> None:
    """Refuse a network whose answer is not what the task asks for.

    Args:
        net: the network.
        task: the task.
        inputs: of one batch.
        targets: of the same.

    Raises:
        RecipeError: an output is missing, has another number of channels, or cannot be compared
            with the truth.
    """
    kept = {name: one.clone() for name, one in net.named_buffers()}
    try:
        _check(net, task, inputs, targets)
    finally:  # looking at a network must not move the statistics that came with its weights
        for name, one in net.named_buffers():
            one.copy_(kept[name])


def _check(
    net: nn.Module,
    task: Task,
    inputs: Mapping[str, NDArray[Any]],
    targets: Mapping[str, NDArray[Any]],
) -> None:
    try:
        with torch.no_grad():
            said = task.named(net.train()(*(torch.from_numpy(one) for one in inputs.values())))
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if out_of_memory(error):
            raise
        shapes = ", ".join(f"'{key}' {tuple(one.shape)}" for key, one in inputs.items())
        reason = str(error).strip().split("\n", 1)[0]
        raise RecipeError(
            f"the network does not take a batch of the shape {shapes} (samples, channels, sides): "
            f"{reason}. Choose a network.name for as many axes, and sides that it can halve as "
            "often as it does: settings.patch, settings.image.size or settings.multiple"
        ) from error
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
    try:
        with torch.no_grad():
            tensors = [
                {name: torch.from_numpy(one) for name, one in room.items()}
                for room in (inputs, targets)
            ]
            task.loss(net, *tensors, step=0)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if out_of_memory(error):
            raise
        shapes = ", ".join(
            f"'{name}' {tuple(one.shape)}" for name, one in said.items() if hasattr(one, "shape")
        )
        raise RecipeError(
            f"the network gives {shapes}, which cannot be compared with the truth of the task "
            f"'{task.name}' ({str(error).strip().split(chr(10), 1)[0]}); choose a network.name "
            f"that answers this kind of question ('osler models list')"
        ) from error


@contextmanager
def _options_named(name: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Tell which option of a recipe a network cannot be built with, and the nearest it has."""
    try:
        yield
    except RecipeError as error:
        found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if found is None or found[1] not in options:
            raise
        known = sorted(_parameters(name) - {"self", "args", "kwargs"})
        near = difflib.get_close_matches(found[1], known, n=1, cutoff=0.0)
        raise RecipeError(
            f"network.options.{found[1]}: the network '{name}' has no such option"
            + (f"; the nearest is '{near[0]}'" if near else "")
        ) from error
    except (RuntimeError, ValueError, IndexError) as error:
        if out_of_memory(error):
            raise
        first = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        raise RecipeError(
            f"network.options: the network '{name}' cannot be built with {dict(options)}: {first}"
        ) from error


def sizes(name: str, task: Task) -> dict[str, Any]:
    """What the task knows of a network's sizes, under the network's own names for them."""
    wanted = dict(task.wanted())
    if "inputs" in wanted:
        _takes_inputs(name)
    elif task.inputs()[0].name == TABLE:
        wanted["categories"] = ()  # they are channels of 0 and 1
    return _named(name, wanted)


def _takes_inputs(name: str) -> None:
    if "inputs" not in _parameters(name):
        raise RecipeError(
            f"the network '{name}' reads one item, and settings.inputs names several; the network "
            "that reads any of them is 'fusion' (its option 'encoder' says what reads a picture)"
        )


def _named(name: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    taken = _parameters(name)
    out: dict[str, Any] = {}
    for key, value in wanted.items():
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
    if inspect.isclass(made):  # what it hands on to the classes that it is made from
        for base in made.__mro__[1:]:
            taken |= set(inspect.signature(base.__init__).parameters)
    if not taken:
        raise RecipeError(f"the network '{name}' takes no options")
    return taken | set(system.card.options) | set(system.card.tiny)
