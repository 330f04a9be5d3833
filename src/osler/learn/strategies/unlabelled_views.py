"""Cases without their truth, as a network that learns from its own answers sees them.

One view is changed as the recipe's ``augment`` changes the cases that teach; from it comes a
second one that is changed more. What is said of the first view moves with it to the second, so
that answers a voxel can be compared, in pictures and in volumes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.augmenting import changed_apart, draw_changes
from osler.learn.augmenting_settings import Augmentation
from osler.learn.labelling import without_truth
from osler.learn.strategies.strategy import Context, tensors
from osler.tasks.task import Sample, Task

STRONG = Augmentation.model_validate({
    "rotate": {"probability": 0.5, "in_plane": 20.0, "through_plane": 10.0},
    "scale": {"probability": 0.5, "factor": (0.8, 1.2)},
    "translate": {"probability": 0.5, "share": 0.1},
    "blur": {"probability": 0.3, "sigma": (0.5, 1.5)},
    "noise": {"probability": 0.5, "deviation": (0.0, 0.3)},
    "brightness": {"probability": 0.5, "factor": (0.6, 1.4)},
    "contrast": {"probability": 0.5, "factor": (0.5, 1.5)},
    "gamma": {"probability": 0.5},
})  # fmt: skip
"""Without flips, as the side of an organ may be what is asked."""

_SALT = 15_485_863  # keeps these changes apart from those of the cases that teach with labels


class Views:
    """Batches of cases without their truth, each of which depends on its number alone.

    Args:
        context: of the run.
        samples: of the cases; what they know of their truth is set aside.
        batch: cases in one.
        change: of the second view.
        cutout: side of the box that is blanked in it, as a share of each side of the image.
    """

    def __init__(
        self, context: Context, samples: Sequence[Sample], *, batch: int, change: Augmentation,
        cutout: float = 0.0,
    ) -> None:  # fmt: skip
        if not samples:
            raise RecipeError("no case teaches without its label; take fewer labels")
        self.task, self.change, self.cutout = context.task, change, cutout
        self.seed = context.learner.seed * 1_000_003
        said = context.recipe.augment
        self.first = Augmentation.model_validate(
            {"preset": said} if isinstance(said, str) else said
        )
        self._batches = context.batches(
            [without_truth(one) for one in samples], batch=batch, seed=1
        )

    def weak(self, number: int, device: torch.device) -> dict[str, Tensor]:
        """Inputs ``(B, ...)`` by name, changed as the recipe changes those that teach."""
        inputs = tensors(self._batches(number)[0], device)
        return self._changed(inputs, None, self.first, seed=self.seed + number)[0]

    def strong(
        self, inputs: Mapping[str, Tensor], maps: Tensor | None, number: int
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """The same inputs changed once more, and maps ``(B, L, ...)`` moved with the images."""
        seed = _SALT + self.seed + number
        out, maps = self._changed(inputs, maps, self.change, seed=seed)
        if self.cutout > 0:
            generator = torch.Generator().manual_seed(seed + 1)
            for name in self._images(out):
                out[name] = cut_out(out[name], self.cutout, generator)
        return out, maps

    def _images(self, inputs: Mapping[str, Tensor]) -> list[str]:
        return [name for name in self.task.images if name in inputs]

    def _changed(
        self, inputs: Mapping[str, Tensor], maps: Tensor | None, change: Augmentation, *, seed: int
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        out, names = dict(inputs), self._images(inputs)
        if not names:
            raise RecipeError("the task reads no image, and only images are changed at random")
        generator = torch.Generator().manual_seed(seed)
        if self.task.apart:  # pictures of several things, which no map lies on
            return {**out, **changed_apart(out, names, change, generator)}, maps
        widths = [out[name].shape[1] for name in names]
        together = torch.cat([out[name] for name in names], dim=1)
        drawn = draw_changes(len(together), together.shape[2:], change, generator)
        together, maps = drawn.apply(together, maps)
        for name, part in zip(names, torch.split(together, widths, dim=1), strict=True):
            out[name] = part
        return out, maps


def cut_out(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Images of which a box at a place of its own is as grey as the mean of the image.

    Source: DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with
    Cutout", arXiv:1708.04552.

    Args:
        images: ``(B, C, [D,] H, W)``.
        share: side of the box, as a share of each side of the image; its centre lies anywhere.
        generator: of the processor.
    """
    out = images.clone()
    for one in out:
        box: list[slice] = [slice(None)]
        for side in images.shape[2:]:
            centre = int(torch.randint(side, (), generator=generator))
            half = share * side / 2
            box.append(slice(max(0, round(centre - half)), round(centre + half)))
        one[tuple(box)] = one.flatten(1).mean(dim=1).reshape(-1, *[1] * (one.ndim - 1))
    return out


def scores_of(task: Task, said: Any) -> dict[str, tuple[Tensor, str]]:
    """Scores ``(B, L, ...)`` of the finest scale with their activation, by the output's name."""
    out: dict[str, tuple[Tensor, str]] = {}
    named = task.named(said)
    for spec in task.outputs():
        if spec.activation in ("softmax", "sigmoid") and spec.name in named:
            value = named[spec.name]
            value = value[0] if isinstance(value, list | tuple) else value
            out[spec.name] = (value.float(), spec.activation)
    return out


def probabilities(scores: Tensor, activation: str) -> Tensor:
    """Of classes along axis 1, or of each label by itself."""
    return scores.softmax(dim=1) if activation == "softmax" else scores.sigmoid()


@torch.no_grad()
def answers(
    net: nn.Module, task: Task, inputs: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, str]]:
    """Probabilities that a network gives to inputs, with their activation, without gradients."""
    said = scores_of(task, net(*inputs.values()))
    # weights that were rounded here would else be taken again where gradients are wanted
    torch.clear_autocast_cache()
    return {name: (probabilities(score, kind), kind) for name, (score, kind) in said.items()}


def moved(
    said: Mapping[str, tuple[Tensor, str]], views: Views, inputs: Mapping[str, Tensor], number: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The second view of inputs, and what was said of the first where it now lies.

    Args:
        said: of `answers`.
        views: of the batch.
        inputs: of the first view.
        number: of the batch.
    """
    grids = [name for name, (p, _) in said.items() if p.ndim > 2]
    maps = torch.cat([said[name][0] for name in grids], dim=1) if grids else None
    changed, maps = views.strong(inputs, maps, number)
    out = {name: p for name, (p, _) in said.items()}
    if maps is not None:
        parts = torch.split(maps, [out[name].shape[1] for name in grids], dim=1)
        out |= dict(zip(grids, parts, strict=True))
    return changed, out
