"""Numerical vectors made by running the official code of each system on small configurations."""

import json
import os
from pathlib import Path

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
    """

    def __init__(self, name: str) -> None:
        self.folder = golden_folder() / name
        if not self.folder.is_dir():
            pytest.skip(f"no golden vectors at {self.folder}")
        self.card = json.loads((self.folder / "card.json").read_text())
        self.inputs = _arrays(self.folder / "inputs.npz")
        self.outputs = _arrays(self.folder / "outputs.npz")

    def agrees(self, said: torch.Tensor, name: str, *, atol: float | None = None) -> None:
        """Assert that a tensor is the named output, to the tolerance of the card."""
        limits = self.card["tolerance"]
        want = self.outputs[name]
        assert tuple(said.shape) == tuple(want.shape), (name, said.shape, want.shape)
        np.testing.assert_allclose(
            said.detach().numpy(), want.numpy(), rtol=limits.get("rtol", 1e-4),
            atol=atol or limits.get("atol", 1e-5), err_msg=name,
        )  # fmt: skip


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
