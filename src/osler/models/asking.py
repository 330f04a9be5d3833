"""Ask a network of prepared pictures; arrays in, arrays out."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.trying import first_tensor

Array = NDArray[np.float32]


def place(net: nn.Module, device: str | None = None) -> nn.Module:
    """Move a network to a device; None takes a GPU where there is one.

    Raises:
        RecipeError: there is no such device.
    """
    try:
        return net.to(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(f"the device '{device}' cannot be used: {error}") from error


def precision(net: nn.Module, name: str) -> AbstractContextManager[Any]:
    """The numbers that matrix products are taken in: ``float32``, or ``bfloat16`` (half the size).

    Raises:
        RecipeError: there is no such precision.
    """
    if name not in ("float32", "bfloat16"):
        raise RecipeError(f"the precision is float32 or bfloat16, not '{name}'")
    if name == "float32":
        return nullcontext()
    return torch.autocast(next(net.parameters()).device.type, torch.bfloat16)


def features(net: Any, pictures: Sequence[Array]) -> Array:
    """What a network saw, ``(B, D)``, of prepared pictures ``(C, h, w)`` of one size."""
    with torch.inference_mode():
        return _array(net.features(_batch(net, pictures)).flatten(1))


def scores(net: nn.Module, pictures: Sequence[Array]) -> Array:
    """Probabilities ``(B, K)`` that sum to 1."""
    with torch.inference_mode():
        return _array(first_tensor(net(_batch(net, pictures))).float().softmax(dim=1))


def chances(
    net: nn.Module, pictures: Sequence[Array], sizes: Sequence[tuple[int, int]]
) -> list[Array]:
    """Probability of each class in each pixel, ``(K, H, W)``, brought to each picture's size.

    One class has a chance of its own; of several each pixel has one.
    """
    with torch.inference_mode():
        said = first_tensor(net(_batch(net, pictures))).float()
        out = []
        for one, size in zip(said, sizes, strict=True):
            home = functional.interpolate(one[None], size=size, mode="bilinear")[0]
            out.append(_array(home.sigmoid() if len(home) == 1 else home.softmax(dim=0)))
    return out


def told(net: Any, given: Mapping[str, NDArray[Any]], *, features: bool = False) -> list[Array]:
    """What a network says of the arrays of a task, in the task's order, each ``(B, ...)``.

    A signal comes as ``signal``, ``leads`` and ``length``, a table as ``table`` and ``known``
    (`osler.tasks.case_input`); any other arrays are given in their order.

    Args:
        net: the network.
        given: the arrays by name.
        features: what it saw, ``(B, D)``, instead of its answer.
    """
    near = next(net.parameters())
    there = {name: torch.from_numpy(one).to(near.device) for name, one in given.items()}
    asked = net.features if features else net
    with torch.inference_mode():
        if "signal" in there:
            length = there["length"][:, 0].long()
            said = asked(there["signal"], present=there["leads"] > 0.5, length=length)
        elif "table" in there:
            said = asked(numbers=there["table"], present=there["known"] > 0.5)
        else:
            said = asked(*(one.to(near.dtype) for one in there.values()))
    parts = said if isinstance(said, list | tuple) else [said]
    return [_array(one) for one in parts]


def _batch(net: nn.Module, pictures: Sequence[Array]) -> Tensor:
    near = next(net.parameters())
    return torch.from_numpy(np.stack(pictures)).to(near.device, near.dtype)


def _array(values: Tensor) -> Array:
    return values.float().cpu().numpy()
