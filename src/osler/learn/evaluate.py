"""How good a segmentation is, in the photograph's own grid, with intervals over patients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from osler.learn.canvases import Drawn, read_mask, read_rgb
from osler.learn.recipe import Recipe, Target
from osler.learn.segment import probabilities
from osler.metrics import bootstrap_mean, dice, pixel_auroc, pixel_average_precision
from osler.tasks.canvas import plan
from osler.tasks.field import find_field
from osler.tasks.segmentation import Rule, decode

REPLICATES = 2000


def rules(recipe: Recipe, figures: Mapping[str, float]) -> list[Rule]:
    """How masks are cut: each target's threshold as the recipe says, or as validation found it."""
    return [
        Rule(
            None if target.adaptive else figures.get(f"threshold/{target.name}", 0.5),
            target.min_area,
        )
        for target in recipe.targets
    ]


def evaluate(
    net: nn.Module, held: Sequence[Drawn], recipe: Recipe, cut: Sequence[Rule]
) -> list[dict[str, Any]]:
    """Dice, AUROC and average precision a label, mean over photographs, 95 % over patients.

    Only drawn masks count: a target's first column. Pixels outside the field, and those that a
    target ignores, are left out.

    Returns:
        Metrics in the form of a card.
    """
    found: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for case in held:
        photo = read_rgb(case.row.items[recipe.item])
        canvas = plan(find_field(photo), diameter=recipe.diameter)
        values = probabilities(net, case, exclusive=recipe.exclusive)
        home, masks = decode(values, canvas, cut, exclusive=recipe.exclusive)
        inside = canvas.field.mask()
        for target, value, mask in zip(recipe.targets, home, masks, strict=True):
            truth = _truth(case, target, inside)
            if truth is None:
                continue
            drawn, within = truth
            figures = {"Dice": dice(drawn, mask, within=within)}
            if drawn.any():
                figures["AUROC of pixels"] = pixel_auroc(drawn, value, within=within)
                figures["average precision of pixels"] = pixel_average_precision(
                    drawn, value, within=within
                )
            for name, figure in figures.items():
                if figure is not None:
                    place = found.setdefault((target.name, name), [])
                    place.append((case.row.patient_id, figure))
    return [_metric(label, name, pairs, recipe) for (label, name), pairs in found.items()]


def _truth(case: Drawn, target: Target, inside: Any) -> tuple[Any, Any] | None:
    value = case.row.labels.get(target.columns[0])
    if target.point is not None or "pseudo" in target.columns[0]:
        return None
    if not value:
        return (np.zeros_like(inside), inside) if target.absent == "none" else None
    mask, ignored = read_mask(case.root / value, target)
    return mask, inside & ~ignored


def _metric(
    label: str, name: str, pairs: list[tuple[str, float]], recipe: Recipe
) -> dict[str, Any]:
    patients = [pair[0] for pair in pairs]
    figures = [pair[1] for pair in pairs]
    interval = bootstrap_mean(
        figures, groups=patients, seed=recipe.learner.seed, replicates=REPLICATES
    )
    known = interval.low is not None and interval.high is not None
    return {
        "name": f"{name}, {label}",
        "value": round(float(np.mean(figures)), 4),
        "low": round(float(interval.low or 0), 4) if known else None,
        "high": round(float(interval.high or 0), 4) if known else None,
        "level": 0.95 if known else None,
        "images": len(figures),
        "data": f"fold {recipe.learner.hold} of {recipe.cohort}, never trained on "
        "(the threshold and the best step were chosen on it)",
        "how": "mean over photographs at native size inside the field of view; percentile "
        f"bootstrap over patients, {REPLICATES} resamples",
    }
