"""The one training loop.

The batch and the randomness of a step depend on the seed and the step's number alone, so a run
that was killed and resumed takes the same steps as one that was not.
"""

import contextlib
import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn import checkpoint
from osler.learn.advice import advising, unsound_gradient, unsound_loss
from osler.learn.averaging import follow
from osler.learn.checkpoint import State, Training
from osler.learn.distributed import Processes, Statistics, join
from osler.learn.interruption import Interruption
from osler.learn.learner import Learner
from osler.learn.optimisers import make_optimiser
from osler.learn.precision import Precision, uses_bfloat16
from osler.learn.recomputation import recomputed
from osler.learn.schedules import rate_at
from osler.learn.training_log import Log, tell

__all__ = ("State", "inference", "train", "uses_bfloat16")

_SEEDS = 1_000_003  # between the seeds of two runs

Loss = Callable[[nn.Module, int, torch.device], Tensor]
Validate = Callable[[nn.Module], Mapping[str, float]]
Pictures = Callable[[nn.Module], Mapping[str, NDArray[Any]]]
Stepped = Callable[[nn.Module, int], None]


def train(
    net: nn.Module,
    *,
    loss: Loss,
    validate: Validate | None,
    learner: Learner,
    folder: Path,
    resume: bool,
    pictures: Pictures | None = None,
    stepped: Sequence[Stepped] = (),
) -> State:
    """Train ``net`` and leave the best averaged weights in it.

    Under ``torchrun`` the processes share the batches of a step (`osler.learn.distributed`); the
    first validates, logs and keeps checkpoints, and every one ends with the same weights.

    Args:
        net: the network, changed in place.
        loss: ``loss(net, number, device)`` gives the loss of one batch. It is called
            ``learner.accumulate`` times a step, for step ``s`` with the numbers ``s * accumulate``
            to ``(s + 1) * accumulate - 1``, and must depend on the number alone; the generators of
            Python, numpy and torch are seeded with it before. The step follows the mean.
        validate: gives named figures, of which ``score`` decides (greater is better); None keeps
            the last weights.
        learner: the optimisation.
        folder: for checkpoints, ``log.jsonl`` and TensorBoard's files.
        resume: go on from the folder's checkpoint if there is one.
        pictures: gives pictures ``(H, W)`` or ``(H, W, 3)`` by name for TensorBoard, after each
            validation.
        stepped: called with the network and the number of steps taken after each of them, in every
            process, such as to let a teacher follow the network.

    Raises:
        RecipeError: the loss or its gradients are not finite, memory is full, or the learner asks
            for what cannot be had here; the message says what to change.
        KeyboardInterrupt: after Ctrl-C, once the step is done and a checkpoint is written.
        SystemExit: after SIGTERM, likewise.
    """
    processes = join()
    device = processes.device()
    run = _Run(net, loss, validate, pictures, learner, folder, processes, device, stepped)
    run.begin(resume=resume)
    with advising(learner, device), recomputed(net, wanted=learner.checkpointing):
        run.go()
    net.load_state_dict(run.training.chosen())
    processes.align(net)
    net.eval()
    return run.state


