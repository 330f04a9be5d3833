"""Networks: torch modules that know no case and no file format."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from osler.errors import RecipeError
from osler.models.classifier import Classifier
from osler.models.unet import UNet

__all__ = ("NETWORKS", "create", "start_from")

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "classifier": Classifier,
    "unet": UNet,
}


def create(name: str, **options: Any) -> nn.Module:
    """Build a network at random weights.

    Args:
        name: a key of ``NETWORKS``.
        options: passed to it.

    Raises:
        RecipeError: no network has this name, or it does not take an option.
    """
    if name not in NETWORKS:
        raise RecipeError(f"no network is called '{name}'; there are: {', '.join(NETWORKS)}")
    try:
        return NETWORKS[name](**options)
    except TypeError as error:
        raise RecipeError(f"the network '{name}' does not take these options: {error}") from error


def start_from(net: nn.Module, path: Path) -> int:
    """Copy the weights of a checkpoint into ``net`` where name and shape agree.

    Returns:
        how many tensors were copied.

    Raises:
        RecipeError: the file is absent or no checkpoint, or fewer than half of the tensors agree.
    """
    if not path.is_file():
        raise RecipeError(f"the starting weights '{path}' do not exist; train them first")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise RecipeError(f"the starting weights '{path}' are damaged or no checkpoint") from error
    stored = stored.get("best", stored) if isinstance(stored, dict) else {}
    own = net.state_dict()
    same = {
        k: v
        for k, v in stored.items()
        if k in own and isinstance(v, torch.Tensor) and own[k].shape == v.shape
    }
    if len(same) < len(own) / 2:
        raise RecipeError(f"'{path}' fits only {len(same)} of {len(own)} tensors of the network")
    net.load_state_dict(same, strict=False)
    return len(same)
