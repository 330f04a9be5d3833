"""Several processes that train one network, started by ``torchrun``.

Every process holds the whole network and takes its share of the batches of a step: process ``r``
of ``w`` those whose number within the step leaves ``r`` when divided by ``w``. The gradients of
all are added before each process makes the same step. So a step is what one process would have
made of the same ``learner.accumulate`` batches, and the loss needs to know of nothing.
"""

import atexit
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from osler.errors import RecipeError
from osler.learn.learner import Learner

_BUCKET = 8_000_000  # numbers that travel together
_LETTING_GO = 1.0  # seconds
_PATIENCE = timedelta(hours=2)  # the others wait while the first process validates

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


def join() -> "Processes":
    """This process among those that ``torchrun`` started; alone where there is none.

    Raises:
        RecipeError: there is CUDA, and there are fewer GPUs than processes on this machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    if not distributed.is_initialized():
        backend = "gloo"
        if torch.cuda.is_available():
            backend, place = "nccl", int(os.environ.get("LOCAL_RANK", "0"))
            if place >= (gpus := torch.cuda.device_count()):
                raise RecipeError(
                    f"each process takes a GPU of its own, and this machine has {gpus}; start "
                    f"torchrun with --nproc-per-node {gpus}"
                )
            torch.cuda.set_device(place)
        distributed.init_process_group(backend, timeout=_PATIENCE)
        atexit.register(_leave)
    return Processes(distributed.get_rank(), distributed.get_world_size())


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
        # a thread of gloo may still let go of the last message, for which it needs the interpreter;
        # where that has ended meanwhile, the thread aborts the process. Asleep, we let it
        time.sleep(_LETTING_GO)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process and how many there are.

    Attributes:
        rank: its number.
        count: how many train together.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes files, validates and speaks."""
        return self.rank == 0

    def device(self) -> torch.device:
        """The device of this process: a GPU of its own where there is CUDA."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        if self.count == 1:
            return torch.device("cuda")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))

    def share(self, learner: Learner) -> range:
        """Which batches of a step this process takes.

        Raises:
            RecipeError: the batches of a step cannot be shared evenly.
        """
        if learner.accumulate % self.count:
            near = -(-learner.accumulate // self.count) * self.count
            raise RecipeError(
                f"learner.accumulate is {learner.accumulate} and {self.count} processes were "
                f"started, which share the batches of a step evenly; write {near} (lower "
                "learner.batch by as much to keep the samples of a step), or start a number of "
                "processes that divides it"
            )
        return range(self.rank, learner.accumulate, self.count)

    def align(self, net: nn.Module) -> None:
        """Give every process the first one's weights and buffers."""
        if self.count > 1:
            with torch.no_grad():
                for value in net.state_dict().values():
                    distributed.broadcast(value, src=0)

    def total(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The sum over all processes of each value."""
        if self.count == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(numbers)
        return [float(one) for one in numbers]

    def from_first(self, value: T) -> T:
        """What the first process has."""
        if self.count == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def agree(self, value: Any) -> bool:
        """Whether all processes have the same."""
        if self.count == 1:
            return True
        every = [None] * self.count
        distributed.all_gather_object(every, value)
        return all(one == value for one in every)

    def add_gradients(self, net: nn.Module) -> None:
        """Add the gradients of all processes, in buckets.

        A parameter that no process used keeps no gradient, as it would in one process.
        """
        if self.count == 1:
            return
        learning = [p for p in net.parameters() if p.requires_grad]
        if not learning:
            return
        used = torch.tensor([p.grad is not None for p in learning], device=learning[0].device)
        used = used.to(torch.uint8)
        distributed.all_reduce(used, op=distributed.ReduceOp.MAX)
        grads: list[Tensor] = []
        for parameter, any_used in zip(learning, used.tolist(), strict=True):
            if any_used:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                grads.append(parameter.grad)
        for bucket in _buckets(grads):
            flat = torch.cat([grad.reshape(-1) for grad in bucket])
            distributed.all_reduce(flat)
            sizes = [grad.numel() for grad in bucket]
            for grad, part in zip(bucket, torch.split(flat, sizes), strict=True):
                grad.copy_(part.view_as(grad))


def _buckets(grads: Sequence[Tensor]) -> list[list[Tensor]]:
    """Gradients of one type and about ``_BUCKET`` numbers together, in order."""
    out: list[list[Tensor]] = []
    room = 0
    for grad in grads:
        if not out or room < grad.numel() or out[-1][0].dtype != grad.dtype:
            out.append([])
            room = max(_BUCKET, grad.numel())
        out[-1].append(grad)
        room -= grad.numel()
    return out


@dataclass(slots=True)
class Statistics:
    """Running statistics of batch normalisation, moved as one process would have moved them.

    Each batch is normalised by its own mean and variance, in one process as in several, so the
    gradients agree. The running statistics are another matter: one process moves them batch after
    batch. After each round of one batch a process, what each added is laid one after the other.

    Attributes:
        processes: who takes part.
        layers: the normalisation layers.
    """

    processes: Processes
    layers: list[Any]
    _before: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)

    @classmethod
    def of(cls, net: nn.Module, processes: Processes) -> "Statistics":
        """The statistics of a network."""
        found = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        return cls(processes, found if processes.count > 1 else [])

    def remember(self) -> None:
        """Before a round: the same everywhere."""
        self._before = [
            (one.running_mean.clone(), one.running_var.clone(), int(one.num_batches_tracked))
            for one in self.layers
        ]

    @torch.no_grad()
    def merge(self) -> None:
        """After a round: every process's additions, in the order of their batches."""
        if not self.layers:
            return
        counts = torch.tensor(
            [int(one.num_batches_tracked) for one in self.layers],
            device=self.layers[0].running_mean.device,
        )
        flat = torch.cat([
            part.reshape(-1).double()
            for one in self.layers for part in (one.running_mean, one.running_var)
        ])  # fmt: skip
        every_count = [torch.empty_like(counts) for _ in range(self.processes.count)]
        every_flat = [torch.empty_like(flat) for _ in range(self.processes.count)]
        distributed.all_gather(every_count, counts)
        distributed.all_gather(every_flat, flat)
        at = 0
        for i, (layer, (mean, variance, count)) in enumerate(
            zip(self.layers, self._before, strict=True)
        ):
            moved = [int(one[i]) - count for one in every_count]
            for kept, start in ((layer.running_mean, mean), (layer.running_var, variance)):
                parts = [one[at : at + kept.numel()].view_as(kept) for one in every_flat]
                at += kept.numel()
                kept.copy_(_laid(start.double(), parts, moved, count, layer.momentum))
            layer.num_batches_tracked.fill_(count + sum(moved))


def _laid(
    start: Tensor, parts: Sequence[Tensor], moved: Sequence[int], count: int, momentum: float | None
) -> Tensor:
    """``start`` after the moves that made each of ``parts`` of it, one after the other."""
    value, seen = start, count
    for part, times in zip(parts, moved, strict=True):
        if times == 0:
            continue
        if momentum is None:  # the mean of all so far
            value = (seen * value + (count + times) * part - count * start) / (seen + times)
        else:
            stays = (1 - momentum) ** times
            value = stays * value + (part - stays * start)
        seen += times
    return value
