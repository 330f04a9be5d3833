"""The ONNX graph of a task's network: its inputs and outputs by name, and how far it is from it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from osler.learn.export import export_onnx, largest_difference
from osler.tasks.case_input import PRESENT
from osler.tasks.task import Arrays, InputSpec, Sample, Task


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
    answer = _Answer(task.exportable(net), task).eval()
    example, step = {}, None
    several = any(spec.name == PRESENT for spec in task.inputs())
    cases = _count_unlike_sizes(task.inputs()) if several else 1
    for spec in task.inputs():
        size = spec.size
        if size is None:
            size = tuple(spec.multiple * (2 + axis) for axis in range(spec.axes))
            step = spec.multiple
        example[spec.name] = torch.rand(cases, len(spec.channels), *size)
    graph = export_onnx(
        answer, example, outputs=[one.name for one in task.outputs()], step=step, batch=several,
        labels={one.name: one.labels for one in task.outputs()},
    )  # fmt: skip
    feeds = [_feed(task, sample) for sample in samples]
    return graph, largest_difference(answer, graph, [feed for feed in feeds if feed])


def files_beside(net: nn.Module, task: Task, folder: Path) -> tuple[dict[str, bytes], float]:
    """The further files of a task's bundle, and how far its graphs are from their modules."""
    files, worst = dict(task.more_files(net, folder)), 0.0
    for name, (module, example, outputs) in task.more_graphs(net).items():
        graph = export_onnx(module.eval(), example, outputs=outputs, step=None)
        feed: Arrays = {key: value.numpy() for key, value in example.items()}
        worst = max(worst, largest_difference(module, graph, [feed]))
        files[name] = graph
    return files, worst


def _count_unlike_sizes(specs: Sequence[InputSpec]) -> int:
    """A number of cases that no other side has, so that the exporter takes none for the other."""
    sizes = {side for one in specs for side in (len(one.channels), *(one.size or ()))}
    sizes |= {side // 2 for side in sizes} | {len(specs), len(specs) - 1}
    return next(count for count in (5, 7, 11, *range(13, 9999)) if count not in sizes)


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
        asked = {one.name for one in task.inputs()}  # not what only the truth adds
        return {name: array for name, array in seen[0].items() if name in asked}
    return seen[0] if seen else {}
