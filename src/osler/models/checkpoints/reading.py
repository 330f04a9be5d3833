"""Read the weights of any published checkpoint without running anything that is in it."""

import argparse
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from osler.errors import InputError, UnreadableError, UnsupportedError
from osler.models.checkpoints.torchscript import is_torchscript, torchscript_tensors

WRAPPERS = (
    "best",
    "model",
    "teacher",
    "state_dict",
    "visionfm_state_dict",
    "model_state_dict",
    "network_weights",
)
"""Names under which the weights lie in a checkpoint, in the order in which they are looked for."""

PREFIXES = ("module.", "_orig_mod.")
"""What parallel and compiled training put before every name."""

_HARMLESS: tuple[Any, ...] = (
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "u1", "?")),
)
"""Classes beside torch's own that hold numbers and names and cannot run anything."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint holds.

    Attributes:
        path: the file or folder.
        tensors: the network's weights by name, on the CPU.
        wrapper: the name they lay under; None where they lay open.
        stripped: what was taken off before every name.
        others: further groups of weights, such as a classifier kept beside its encoder.
        facts: what else is plain in it, such as the epoch; never an optimiser's state.
    """

    path: Path
    tensors: dict[str, Tensor]
    wrapper: str | None = None
    stripped: str = ""
    others: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each of ``tensors``."""
        return {name: tuple(value.shape) for name, value in self.tensors.items()}


def read_checkpoint(path: str | Path) -> Stored:
    """Read ``.pth``, ``.pt``, ``.bin``, ``.safetensors``, ``.npz``, or a Hugging Face folder.

    Pickles are read by torch's weights-only unpickler. Beside tensors they may hold
    ``argparse.Namespace`` and numpy scalars; anything else is refused by name and never called.
    Of a TorchScript archive the weights are read, and the program in it is not run.

    Raises:
        InputError: there is no such file.
        UnreadableError: the file is damaged, or holds no weights.
        UnsupportedError: it holds something that would have to be run.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise InputError(f"the checkpoint '{path}' does not exist")
    with path.open("rb") as stream:
        head = stream.read(8)
    if head[:2] == b"PK" and path.suffix == ".npz":
        return Stored(path, _arrays(path))
    if head[:2] == b"PK" and is_torchscript(path):
        tensors, stripped = strip(torchscript_tensors(path))
        return Stored(path, tensors, None, stripped)
    if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04"):
        return _unwrapped(path, _unpickled(path))
    tensors, about = _safe(path)
    return _unwrapped_safe(path, tensors, about)


def _safe(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            return tensors, stored.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UnreadableError(
            f"the checkpoint '{path}' is neither a file of torch nor of safetensors, or is damaged"
        ) from error


def _unwrapped_safe(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> Stored:
    facts: dict[str, Any] = {}
    if "osler" in about:
        facts["osler"] = _kept(path, about["osler"])
    tensors, stripped = strip(tensors)
    return Stored(path, tensors, None, stripped, facts=facts)


def _kept(path: Path, text: str) -> dict[str, Any]:
    """What Osler wrote of a network beside its weights."""
    try:
        said = json.loads(text)
        return {
            "osler_network": str(said["osler_network"]),
            "osler_options": dict(said["osler_options"]),
        }
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableError(f"what '{path}' says of its network is damaged") from error


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: torch.from_numpy(stored[name]) for name in stored.files}
    except (ValueError, OSError, EOFError, TypeError) as error:
        raise UnreadableError(f"the checkpoint '{path}' is damaged or holds no arrays") from error


def _unpickled(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(list(_HARMLESS)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = _refused(path)
        if names:
            raise UnsupportedError(
                f"the checkpoint '{path}' is refused: to read it, {', '.join(names)} would have to "
                "be run. Ask its author for the weights alone (a state dict or safetensors)"
            ) from error
        raise UnreadableError(f"the checkpoint '{path}' is damaged") from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError) as error:
        raise UnreadableError(
            f"the checkpoint '{path}' is damaged: it cannot be read to its end"
        ) from error


def _refused(path: Path) -> list[str]:
    """Names of the classes and functions in a pickle that are not harmless; nothing is run."""
    known = {f"{one.__module__}.{one.__qualname__}" for one in _HARMLESS if isinstance(one, type)}
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError, KeyError):
        return []
    return sorted(name for name in found if name not in known and "numpy" not in name)


def _unwrapped(path: Path, content: Any) -> Stored:
    if not isinstance(content, Mapping):
        raise UnreadableError(
            f"the checkpoint '{path}' holds a {type(content).__name__}, no weights"
        )
    wrapper = next((name for name in WRAPPERS if _is_weights(content.get(name))), None)
    tensors = dict(content if wrapper is None else content[wrapper])
    tensors = {str(k): v for k, v in tensors.items() if isinstance(v, Tensor)}
    if not tensors:
        raise UnreadableError(f"the checkpoint '{path}' holds no weights")
    others: dict[str, dict[str, Tensor]] = {}
    facts: dict[str, Any] = {}
    if wrapper is not None:
        for name, value in content.items():
            if name == wrapper or name.startswith("optim"):
                continue
            if _is_weights(value):
                others[name] = strip(
                    {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
                )[0]
            elif isinstance(value, argparse.Namespace):
                facts[name] = vars(value)
            elif isinstance(value, int | float | str):
                facts[name] = value
    tensors, stripped = strip(tensors)
    return Stored(path, tensors, wrapper, stripped, others, facts)


def _is_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(one, Tensor) for one in value.values())


def strip(
    tensors: Mapping[str, Tensor], prefixes: tuple[str, ...] = PREFIXES
) -> tuple[dict[str, Tensor], str]:
    """Take off prefixes that all names share, again and again.

    Returns:
        the tensors under their shorter names, and what was taken off.
    """
    names, taken = dict(tensors), ""
    while True:
        common = next((p for p in prefixes if all(name.startswith(p) for name in names)), None)
        if common is None:
            return names, taken
        names = {name.removeprefix(common): value for name, value in names.items()}
        taken += common


def _folder(path: Path) -> Stored:
    """A folder in the layout of Hugging Face, its weights in one file or in several."""
    config = path / "config.json"
    facts: dict[str, Any] = {}
    if config.is_file():
        text = config.read_text("utf-8")
        try:
            facts["config"] = json.loads(text)
        except ValueError as error:
            raise UnreadableError(f"'{config}' is no JSON") from error
        if "osler_network" in facts["config"]:
            facts["osler"] = _kept(config, text)
    for kind in ("model.safetensors", "pytorch_model.bin"):
        index = path / f"{kind}.index.json"
        if index.is_file():
            shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        elif (path / kind).is_file():
            shards = [kind]
        else:
            continue
        tensors: dict[str, Tensor] = {}
        for shard in shards:
            if Path(shard).name != shard:
                raise UnsupportedError(f"'{index}' names '{shard}', which is outside its folder")
            tensors |= read_checkpoint(path / shard).tensors
        tensors, stripped = strip(tensors)
        return Stored(path, tensors, None, stripped, facts=facts)
    raise UnreadableError(
        f"the folder '{path}' holds neither model.safetensors nor pytorch_model.bin"
    )
