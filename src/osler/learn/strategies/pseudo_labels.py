r"""Pseudo-labels: what the network is sure of in a case is taught in the same case changed more.

.. math::

    L = L_\text{task} + w \, \frac{1}{n} \sum_u \mathbb{1}\bigl[\max_c q_c(u) \ge \tau\bigr] \,
    \mathrm{H}\bigl(\arg\max_c q_c(u),\; p(u')\bigr)

over cases, or over voxels, :math:`n` of them, with :math:`q` what is said of the case as it is
and :math:`p` what is said of it changed. A label that excludes no other is sure of where
:math:`q \ge \tau` or :math:`q \le 1 - \tau`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from osler.learn.augmenting_settings import Augmentation
from osler.learn.strategies.mean_teacher import refuse_prompts, refuse_without_image
from osler.learn.strategies.strategy import Context, Loss, Role, Settings, Strategy
from osler.learn.strategies.unlabelled_views import STRONG, Views, answers, moved, scores_of
from osler.tasks.task import Task


class PseudoLabelsSettings(Settings):
    r"""The keys of ``pseudo-labels``.

    Attributes:
        threshold: probability from which an answer teaches, :math:`\tau`.
        weight: of the loss on cases without a label.
        ratio: cases without a label for each one with it.
        start: share of the steps before the first answer teaches.
        change: what befalls the case that is taught.
        cutout: side of the box that is blanked in it, as a share of the image's.
    """

    threshold: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    weight: Annotated[float, Field(ge=0, le=1000)] = 1.0
    ratio: Annotated[float, Field(gt=0, le=16)] = 1.0
    start: Annotated[float, Field(ge=0, lt=1)] = 0.2
    change: Augmentation = STRONG
    cutout: Annotated[float, Field(ge=0, lt=1)] = 0.25


class PseudoLabels(Strategy):
    """See `PseudoLabelsSettings`."""

    name: ClassVar[str] = "pseudo-labels"
    title: ClassVar[str] = "Pseudo-labels"
    role: ClassVar[Role] = "objective"
    source: ClassVar[str] = (
        "Sohn et al. 2020, 'FixMatch: simplifying semi-supervised learning with consistency and "
        "confidence', NeurIPS; Lee 2013, 'Pseudo-label', ICML workshop"
    )
    Settings: ClassVar[type[Settings]] = PseudoLabelsSettings
    needs_unlabelled: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation")
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "mean-teacher": "both teach what the network itself says of cases without a label",
    })  # fmt: skip

    settings: PseudoLabelsSettings

    def faults(self, recipe: Any, task: Task) -> list[str]:
        return refuse_prompts(task) + refuse_without_image(task)

    def loss(self, loss: Loss, context: Context) -> Loss:
        said, learner, task = self.settings, context.learner, context.task
        views = Views(
            context, context.unlabelled, batch=max(1, round(said.ratio * learner.batch)),
            change=said.change, cutout=said.cutout,
        )  # fmt: skip

        def both(net: nn.Module, number: int, device: torch.device) -> Tensor:
            total = loss(net, number, device)
            if number // learner.accumulate < said.start * learner.steps:
                return total
            inputs = views.weak(number, device)
            held = answers(net, task, inputs)
            changed, taught = moved(held, views, inputs, number)
            for name, (scores, kind) in scores_of(task, net(*changed.values())).items():
                one = confident_loss(scores, taught[name], said.threshold, kind)
                total = total + said.weight * one
            return total

        return both


def confident_loss(scores: Tensor, taught: Tensor, threshold: float, activation: str) -> Tensor:
    """Cross-entropy with the likeliest answer where it is sure, mean over all, sure or not.

    Args:
        scores: ``(B, L, ...)`` of the changed case.
        taught: ``(B, L, ...)`` probabilities of the case as it is.
        threshold: from which an answer is sure.
        activation: ``softmax`` over axis 1, or ``sigmoid``.
    """
    if activation == "softmax":
        best, which = taught.max(dim=1)
        loss = functional.cross_entropy(scores, which, reduction="none")
        return (loss * (best >= threshold)).mean()
    sure = (taught >= threshold) | (taught <= 1 - threshold)
    truth = (taught >= threshold).to(scores.dtype)
    loss = functional.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    return (loss * sure).mean()
