"""Learning to judge photographs: is it of a fundus, how good is it, and what is wrong with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from osler import models
from osler.data.cohort import read_cohort
from osler.errors import RecipeError
from osler.learn.fundus.canvases import CANVASES, draw_cohort
from osler.learn.fundus.recipe import Recipe
from osler.learn.fundus.segment import Begun, split
from osler.learn.fundus.spoil import DEFECTS, GRADES, Example, make_example
from osler.learn.loop import State, inference, train
from osler.metrics import auroc, bootstrap_interval, quadratic_kappa

_HELD = 400  # examples made of held-out photographs for validation
_FIRST_GRADE = 1
_FIRST_DEFECT = 1 + len(GRADES)
SCORES = 1 + len(GRADES) + len(DEFECTS)


class Heads(nn.Module):
    """The classifier's scores taken apart: photograph, quality, defects."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(B, 4, H, W)`` to scores ``(B, 1)``, ``(B, 3)`` and ``(B, 4)``."""
        said = self.net(x)
        return said[:, :1], said[:, _FIRST_GRADE:_FIRST_DEFECT], said[:, _FIRST_DEFECT:]


def begin(recipe: Recipe, recipe_path: Path) -> Begun:
    """Draw the photographs of a quality recipe and build its network.

    Raises:
        RecipeError: the cohort or its folds do not serve.
    """
    cohort = read_cohort(recipe_path.parent / recipe.cohort)
    drawn = draw_cohort(cohort, recipe, cache=CANVASES)
    teaching, held = split(drawn, recipe.learner.hold)
    if not held:
        raise RecipeError("learner.hold is null; a quality recipe needs a fold to validate on")
    side = recipe.diameter
    torch.manual_seed(recipe.learner.seed)
    net = models.create(
        recipe.network.name, weights="random", labels=SCORES, **recipe.network.options
    )

    def loss(net: nn.Module, step: int, device: torch.device) -> Tensor:
        rng = np.random.default_rng([recipe.learner.seed, 11, step])
        examples = [make_example(teaching, rng, side) for _ in range(recipe.learner.batch)]
        images = stack(examples).to(device, memory_format=torch.channels_last)
        return quality_loss(net(images).float(), examples)

    sample = make_example(teaching, np.random.default_rng(0), side).image.shape
    return Begun(net, loss, sample, drawn, teaching, held)


def learn_quality(
    recipe: Recipe, recipe_path: Path, *, folder: Path, resume: bool
) -> tuple[nn.Module, State, list[dict[str, Any]]]:
    """Train the quality network.

    Returns:
        The network, how the run went, and the metrics on spoilt held-out photographs.
    """
    begun = begin(recipe, recipe_path)
    rng = np.random.default_rng([recipe.learner.seed, 7])
    checks = [make_example(begun.held, rng, recipe.diameter) for _ in range(_HELD)]

    def validate(net: nn.Module) -> Mapping[str, float]:
        said = judge(net, checks)
        return {
            "loss": float(quality_loss(said, checks)),
            "score": -float(quality_loss(said, checks)),
        }

    state = train(
        begun.net, loss=begun.loss, validate=validate, learner=recipe.learner,
        folder=folder, resume=resume,
    )  # fmt: skip
    net = begun.net.cpu()
    return net, state, _metrics(judge(net, checks), checks)


def stack(examples: Sequence[Example]) -> Tensor:
    """Canvases in one batch ``(B, 4, H, W)``, 0 to 1."""
    return torch.from_numpy(np.stack([example.image for example in examples])).float() / 255


def judge(net: nn.Module, examples: Sequence[Example]) -> Tensor:
    """Scores ``(N, 8)`` of examples."""
    device = next(net.parameters()).device
    with inference(net):
        parts = [net(stack(examples[i : i + 16]).to(device)) for i in range(0, len(examples), 16)]
    return torch.cat(parts).float().cpu()


def quality_loss(said: Tensor, examples: Sequence[Example]) -> Tensor:
    """Cross-entropy of all three questions; the last two only where there is a fundus."""
    fundus = torch.tensor([example.fundus for example in examples], device=said.device)
    loss = functional.binary_cross_entropy_with_logits(said[:, 0], fundus.float())
    if not fundus.any():
        return loss
    shown = [example for example in examples if example.fundus]
    grade = torch.tensor([example.grade for example in shown], device=said.device)
    defects = torch.from_numpy(np.stack([e.defects for e in shown])).to(said.device)
    loss = loss + functional.cross_entropy(said[fundus, _FIRST_GRADE:_FIRST_DEFECT], grade)
    wrong = functional.binary_cross_entropy_with_logits(said[fundus, _FIRST_DEFECT:], defects)
    return loss + wrong


def _metrics(said: Tensor, examples: Sequence[Example]) -> list[dict[str, Any]]:
    fundus = np.array([example.fundus for example in examples])
    grade = np.array([example.grade for example in examples])[fundus]
    guessed = said[:, _FIRST_GRADE:_FIRST_DEFECT].argmax(dim=1).numpy()[fundus]
    asked: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("AUROC, fundus photograph", auroc, (fundus.astype(int), said[:, 0].numpy())),
        ("quadratic kappa, quality", _kappa, (grade, guessed)),
    ]
    out = []
    for name, statistic, arrays in asked:
        interval = bootstrap_interval(statistic, *arrays, seed=1)
        out.append({
            "name": name,
            "value": round(float(interval.value or 0), 4),
            "low": round(float(interval.low or 0), 4),
            "high": round(float(interval.high or 0), 4),
            "level": 0.95,
            "images": len(arrays[0]),
            "data": "photographs of a held-out fold spoilt on purpose, and made-up other pictures",
            "how": "percentile bootstrap over examples; says nothing of real bad photographs",
        })  # fmt: skip
    return out


def _kappa(truth: Any, guessed: Any) -> float | None:
    return quadratic_kappa(truth, guessed, count=len(GRADES))
