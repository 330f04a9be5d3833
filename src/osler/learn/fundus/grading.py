"""Learning to grade retinopathy from what a lesion network saw.

With a few hundred graded photographs a network learns the grade poorly from pixels. It learns it
better from a map of lesions and of the features behind them. Five graders, each trained without
one fold of the patients, are averaged; what each says about its own left-out fold calibrates them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from osler import models
from osler.data.cache import Arrays, Cache
from osler.data.cohort import Cohort, Row, read_cohort
from osler.errors import RecipeError
from osler.learn.fundus.canvases import read_rgb
from osler.learn.fundus.recipe import Recipe
from osler.learn.loop import inference
from osler.models.grader import Grader, LesionFeatures
from osler.models.unet import UNet
from osler.tasks.canvas_masks import encode
from osler.tasks.field import find_field

CELLS = Path(".cache") / "cells"  # what the lesion network saw, by its weights and the photograph
HEADS = ("grade", "referable", "oedema")
OUTPUTS = (5, 1, 3)
REFERABLE = 2  # moderate retinopathy and worse


@dataclass(frozen=True, slots=True)
class Graded:
    """A photograph as the grader sees it.

    Attributes:
        row: the case.
        views: maps of features ``(C, h, w)`` float16, one a way of photographing it.
        grade: 0 to 4.
        oedema: 0 to 2.
    """

    row: Row
    views: list[NDArray[np.float16]]
    grade: int
    oedema: int


class Ensemble(nn.Module):
    """The mean of several graders' scores, and of their attention."""

    def __init__(self, graders: Sequence[Grader]) -> None:
        super().__init__()
        self.graders = nn.ModuleList(graders)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As ``Grader``."""
        said = [grader(x) for grader in self.graders]
        return tuple(torch.stack(parts).mean(dim=0) for parts in zip(*said, strict=True))


@dataclass(frozen=True, slots=True)
class Begun:
    """What stands before the first step.

    Attributes:
        features: the lesion network with its map.
        cases: all photographs.
        folds: each is left out in turn.
        seeds: graders that each fold is left out by.
    """

    features: LesionFeatures
    cases: list[Graded]
    folds: tuple[int, ...]
    seeds: int


@dataclass(frozen=True, slots=True)
class Grading:
    """What training left.

    Attributes:
        net: the ensemble.
        features: the lesion network with its map.
        cases: all photographs.
        scores: head to ``(N, K)``, what graders that never saw the photograph's patient said.
    """

    net: Ensemble
    features: LesionFeatures
    cases: list[Graded]
    scores: dict[str, NDArray[np.float64]]


def begin(recipe: Recipe, recipe_path: Path) -> Begun:
    """Open the lesion network of a grading recipe and look at every photograph.

    Raises:
        RecipeError: the recipe, its cohort or the lesion network does not serve.
    """
    cohort = read_cohort(recipe_path.parent / recipe.cohort)
    features = lesion_features(recipe, recipe_path)
    cases = look(cohort, features, recipe, cache=CELLS)
    return Begun(features, cases, tuple(cohort.folds), int(recipe.options.get("seeds", 2)))


def learn_grading(recipe: Recipe, recipe_path: Path) -> Grading:
    """Train graders, one a fold and seed, and keep what each says of the fold it left out."""
    begun = begin(recipe, recipe_path)
    cases, seeds = begun.cases, begun.seeds
    graders: list[Grader] = []
    scores = {head: np.zeros((len(cases), k)) for head, k in zip(HEADS, OUTPUTS, strict=True)}
    for fold in begun.folds:
        teaching = [case for case in cases if case.row.fold != fold]
        left_out = [i for i, case in enumerate(cases) if case.row.fold == fold]
        for seed in range(seeds):
            grader = fit_grader(teaching, recipe, seed=recipe.learner.seed + 100 * seed + fold)
            graders.append(grader)
            for i in left_out:
                for head, said in zip(HEADS, say(grader, cases[i]), strict=True):
                    scores[head][i] += said / seeds
    return Grading(Ensemble(graders).eval(), begun.features, cases, scores)


def lesion_features(recipe: Recipe, recipe_path: Path) -> LesionFeatures:
    """The lesion network that the recipe starts from, with its map of features."""
    net = models.create("unet", weights="random", labels=4, **recipe.network.options)
    assert isinstance(net, UNet)
    if recipe.network.start is None:
        raise RecipeError("a grading recipe needs network.start, a lesion network's checkpoint")
    models.start_from(net, recipe_path.parent / recipe.network.start)
    return LesionFeatures(net).eval()


def look(cohort: Cohort, features: LesionFeatures, recipe: Recipe, *, cache: Path) -> list[Graded]:
    """Run the lesion network over every photograph, in each view, once."""
    kept = Cache(cache)
    weights = hashlib.sha256()
    for value in features.state_dict().values():
        weights.update(np.ascontiguousarray(value.float().numpy()).tobytes())
    views = int(recipe.options.get("views", 2))
    out = []
    for row in cohort.rows:
        maps = [
            kept.arrays(
                partial(_cells, features, row, recipe, view),
                name="cells",
                version=1,
                inputs=[row.items[recipe.item]],
                options={
                    "weights": weights.hexdigest(),
                    "diameter": recipe.diameter,
                    "view": view,
                },
            )["cells"]
            for view in range(views)
        ]
        out.append(Graded(row, maps, _whole(row, "dr-grade", 4), _whole(row, "dme-risk", 2)))
    return out


def _whole(row: Row, label: str, most: int) -> int:
    value = row.labels.get(label, "")
    if not value.isdecimal() or int(value) > most:
        raise RecipeError(f"case '{row.case_id}': {label} is '{value}', not 0 to {most}")
    return int(value)


def _cells(features: LesionFeatures, row: Row, recipe: Recipe, view: int) -> Arrays:
    """The map of one view: 0 as taken; others with changed colours and sharpness."""
    photo = read_rgb(row.items[recipe.item])
    image, _ = encode(photo, find_field(photo), diameter=recipe.diameter)
    pixels = torch.from_numpy(image)
    if view:
        rng = torch.Generator().manual_seed(view)
        gamma = torch.exp((torch.rand(1, 3, 1, 1, generator=rng) - 0.5) * 0.5)
        gain = torch.exp((torch.rand(1, 3, 1, 1, generator=rng) - 0.5) * 0.4)
        colour = (pixels[:, :3].clamp(min=1e-4) ** gamma * gain).clamp(0, 1)
        pixels = torch.cat([colour * pixels[:, 3:], pixels[:, 3:]], dim=1)
    fast = bool(torch.cpu._is_avx512_bf16_supported())
    with inference(features), torch.autocast("cpu", torch.bfloat16, enabled=fast):
        _, cells = features(pixels.contiguous(memory_format=torch.channels_last))
    return {"cells": np.asarray(cells[0].float().numpy(), np.float16)}


def fit_grader(
    cases: Sequence[Graded], recipe: Recipe, *, seed: int, stepped: Callable[[], None] | None = None
) -> Grader:
    """Train one grader.

    Cases are drawn evenly over a mix of the grades as they are and all grades alike; maps are
    mirrored and taken in any view.

    Args:
        cases: the photographs that teach.
        recipe: the recipe.
        seed: of the first weights and of what is drawn.
        stepped: called after each step.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    learner = recipe.learner
    options = {k: v for k, v in recipe.options.items() if k in ("width", "dropout")}
    grader = Grader(channels=cases[0].views[0].shape[0], outputs=OUTPUTS, **options)
    optimiser = torch.optim.AdamW(
        grader.parameters(), lr=learner.rate, weight_decay=learner.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=learner.rate, total_steps=learner.steps
    )
    grades = np.array([case.grade for case in cases])
    share = 1 / np.bincount(grades, minlength=5).clip(min=1)[grades]
    share = 0.5 * share / share.sum() + 0.5 / len(cases)
    grader.train()
    for _ in range(learner.steps):
        chosen = rng.choice(len(cases), size=learner.batch, p=share)
        maps = stack([_mirrored(cases[i], rng) for i in chosen])
        said = grader(maps)
        loss = grading_loss(
            said, torch.tensor(grades[chosen]), torch.tensor([cases[i].oedema for i in chosen])
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(grader.parameters(), learner.clip)
        optimiser.step()
        schedule.step()
        if stepped is not None:
            stepped()
    return grader.eval()


def grading_loss(said: tuple[Tensor, ...], grade: Tensor, oedema: Tensor) -> Tensor:
    """Cross-entropy of each head, and the squared distance of the expected grade."""
    expected = (said[0].softmax(1) * torch.arange(5.0)).sum(dim=1)
    referable = (grade >= REFERABLE).float()
    return (
        functional.cross_entropy(said[0], grade, label_smoothing=0.05)
        + 0.15 * functional.mse_loss(expected, grade.float())
        + 0.5 * functional.binary_cross_entropy_with_logits(said[1][:, 0], referable)
        + 0.5 * functional.cross_entropy(said[2], oedema, label_smoothing=0.05)
    )


def _mirrored(case: Graded, rng: np.random.Generator) -> NDArray[np.float16]:
    values = case.views[int(rng.integers(len(case.views)))]
    if rng.random() < 0.5:
        values = values[:, :, ::-1]
    return values[:, ::-1] if rng.random() < 0.5 else values


def stack(maps: Sequence[NDArray[np.float16]]) -> Tensor:
    """Maps of different sizes in one batch ``(B, C, h, w)``, zero where they do not reach."""
    h, w = max(m.shape[1] for m in maps), max(m.shape[2] for m in maps)
    out = np.zeros((len(maps), maps[0].shape[0], h, w), np.float32)
    for place, values in zip(out, maps, strict=True):
        place[:, : values.shape[1], : values.shape[2]] = values
    return torch.from_numpy(out)


def say(grader: nn.Module, case: Graded) -> list[NDArray[np.float64]]:
    """Scores of each head for a photograph as taken."""
    with inference(grader):
        said = grader(stack([case.views[0]]))
    return [part[0].double().numpy() for part in said[: len(HEADS)]]
