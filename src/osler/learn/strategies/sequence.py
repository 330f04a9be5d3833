"""Sites that come one after another, of which the network is shown one at a time."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.checkpoint import State
from osler.learn.learner import Learner
from osler.learn.loop import Loss, Validate
from osler.learn.normalisation import BATCHES, settle
from osler.learn.recipe import Recipe
from osler.learn.strategies.sites import sites_of
from osler.learn.strategies.strategy import Context, Settings, Training
from osler.tasks.task import Sample, Task


class SequenceSettings(Settings):
    """Which sites come, and in which order.

    Attributes:
        by: a variable of the cohort, such as the site or the camera.
        order: its values in the order in which they come; empty for that of the alphabet.
    """

    by: str = Field(min_length=1)
    order: list[str] = []


def forgetting(scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """What is lost of earlier stages, and what remains on average.

    Args:
        scores: after each stage, on the cases of each of them.

    Returns:
        ``final``: the mean score over all after the last stage; ``forgetting``: the mean, over all
        stages but the last, of the best score before the last stage less the final one (Chaudhry
        2018); ``backward``: the mean of the final score less that right after the stage
        (Lopez-Paz 2017).
    """
    table = np.asarray(scores, float)
    last, earlier = table[-1], len(table) - 1
    lost = [table[:-1, site].max() - last[site] for site in range(earlier)]
    change = [last[site] - table[site, site] for site in range(earlier)]
    return {
        "final": float(last.mean()),
        "forgetting": float(np.mean(lost)) if lost else 0.0,
        "backward": float(np.mean(change)) if change else 0.0,
    }


class Sequential(Training):
    """Each site teaches for its share of the steps; what came before is not shown again."""

    name: ClassVar[str] = "sequence"
    title: ClassVar[str] = "One site after another"
    source: ClassVar[str] = (
        "McCloskey & Cohen 1989, Catastrophic Interference in Connectionist Networks; Chaudhry et "
        "al. 2018, Riemannian Walk for Incremental Learning, ECCV (the measures)"
    )
    Settings: ClassVar[type[Settings]] = SequenceSettings
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "objective": "each stage takes the task's own loss, on the cases of one site."
    })  # fmt: skip

    def faults(self, recipe: Recipe, task: Task) -> list[str]:
        """An order names each value once."""
        order = self.settings.order
        return ["order names a value twice"] if len(set(order)) < len(order) else []

    def before(self, net: nn.Module, context: Context) -> None:
        """Deal the cases out to the stages."""
        said = self.settings
        values = sites_of(context.teach, said.by, context)
        there = sorted(set(values))
        if said.order and sorted(said.order) != there:
            raise RecipeError(
                f"{self.name}.order names {', '.join(said.order)}, and the cases that teach have "
                f"{', '.join(there)}"
            )
        self.order = list(said.order or there)
        self.stages = [
            [one for one, value in zip(context.teach, values, strict=True) if value == site]
            for site in self.order
        ]
        if context.learner.steps < len(self.order):
            raise RecipeError(f"learner.steps are fewer than the {len(self.order)} stages")

    def train(
        self, net: nn.Module, loss: Loss, validate: Validate | None, context: Context
    ) -> State:
        """A stage a site; the scores after each are kept in ``run.json``."""
        del loss, validate  # the last weights are kept: no stage may choose by what comes later
        scores: list[list[float]] = []
        seconds, state = 0.0, State()
        for number, (site, samples) in enumerate(zip(self.order, self.stages, strict=True)):
            shown = self.shown(number, context)
            state = context.stage(
                net, self.held(shown, net), f"stage-{number + 1}",
                learner=self.learner(number, context),
                stepped=[way.stepped for way, _ in context.everyone],
            )  # fmt: skip
            seconds += state.seconds
            device = next(net.parameters()).device
            settle(net, lambda net, n, shown=shown, at=device: shown(net, n, at), batches=BATCHES)  # type: ignore[misc]
            scores.append(self.scored(net, context))
            self.ended(net, site, samples, context)
        context.record["order"] = self.order
        context.record["scores"] = [[_known(one) for one in row] for row in scores]
        if np.isfinite(scores).all():
            context.record |= forgetting(scores)
        state.seconds = seconds
        return state

    def learner(self, number: int, context: Context) -> Learner:
        """How a stage is optimised: its share of the steps, other draws."""
        whole = context.learner
        steps = whole.steps // len(self.order)
        return whole.model_copy(update={
            "steps": steps, "warmup": min(whole.warmup, steps // 4), "seed": whole.seed + number,
        })  # fmt: skip

    def scored(self, net: nn.Module, context: Context) -> list[float]:
        """The task's score on the cases that tune of each site; NaN where there are none."""
        rows = context.judge(net) if context.tune else []
        of = [context.variables.get(one.id, {}).get(self.settings.by) for one in context.tune]
        out = []
        for site in self.order:
            mine = [row for row, value in zip(rows, of, strict=True) if value == site]
            out.append(float(context.task.score(mine)) if mine else float("nan"))
        return out

    def shown(self, number: int, context: Context) -> Loss:
        """The task's loss of what a stage shows."""
        return context.loss_on(self.stages[number])

    def held(self, loss: Loss, net: nn.Module) -> Loss:
        """The loss with what holds on to earlier stages."""
        return loss

    def ended(self, net: nn.Module, site: str, samples: Sequence[Sample], context: Context) -> None:
        """Keep of a stage what later ones need; it must follow from the network alone."""


def _known(score: float) -> float | None:
    """A score as JSON has it."""
    return None if np.isnan(score) else score


def batch_loss(batches: Any, task: Task) -> Loss:
    """The task's loss of batches of tensors (`Context.batches_on`)."""

    def loss(net: nn.Module, number: int, device: torch.device) -> Tensor:
        inputs, targets = batches(number, device)
        out: Tensor = task.loss(net, inputs, targets, step=number)
        return out

    return loss
