"""The weights in a TorchScript archive, read without running the program that is in it.

OpenAI's CLIP and many other networks were published like this. The archive is a zip with the
program (``code/``), a pickle of its modules (``data.pkl``) and the numbers (``data/0`` and so on).
Only the last two are read, and of the pickle only modules, tensors and plain values.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from osler.errors import UnreadableError, UnsupportedError

_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(path: Path) -> bool:
    """Whether a zip is a TorchScript archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return any(name.endswith("/constants.pkl") for name in names) and any(
        "/code/" in name for name in names
    )


def torchscript_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of all modules, by the names of a state dict.

    Raises:
        UnreadableError: the archive is damaged.
        UnsupportedError: its pickle holds something else than modules, tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            start = next(
                name.removesuffix("data.pkl")
                for name in archive.namelist()
                if name.endswith("/data.pkl")
            )
            with archive.open(f"{start}data.pkl") as stream:
                top = _Modules(stream, archive, f"{start}data/").load()
    except UnsupportedError as error:
        raise UnsupportedError(f"the checkpoint '{path}' is refused: {error}") from error
    except (
        zipfile.BadZipFile, StopIteration, pickle.UnpicklingError, OSError, EOFError, KeyError,
        ValueError, TypeError, AttributeError, IndexError, RuntimeError, MemoryError,
    ) as error:  # fmt: skip
        raise UnreadableError(
            f"the checkpoint '{path}' is damaged: it cannot be read to its end"
        ) from error
    out: dict[str, Tensor] = {}
    _collect(top, "", out, set())
    return out


class _Module:
    """A module of the program: its attributes, and nothing that could be called."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.held = state if isinstance(state, dict) else {}


class _Modules(pickle.Unpickler):
    """Makes modules, tensors and plain values, and refuses every other name."""

    def __init__(self, stream: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(stream)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return _tensor if name == "_rebuild_tensor_v2" else _parameter
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        if module == "torch.jit._pickle" and (
            name.startswith("build_") or name == "restore_type_tag"
        ):
            return _first
        raise UnsupportedError(f"to read it, {module}.{name} would have to be run")

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, _, count = pid
        entry = self._archive.getinfo(f"{self._folder}{key}")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise UnsupportedError("its numbers are compressed")
        held = bytearray(self._archive.read(entry))
        if len(held) < count * kind.itemsize:
            raise ValueError("fewer numbers than stated")
        return torch.frombuffer(held, dtype=kind) if held else torch.empty(0, dtype=kind)


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    if math.prod(size) > storage.numel():
        raise ValueError("a tensor of more numbers than its storage")
    return storage.as_strided(tuple(size), tuple(stride), offset).clone()


def _parameter(value: Tensor, *_: Any) -> Tensor:
    return value


def _first(value: Any, *_: Any) -> Any:
    return value


def _collect(module: Any, start: str, out: dict[str, Tensor], above: set[int]) -> None:
    if not isinstance(module, _Module) or id(module) in above:
        return
    for name, value in module.held.items():
        if isinstance(value, Tensor):
            out[f"{start}{name}"] = value
        else:
            _collect(value, f"{start}{name}.", out, above | {id(module)})
