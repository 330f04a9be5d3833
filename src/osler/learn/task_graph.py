"""The ONNX graph of a task's network: its inputs and outputs by name, and how far it is from it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from osler.learn.export import export_onnx, largest_difference
from osler.tasks.task import Arrays, Sample, Task


class _Answer(nn.Module):
    """A network whose answer is a tuple in the order of the task's outputs, as a graph has it."""

    def __init__(self, net: nn.Module, task: Task) -> None:
        super().__init__()
        self.net, self.task = net, task

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...] | Tensor:
        said = tuple(self.task.named(self.net(*inputs)).values())
        return said[0] if len(said) == 1 else said


def exported(net: nn.Module, task: Task, samples: Sequence[Sample]) -> tuple[bytes, float]:
    """The ONNX graph of a network and how far it is from it on real cases."""
    answer = _Answer(net, task).eval()
    example, step = {}, None
    for spec in task.inputs():
        size = spec.size
        if size is None:
            size = tuple(spec.multiple * (2 + axis) for axis in range(spec.axes))
            step = spec.multiple
        example[spec.name] = torch.rand(1, len(spec.channels), *size)
    names = [one.name for one in task.outputs()]
    graph = export_onnx(answer, example, outputs=names, step=step)
    feeds = [_feed(task, sample) for sample in samples]
    return graph, largest_difference(answer, graph, [feed for feed in feeds if feed])


def _feed(task: Task, sample: Sample) -> Arrays:
    """The first arrays that a task asks its network about in a case."""
    seen: list[Arrays] = []

    class _Enough(Exception):
        pass

    def predict(inputs: Arrays) -> Arrays:
        seen.append({k: np.ascontiguousarray(v[:1], np.float32) for k, v in inputs.items()})
        raise _Enough

    try:
        task.run(predict, sample)
    except _Enough:
        return seen[0]
    return seen[0] if seen else {}
