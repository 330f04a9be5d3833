"""Networks: every system of the field behind one door. They know no case and no file format.

    net = osler.models.create("retfound-vit-large", checkpoint="RETFound_mae_natureCFP.pth")
    osler.models.list("*fundus*")       their cards: what they take and give, licences, paper
    osler.models.inspect("FILE.pth")    what a checkpoint is, without running anything in it
    osler.models.keep(net, "folder")    out again: Hugging Face folder, MONAI bundle, ONNX

Importing this package loads no torch: the list and the cards are data.
"""

import builtins
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osler.models.card import Card, System
from osler.models.catalogue import SYSTEMS, find, matching
from osler.models.creating import create, need_torch, recognise

if TYPE_CHECKING:
    from torch import nn

    from osler.models.checkpoints.inspecting import inspect
    from osler.models.keeping import keep

__all__ = (
    "SYSTEMS",
    "Card",
    "System",
    "create",
    "find",
    "inspect",
    "keep",
    "list",
    "recognise",
    "start_from",
)

_NEED_TORCH = {"inspect": "osler.models.checkpoints.inspecting", "keep": "osler.models.keeping"}


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        need_torch(f"use osler.models.{name}")
        return getattr(import_module(_NEED_TORCH[name]), name)
    raise AttributeError(f"module 'osler.models' has no attribute '{name}'")


def list(pattern: str = "*") -> builtins.list[Card]:
    """The cards of all networks, or of those that match a pattern.

    Args:
        pattern: of name, title, group, summary or task, with ``*`` and ``?``.
    """
    return [system.card for system in matching(pattern)]


def start_from(net: "nn.Module", path: Path) -> int:
    """Copy the weights of a checkpoint of Osler's own into ``net`` where name and shape agree.

    Returns:
        how many tensors were copied.

    Raises:
        RecipeError: the file is absent or no checkpoint, or fewer than half of the tensors agree.
    """
    from osler.errors import InputError, RecipeError
    from osler.models.checkpoints.reading import read_checkpoint

    if not path.is_file():
        raise RecipeError(f"the starting weights '{path}' do not exist; train them first")
    try:
        stored: dict[str, Any] = read_checkpoint(path).tensors
    except InputError as error:
        raise RecipeError(f"the starting weights '{path}' are damaged or no checkpoint") from error
    own = net.state_dict()
    same = {k: v for k, v in stored.items() if k in own and own[k].shape == v.shape}
    if len(same) < len(own) / 2:
        raise RecipeError(f"'{path}' fits only {len(same)} of {len(own)} tensors of the network")
    net.load_state_dict(same, strict=False)
    return len(same)
