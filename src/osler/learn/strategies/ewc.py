"""Elastic weight consolidation: weights that earlier sites need are held where they were."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from osler.learn.samplers import CaseSampler
from osler.learn.strategies.sequence import SequenceSettings, Sequential, batch_loss
from osler.learn.strategies.strategy import Context, Loss, Settings
from osler.tasks.task import Sample

Named = Mapping[str, Tensor]


class EwcSettings(SequenceSettings):
    """The keys of elastic weight consolidation.

    Attributes:
        by, order: see `SequenceSettings`.
        weight: of what holds the weights; ``lambda`` of the paper.
        cases: of a site at most, over which the Fisher information is taken.
    """

    weight: float = Field(default=1000.0, gt=0)
    cases: int = Field(default=64, ge=1)


def fisher(net: nn.Module, loss: Loss, count: int, device: torch.device) -> dict[str, Tensor]:
    """The diagonal of the empirical Fisher information: the mean of squared gradients.

    Args:
        net: in evaluation mode, so that a case does not depend on its neighbours.
        loss: of one case by its number; where it is no log-likelihood (Dice), its gradient is
            taken all the same.
        count: of cases.
        device: where the network lies.
    """
    named = {name: one for name, one in net.named_parameters() if one.requires_grad}
    out = {name: torch.zeros_like(one) for name, one in named.items()}
    with torch.enable_grad():
        for number in range(count):
            gradients = torch.autograd.grad(
                loss(net, number, device), list(named.values()), allow_unused=True
            )
            for name, gradient in zip(named, gradients, strict=True):
                if gradient is not None:
                    out[name] += gradient.detach().square() / count
    return out


def penalty(net: nn.Module, held: Sequence[tuple[Named, Named]]) -> Tensor:
    """Half the squared way from where weights were, weighed by the information (eq. 3)."""
    named = dict(net.named_parameters())
    parts = [
        (information[name] * (named[name] - anchor[name]).square()).sum()
        for information, anchor in held
        for name in information
    ]
    total: Tensor = torch.stack(parts).sum() / 2
    return total


class Ewc(Sequential):
    """Each later site teaches while the weights that matter to earlier ones are held."""

    name: ClassVar[str] = "ewc"
    title: ClassVar[str] = "Elastic weight consolidation"
    source: ClassVar[str] = (
        "Kirkpatrick et al. 2017, Overcoming catastrophic forgetting in neural networks, PNAS"
    )
    Settings: ClassVar[type[Settings]] = EwcSettings

    def held(self, loss: Loss, net: nn.Module) -> Loss:
        """The loss and the penalty."""
        if not self._anchors():
            return loss
        weight, anchors = self.settings.weight, list(self._held)

        def both(net: nn.Module, number: int, device: torch.device) -> Tensor:
            out: Tensor = loss(net, number, device) + weight * penalty(net, anchors)
            return out

        return both

    def _anchors(self) -> list[tuple[Named, Named]]:
        self._held: list[tuple[Named, Named]] = getattr(self, "_held", [])
        return self._held

    def ended(self, net: nn.Module, site: str, samples: Sequence[Sample], context: Context) -> None:
        """Keep the information and the weights of a stage, unless it is the last."""
        if len(self._anchors()) == len(self.order) - 1:
            return
        rng = np.random.default_rng((context.learner.seed, 43, len(self._held)))
        some = [samples[one] for one in rng.permutation(len(samples))[: self.settings.cases]]
        each = CaseSampler("even", batch=1, seed=context.learner.seed, count=len(some))
        loss = batch_loss(context.batches_on(some, each), context.task)
        device = next(net.parameters()).device
        net.eval()
        information = fisher(net, loss, len(some), device)
        weights = {name: one.detach().clone() for name, one in net.named_parameters()}
        self._held.append((information, weights))
