"""What stages without labels share: their cases, views, features and the weights they leave."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from osler.errors import RecipeError
from osler.learn.augmenting import changed_apart, draw_changes
from osler.learn.augmenting_settings import Augmentation
from osler.learn.distributed import is_first
from osler.learn.joining import Joined
from osler.learn.labelling import without_truth
from osler.learn.learner import Learner
from osler.learn.strategies.features import output_layer, pooled
from osler.learn.strategies.strategy import Context, Role, Strategy, tensors
from osler.models.card import Card
from osler.models.keeping import described
from osler.tasks.case_input import IMAGE
from osler.tasks.task import Sample, Settings, Task

VIEWS: Final[dict[str, Any]] = {
    "flip": {"probability": 0.5, "axes": ("width",)},
    "rotate": {"probability": 0.5, "in_plane": 15.0, "through_plane": 10.0},
    "scale": {"probability": 1.0, "factor": (1.0, 1.8)},
    "translate": {"probability": 1.0, "share": 0.15},
    "blur": {"probability": 0.3},
    "noise": {"probability": 0.3, "deviation": (0.0, 0.2)},
    "brightness": {"probability": 0.8, "factor": (0.7, 1.3)},
    "contrast": {"probability": 0.8, "factor": (0.6, 1.5)},
    "gamma": {"probability": 0.3},
}
"""How two views of one case differ where the recipe does not say: a magnified part of it, with
other brightness, contrast and sharpness."""


class PretrainingSettings(Settings):
    """The keys of every stage without labels.

    Attributes:
        steps: optimiser steps of the stage.
        batch: cases in a batch; None takes ``learner.batch``.
        rate: peak learning rate.
        weight_decay: of weights.
        warmup: share of the steps over which the rate rises.
        augment: how views are changed: a preset's name or the keys of ``augment``; None takes the
            strategy's own.
    """

    steps: int = Field(300, gt=0)
    batch: int | None = Field(None, gt=1)
    rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    augment: Augmentation | None = None

    @field_validator("augment", mode="before")
    @classmethod
    def _a_preset(cls, said: Any) -> Any:
        return {"preset": said} if isinstance(said, str) else said


class Pretraining(Strategy):
    """A stage before the training, of images alone, whose weights the training starts from."""

    role: ClassVar[Role] = "pretraining"

    settings: PretrainingSettings

    def faults(self, recipe: Any, task: Task) -> list[str]:
        """A task that reads no image has nothing to learn from."""
        if task.images and {spec.name for spec in task.inputs()} & set(task.images):
            return []
        return [f"learns from images, and the task '{task.name}' as set reads none"]

    def learner(self, context: Context) -> Learner:
        """How the stage is optimised: as the recipe says, but for the keys of the stage."""
        said = self.settings
        return context.learner.model_copy(
            update={
                "steps": said.steps, "batch": said.batch or context.learner.batch,
                "rate": said.rate, "weight_decay": said.weight_decay, "optimiser": "adamw",
                "warmup": round(said.warmup * said.steps), "schedule": "cosine",
                "layer_decay": 1.0, "ema": 0.0, "patience": None, "graph": False,
            }
        )  # fmt: skip

    def changes(self) -> Augmentation:
        """How views differ."""
        return self.settings.augment or Augmentation.model_validate(VIEWS)


def pool(context: Context) -> list[Sample]:
    """All cases that teach, with a label or without, as if none had one; always in one order."""
    every = [*context.teach, *context.unlabelled]
    return sorted((without_truth(one) for one in every), key=lambda one: (one.id, one.patient))


def images_in(inputs: Mapping[str, Tensor], task: Task) -> list[str]:
    """The names of the inputs that are images.

    Raises:
        RecipeError: there is none.
    """
    names = [name for name in task.images if name in inputs]
    if not names:
        raise RecipeError(f"the task '{task.name}' as set reads no image to learn from")
    return names


def view(
    inputs: Mapping[str, Tensor], task: Task, changes: Augmentation, *, seed: int
) -> dict[str, Tensor]:
    """The inputs with their images changed at random, those of one case alike."""
    names = images_in(inputs, task)
    generator = torch.Generator().manual_seed(seed)
    if task.apart:
        return {**inputs, **changed_apart(inputs, names, changes, generator)}
    together = torch.cat([inputs[name] for name in names], dim=1)
    drawn = draw_changes(len(together), together.shape[2:], changes, generator)
    together, _ = drawn.apply(together)
    parts = torch.split(together, [inputs[name].shape[1] for name in names], dim=1)
    return {**inputs, **dict(zip(names, parts, strict=True))}


def joined(views: Sequence[Mapping[str, Tensor]], names: Sequence[str]) -> list[Tensor]:
    """Inputs of several views behind each other in one batch, in the order of the network."""
    return [torch.cat([one[name] for one in views]) for name in names]


def image_network(net: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[nn.Module, list[str]]:
    """The network that reads the images, and the names of its inputs in order.

    It is the whole one, but for the network of a table beside it, which has its own answer.
    """
    if isinstance(net, Joined):
        return net.parts[IMAGE], [IMAGE]
    return net, list(inputs)


def first_inputs(context: Context, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """The inputs of one small batch, on the processor."""
    arrays = context.batches(samples, batch=2)(0)[0]
    return tensors(arrays, torch.device("cpu"))


def representation(net: nn.Module, inputs: Sequence[Tensor]) -> str:
    """The layer whose input stands for a case: the head, or what reads the deepest map.

    Networks that answer a case read features in their head. Those that answer every voxel read
    full maps there, which know little of the whole; in them it is the last convolution that reads
    the coarsest map of more than one voxel: what lies at the bottom of a U-Net.
    """
    head = output_layer(net, inputs)
    if not isinstance(net.get_submodule(head), _ConvNd):
        return head
    sizes: dict[str, int] = {}
    handles = [
        module.register_forward_pre_hook(_sizing(sizes, name))
        for name, module in net.named_modules() if isinstance(module, _ConvNd)
    ]  # fmt: skip
    try:
        output_layer(net, inputs)
    finally:
        for handle in handles:
            handle.remove()
    if sizes.get(head, 1) == 1:
        return head
    least = min(size for size in sizes.values() if size > 1)
    return [name for name, size in sizes.items() if size == least][-1]


def _sizing(sizes: dict[str, int], name: str) -> Callable[..., None]:
    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        del module
        sizes.pop(name, None)  # the last time counts
        sizes[name] = int(np.prod(args[0].shape[2:]))

    return look


class _EnoughError(Exception):
    """The layer was reached."""


def represent(net: nn.Module, inputs: Sequence[Tensor], layer: str) -> Tensor:
    """Features ``(B, C)`` before a layer; nothing after it is computed."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        del module
        seen.append(args[0])
        raise _EnoughError

    handle = net.get_submodule(layer).register_forward_pre_hook(keep)
    try:
        net(*inputs)
    except _EnoughError:
        pass
    finally:
        handle.remove()
    return pooled(seen[-1], net.get_submodule(layer))


