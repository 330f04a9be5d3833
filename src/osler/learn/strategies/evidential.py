r"""Evidential classification: the network gives a Dirichlet distribution over probabilities.

.. math::

   e_k = \log(1 + \exp s_k), \quad \alpha_k = e_k + 1, \quad S = \textstyle\sum_k \alpha_k,
   \quad \mathbb{E}[p_k] = \alpha_k / S, \quad u = K / S
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from osler.learn.strategies.strategy import Context, Criterion, Loss, Settings, Strategy
from osler.tasks.task import Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe


class EvidentialSettings(Settings):
    """The keys of ``evidential``.

    Attributes:
        risk: ``cross-entropy`` or ``squares``, expected under the Dirichlet distribution
            (equations 4 and 5 of the source).
        weight: of the divergence that takes back evidence for wrong classes.
        anneal: share of the steps over which that weight rises from 0.
    """

    risk: Literal["cross-entropy", "squares"] = "cross-entropy"
    weight: Annotated[float, Field(ge=0, le=10)] = 1.0
    anneal: Annotated[float, Field(ge=0, le=1)] = 0.5


def risk(alpha: Tensor, truth: Tensor, kind: str) -> Tensor:
    """The loss expected under a Dirichlet distribution, of each case.

    Args:
        alpha: ``(B, K)``, above 0.
        truth: ``(B, K)``, 1 for the class.
        kind: ``cross-entropy`` or ``squares``.
    """
    total = alpha.sum(dim=1, keepdim=True)
    if kind == "cross-entropy":
        return (truth * (torch.digamma(total) - torch.digamma(alpha))).sum(dim=1)
    p = alpha / total
    return ((truth - p).square() + p * (1 - p) / (total + 1)).sum(dim=1)


def divergence_from_ignorance(alpha: Tensor, truth: Tensor) -> Tensor:
    """KL(Dir(alpha without the evidence of the true class) || Dir(1)) of each case."""
    wrong = (alpha - 1) * (1 - truth) + 1
    total = wrong.sum(dim=1, keepdim=True)
    count = torch.tensor(float(alpha.shape[1]), dtype=alpha.dtype, device=alpha.device)
    spread = (wrong - 1) * (torch.digamma(wrong) - torch.digamma(total))
    return (
        torch.lgamma(total)[:, 0] - torch.lgamma(wrong).sum(dim=1) - torch.lgamma(count)
        + spread.sum(dim=1)
    )  # fmt: skip


class LogAlpha(nn.Module):
    """A network's scores as the logarithm of alpha, whose softmax is the expected probability.

    Args:
        net: gives scores ``(B, K)``.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Any:
        """What the network takes."""
        said = self.net(*inputs)
        if isinstance(said, Tensor):
            return _log_alpha(said)
        if isinstance(said, Mapping):
            return {name: _log_alpha(one) for name, one in said.items()}
        return tuple(_log_alpha(one) for one in said)


def _log_alpha(scores: Tensor) -> Tensor:
    return torch.log1p(functional.softplus(scores.float()))


class Evidential(Strategy):
    """Takes the place of the task's cross-entropy."""

    name = "evidential"
    title = "Evidential classification"
    role = "objective"
    source = (
        'Sensoy, Kaplan & Kandemir 2018, "Evidential deep learning to quantify classification '
        'uncertainty", NeurIPS'
    )
    Settings = EvidentialSettings
    settings: EvidentialSettings
    tasks = ("classification",)

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        said = task.settings
        out = []
        if said.kind != "classes":
            out.append("a Dirichlet distribution is over classes that exclude each other; set "
                       "settings.kind to classes")  # fmt: skip
        for key, plain in (("weights", "none"), ("focal", 0), ("smoothing", 0)):
            if getattr(said, key) != plain:
                out.append(f"has a loss of its own, in which settings.{key} would be lost; leave "
                           f"it at {plain}")  # fmt: skip
        return out

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        self.progress = 0.0
        return LogAlpha(net)

    def criterion(self, criterion: Criterion, context: Context) -> Criterion:
        def evidence(outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Tensor:
            (log_alpha,) = outputs.values()
            alpha = log_alpha.float().exp()
            truth = functional.one_hot(targets["class"], alpha.shape[1]).to(alpha.dtype)
            anneal = self.settings.anneal
            ramp = 1.0 if anneal == 0 else min(1.0, self.progress / anneal)
            wrong = divergence_from_ignorance(alpha, truth)
            loss = risk(alpha, truth, self.settings.risk) + self.settings.weight * ramp * wrong
            return loss.mean()

        return evidence

    def loss(self, loss: Loss, context: Context) -> Loss:
        learner = context.learner

        def known(net: nn.Module, number: int, device: torch.device) -> Tensor:
            self.progress = number // learner.accumulate / learner.steps
            return loss(net, number, device)

        return known
