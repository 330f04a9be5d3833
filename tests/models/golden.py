"""Numerical vectors made by running the official code of each system on small configurations.

Sizes are read from each set's card, so that ``OSLER_GOLDEN=FOLDER pytest tests/models`` judges by
sets of other sizes, too.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


def golden_folder() -> Path:
    """Where the vectors lie: ``$OSLER_GOLDEN``, or ``golden`` beside the data folder."""
    named = os.environ.get("OSLER_GOLDEN")
    if named:
        return Path(named)
    data = os.environ.get("OSLER_DATA")
    shared = Path(data).parent if data else Path(__file__).parents[3] / "shared"
    return shared / "golden"


class Golden:
    """One system's vectors.

    Attributes:
        folder: with the checkpoints.
        card: configuration, tolerance and notes.
        inputs, outputs: arrays by name, as tensors.
        options: what ``create`` must be told of this configuration, since no shape tells it.
    """

    def __init__(self, name: str) -> None:
        self.folder = golden_folder() / name
        if not self.folder.is_dir():
            pytest.skip(f"no golden vectors at {self.folder}")
        self.card = json.loads((self.folder / "card.json").read_text())
        self.inputs = _arrays(self.folder / "inputs.npz")
        self.outputs = _arrays(self.folder / "outputs.npz")
        self.config = self.card.get("config", {})
        self.options = {
            option: value
            for option, places in _OPTIONS.get(name, {}).items()
            if (value := _at(self.config, places)) is not None
        }

    def agrees(self, said: torch.Tensor, name: str, *, atol: float | None = None) -> None:
        """Assert that a tensor is the named output, to the tolerance of the card."""
        limits = self.card["tolerance"]
        want = self.outputs[name]
        assert tuple(said.shape) == tuple(want.shape), (name, said.shape, want.shape)
        np.testing.assert_allclose(
            said.detach().numpy(), want.numpy(), rtol=limits.get("rtol", 1e-4),
            atol=atol or limits.get("atol", 1e-5), err_msg=name,
        )  # fmt: skip


_TEXT = {"text_heads": "bert.heads"}
_OPTIONS: dict[str, dict[str, str]] = {
    "retfound": {"image_size": "model_img_size", "num_heads": "num_heads"},
    "retfound_dinov2": {"image_size": "img_size", "num_heads": "num_heads"},
    "flair": _TEXT,
    "keepfit": {**_TEXT, "attention_heads": "attention.num_heads"},
    "retizero": {**_TEXT, "num_heads": "vit.num_heads"},
    "visionfm": {"num_heads": "num_heads"},
    "deepdr": {"num_heads": "num_heads"},
    "eyefm": {"num_heads": "num_heads"},
    "sam": {"decoder_heads": "decoder.num_heads"},
    "medsegx": {"image_size": "encoder.img_size", "decoder_heads": "decoder.num_heads"},
    "medclip": {**_TEXT, "image_size": "swin.image_size"},
    "transunet": {"num_heads": "num_heads"},
    "mmformer": {"num_heads": "num_heads"},
}
"""Options of ``create`` by set, and where the card's configuration says them."""


def _at(config: dict[str, Any], place: str) -> Any:
    found: Any = config
    for part in place.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _arrays(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        return {
            k: torch.from_numpy(
                np.atleast_1d(stored[k]) if stored[k].dtype.kind != "U" else np.zeros(0)
            )
            for k in stored.files
        }
