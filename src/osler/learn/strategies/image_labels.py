r"""Image labels: cases of which it is only known what they show teach where it is.

A convolutional classifier learns what is in the image. Its score of a label is the mean over
positions of a map :math:`M_k`, so that the map says which positions speak for the label (class
activation map). With :math:`A_k = \mathrm{ReLU}(M_k) / \max \mathrm{ReLU}(M_k)` a voxel belongs to
a label that the image shows where :math:`A_k \ge h`, and to none where every :math:`A_k \le l`;
what lies between teaches nothing. Labels that the image does not show are nowhere in it. These
seeds teach the segmentation by cross-entropy, beside the cases that have masks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.learn.samplers import CaseSampler
from osler.learn.strategies.mean_teacher import refuse_prompts
from osler.learn.strategies.strategy import Context, Loss, Role, Settings, Strategy
from osler.learn.strategies.unlabelled_views import scores_of
from osler.tasks.task import Sample, Task

UNKNOWN = 255
"""A voxel of a seed map of labels that exclude each other, of which nothing is known."""

UNSURE = 2
"""The same of labels that overlap, as the truth of a segmentation has it."""


class ImageLabelsSettings(Settings):
    """The keys of ``image-labels``.

    Attributes:
        column: variable of the cohort that says what an image shows.
        present: for each label of the segmentation the values of the column by which it is there.
            A case without a value is left out.
        steps: of the classifier.
        widths: channels of its stages, each of half the resolution of the one before.
        high: share of a map's greatest value from which a voxel belongs to the label.
        low: share up to which it does not.
        weight: of the loss on seeds.
    """

    column: Annotated[str, Field(min_length=1)]
    present: Annotated[dict[str, list[str]], Field(min_length=1)]
    steps: Annotated[int, Field(gt=0, le=1_000_000)] = 200
    widths: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1)] = [16, 32, 64]
    high: Annotated[float, Field(gt=0, le=1)] = 0.5
    low: Annotated[float, Field(ge=0, lt=1)] = 0.2
    weight: Annotated[float, Field(ge=0, le=1000)] = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high; between them lies what is not known")
        return self


class ImageLabels(Strategy):
    """See `ImageLabelsSettings`."""

    name: ClassVar[str] = "image-labels"
    title: ClassVar[str] = "Image labels to masks"
    role: ClassVar[Role] = "objective"
    source: ClassVar[str] = (
        "Zhou et al. 2016, 'Learning deep features for discriminative localization', CVPR; seeds: "
        "Kolesnikov and Lampert 2016, 'Seed, expand and constrain', ECCV"
    )
    Settings: ClassVar[type[Settings]] = ImageLabelsSettings
    needs_unlabelled: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({})

    settings: ImageLabelsSettings

    def faults(self, recipe: Any, task: Task) -> list[str]:
        said, out = task.settings, refuse_prompts(task)
        labels = list(getattr(said, "labels", []))
        if lacking := [one for one in labels if one not in self.settings.present]:
            out.append(f"needs the values by which {', '.join(lacking)} is there: present")
        if more := [one for one in self.settings.present if one not in labels]:
            out.append(f"present names {', '.join(more)}, not among settings.labels")
        if getattr(said, "patch", None) is not None or said.image.size is None:
            out.append(
                "needs whole images of one size, since a part of an image need not show what the "
                "image does: set settings.image.size and no settings.patch"
            )
        return out

    def before(self, net: nn.Module, context: Context) -> None:
        said, labels = self.settings, context.task.settings.labels
        shown = {
            sample.id: image_label(context.variables.get(sample.id, {}), said, labels)
            for sample in [*context.teach, *context.unlabelled]
        }
        cases = [one for one in [*context.teach, *context.unlabelled] if shown[one.id] is not None]
        weak = [one for one in context.unlabelled if shown[one.id] is not None]
        if not weak:
            raise RecipeError(
                f"no case without a mask has a value of '{said.column}', a variable of the cohort"
            )
        truth = np.array([shown[one.id] for one in cases], np.float32)
        if (constant := np.ptp(truth, axis=0) == 0).any():
            same = ", ".join(label for label, one in zip(labels, constant, strict=True) if one)
            raise RecipeError(f"'{said.column}' tells no image with {same} from one without")
        spec = context.task.inputs()[0]
        torch.manual_seed(context.learner.seed + 1)
        seer = Seer(len(spec.channels), len(labels), said.widths, dims=spec.axes)
        self._teach(seer, cases, truth, context)
        seer.cpu().eval()
        code = UNSURE if context.task.settings.overlapping else UNKNOWN
        self.seeds = [
            replace(
                sample,
                targets={"labels": seeds_of(
                    activations(seer, sample), np.array(shown[sample.id], bool),
                    low=said.low, high=said.high, overlapping=code == UNSURE,
                )},
                group=str(shown[sample.id]),
            )
            for sample in weak
        ]  # fmt: skip
        context.record |= {
            "image_labels": len(cases), "seeds": len(weak),
            "dice_of_maps_on_cases_that_tune": self._judged(seer, context),
        }  # fmt: skip

    def _teach(
        self, seer: "Seer", cases: Sequence[Sample], truth: NDArray[np.float32], context: Context
    ) -> None:
        learner = context.learner.model_copy(update={
            "steps": self.settings.steps, "validate_every": self.settings.steps,
            "warmup": min(context.learner.warmup, self.settings.steps // 5), "layer_decay": 1.0,
            "checkpointing": False,
        })  # fmt: skip
        batch = min(learner.batch, len(cases))
        choose = CaseSampler("even", batch=batch, seed=learner.seed, count=len(cases))
        blank = [replace(one, targets={}, home=dict(one.home)) for one in cases]
        batches = context.batches_on(blank, choose)

        def loss(net: nn.Module, number: int, device: torch.device) -> Tensor:
            inputs, _ = batches(number, device)
            said = net(inputs["image"]).float().flatten(2).mean(dim=2)
            true = torch.from_numpy(truth[choose(number)]).to(device)
            return functional.binary_cross_entropy_with_logits(said, true)

        context.stage(seer, loss, self.name, learner=learner)

    def _judged(self, seer: "Seer", context: Context) -> dict[str, float | None]:
        """Dice of the maps from ``high`` on, in the cases that show a label."""
        out: dict[str, float | None] = {}
        overlapping = context.task.settings.overlapping
        for k, label in enumerate(context.task.settings.labels):
            values = []
            for sample in context.tune:
                labels = sample.targets["labels"]
                true = labels[k] == 1 if overlapping else labels[0] == k + 1
                if true.any():
                    found = activations(seer, sample)[k] >= self.settings.high
                    values.append(2 * (found & true).sum() / (found.sum() + true.sum()))
            out[label] = round(float(np.mean(values)), 4) if values else None
        return out

    def loss(self, loss: Loss, context: Context) -> Loss:
        task, weight = context.task, self.settings.weight
        batches = context.batches_on(self.seeds)

        def both(net: nn.Module, number: int, device: torch.device) -> Tensor:
            total = loss(net, number, device)
            inputs, targets = batches(number, device)
            (scores, kind), *_ = scores_of(task, net(*inputs.values())).values()
            return total + weight * seed_loss(scores, targets["labels"], kind)

        return both


class Seer(nn.Module):
    """A convolutional classifier that gives its scores as maps, which are averaged.

    Args:
        channels: of the image.
        labels: scores.
        widths: of the stages, each of half the resolution.
        dims: 2 or 3.
    """

    def __init__(self, channels: int, labels: int, widths: Sequence[int], *, dims: int) -> None:
        super().__init__()
        kind = nn.Conv3d if dims == 3 else nn.Conv2d
        layers: list[nn.Module] = []
        for width in widths:
            layers += [
                kind(channels, width, 3, stride=2, padding=1), nn.GroupNorm(1, width), nn.ReLU(),
                kind(width, width, 3, padding=1), nn.GroupNorm(1, width), nn.ReLU(),
            ]  # fmt: skip
            channels = width
        self.maps = nn.Sequential(*layers, kind(channels, labels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` to maps ``(B, L, ...)``."""
        out: Tensor = self.maps(x)
        return out


