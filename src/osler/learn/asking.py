"""A network in training asked about whole cases, as its bundle will be."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osler.learn.loop import inference
from osler.learn.training_log import watched
from osler.tasks.task import Arrays, Row, Sample, Task
from osler.tasks.writing_decoding import Ask


def outputs_of(net: nn.Module, task: Task, sample: Sample) -> Arrays:
    """What a network says of a whole case."""
    kind = _Continued if hasattr(net, "continued") else _Asked
    return task.run(kind(net, task), sample)


def judged(
    net: nn.Module, task: Task, samples: Sequence[Sample], *, doing: str = "judging"
) -> list[Row]:
    """What each case gives to the figures; a terminal is shown how many are done.

    Args:
        net: the network.
        task: calibrated or not.
        samples: with their truth.
        doing: what a terminal is told.
    """
    return [
        task.judge(task.calibrated(outputs_of(net, task, one)), one)
        for one in watched(samples, doing, total=len(samples))
    ]


class _Asked:
    """A network as a task asks one: arrays in, arrays out."""

    def __init__(self, net: nn.Module, task: Task) -> None:
        self.net, self.task = net, task
        self.device = next(net.parameters()).device

    def __call__(self, inputs: Arrays) -> Arrays:
        with inference(self.net):
            said = self.net(*self._tensors(inputs))
        named = self.task.named(said)
        return {name: value.float().cpu().numpy() for name, value in named.items()}

    def _tensors(self, arrays: Mapping[str, NDArray[Any]]) -> list[Tensor]:
        return [torch.from_numpy(array).to(self.device) for array in arrays.values()]


class _Continued(_Asked):
    """One that remembers what it read (`osler.tasks.writing_decoding.Continues`)."""

    def continuing(self, fixed: Arrays) -> Ask:
        with inference(self.net):
            read = self.net.continued(*self._tensors(fixed))  # type: ignore[operator]

        def ask(written: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
            with inference(self.net):
                scores = read(torch.from_numpy(written[None]).to(self.device), start, stop)
            out: NDArray[np.float32] = scores[0].float().cpu().numpy()
            return out

        return ask
