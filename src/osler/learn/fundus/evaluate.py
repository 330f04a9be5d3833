"""How good a segmentation is, in the photograph's own grid, with intervals over patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from osler.bundles import probability
from osler.bundles.card import Output
from osler.errors import InputError, RecipeError
from osler.learn.fundus.canvases import Drawn, read_mask, read_rgb
from osler.learn.fundus.patches import photograph_badly
from osler.learn.fundus.recipe import Augment, Recipe, Target
from osler.learn.fundus.segment import raw_scores
from osler.metrics import (
    Interval,
    average_precision,
    bootstrap_interval,
    bootstrap_mean,
    dice,
    fit_platt,
    fit_temperature,
    interleave_tally,
    pixel_auroc,
    pixel_average_precision,
    tally,
)
from osler.tasks.canvas import plan
from osler.tasks.canvas_masks import Rule, decode
from osler.tasks.field import find_field

REPLICATES = 2000
_SAMPLE = 50_000  # pixels a case that pixel probabilities are calibrated on
_COPIES = 8  # of each of these cases: how a camera is worse is drawn anew for each


def rules(recipe: Recipe, figures: Mapping[str, float]) -> list[Rule]:
    """How masks are cut: each target's threshold as the recipe says, or as validation found it."""
    return [
        Rule(
            None if target.adaptive else figures.get(f"threshold/{target.name}", 0.5),
            target.min_area,
            target.single,
            target.thin,
        )
        for target in recipe.targets
    ]


