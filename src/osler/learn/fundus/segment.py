"""Learning to segment: from a recipe to a validated network."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osler import models
from osler.data.cohort import read_cohort
from osler.errors import RecipeError
from osler.learn import losses
from osler.learn.fundus.canvases import CANVASES, Drawn, draw_cohort
from osler.learn.fundus.patches import Sampler
from osler.learn.fundus.recipe import Recipe
from osler.learn.learner import Learner
from osler.learn.loop import Loss, inference, train

_BINS = 512  # of the histograms from which validation figures are read


@dataclass(frozen=True, slots=True)
class Begun:
    """What stands before the first step.

    Attributes:
        net: at its first weights.
        loss: of a step, from the cases that teach.
        sample: the shape of what one sample gives the network, in training.
        drawn: every case of the cohort on its canvas.
        teaching, held: the cases that teach, and those of the fold that is held out.
    """

    net: nn.Module
    loss: Loss
    sample: tuple[int, ...]
    drawn: list[Drawn]
    teaching: list[Drawn]
    held: list[Drawn]


@dataclass(frozen=True, slots=True)
class Trained:
    """What training left.

    Attributes:
        net: with the best weights, never trained on the held-out fold: the one to measure.
        final: the one to export: ``net``, or what further steps on all folds made of it.
        seconds: spent in training.
        drawn: every case of the cohort on its canvas.
    """

    net: nn.Module
    final: nn.Module
    seconds: float
    drawn: list[Drawn]


def begin(recipe: Recipe, recipe_path: Path) -> Begun:
    """Draw the cases of a segmentation recipe and build its network.

    Args:
        recipe: the recipe.
        recipe_path: its file; the cohort's path is relative to it.

    Raises:
        RecipeError: the cohort or its folds do not serve.
    """
    cohort = read_cohort(recipe_path.parent / recipe.cohort)
    drawn = draw_cohort(cohort, recipe, cache=CANVASES)
    teaching, held = split(drawn, recipe.learner.hold)
    if held and not any(((c.targets > 127) & (c.valid > 0) & (c.image[3] > 0)).any() for c in held):
        raise RecipeError(
            f"no case of fold {recipe.learner.hold} shows any target, so nothing can be validated; "
            "choose another learner.hold"
        )
    torch.manual_seed(recipe.learner.seed)
    outputs = len(recipe.targets) + int(recipe.exclusive)
    net = models.create(
        recipe.network.name, weights="random", labels=outputs, **recipe.network.options
    )
    if recipe.network.start:
        models.start_from(net, recipe_path.parent / recipe.network.start)
    side = recipe.learner.patch
    loss = _loss(recipe, recipe.learner, teaching)
    return Begun(net, loss, (len(drawn[0].image), side, side), drawn, teaching, held)


def learn_segmentation(recipe: Recipe, recipe_path: Path, *, folder: Path, resume: bool) -> Trained:
    """Train a segmentation network by a recipe.

    Args:
        recipe: the recipe.
        recipe_path: its file; the cohort's path is relative to it.
        folder: for checkpoints and logs.
        resume: go on from the folder's checkpoint.

    Raises:
        RecipeError: the cohort or its folds do not serve, or the loss is not finite.
    """
    begun = begin(recipe, recipe_path)
    net, held, learner = begun.net, begun.held, recipe.learner

    def validate(net: nn.Module) -> Mapping[str, float]:
        return figures(net, held, recipe)

    state = train(
        net, loss=begun.loss, validate=validate if held else None,
        learner=learner, folder=folder, resume=resume,
    )  # fmt: skip
    final, seconds = net.cpu(), state.seconds
    if learner.finish and held:
        final = copy.deepcopy(net)
        last = learner.model_copy(
            update={
                "steps": learner.finish,
                "rate": learner.rate / 3,
                "warmup": min(learner.warmup, learner.finish // 4),
                "seed": learner.seed + 1,
                "patience": None,
            }
        )
        state = train(
            final, loss=_loss(recipe, last, begun.drawn), validate=None,
            learner=last, folder=folder / "finish", resume=resume,
        )  # fmt: skip
        seconds += state.seconds
    return Trained(net, final.cpu(), seconds, begun.drawn)


def _loss(recipe: Recipe, learner: Learner, cases: Sequence[Drawn]) -> Loss:
    """The loss of a step: a batch of the cases, judged as the recipe says."""
    sampler = Sampler(cases, learner, recipe.augment)
    criterion: Callable[..., Tensor] = partial(
        losses.exclusive if recipe.exclusive else losses.overlap,
        dice=learner.dice,
        positive=learner.positive,
    )
    if learner.normalised_entropy:
        if recipe.exclusive:
            raise RecipeError(
                "learner.normalised_entropy is for labels that may overlap, and those of this "
                "recipe are exclusive; leave out one of them"
            )
        entropies = entropies_of_prevalence(cases)
        criterion = partial(criterion, entropy_of_prevalence=entropies)

    def loss(net: nn.Module, step: int, device: torch.device) -> Tensor:
        batch = sampler.batch(step)
        image = batch.image.to(device, memory_format=torch.channels_last)
        return criterion(net(image), batch.targets.to(device), batch.valid.to(device))

    return loss


def entropies_of_prevalence(cases: Sequence[Drawn]) -> Tensor:
    """Nats a pixel of a guess that knows only how frequent each label is, where it is drawn.

    Cases that do not show a label are left out of its prevalence; a label that no case shows
    counts as if one pixel in a million had it.
    """
    out = []
    for label in range(len(cases[0].targets)):
        shares = [
            float((case.targets[label][known] > 127).mean())
            for case in cases
            if (known := (case.valid[label] > 0) & (case.image[3] > 0)).any()
        ]
        shown = [share for share in shares if share > 0]
        p = min(max(float(np.mean(shown)) if shown else 0.0, 1e-6), 1 - 1e-6)
        out.append(-p * np.log(p) - (1 - p) * np.log(1 - p))
    return torch.tensor(out, dtype=torch.float32)


def split(drawn: Sequence[Drawn], hold: int | None) -> tuple[list[Drawn], list[Drawn]]:
    """The cases that teach, and those of the fold that is held out.

    Raises:
        RecipeError: no case is left to teach, or the fold to hold out does not exist.
    """
    teaching = [case for case in drawn if case.row.fold != hold]
    held = [case for case in drawn if case.row.fold == hold]
    if not teaching or (hold is not None and not held):
        folds = ", ".join(str(fold) for fold in sorted({case.row.fold for case in drawn}))
        raise RecipeError(
            f"learner.hold is {hold} and the cohort's folds are {folds}; hold one of several "
            "folds out, or write null to train on all"
        )
    return teaching, held


def raw_scores(net: nn.Module, case: Drawn) -> NDArray[np.float32]:
    """Scores ``(L, h, w)`` on the canvas, the background first where there is one."""
    device = next(net.parameters()).device
    image = torch.from_numpy(case.image)[None].to(device).float() / 255
    with inference(net):
        return np.asarray(net(image).float()[0].cpu().numpy(), np.float32)


def probabilities(net: nn.Module, case: Drawn, *, exclusive: bool) -> NDArray[np.float32]:
    """``(L, h, w)`` on the canvas, the background left out, not calibrated."""
    scores = torch.from_numpy(raw_scores(net, case))
    return np.asarray((scores.softmax(0)[1:] if exclusive else scores.sigmoid()).numpy())


def figures(net: nn.Module, held: Sequence[Drawn], recipe: Recipe) -> dict[str, float]:
    """Average precision, best Dice and its threshold a label, over the pixels of all held cases."""
    count = len(recipe.targets)
    histograms = np.zeros((count, 2, _BINS))
    for case in held:
        values = probabilities(net, case, exclusive=recipe.exclusive)
        for label in range(count):
            inside = (case.image[3] > 0) & (case.valid[label] > 0)
            index = np.minimum((values[label][inside] * _BINS).astype(int), _BINS - 1)
            truth = case.targets[label][inside] > 127
            for side in (0, 1):
                histograms[label, side] += np.bincount(index[truth == side], minlength=_BINS)
    out: dict[str, float] = {}
    for target, (negative, positive) in zip(recipe.targets, histograms, strict=True):
        hit, false = positive[::-1].cumsum(), negative[::-1].cumsum()
        if hit[-1] == 0:
            continue
        precision, recall = hit / np.maximum(hit + false, 1), hit / hit[-1]
        dice = 2 * hit / (hit + false + hit[-1])
        out[f"ap/{target.name}"] = float(np.sum(np.diff(recall, prepend=0.0) * precision))
        out[f"dice/{target.name}"] = float(dice.max())
        out[f"threshold/{target.name}"] = 1 - (int(dice.argmax()) + 1) / _BINS
    out["score"] = float(np.mean([v for k, v in out.items() if k.startswith("ap/")]))
    return out