def perceptron(width: int, hidden: int, out: int, *, norm: bool = True) -> nn.Sequential:
    """Two linear layers; between them batch normalisation, if wanted, and ReLU."""
    between = [nn.BatchNorm1d(hidden)] if norm else []
    return nn.Sequential(
        nn.Linear(width, hidden, bias=not norm), *between, nn.ReLU(), nn.Linear(hidden, out)
    )


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """No lower precision, in which differences of similarities would be lost."""
    with torch.autocast(device.type, enabled=False):
        yield


def keep_weights(net: nn.Module, context: Context, name: str, *, head: str) -> None:
    """Write the weights without the output layer as ``NAME.safetensors`` into the run's folder.

    ``network.checkpoint`` with ``partial: true`` takes the file. A network that is put together
    from several is not written, since no one network could take it.

    Args:
        net: pretrained.
        context: of the run.
        name: of the strategy.
        head: the output layer's name.
    """
    if not isinstance(getattr(net, "card", None), Card) or not is_first():
        return
    from safetensors.torch import save_file

    tensors = {
        key: value.detach().cpu().clone().contiguous()
        for key, value in net.state_dict().items() if not key.startswith(f"{head}.")
    }  # fmt: skip
    context.folder.mkdir(parents=True, exist_ok=True)
    path = context.folder / f"{name}.safetensors"
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"format": "pt", "osler": json.dumps(described(net))})
    os.replace(part, path)
    context.record["weights"] = path.name
