r"""Mean teacher: the network shall say of a changed case what the average of its past says of it.

.. math::

    L = L_\text{task} + w(t) \, \frac{1}{n} \sum_u \bigl\| p_\theta(u') - p_{\theta'}(u) \bigr\|^2,
    \qquad
    \theta'_t = \alpha \theta'_{t-1} + (1 - \alpha) \theta_t

with :math:`n` the values compared and :math:`w(t) = w \exp(-5 (1 - t / T)^2)` up to step :math:`T`.
"""

import copy
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from osler.learn.augmenting_settings import Augmentation
from osler.learn.strategies.strategy import Context, Loss, Role, Settings, Strategy, Wrapped
from osler.learn.strategies.unlabelled_views import (
    Views,
    answers,
    moved,
    probabilities,
    scores_of,
)
from osler.tasks.task import Task

NOISE = Augmentation.model_validate({
    "translate": {"probability": 0.5, "share": 0.05},
    "noise": {"probability": 1.0, "deviation": (0.05, 0.15)},
    "brightness": {"probability": 0.5, "factor": (0.8, 1.2)},
    "contrast": {"probability": 0.5, "factor": (0.8, 1.2)},
})  # fmt: skip


class MeanTeacherSettings(Settings):
    r"""The keys of ``mean-teacher``.

    Attributes:
        weight: of the consistency at full strength.
        decay: of the teacher, :math:`\alpha`; smaller in the first steps.
        ramp: share of the steps over which the weight rises.
        ratio: cases without a label for each one with it.
        change: what befalls the case that the network sees, beside the recipe's ``augment``,
            which the teacher sees too.
    """

    weight: Annotated[float, Field(ge=0, le=10_000)] = 10.0
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.4
    ratio: Annotated[float, Field(gt=0, le=16)] = 1.0
    change: Augmentation = NOISE


class MeanTeacher(Strategy):
    """See `MeanTeacherSettings`."""

    name: ClassVar[str] = "mean-teacher"
    title: ClassVar[str] = "Mean teacher"
    role: ClassVar[Role] = "objective"
    source: ClassVar[str] = (
        "Tarvainen and Valpola 2017, 'Mean teachers are better role models: weight-averaged "
        "consistency targets improve semi-supervised deep learning results', NeurIPS"
    )
    Settings: ClassVar[type[Settings]] = MeanTeacherSettings
    needs_unlabelled: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation")
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "pseudo-labels": "both teach what the network itself says of cases without a label",
        "training": "the teacher follows the network after every step of the one loop",
    })  # fmt: skip

    settings: MeanTeacherSettings

    def faults(self, recipe: Any, task: Task) -> list[str]:
        return refuse_prompts(task) + refuse_without_image(task)

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        teacher = copy.deepcopy(net).requires_grad_(False)
        return Wrapped(net, {"mean_teacher": teacher})

    def loss(self, loss: Loss, context: Context) -> Loss:
        said, learner, task = self.settings, context.learner, context.task
        views = Views(
            context, [*context.unlabelled, *context.teach],
            batch=max(1, round(said.ratio * learner.batch)), change=said.change,
        )  # fmt: skip

        def both(net: nn.Module, number: int, device: torch.device) -> Tensor:
            total = loss(net, number, device)
            step = number // learner.accumulate
            weight = said.weight * ramped(step, said.ramp * learner.steps)
            inputs = views.weak(number, device)
            held = answers(teaching(net).beside["mean_teacher"], task, inputs)
            changed, taught = moved(held, views, inputs, number)
            for name, (scores, kind) in scores_of(task, net(*changed.values())).items():
                total = total + weight * consistency(probabilities(scores, kind), taught[name])
            return total

        return both

    def stepped(self, net: nn.Module, step: int) -> None:
        own = teaching(net)
        follow_student(own.beside["mean_teacher"], own.net, self.settings.decay, step)

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        kept: nn.Module = teaching(net).net
        return kept


def refuse_prompts(task: Task) -> list[str]:
    """A task that is told what to mark cannot be told so in cases without their truth."""
    if getattr(task.settings, "prompt", "none") == "none":
        return []
    return ["needs settings.prompt none: what is prompted in a case without its truth is not known"]


def refuse_without_image(task: Task) -> list[str]:
    """Signals and tables are not changed at random, so one view of them would be the other."""
    if getattr(task.settings, "image", None) is not None:
        return []
    if getattr(task.settings, "inputs", None) is not None and task.images:
        return []  # pictures among named inputs are changed each for itself
    return ["needs an image, of which two views differ; settings names none"]


def teaching(net: nn.Module) -> Wrapped:
    """The wrapper with the teacher, in a network that others may have wrapped again."""
    for module in net.modules():
        if isinstance(module, Wrapped) and "mean_teacher" in module.beside:
            return module
    raise ValueError("the network has no teacher beside it")


def consistency(said: Tensor, taught: Tensor) -> Tensor:
    """The mean squared difference of probabilities over cases, classes and voxels."""
    return (said - taught).square().mean()


def ramped(step: int, over: float) -> float:
    """``exp(-5 (1 - step / over)^2)``, and 1 from step ``over`` on."""
    if step >= over:
        return 1.0
    return math.exp(-5.0 * (1.0 - step / over) ** 2)


@torch.no_grad()
def follow_student(teacher: nn.Module, student: nn.Module, decay: float, step: int) -> None:
    """Move the teacher's weights: ``a * teacher + (1 - a) * student``.

    With ``a = min(1 - 1 / (step + 1), decay)`` it is the plain mean of the first weights. The
    statistics of its normalisation come of the cases that it sees itself.

    Args:
        teacher: of the same structure as the student, changed in place.
        student: the network that learns.
        decay: 0 to below 1.
        step: steps taken, from 1.
    """
    alpha = min(1 - 1 / (step + 1), decay)
    for kept, new in zip(teacher.parameters(), student.parameters(), strict=True):
        kept.lerp_(new, 1 - alpha)
