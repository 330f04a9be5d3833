"""Quantisation-aware training: the network learns on the 8-bit grid on which it will answer."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from osler.learn.checkpoint import State
from osler.learn.loop import Loss, Validate, inference
from osler.learn.strategies.quantised_layers import (
    Grid,
    Quantised,
    Whole,
    fold_normalisation,
    layers_of,
    quantised_of,
)
from osler.learn.strategies.strategy import Context, Settings, Training
from osler.tasks.task import Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe


class QuantisationSettings(Settings):
    """The keys of ``quantisation-aware``.

    Attributes:
        steps: on the grid, after the recipe's own in single precision.
        rate: of those steps, as a share of the recipe's.
        bits: of weights; activations have 8. Seven are safe on every processor.
        batches: from which the bounds of activations are taken.
        keep: layers (beginnings of names) that stay in single precision, such as a sensitive head.
    """

    steps: Annotated[int, Field(ge=1)] = 100
    rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    bits: Annotated[int, Field(ge=2, le=8)] = 7
    batches: Annotated[int, Field(ge=1, le=1000)] = 8
    keep: tuple[str, ...] = ()


class Quantisation(Training):
    """First the plain training, then some steps on the grid, from which the graph is made."""

    name = "quantisation-aware"
    title = "Quantisation-aware training"
    source = (
        'Jacob et al. 2018, "Quantization and training of neural networks for efficient '
        'integer-arithmetic-only inference", CVPR; Esser et al. 2020, "Learned step size '
        'quantization", ICLR'
    )
    Settings = QuantisationSettings
    settings: QuantisationSettings
    lets_differ = 0.25  # a value that lies between two levels may go to either, in each layer
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "float16": "rounding on the grid is computed in single precision; write auto or float32.",
        "checkpointing": "the layers change between the two stages; write checkpointing: false.",
    })  # fmt: skip

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        if any(one.axes != 2 for one in task.inputs()):
            return [
                "ONNX Runtime computes 8-bit convolutions of pictures; a network of volumes, "
                "signals, tables or several inputs would be slower and no more exact"
            ]
        return []

    def train(
        self, net: nn.Module, loss: Loss, validate: Validate | None, context: Context
    ) -> State:
        said, learner = self.settings, context.learner
        stepped = [way.stepped for way, _ in context.everyone]
        first = context.stage(
            net, loss, "single-precision", learner=learner, validate=validate, stepped=stepped
        )
        if context.tune:
            context.record["score_in_single_precision"] = round(context.score(net), 4)
        net.cpu()
        self.quantise(net, context)
        after = learner.model_copy(
            update={
                "steps": said.steps, "rate": learner.rate * said.rate, "ema": 0.9,
                "warmup": min(10, said.steps // 10),
                "validate_every": min(learner.validate_every, said.steps),
            }
        )  # fmt: skip
        offset = learner.steps * learner.accumulate  # batches that have not been seen in this order

        def later(net: nn.Module, number: int, device: torch.device) -> Tensor:
            return loss(net, number + offset, device)

        state = context.stage(
            net, later, "eight-bit", learner=after, validate=validate, stepped=stepped
        )
        context.record["layers"] = sum(1 for _ in quantised_of(net))
        return State(state.step, state.best, state.stale, first.seconds + state.seconds)

    def quantise(self, net: nn.Module, context: Context) -> None:
        """Put the layers that answer on their grids, in place."""
        said = self.settings
        batches = context.batches(context.teach)
        inputs = [_tensors(batches(number)[0]) for number in range(said.batches)]
        context.record["normalisations_folded"] = fold_normalisation(net, inputs[0])
        used: set[str] = set()
        bounds: dict[str, list[float]] = {}

        def watch(name: str) -> Any:
            def hook(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
                del module
                used.add(name)
                seen = bounds.setdefault(name, [])
                seen += [float(one) for x in (args[0], out) for one in (x.min(), x.max())]

            return hook

        names = [one for one in layers_of(net) if not (said.keep and one.startswith(said.keep))]
        handles = [net.get_submodule(one).register_forward_hook(watch(one)) for one in names]
        try:
            with inference(net):
                for one in inputs:
                    net(*one)
        finally:
            for handle in handles:
                handle.remove()
        for name in names:
            if name not in used:
                continue  # a part that only the loss uses
            layer = Quantised(net.get_submodule(name), bits=said.bits)
            seen = np.array(bounds[name]).reshape(-1, 4)
            for grid, (low, high) in ((layer.taken, (0, 1)), (layer.given, (2, 3))):
                grid.bound(float(seen[:, low].mean()), float(seen[:, high].mean()))
            net.set_submodule(name, layer)

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        for name, layer in quantised_of(net):
            net.set_submodule(name, Whole(layer))
        for module in net.modules():
            if isinstance(module, Grid):
                module.requires_grad_(False)
        return net


def _tensors(arrays: Mapping[str, np.ndarray[Any, Any]]) -> list[Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(one)) for one in arrays.values()]
