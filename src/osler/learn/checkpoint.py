"""All that a run needs to go on as if nothing had happened, in one file."""

import math
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.precision import Precision

NAME = "checkpoint.pt"
BEFORE = "checkpoint.before.pt"  # of a run that a new one in the same folder replaces


@dataclass(slots=True)
class State:
    """Where a run stands.

    Attributes:
        step: steps taken.
        best: best validation score so far.
        stale: validations since then.
        seconds: time spent in training steps and validations, over all sittings.
    """

    step: int = 0
    best: float = -math.inf
    stale: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Training:
    """What changes while a network learns.

    Attributes:
        net: the network that learns.
        average: the running average of its weights.
        optimiser: with its moments.
        precision: with the scale of float16.
        state: where the run stands.
        best: the averaged weights that validation liked best.
        smooth: the running mean of the loss, as the log shows it.
        pending: a validation is due that was not finished.
    """

    net: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    precision: Precision
    state: State = field(default_factory=State)
    best: Mapping[str, Tensor] = field(default_factory=dict)
    smooth: float | None = None
    pending: bool = False

    def chosen(self) -> Mapping[str, Tensor]:
        """The best weights; the last ones where no validation has chosen any."""
        return self.best if self.state.best > -math.inf else self.average.state_dict()


def save(path: Path, training: Training) -> None:
    """Write a checkpoint: the whole of it or, whatever happens, nothing.

    It goes to a file beside the old one, to the disk, and then takes the old one's name.
    """
    state = training.state
    content = {
        "net": training.net.state_dict(),
        "average": training.average.state_dict(),
        "optimiser": training.optimiser.state_dict(),
        "best": dict(training.chosen()),
        "state": [state.step, state.best, state.stale, state.seconds],
        "scaler": training.precision.state(),
        "random": random_state(),
        "smooth": training.smooth,
        "pending": training.pending,
    }
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    if os.name == "posix":  # the new name, too, is on the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load(path: Path, training: Training) -> None:
    """Put a checkpoint's content into a training of the same make.

    Checkpoints of earlier releases, which hold less, are read too.

    Raises:
        RecipeError: the file is damaged, or belongs to another network or optimiser.
    """
    try:
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        step, best, stale, seconds = stored["state"]
        net, average, optimiser = stored["net"], stored["average"], stored["optimiser"]
        kept = dict(stored["best"])
    except Exception as error:  # whatever a damaged archive makes torch raise
        raise RecipeError(
            f"the checkpoint '{path}' is damaged; start anew without --resume"
        ) from error
    try:
        training.net.load_state_dict(net)
        training.average.load_state_dict(average)
    except RuntimeError as error:
        raise RecipeError(
            f"the checkpoint '{path}' belongs to another network; choose another output folder, "
            "or start anew without --resume"
        ) from error
    try:
        training.optimiser.load_state_dict(optimiser)
    except (ValueError, KeyError) as error:
        raise RecipeError(
            f"the checkpoint '{path}' was written with another learner.optimiser or "
            "learner.layer_decay; set them as they were, or start anew without --resume"
        ) from error
    state = training.state
    state.step, state.best, state.stale, state.seconds = int(step), best, int(stale), seconds
    device = next(iter(training.average.state_dict().values())).device
    training.best = {name: value.to(device) for name, value in kept.items()}
    training.precision.restore(stored.get("scaler", {}))
    training.smooth = stored.get("smooth")
    training.pending = bool(stored.get("pending", False))
    if "random" in stored:
        restore_random(stored["random"])


def random_state() -> dict[str, Any]:
    """Where the generators of Python, numpy and torch stand, in plain types and tensors."""
    legacy: Any = np.random.get_state()  # noqa: NPY002 - losses may draw from it
    kind, keys, position, gaussed, gauss = legacy
    return {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, gaussed, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random(kept: Mapping[str, Any]) -> None:
    """Set the generators to where they stood."""
    random.setstate(kept["python"])
    kind, keys, position, gaussed, gauss = kept["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, gaussed, gauss))  # noqa: NPY002
    torch.set_rng_state(kept["torch"])
    if torch.cuda.is_available() and len(kept["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(kept["cuda"])


def seed_random(seed: int) -> None:
    """Seed the generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - what a loss draws from it should be settled
    torch.manual_seed(seed)
