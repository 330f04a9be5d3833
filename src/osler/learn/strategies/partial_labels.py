r"""Partial labels: cohorts in which some structures were not marked in some cases.

Where a structure was not marked, its voxels are among those of the background. So what a case does
not mark is added to the background's probability before that is compared with the truth (marginal
loss), and what it does mark cannot be any of the others (exclusion loss). With :math:`U` the labels
that a case does not mark and :math:`E` the voxels of those that it does:

.. math::

    p'_0 = p_0 + \sum_{k \in U} p_k, \qquad
    L = \mathrm{CE}(p') + \mathrm{Dice}(p') + w \Bigl[ \mathrm{mean}_{k \in U}
    \frac{2 \sum_E p_k}{|E| + \sum p_k} + \mathrm{mean} \sum_{k \in U} \mathbb{1}_E \log(1 + p_k)
    \Bigr]
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from osler.learn.strategies.strategy import Context, Criterion, Role, Settings, Strategy
from osler.record import Case
from osler.tasks.labels import label_of
from osler.tasks.segmentation import Segmentation
from osler.tasks.segmentation_losses import shares_of
from osler.tasks.task import Arrays, Sample, Task


class PartialLabelsSettings(Settings):
    """The keys of ``partial-labels``.

    Attributes:
        exclusion: weight of the exclusion loss, :math:`w`.
    """

    exclusion: Annotated[float, Field(ge=0, le=100)] = 0.5


class PartlyMarked(Segmentation):
    """Segmentation whose truth also says which labels a case marks: ``annotated``, ``(L,)``."""

    def encode(self, case: Case, *, truth: bool = False) -> Sample:
        sample = super().encode(case, truth=truth)
        if truth:
            labels = self.settings.labels
            marked = [self._mask(case, one) is not None or _none(case, one) for one in labels]
            sample.targets["annotated"] = np.array(marked, np.uint8)
        return sample

    def example(self, sample: Sample, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
        inputs, targets = super().example(sample, rng)
        if "annotated" in sample.targets:
            targets = {**targets, "annotated": sample.targets["annotated"]}
        return inputs, targets


class PartialLabels(Strategy):
    """See `PartialLabelsSettings`."""

    name: ClassVar[str] = "partial-labels"
    title: ClassVar[str] = "Partial labels"
    role: ClassVar[Role] = "objective"
    source: ClassVar[str] = (
        "Shi et al. 2021, 'Marginal loss and exclusion loss for partially supervised multi-organ "
        "segmentation', Medical Image Analysis 70"
    )
    Settings: ClassVar[type[Settings]] = PartialLabelsSettings
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({})

    settings: PartialLabelsSettings

    def faults(self, recipe: Any, task: Task) -> list[str]:
        said = getattr(task, "settings", None)
        out = []
        if getattr(said, "overlapping", False):
            out.append(
                "is for labels that exclude each other; where they overlap, settings.absent "
                "unknown alone leaves out what a case does not mark"
            )
        elif getattr(said, "absent", "unknown") != "unknown":
            out.append(
                "needs settings.absent unknown, which says that a mask that is missing was not "
                "drawn; with none the structure is not there"
            )
        return out

    def asked(self, task: Task) -> Task:
        return PartlyMarked(task.settings, calibration=task.calibration)

    def criterion(self, criterion: Criterion, context: Context) -> Criterion:
        weight, dice = self.settings.exclusion, context.task.settings.dice
        marks = [one.targets["annotated"] for one in context.teach]
        labels = context.task.settings.labels
        context.record["marked"] = {
            label: int(sum(one[k] for one in marks)) for k, label in enumerate(labels)
        }

        def partial(outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Tensor:
            if "annotated" not in targets:
                whole: Tensor = criterion(outputs, targets)
                return whole
            scores = outputs["scores"]
            deep = list(scores) if isinstance(scores, list | tuple) else [scores]
            total = torch.zeros((), device=deep[0].device)
            for share, one in zip(shares_of(deep), deep, strict=True):
                truth = targets["labels"].float()
                if one.shape[2:] != truth.shape[2:]:
                    truth = functional.interpolate(truth, one.shape[2:], mode="nearest")
                known = targets["annotated"].bool()
                scale = (one.float(), truth[:, 0].long(), known)
                loss = marginal_loss(*scale, dice=dice)
                if weight:
                    loss = loss + weight * exclusion_loss(*scale)
                total = total + share * loss
            return total

        return partial


def _none(case: Case, label: str) -> bool:
    """Whether a person said that a structure is not there, which marks it as an empty mask does."""
    return (label_of(case, label) or "").strip().lower() == "none"


def marginal_loss(scores: Tensor, truth: Tensor, annotated: Tensor, *, dice: float) -> Tensor:
    """Cross-entropy plus soft Dice, what a case does not mark being part of its background.

    Args:
        scores: ``(B, 1 + L, ...)``, the background first.
        truth: ``(B, ...)``, 0 for the background and for what is not marked.
        annotated: ``(B, L)``, whether a case marks a label.
        dice: weight of the Dice loss, over the cases that mark a label, mean over the labels that
            are there.
    """
    shape = (*annotated.shape, *[1] * (scores.ndim - 2))
    log = functional.log_softmax(scores, dim=1)
    hidden = log[:, 1:].masked_fill(annotated.reshape(shape), -torch.inf)
    rest = torch.logsumexp(torch.cat([log[:, :1], hidden], dim=1), dim=1, keepdim=True)
    merged = torch.cat([rest, log[:, 1:]], dim=1)
    entropy = -merged.gather(1, truth[:, None]).mean()
    known = annotated.reshape(shape).to(scores.dtype)
    every = functional.one_hot(truth, scores.shape[1]).movedim(-1, 1)[:, 1:].to(scores.dtype)
    p, every = log[:, 1:].exp() * known, every * known
    axes = (0, *range(2, scores.ndim))
    shared, sizes = (p * every).sum(axes), (p + every).sum(axes)
    apart = 1 - (2 * shared + 1e-5) / (sizes + 1e-5)
    present = (every.sum(axes) > 0).to(scores.dtype)
    return entropy + dice * (apart * present).sum() / present.sum().clamp(min=1)


def exclusion_loss(scores: Tensor, truth: Tensor, annotated: Tensor) -> Tensor:
    """How far labels that a case does not mark reach into those that it does.

    Args:
        scores: ``(B, 1 + L, ...)``.
        truth: ``(B, ...)``.
        annotated: ``(B, L)``.

    Returns:
        the overlap of every such label of every case as a soft Dice, their mean, plus the mean over
        voxels of the sum of ``log(1 + p)`` where something else is marked; 0 where all is marked.
    """
    axes = tuple(range(2, scores.ndim))
    unknown = (~annotated).to(scores.dtype)
    p = scores.softmax(dim=1)[:, 1:] * unknown.reshape(*unknown.shape, *[1] * len(axes))
    taken = (truth > 0)[:, None].to(scores.dtype)
    overlap = 2 * (p * taken).sum(axes) / (p.sum(axes) + taken.sum(axes)).clamp(min=1e-5)
    overlap = (overlap * unknown).sum() / unknown.sum().clamp(min=1)
    return overlap + (taken * torch.log1p(p)).sum(dim=1).mean()
