"""Read the weights of any published checkpoint without running anything that is in it."""

import argparse
import json
import pickle
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from osler.errors import InputError, UnreadableError, UnsupportedError
from osler.models.checkpoints.refusing import named_globals, told
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

FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""What weights in a folder of Hugging Face are called, in the order in which they are sought."""

CONFIGS = ("config.json", "open_clip_config.json")
"""What says how the network of such a folder is built."""

_TORCH = ("torch._utils.", "torch.FloatStorage", "collections.OrderedDict")

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
    if head[:2] == b"PK" or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"):
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
        raise UnreadableError(f"the checkpoint '{path}' {told(path)}") from error


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
        with torch.serialization.safe_globals(list(_HARMLESS)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch did not write
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
        why = told(path)
        cut = "is damaged: it cannot be read to its end"
        raise UnreadableError(
            f"the checkpoint '{path}' {cut if why.startswith('is neither') else why}"
        ) from error


def _refused(path: Path) -> list[str]:
    """Names of the classes and functions in a pickle that are not harmless; nothing is run."""
    known = {f"{one.__module__}.{one.__qualname__}" for one in _HARMLESS if isinstance(one, type)}
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError, KeyError):
        # no file of torch, but a pickle all the same
        found = [name for name in named_globals(path) if not name.startswith(_TORCH)]
    return sorted(name for name in found if name not in known and "numpy" not in name)


def _unwrapped(path: Path, content: Any) -> Stored:
    if not isinstance(content, Mapping):
        raise UnreadableError(
            f"the checkpoint '{path}' holds a {type(content).__name__}, no weights"
        )
    wrapper, content = _found(path, content)
    tensors = dict(content if wrapper is None else content[wrapper])
    tensors = {str(k): v for k, v in tensors.items() if isinstance(v, Tensor)}
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


def _found(path: Path, content: Mapping[Any, Any]) -> tuple[str | None, Mapping[Any, Any]]:
    """Under which name the weights lie, and in what: None where they lie open.

    Raises:
        UnreadableError: there are none, or several groups of which none is known.
    """
    inner = content
    for _ in range(4):
        for name in WRAPPERS:
            if _is_weights(inner.get(name)):
                return name, inner
        if _is_weights(inner):
            return None, inner
        groups = [k for k, v in inner.items() if _is_weights(v) and not str(k).startswith("optim")]
        if len(groups) == 1:
            return groups[0], inner
        if groups:
            raise UnreadableError(
                f"the checkpoint '{path}' holds several groups of weights "
                f"({', '.join(map(str, groups[:8]))}), and which is meant cannot be told; save the "
                "one that is, under 'model'"
            )
        # wrapped twice: in one of the known names, or in the only mapping there is
        deeper = [inner[k] for k in WRAPPERS if isinstance(inner.get(k), Mapping)] or [
            v for k, v in inner.items() if isinstance(v, Mapping) and not str(k).startswith("optim")
        ]
        if len(deeper) != 1:
            break
        inner = deeper[0]
    raise UnreadableError(f"the checkpoint '{path}' holds no weights")


def _is_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(one, Tensor) for one in value.values())


def bared(stored: Stored) -> Iterator[Stored]:
    """A checkpoint without the first part of its names, and the second, while all share it."""
    while True:
        first = {name.partition(".")[0] for name in stored.tensors}
        start = next(iter(first)) + "." if len(first) == 1 else ""
        if not start or not all(name.startswith(start) for name in stored.tensors):
            return
        tensors, taken = strip(stored.tensors, (start, *PREFIXES))
        stored = replace(stored, tensors=tensors, stripped=stored.stripped + taken)
        yield stored


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
    facts: dict[str, Any] = {}
    for config in (path / name for name in CONFIGS):
        if not config.is_file():
            continue
        text = _text(config)
        said = _json(config, text)
        facts.setdefault("config", said)
        if "osler_network" in said:
            facts["osler"] = _kept(config, text)
    for kind in FILES:
        index = path / f"{kind}.index.json"
        if index.is_file():
            tensors = _shards(path, index)
        elif (path / kind).is_file():
            tensors = read_checkpoint(path / kind).tensors
        else:
            continue
        tensors, stripped = strip(tensors)
        return Stored(path, tensors, None, stripped, facts=facts)
    raise UnreadableError(f"the folder '{path}' holds neither {' nor '.join(FILES)}")


def _shards(path: Path, index: Path) -> dict[str, Tensor]:
    """The tensors of a network whose weights lie in several files."""
    places = _json(index, _text(index)).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(one, str) for one in places.values()):
        raise UnreadableError(f"'{index}' does not say which file holds which weights")
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard:
            raise UnsupportedError(f"'{index}' names '{shard}', which is outside its folder")
        if not (path / shard).is_file():
            count = sum(one == shard for one in places.values())
            raise InputError(
                f"the checkpoint '{path}' is not whole: '{shard}', which holds {count} of its "
                f"{len(places)} tensors, is absent"
            )
        tensors |= read_checkpoint(path / shard).tensors
    absent = [name for name in places if name not in tensors]
    if absent:
        raise UnreadableError(
            f"the checkpoint '{path}' is not whole: '{absent[0]}' is not in "
            f"'{places[absent[0]]}', where '{index.name}' says it is"
            + (f", nor are {len(absent) - 1} more" if len(absent) > 1 else "")
        )
    return tensors


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"'{path}' cannot be read as text") from error


def _json(path: Path, text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"'{path}' is no JSON") from error
    if not isinstance(said, dict):
        raise UnreadableError(f"'{path}' holds no names and values")
    return said