def image_label(
    variables: Mapping[str, str], said: ImageLabelsSettings, labels: Sequence[str]
) -> list[int] | None:
    """Whether each label is in an image, 1 or 0; None where the column is empty."""
    value = variables.get(said.column)
    if value is None or not str(value).strip():
        return None
    return [int(str(value) in said.present[label]) for label in labels]


@torch.no_grad()
def activations(seer: nn.Module, sample: Sample) -> NDArray[np.float32]:
    """The maps ``(L, ...)`` of a case in its size, from 0 to 1; 0 all over where none speaks."""
    image = torch.from_numpy(sample.inputs["image"])[None]
    maps = seer(image).float()
    mode = "trilinear" if image.ndim == 5 else "bilinear"
    maps = functional.interpolate(maps, image.shape[2:], mode=mode, align_corners=False)[0].relu()
    most = maps.flatten(1).amax(dim=1).reshape(-1, *[1] * (maps.ndim - 1))
    return np.asarray((maps / most.clamp(min=1e-8)).numpy(), np.float32)


def seeds_of(
    maps: NDArray[np.float32], shown: NDArray[np.bool_], *, low: float, high: float,
    overlapping: bool,
) -> NDArray[np.uint8]:  # fmt: skip
    """Which voxels belong to which label, and of which nothing is known.

    Args:
        maps: ``(L, ...)`` from 0 to 1.
        shown: ``(L,)``, whether the image shows a label.
        low: up to which a voxel does not belong to a label.
        high: from which it does.
        overlapping: labels may share voxels.

    Returns:
        ``(L, ...)`` of 1, 0 and `UNSURE`; or ``(1, ...)`` of the label's number, 0 for the
        background, and `UNKNOWN`. A label that is shown and has no map anywhere is not known.
    """
    speaks = shown & (maps.reshape(len(maps), -1).max(axis=1) > 0)
    mute = shown & ~speaks
    here = np.where(speaks.reshape(-1, *[1] * (maps.ndim - 1)), maps, 0)
    if overlapping:
        out = np.where(here >= high, 1, np.where(here <= low, 0, UNSURE)).astype(np.uint8)
        out[~shown] = 0
        out[mute] = UNSURE
        return out
    best = here.argmax(axis=0) + 1
    top = here.max(axis=0)
    out = np.where(top >= high, best, np.where(top <= low, 0, UNKNOWN)).astype(np.uint8)
    if mute.any():
        out[out == 0] = UNKNOWN
    return out[None]


def seed_loss(scores: Tensor, seeds: Tensor, activation: str) -> Tensor:
    """Cross-entropy over the voxels of which something is known; 0 where there are none.

    Args:
        scores: ``(B, L, ...)``.
        seeds: of `seeds_of`, of each case.
        activation: ``softmax``, the background first, or ``sigmoid``.
    """
    if activation == "softmax":
        index = seeds[:, 0].long()
        known = (index != UNKNOWN).to(scores.dtype)
        loss = functional.cross_entropy(scores, index, ignore_index=UNKNOWN, reduction="none")
        return (loss * known).sum() / known.sum().clamp(min=1)
    known = (seeds != UNSURE).to(scores.dtype)
    truth = (seeds == 1).to(scores.dtype)
    loss = functional.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)
