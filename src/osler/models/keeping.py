"""Networks that leave again: as a folder in Hugging Face's layout, a MONAI bundle, or ONNX.

A folder from ``keep`` comes back by ``create(NAME, checkpoint=FOLDER)``: it says what it is.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from osler.errors import OutputError, UnsupportedError
from osler.models.card import Card
from osler.models.catalogue import find
from osler.models.timm_folder import for_timm
from osler.models.trying import example, export, first_tensor
from osler.models.zero_shot import ImageText

_SPOKEN = (
    "tokenizer*.json", "tokenizer.model", "vocab.*", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "processor_config.json", "preprocessor_config.json", "chat_template.*",
    "generation_config.json", "qformer_tokenizer/*",
)  # fmt: skip
"""Files with which a network that writes is spoken to; none of them is run."""

MOST_DIFFERENT = 1e-3
"""Difference of a graph to its network, of outputs scaled to 1, above which none is written."""


def keep(net: nn.Module, out: str | Path, *, kind: str = "huggingface") -> Path:
    """Write a network that ``create`` built into a new folder, all of it or nothing.

    Args:
        net: from ``create``.
        out: the folder, which must not exist.
        kind: ``huggingface`` (``config.json``, ``model.safetensors`` and, where the card has one,
            ``preprocessor_config.json``), ``safetensors`` (the weights with their name and options
            in the header), ``monai`` (a MONAI bundle) or ``onnx``.

    Returns:
        the folder.

    Raises:
        OutputError: the folder exists or cannot be written.
        UnsupportedError: the kind is none of these, the card promises no ONNX, or the graph says
            something else than the network.
    """
    if kind not in KINDS:
        raise UnsupportedError(f"'{kind}' is no format; there are: {', '.join(KINDS)}")
    out = Path(out)
    if out.exists():
        raise OutputError(f"'{out}' exists already; name a new folder")
    with _new_folder(out) as folder:
        KINDS[kind](net, folder)
        if isinstance(net, ImageText):
            _tokenizer(net, folder)
    return out


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that appears under its name only when all of it is written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise OutputError(f"'{out}' cannot be made ({error.strerror})") from error
    try:
        yield part
        part.chmod(0o755)
        part.rename(out)
    except OSError as error:
        raise OutputError(f"'{out}' cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def described(net: nn.Module) -> dict[str, Any]:
    """What a reader must know to build the network again, and whose it is."""
    card, options = _known(net)
    return {
        "model_type": "osler",
        "osler_network": card.name,
        "osler_options": options,
        "title": card.title,
        "weights_licence": card.weights_licence,
        "source": card.source,
        "paper": card.paper.link if card.paper else None,
    }


def _known(net: nn.Module) -> tuple[Card, dict[str, Any]]:
    card, options = getattr(net, "card", None), getattr(net, "options", None)
    if not isinstance(card, Card) or not isinstance(options, dict):
        raise UnsupportedError("only networks that osler.models.create built can be kept")
    return card, options


def _tensors(net: nn.Module) -> dict[str, torch.Tensor]:
    """The weights, each with memory of its own, as safetensors asks."""
    return {name: value.detach().clone().contiguous() for name, value in net.state_dict().items()}


def _huggingface(net: nn.Module, folder: Path) -> None:
    from safetensors.torch import save_file

    card, options = _known(net)
    if card.group == "generative language" and _of_transformers(net, folder):
        return
    save_file(_tensors(net), folder / "model.safetensors", metadata={"format": "pt"})
    _write(folder / "config.json", {**described(net), **for_timm(net, card, options)})
    if card.preprocessing is not None:
        said = card.preprocessing.model_dump(mode="json", exclude_none=True)
        _write(folder / "preprocessor_config.json", {"osler_preprocessing": said})


def _of_transformers(net: nn.Module, folder: Path) -> bool:
    """Write a network of transformers as that library does, so that it reads it again.

    Its tokenizer and what prepares pictures come from the folder that it was opened from.
    """
    from transformers import PreTrainedModel

    adapted = any("lora_" in name or "adapter" in name for name, _ in net.named_parameters())
    if not isinstance(net, PreTrainedModel) or adapted:
        return False
    net.save_pretrained(folder)
    source = Path(str(getattr(getattr(net, "report", None), "source", "")))
    for name in _SPOKEN if source.is_dir() else ():
        for file in source.glob(name):
            target = folder / file.relative_to(source)
            if file.is_file() and not target.exists():
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, target)
    speaker = getattr(import_module(find(_known(net)[0].name).module), "speak", None)
    if speaker is not None and source.is_dir():
        speaker(net, source, folder)
    return True


def _tokenizer(net: ImageText, folder: Path) -> None:
    """The tokenizer goes with the network, where one is at hand."""
    for file in net.tokenizer_files():
        (folder / "tokenizer").mkdir(exist_ok=True)
        shutil.copyfile(file, folder / "tokenizer" / file.name)


def _safetensors(net: nn.Module, folder: Path) -> None:
    from safetensors.torch import save_file

    about = {"format": "pt", "osler": json.dumps(described(net))}
    save_file(_tensors(net), folder / "model.safetensors", metadata=about)


def _monai(net: nn.Module, folder: Path) -> None:
    import monai

    card, options = _known(net)
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    (folder / "docs").mkdir()
    torch.save(_tensors(net), folder / "models/model.pt")
    _write(
        folder / "configs/metadata.json",
        {
            "version": "1.0.0",
            "changelog": {"1.0.0": "written by Osler"},
            "monai_version": monai.__version__,
            "pytorch_version": torch.__version__.split("+")[0],
            "numpy_version": np.__version__,
            "required_packages_version": {"osler": "0.1.0"},
            "task": ", ".join(card.answers),
            "description": card.summary,
            "authors": card.paper.title if card.paper else card.title,
            "copyright": card.weights_licence or card.code_licence,
            "network_data_format": {
                "inputs": {
                    one.name: {"type": one.kind, "format": one.shape} for one in card.inputs
                },
                "outputs": {"pred": {"format": card.gives}},
            },
        },
    )
    _write(
        folder / "configs/inference.json",
        {
            "imports": ["$import osler.models"],
            "bundle_root": ".",
            "network_def": {
                "_target_": "osler.models.create",
                "name": card.name,
                "weights": "random",
                **options,
            },
            "checkpoint": "$@bundle_root + '/models/model.pt'",
        },
    )
    (folder / "docs/README.md").write_text(f"# {card.title}\n\n{card.summary}\n", "utf-8")


def _onnx(net: nn.Module, folder: Path) -> None:
    import onnxruntime  # type: ignore[import-untyped]

    card, options = _known(net)
    if not card.exportable:
        raise UnsupportedError(
            f"the card of '{card.name}' promises no ONNX"
            + "".join(f"; {n}" for n in card.notes[:1])
        )
    inputs = example(card.name, batch=1, options=options)
    path = folder / "model.onnx"
    path.write_bytes(export(net, inputs))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    fed = {one.name: inputs[one.name].numpy() for one in session.get_inputs()}
    said = session.run(None, fed)[0]
    with torch.inference_mode():
        true = first_tensor(net(**inputs)).numpy()
    apart = float(np.abs(said - true).max() / max(float(np.abs(true).max()), 1e-6))
    if not apart <= MOST_DIFFERENT:
        raise UnsupportedError(
            f"the ONNX graph of '{card.name}' differs from the network by {apart:.2g}; none is "
            "written"
        )
    _write(folder / "config.json", {**described(net), "largest_difference": apart})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


KINDS: dict[str, Callable[[nn.Module, Path], None]] = {
    "huggingface": _huggingface,
    "safetensors": _safetensors,
    "monai": _monai,
    "onnx": _onnx,
}
"""Formats that a network can leave in."""
