r"""Co-teaching: two networks, each taught by what the other finds easy, where labels are wrong.

.. math::

   R(t) = 1 - \tau\,\min(t / T_k, 1)
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from osler.learn.ensembling import Ensemble
from osler.learn.strategies.answers import Call, heard
from osler.learn.strategies.ensemble import activations
from osler.learn.strategies.strategy import (
    Context,
    Criterion,
    Loss,
    Settings,
    Strategy,
    Wrapped,
)

_PEER = "co-teaching-peer"


class CoTeachingSettings(Settings):
    """The keys of ``co-teaching``.

    Attributes:
        forget: share of a batch that is left out in the end, tau: about the share of wrong labels.
        ramp: share of the steps over which it rises from 0.
        answer: the ``first`` network, or the mean of ``both``.
    """

    forget: Annotated[float, Field(gt=0, lt=1)] = 0.2
    ramp: Annotated[float, Field(gt=0, le=1)] = 0.3
    answer: str = Field("first", pattern="^(first|both)$")


def kept_share(progress: float, forget: float, ramp: float) -> float:
    """R(t): the share of a batch that teaches, at a share of the steps."""
    return 1 - forget * min(progress / ramp, 1.0)


def smallest(losses: Tensor, share: float) -> Tensor:
    """The places of the smallest losses ``(B,)``, at least one of them."""
    count = max(1, int(share * len(losses)))
    return torch.argsort(losses.detach(), stable=True)[:count]


class CoTeaching(Strategy):
    """Goes with any task whose loss can be told of a single case."""

    name = "co-teaching"
    title = "Co-teaching"
    role = "objective"
    source = (
        'Han et al. 2018, "Co-teaching: robust training of deep neural networks with extremely '
        'noisy labels", NeurIPS'
    )
    Settings = CoTeachingSettings
    settings: CoTeachingSettings
    tasks = ("classification", "segmentation")
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "tuning": "the second network would learn all of its weights.",
        "deep-ensemble": "it trains two networks of its own; set co-teaching.answer to both.",
    })  # fmt: skip

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        peer = context.build(context.learner.seed + 1)
        for way, own in context.everyone:
            if way is self:
                break
            peer = way.prepared(peer, own)
        return Wrapped(net, {_PEER: peer})

    def criterion(self, criterion: Criterion, context: Context) -> Criterion:
        task = context.task

        def single(outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Tensor:
            count = len(next(iter(targets.values())))
            return torch.stack([
                criterion(_taken(outputs, slice(n, n + 1)), _taken(targets, slice(n, n + 1)))
                for n in range(count)
            ])  # fmt: skip

        def taught(outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Any:
            if self.now is None:  # another strategy's stage, of another network
                return criterion(outputs, targets)
            calls, peer, share = self.now
            others = task.named(peer(*calls[-1].inputs))
            with torch.no_grad():
                mine, theirs = single(outputs, targets), single(others, targets)
            easy, easy_there = smallest(mine, share), smallest(theirs, share)
            first = criterion(_taken(outputs, easy_there), _taken(targets, easy_there))
            return first + criterion(_taken(others, easy), _taken(targets, easy))

        return taught

    now: tuple[list[Call], nn.Module, float] | None = None

    def loss(self, loss: Loss, context: Context) -> Loss:
        said, learner = self.settings, context.learner

        def both(net: nn.Module, number: int, device: torch.device) -> Tensor:
            share = kept_share(number // learner.accumulate / learner.steps, said.forget, said.ramp)
            own = _own(net)
            with heard(own) as calls:
                self.now = (calls, own.beside[_PEER], share)
                try:
                    return loss(net, number, device)
                finally:
                    self.now = None

        return both

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        own = _own(net)
        first: nn.Module = own.net
        if self.settings.answer == "first":
            return first
        return Ensemble([first, own.beside[_PEER]], activations(context.task))


def _taken(values: Mapping[str, Any], which: Any) -> dict[str, Any]:
    return {
        name: [part[which] for part in one] if isinstance(one, list | tuple) else one[which]
        for name, one in values.items()
    }


def _own(net: nn.Module) -> Wrapped:
    for module in net.modules():
        if isinstance(module, Wrapped) and _PEER in module.beside:
            return module
    raise ValueError("the network has lost its peer")