class _Run:
    """One call of `train`."""

    def __init__(
        self, net: nn.Module, loss: Loss, validate: Validate | None, pictures: Pictures | None,
        learner: Learner, folder: Path, processes: Processes, device: torch.device,
        stepped: Sequence[Stepped],
    ) -> None:  # fmt: skip
        self.loss, self.validate, self.pictures = loss, validate, pictures
        self.learner, self.folder = learner, folder
        self.processes, self.device, self.stepped = processes, device, stepped
        self.share = processes.share(learner)
        precision = Precision.of(learner, device)
        net.to(device)
        if all(parameter.ndim < 5 for parameter in net.parameters()):  # volumes have no such format
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        processes.align(net)
        average = copy.deepcopy(net).eval().requires_grad_(False)
        optimiser, self.factors = make_optimiser(net, learner)
        self.training = Training(net, average, optimiser, precision)
        self.training.best = copy.deepcopy(average.state_dict())
        self.state = self.training.state
        self.statistics = Statistics.of(net, processes)

    def begin(self, *, resume: bool) -> None:
        """Start at the folder's checkpoint, or anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / checkpoint.NAME
        if path.exists() and resume:
            checkpoint.load(path, self.training)
        elif path.exists() and self.processes.first:  # or a resumed run might take it for its own
            os.replace(path, self.folder / checkpoint.BEFORE)
        if not self.processes.agree(self.state.step):
            raise RecipeError(
                f"the processes do not see the same checkpoint in '{self.folder}'; resume with a "
                "folder that all of them share"
            )

    def go(self) -> None:
        """Step until the steps, the patience or the user's is at an end."""
        self.since = self.saved = time.monotonic()
        training, state, learner = self.training, self.state, self.learner
        with (
            contextlib.closing(
                Log(
                    self.folder, learner.steps, begin=state.step, smooth=training.smooth,
                    silent=not self.processes.first,
                )
            ) as log,
            Interruption() as interruption,
            _first_input(training.net, wanted=learner.graph and state.step == 0) as seen,
        ):  # fmt: skip
            if training.pending:
                self._judge(log, interruption)
            while not self._done():
                value, norm, stop = self._step(interruption)
                log.step(
                    state.step, value, seconds=self._seconds(),
                    rate=rate_at(state.step - 1, learner), norm=norm,
                )  # fmt: skip
                training.smooth = log.smooth
                if seen:
                    log.graph(training.average, seen.pop())
                due = state.step % learner.validate_every == 0 or state.step == learner.steps
                training.pending = due and self.validate is not None
                if training.pending and not stop:
                    self._judge(log, interruption)
                stop = stop or (interruption.heard is not None and self.processes.count == 1)
                if self._done() or stop or self._long_ago():
                    self._save()
                if stop:
                    interruption.leave()

    def _step(self, interruption: Interruption) -> tuple[float, float, bool]:
        """One step of the optimiser: the mean loss, the gradient's norm, whether to stop."""
        training, learner, step = self.training, self.learner, self.state.step
        net, optimiser, precision = training.net, training.optimiser, training.precision
        for group, factor in zip(optimiser.param_groups, self.factors, strict=True):
            group["lr"] = rate_at(step, learner) * factor
        optimiser.zero_grad(set_to_none=True)
        net.train()
        value = 0.0
        for i in self.share:
            number = step * learner.accumulate + i
            checkpoint.seed_random(learner.seed * _SEEDS + number)
            self.statistics.remember()
            with precision.forward():
                one = self.loss(net, number, self.device)
            if learner.accumulate > 1:
                one = one / learner.accumulate
            precision.backward(one)
            self.statistics.merge()
            value += float(one.detach())
        heard = float(interruption.heard is not None)
        value, stop = self.processes.total([value, heard], self.device)
        if not math.isfinite(value):
            raise unsound_loss(value, step, learner)
        self.processes.add_gradients(net)
        precision.unscale(optimiser)
        most = math.inf if learner.clip is None else learner.clip
        norm = nn.utils.clip_grad_norm_(net.parameters(), most)
        if not precision.sound(norm):
            raise unsound_gradient(step, learner)
        precision.step(optimiser)
        self.state.step += 1
        for call in self.stepped:
            call(net, self.state.step)
        follow(training.average, net, learner.ema, self.state.step)
        return value, float(norm), stop > 0

    def _judge(self, log: Log, interruption: Interruption) -> None:
        """Validate the average; interrupted or failing, it is done again on resuming."""
        training, state = self.training, self.state
        random = checkpoint.random_state()
        figures: Mapping[str, float] = {}
        try:
            interruption.at_once = True
            if interruption.heard is not None:
                interruption.leave()
            if self.processes.first and self.validate is not None:
                figures = dict(self.validate(training.average))
                if self.pictures is not None:
                    log.pictures(state.step, self.pictures(training.average))
        except BaseException:
            checkpoint.restore_random(random)
            self._save()
            raise
        finally:
            interruption.at_once = False
        figures = self.processes.from_first(figures)
        training.pending = False
        log.figures(state.step, figures, seconds=self._seconds())
        state.stale += 1
        if figures["score"] > state.best:
            state.best, state.stale = float(figures["score"]), 0
            training.best = copy.deepcopy(training.average.state_dict())
        tell(state.step, figures)

    def _done(self) -> bool:
        patience = self.learner.patience
        tired = patience is not None and self.state.stale >= patience
        return tired or self.state.step >= self.learner.steps

    def _long_ago(self) -> bool:
        return time.monotonic() - self.saved > 60 * self.learner.checkpoint_minutes

    def _seconds(self) -> float:
        """Time spent so far, over all sittings."""
        return self.state.seconds + time.monotonic() - self.since

    def _save(self) -> None:
        self.state.seconds = self._seconds()
        self.since = time.monotonic()
        if self.processes.first:
            checkpoint.save(self.folder / checkpoint.NAME, self.training)
        self.saved = time.monotonic()


@contextlib.contextmanager
def _first_input(net: nn.Module, *, wanted: bool) -> Iterator[list[tuple[Tensor, ...]]]:
    """A list into which goes one sample of what the network is first called with."""
    seen: list[tuple[Tensor, ...]] = []

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        handle.remove()
        if args and all(isinstance(one, Tensor) and one.ndim > 0 for one in args):
            seen.append(tuple(one[:1].detach().clone() for one in args))

    if not wanted:
        yield seen
        return
    handle = net.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


@contextlib.contextmanager
def inference(net: nn.Module) -> Iterator[nn.Module]:
    """The network in evaluation mode without gradients, and back."""
    training = net.training
    net.eval()
    with torch.inference_mode():
        yield net
    net.train(training)
