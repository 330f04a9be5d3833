"""Test-time entropy minimisation: scale and shift of normalisation, until answers are sure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.learn.normalisation import settle
from osler.learn.strategies.at_test_time import AtTestTime, batches_of, normalisations
from osler.learn.strategies.strategy import Context, Role, Settings
from osler.tasks.task import OutputSpec, Sample, Task


class TentSettings(Settings):
    """The keys of test-time entropy minimisation.

    Attributes:
        rate: of Adam.
        rounds: times that each batch is shown.
    """

    rate: float = Field(default=1e-3, gt=0, le=1)
    rounds: int = Field(default=1, ge=1, le=100)


def entropy(scores: Tensor, activation: str) -> Tensor:
    """The mean entropy of what scores ``(B, L, ...)`` say, in nats.

    Args:
        scores: before the activation.
        activation: ``softmax`` over axis 1, or ``sigmoid`` for each label by itself.
    """
    values = scores.float()
    if activation == "softmax":
        logs = functional.log_softmax(values, dim=1)
        return -(logs.exp() * logs).sum(1).mean()
    yes, no = functional.logsigmoid(values), functional.logsigmoid(-values)
    return -(yes.exp() * yes + no.exp() * no).mean()


class Tent(AtTestTime):
    """Learns the affine parameters of batch normalisation from the cases that test."""

    name: ClassVar[str] = "tent"
    title: ClassVar[str] = "Test-time entropy minimisation (TENT)"
    role: ClassVar[Role] = "afterwards"
    source: ClassVar[str] = (
        "Wang et al. 2021, Tent: Fully Test-Time Adaptation by Entropy Minimization, ICLR"
    )
    Settings: ClassVar[type[Settings]] = TentSettings
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation")
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "test-time-statistics": "tent counts the statistics itself; keep one of them."
    })  # fmt: skip

    def before(self, net: nn.Module, context: Context) -> None:
        """Some answer must be a probability."""
        super().before(net, context)
        if not _sure(context.task):
            raise RecipeError("tent makes answers surer, and none of the task is a probability")

    def adapted(self, net: nn.Module, samples: Sequence[Sample], context: Context) -> nn.Module:
        """The network whose answers to the cases are surer; their truth is not seen."""
        outputs = _sure(context.task)
        if not samples:
            return net
        layers = normalisations(net)
        wanted = {id(one) for layer in layers for one in layer.parameters(recurse=False)}
        asked = [one.requires_grad for one in net.parameters()]
        for one in net.parameters():
            one.requires_grad_(id(one) in wanted)
        device = next(net.parameters()).device
        shown = list(batches_of(samples, context, device))
        optimiser = torch.optim.Adam(
            [one for layer in layers for one in layer.parameters(recurse=False)],
            lr=self.settings.rate,
        )
        net.eval()
        for layer in layers:
            layer.train()
        kept = [layer.momentum for layer in layers]
        for layer in layers:
            layer.momentum = 0.0  # what it says in the meantime is the batch's own

        def surprise(number: int) -> Tensor:
            said = context.task.named(net(*shown[number % len(shown)]))
            return torch.stack([entropy(said[one.name], one.activation) for one in outputs]).sum()

        def mean_surprise() -> float:
            with torch.no_grad():
                return sum(float(surprise(number)) for number in range(len(shown))) / len(shown)

        before = mean_surprise()
        with torch.enable_grad():
            for number in range(self.settings.rounds * len(shown)):
                optimiser.zero_grad(set_to_none=True)
                surprise(number).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        context.record["entropy"] = [round(before, 6), round(mean_surprise(), 6)]
        for layer, momentum in zip(layers, kept, strict=True):
            layer.momentum = momentum
        optimiser.zero_grad(set_to_none=True)
        for one, learns in zip(net.parameters(), asked, strict=True):
            one.requires_grad_(learns)
        settle(net, lambda net, number: net(*shown[number]), batches=len(shown))
        context.record["cases"] = len(samples)
        return net


def _sure(task: Task) -> list[OutputSpec]:
    return [one for one in task.outputs() if one.activation in ("softmax", "sigmoid")]
