"""The one training loop.

The batch and the randomness of a step depend on the seed and the step's number alone, so a run
that was killed and resumed takes the same steps as one that was not.
"""

import contextlib
import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.learner import Learner

_CHECKPOINT = "checkpoint.pt"


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


def train(
    net: nn.Module,
    *,
    loss: Callable[[nn.Module, int, torch.device], Tensor],
    validate: Callable[[nn.Module], Mapping[str, float]] | None,
    learner: Learner,
    folder: Path,
    resume: bool,
) -> State:
    """Train ``net`` and leave the best averaged weights in it.

    Args:
        net: the network, changed in place.
        loss: gives the loss of a step on a device; must depend on the step's number alone.
        validate: gives named figures, of which ``score`` decides (greater is better); None keeps
            the last weights.
        learner: the optimisation.
        folder: for checkpoints, ``log.jsonl`` and TensorBoard's files.
        resume: go on from the folder's checkpoint if there is one.

    Raises:
        RecipeError: the loss is not finite; the message says what to change.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net.to(device=device, memory_format=torch.channels_last)
    average = copy.deepcopy(net).eval().requires_grad_(False)
    best = copy.deepcopy(average.state_dict())
    optimiser = torch.optim.AdamW(_groups(net, learner), lr=learner.rate)
    state = State()
    if resume and (folder / _CHECKPOINT).exists():
        best = _load(folder / _CHECKPOINT, net, average, optimiser, state)
    saved = begun = time.monotonic()
    with contextlib.closing(_Log(folder, learner.steps)) as log:
        while state.step < learner.steps and not _stale(state, learner):
            for group in optimiser.param_groups:
                group["lr"] = _rate(state.step, learner)
            torch.manual_seed(learner.seed * 1_000_003 + state.step)
            net.train()
            fast = uses_bfloat16(learner, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=fast):
                value = loss(net, state.step, device)
            if not torch.isfinite(value):
                raise RecipeError(
                    f"the loss is {float(value.detach())} at step {state.step}; lower "
                    f"learner.rate (now {learner.rate}) or set learner.precision to float32"
                )
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), learner.clip)
            optimiser.step()
            state.step += 1
            _follow(average, net, learner.ema, state.step)
            log.step(state.step, float(value.detach()))
            due = state.step % learner.validate_every == 0 or state.step == learner.steps
            if due and validate is not None:
                figures = validate(average)
                log.figures(state.step, figures)
                state.stale += 1
                if figures["score"] > state.best:
                    state.best, state.stale = float(figures["score"]), 0
                    best = copy.deepcopy(average.state_dict())
            now = time.monotonic()
            last = state.step == learner.steps or _stale(state, learner)
            if last or now - saved > 60 * learner.checkpoint_minutes:
                state.seconds += now - begun
                saved = begun = now
                _save(folder / _CHECKPOINT, net, average, optimiser, state, best)
    net.load_state_dict(_chosen(average, state, best))
    net.eval()
    return state


def _stale(state: State, learner: Learner) -> bool:
    return learner.patience is not None and state.stale >= learner.patience


def _chosen(average: nn.Module, state: State, best: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The best weights; the last ones where no validation has chosen any."""
    return best if state.best > -math.inf else average.state_dict()


def uses_bfloat16(learner: Learner, device: torch.device) -> bool:
    """Whether the forward pass runs in bfloat16."""
    if learner.precision == "auto":
        return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())
    return learner.precision == "bfloat16"


def _groups(net: nn.Module, learner: Learner) -> list[dict[str, Any]]:
    """Weights decay; biases and normalisation do not."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": learner.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _rate(step: int, learner: Learner) -> float:
    if step < learner.warmup:
        return learner.rate * (step + 1) / learner.warmup
    done = (step - learner.warmup) / max(1, learner.steps - learner.warmup)
    return learner.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Running average of weights and of the normalisation's statistics."""
    decay = min(decay, (1 + step) / (10 + step))  # early weights are forgotten faster
    for kept, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def _save(
    path: Path,
    net: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    state: State,
    best: Mapping[str, Tensor],
) -> None:
    part = path.with_suffix(".part")
    torch.save(
        {
            "net": net.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "best": dict(_chosen(average, state, best)),
            "state": [state.step, state.best, state.stale, state.seconds],
        },
        part,
    )
    os.replace(part, path)


def _load(
    path: Path,
    net: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    state: State,
) -> dict[str, Tensor]:
    stored = torch.load(path, map_location="cpu", weights_only=True)
    try:
        net.load_state_dict(stored["net"])
    except RuntimeError as error:
        raise RecipeError(
            f"the checkpoint '{path}' belongs to another network; choose another output folder, "
            "or start anew without --resume"
        ) from error
    average.load_state_dict(stored["average"])
    optimiser.load_state_dict(stored["optimiser"])
    step, best, stale, seconds = stored["state"]
    state.step, state.best, state.stale, state.seconds = int(step), best, int(stale), seconds
    return dict(stored["best"])


class _Log:
    """``log.jsonl``, TensorBoard where it is installed, and a progress bar on a terminal."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.file = (folder / "log.jsonl").open("a", encoding="utf-8")
        self.board: Any = None
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"))
        from rich.progress import Progress

        self.progress = Progress(disable=not os.isatty(2))
        self.progress.start()
        self.task = self.progress.add_task("training", total=steps)
        self.smooth: float | None = None
        self.begun = time.monotonic()

    def step(self, step: int, loss: float) -> None:
        self.smooth = loss if self.smooth is None else 0.98 * self.smooth + 0.02 * loss
        self.progress.update(self.task, completed=step, description=f"loss {self.smooth:.4f}")
        if step % 50 == 0:
            self._write({"step": step, "loss": round(self.smooth, 5)})

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        self._write({"step": step, **{k: round(float(v), 5) for k, v in figures.items()}})

    def _write(self, line: dict[str, float]) -> None:
        line["seconds"] = round(time.monotonic() - self.begun, 1)
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        if self.board is not None:
            for key, value in line.items():
                if key not in ("step", "seconds"):
                    self.board.add_scalar(key, value, line["step"])

    def close(self) -> None:
        self.progress.stop()
        self.file.close()
        if self.board is not None:
            self.board.close()


@contextlib.contextmanager
def inference(net: nn.Module) -> Iterator[nn.Module]:
    """The network in evaluation mode without gradients, and back."""
    training = net.training
    net.eval()
    with torch.inference_mode():
        yield net
    net.train(training)
