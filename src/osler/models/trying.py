"""Small networks of every layout, and inputs that fit them: for tests, tutorials and counting."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.models.catalogue import find
from osler.models.creating import create
from osler.models.onnx_exporter import undisturbed

Inputs = dict[str, Any]


def tiny(name: str, **options: Any) -> nn.Module:
    """A small network of the same layout at random weights, in eval mode."""
    return create(name, weights="random", **{**find(name).card.tiny, **options})


def example(
    name: str,
    *,
    batch: int = 2,
    size: tuple[int, ...] | None = None,
    published: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Inputs:
    """Inputs by the names of ``forward``'s arguments.

    A module whose networks take more than one picture or volume says so by a function of its own,
    ``example(name, options, batch, size)``.

    Args:
        name: of the network.
        batch: number of samples.
        size: ``(H, W)`` of pictures, ``(D, H, W)`` of volumes; None takes what the network was
            built for.
        published: for the network as published instead of the small one.
        options: for a network that was built with these instead.
    """
    system = find(name)
    card = system.card
    if options is None:
        options = {**card.options, **({} if published else card.tiny)}
    if published and size is None:
        size = card.inputs[0].size
    own: Callable[..., Inputs] | None = getattr(import_module(system.module), "example", None)
    if own is not None:
        return own(name, options, batch, size)
    if [one.kind for one in card.inputs] not in (["image"], ["volume"]):
        raise RecipeError(f"write 'example' in {system.module}: '{name}' takes more than a picture")
    flat = card.inputs[0].kind == "image"
    side = options.get("image_size", 64 if flat else 32)
    channels = options.get("channels") or _channels(card.inputs[0].shape)
    generator = torch.Generator().manual_seed(0)
    return {
        card.inputs[0].name: torch.rand(
            batch, channels, *(size or (side,) * (2 if flat else 3)), generator=generator
        )
    }


def _channels(shape: str) -> int:
    part = shape.split(",")[1].strip()
    return int(part) if part.isdigit() else 3


def first_tensor(said: Any) -> Tensor:
    """The first tensor of whatever a network gives: a tensor, a tuple, a mapping or an object."""
    if isinstance(said, Tensor):
        return said
    values = said.values() if isinstance(said, Mapping) else said
    return first_tensor(next(iter(values)))


def export(net: nn.Module, inputs: Inputs) -> bytes:
    """An ONNX graph for inputs of these sizes, its inputs called as ``forward``'s arguments are."""
    with torch.inference_mode(), undisturbed():
        program = torch.onnx.export(
            net, kwargs=inputs, dynamo=True, input_names=list(inputs), verbose=False
        )
    assert program is not None
    return program.model_proto.SerializeToString()