def calibrate_pixels(
    net: nn.Module, held: Sequence[Drawn], recipe: Recipe
) -> dict[str, Any] | None:
    """Make pixel probabilities mean what they say, on the held-out cases photographed badly.

    A threshold that is chosen for each photograph by expected Dice is right only if they do, on
    cameras that nobody has trained on too. Such a camera is farther away than the augmentation
    that was trained with, so here it is stronger.

    Returns:
        A card's calibration; None where no target has such a threshold, or several targets that
        overlap would have to share one.
    """
    if not any(target.adaptive for target in recipe.targets) or not held:
        return None
    if len(recipe.targets) > 1 and not recipe.exclusive:
        return None
    rng = np.random.default_rng(recipe.learner.seed)
    harsher = harsh(recipe.augment)
    scores, truth = [], []
    for number, case in enumerate(held):
        inside = np.flatnonzero((case.image[3] > 0) & (case.valid.min(axis=0) > 0))
        drawn = case.targets.reshape(len(recipe.targets), -1)
        for copy in range(_COPIES):
            chosen = rng.choice(inside, min(len(inside), _SAMPLE // _COPIES), replace=False)
            image = _photographed_again(case.image, harsher, seed=number * _COPIES + copy)
            every = raw_scores(net, replace(case, image=image))
            scores.append(every.reshape(len(every), -1)[:, chosen].T)
            named = drawn[:, chosen] > 127
            truth.append(np.where(named.any(axis=0), named.argmax(axis=0) + 1, 0))
    every, labels = np.concatenate(scores).astype(np.float64), np.concatenate(truth)
    on = (
        f"{_SAMPLE} pixels of each of {len(held)} photographs of the held-out fold, in {_COPIES} "
        "copies as a worse camera would have taken them"
    )
    if recipe.exclusive:
        temperature = fit_temperature(labels, every)
        return {"method": "temperature", "temperature": temperature, "fitted_on": on}
    return {**platt(labels, every[:, 0], recipe), "fitted_on": on}


def platt(truth: NDArray[np.int64], scores: NDArray[np.float64], recipe: Recipe) -> dict[str, Any]:
    """Slope and shift that calibrate scores ``(N,)`` of two classes; Platt 1999.

    Raises:
        RecipeError: the scores say nothing of the truth, as after too few steps.
    """
    try:
        temperature, bias = fit_platt(truth, scores)
    except InputError as error:
        raise RecipeError(
            f"{recipe.name} has learnt nothing that can be calibrated: {error}; teach it with more "
            f"than 'learner.steps: {recipe.learner.steps}', or look at its labels"
        ) from error
    return {"method": "platt", "temperature": temperature, "bias": bias}


def harsh(augment: Augment) -> Augment:
    """The augmentation half as strong again (resolution apart, which is lost for good)."""
    stronger = {
        name: 1.5 * getattr(augment, name) for name in ("colour", "blur", "noise", "shading")
    }
    return augment.model_copy(update=stronger)


def _photographed_again(
    image: NDArray[np.uint8], augment: Augment, *, seed: int
) -> NDArray[np.uint8]:
    """A canvas ``(4, h, w)`` as another camera would have taken it."""
    pixels = torch.from_numpy(image).float()[None] / 255
    field = pixels[:, 3:]
    colour = photograph_badly(pixels[:, :3], augment, torch.Generator().manual_seed(seed))
    return np.asarray((torch.cat([colour * field, field], 1)[0] * 255).round().byte().numpy())


@dataclass(frozen=True, slots=True)
class Judged:
    """One label in one photograph.

    Attributes:
        case_id: the photograph's case.
        patient_id: whose photograph.
        label: the target's name.
        figures: Dice, AUROC and average precision by name; what the photograph does not define is
            left out.
        tally: of its pixels, for the average precision of several photographs together.
    """

    case_id: str
    patient_id: str
    label: str
    figures: Mapping[str, float]
    tally: NDArray[np.int64]


def evaluate(
    net: nn.Module,
    held: Sequence[Drawn],
    recipe: Recipe,
    cut: Sequence[Rule],
    calibration: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Dice, AUROC and average precision of held-out cases, as `summarise` gives them.

    Returns:
        Metrics in the form of a card.
    """
    judged = [one for case in held for one in judge(net, case, recipe, cut, calibration)]
    seen = (
        "measured before the last steps, which trained on it as well"
        if recipe.learner.finish
        else "never trained on"
    )
    data = (
        f"fold {recipe.learner.hold} of {recipe.cohort}, {seen} (the threshold and the best step "
        "were chosen on it)"
    )
    return summarise(judged, seed=recipe.learner.seed, data=data)


def judge(
    net: nn.Module,
    case: Drawn,
    recipe: Recipe,
    cut: Sequence[Rule],
    calibration: Mapping[str, Any] | None = None,
) -> list[Judged]:
    """How good the masks of one case are, in the photograph's own grid.

    Only drawn masks count: a target's first column. Pixels outside the field, and those that a
    target ignores, are left out.
    """
    photo = read_rgb(case.row.items[recipe.item])
    canvas = plan(find_field(photo), diameter=recipe.diameter)
    values = _calibrated(raw_scores(net, case), recipe, calibration)
    picture = case.image.astype(np.float32) / np.float32(255)
    home, masks = decode(values, canvas, cut, exclusive=recipe.exclusive, picture=picture)
    inside = canvas.field.mask()
    judged = []
    for target, value, mask in zip(recipe.targets, home, masks, strict=True):
        truth = _truth(case, target, inside)
        if truth is None:
            continue
        drawn, within = truth
        figures = {"Dice": dice(drawn, mask, within=within)}
        if recipe.exclusive:  # of pixels that carry a label, none of the background
            labelled = within & _labelled(case, recipe)
            figures["F1 over labelled pixels"] = dice(drawn, mask, within=labelled)
        if drawn.any():
            figures["AUROC of pixels"] = pixel_auroc(drawn, value, within=within)
            figures["average precision of pixels"] = pixel_average_precision(
                drawn, value, within=within
            )
        known = {name: figure for name, figure in figures.items() if figure is not None}
        tallied = tally(drawn[within], value[within].astype(np.float16))
        judged.append(Judged(case.row.case_id, case.row.patient_id, target.name, known, tallied))
    return judged


def summarise(judged: Sequence[Judged], *, seed: int, data: str) -> list[dict[str, Any]]:
    """Means over photographs, with 95 % intervals over patients.

    Average precision over the pixels of all photographs as well, as the IDRiD challenge has it: a
    false alarm in a photograph without the lesion counts there, and in no mean.

    Args:
        judged: labels in photographs.
        seed: of the bootstrap.
        data: what the photographs are, for the card.

    Returns:
        Metrics in the form of a card.
    """
    found: dict[tuple[str, str], list[tuple[str, float]]] = {}
    tallies: dict[str, list[tuple[str, NDArray[np.int64]]]] = {}
    for one in judged:
        for name, figure in one.figures.items():
            found.setdefault((one.label, name), []).append((one.patient_id, figure))
        tallies.setdefault(one.label, []).append((one.patient_id, one.tally))
    return [
        *(_mean(label, name, pairs, seed, data) for (label, name), pairs in found.items()),
        *(_pooled(label, pairs, seed, data) for label, pairs in tallies.items()),
    ]


def _calibrated(scores: Any, recipe: Recipe, calibration: Mapping[str, Any] | None) -> Any:
    """Probabilities ``(L, h, w)`` as the bundle will give them, the background left out."""
    output = Output.model_validate({
        "name": "scores",
        "activation": "softmax" if recipe.exclusive else "sigmoid",
        "labels": [{"name": str(i)} for i in range(len(scores))],
        "calibration": calibration,
    })  # fmt: skip
    values = probability(output, scores[None])[0]
    return values[1:] if recipe.exclusive else values


def _truth(case: Drawn, target: Target, inside: Any) -> tuple[Any, Any] | None:
    value = case.row.labels.get(target.columns[0])
    if target.point is not None or "pseudo" in target.columns[0]:
        return None
    if not value:
        return (np.zeros_like(inside), inside) if target.absent == "none" else None
    mask, ignored = read_mask(case.root / value, target)
    return mask, inside & ~ignored


def _labelled(case: Drawn, recipe: Recipe) -> Any:
    """Pixels that carry any of the labels."""
    named = [(case.row.labels.get(target.columns[0]), target) for target in recipe.targets]
    masks = [read_mask(case.root / value, target)[0] for value, target in named if value]
    return np.any(masks, axis=0)


def _pooled(
    label: str, pairs: Sequence[tuple[str, NDArray[np.int64]]], seed: int, data: str
) -> dict[str, Any]:
    """Average precision over the pixels of all photographs."""
    counts = np.stack([pair[1] for pair in pairs])
    interval = bootstrap_interval(
        lambda chosen: average_precision(interleave_tally(counts[chosen].sum(axis=0))),
        np.arange(len(pairs)),
        groups=[pair[0] for pair in pairs], seed=seed, replicates=REPLICATES,
    )  # fmt: skip
    return _entry(
        f"pooled average precision of pixels, {label}", interval, len(pairs), data,
        how="over the pixels of all photographs together, at native size inside the field of view",
    )  # fmt: skip


def _mean(
    label: str, name: str, pairs: Sequence[tuple[str, float]], seed: int, data: str
) -> dict[str, Any]:
    interval = bootstrap_mean(
        [pair[1] for pair in pairs], groups=[pair[0] for pair in pairs],
        seed=seed, replicates=REPLICATES,
    )  # fmt: skip
    return _entry(
        f"{name}, {label}", interval, len(pairs), data,
        how="mean over photographs at native size inside the field of view",
    )  # fmt: skip


def _entry(name: str, interval: Interval, images: int, data: str, *, how: str) -> dict[str, Any]:
    known = interval.low is not None and interval.high is not None
    return {
        "name": name,
        "value": round(float(interval.value or 0), 4),
        "low": round(float(interval.low or 0), 4) if known else None,
        "high": round(float(interval.high or 0), 4) if known else None,
        "level": 0.95 if known else None,
        "images": images,
        "data": data,
        "how": f"{how}; percentile bootstrap over patients, {REPLICATES} resamples",
    }
