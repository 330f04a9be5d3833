"""Ask a network of prepared pictures; arrays in, arrays out."""

from collections.abc import Sequence
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


def _batch(net: nn.Module, pictures: Sequence[Array]) -> Tensor:
    near = next(net.parameters())
    return torch.from_numpy(np.stack(pictures)).to(near.device, near.dtype)


def _array(values: Tensor) -> Array:
    return values.float().cpu().numpy()
