"""Contrastive pretraining: two views of a case are alike, and other cases are not.

Source: Chen et al. 2020, "A simple framework for contrastive learning of visual representations"
(SimCLR), ICML; with several positives Khosla et al. 2020, "Supervised contrastive learning",
NeurIPS, and Azizi et al. 2021, "Big self-supervised models advance medical image classification",
ICCV, for views of one patient.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.loop import Loss
from osler.learn.strategies.contrastive_losses import nt_xent, supcon
from osler.learn.strategies.features import output_layer
from osler.learn.strategies.pretraining import (
    Pretraining,
    PretrainingSettings,
    exact,
    first_inputs,
    image_network,
    joined,
    keep_weights,
    perceptron,
    pool,
    represent,
    representation,
    view,
)
from osler.learn.strategies.strategy import Context, Wrapped, tensors
from osler.learn.teaching import Batches
from osler.tasks.task import Sample, Settings


class ContrastiveSettings(PretrainingSettings):
    """The keys of ``contrastive``, beside those of every stage without labels.

    Attributes:
        same: what makes cases belong together: None the views of one case; ``patient`` all cases
            of one patient; or a variable of the cohort, such as ``anatomy``, whose cases of one
            value do. The second view is then of another such case, where there is one.
        temperature: of the similarities.
        hidden: width within the projection head.
        projection: numbers that are compared.
    """

    same: str | None = None
    temperature: float = Field(0.2, gt=0)
    hidden: int = Field(256, gt=0)
    projection: int = Field(64, gt=0)


class Contrastive(Pretraining):
    """See `ContrastiveSettings`."""

    name: ClassVar[str] = "contrastive"
    title: ClassVar[str] = "Contrastive pretraining"
    source: ClassVar[str] = (
        "Chen et al. 2020, 'A simple framework for contrastive learning of visual "
        "representations', ICML"
    )
    Settings: ClassVar[type[Settings]] = ContrastiveSettings

    settings: ContrastiveSettings

    def before(self, net: nn.Module, context: Context) -> None:
        """Pretrain the network in place, and keep its weights."""
        said, samples = self.settings, pool(context)
        groups = grouped(samples, context, said.same)
        first = first_inputs(context, samples)
        net, names = image_network(net, first)
        inputs = joined([first], names)
        layer = representation(net, inputs)
        with torch.no_grad():
            width = represent(net, inputs, layer).shape[1]
        torch.manual_seed(context.learner.seed)
        head = perceptron(width, said.hidden, said.projection)
        whole = Wrapped(net, {"projection": head})
        state = context.stage(
            whole, self._loss_of(samples, groups, names, layer, context), self.name,
            learner=self.learner(context),
        )  # fmt: skip
        context.record |= {"cases": len(samples), "features": layer, "steps": state.step}
        keep_weights(net, context, self.name, head=output_layer(net.cpu(), inputs))

    def _loss_of(
        self, samples: Sequence[Sample], groups: Sequence[str], names: Sequence[str], layer: str,
        context: Context,
    ) -> Loss:  # fmt: skip
        said, task, changes = self.settings, context.task, self.changes()
        seed = context.learner.seed * 1_000_003
        first = context.batches(samples, batch=self.learner(context).batch)
        others = partners(groups)
        numbers = {name: number for number, name in enumerate(sorted(set(groups)))}

        def other(number: int) -> list[int]:
            rng = np.random.default_rng((seed, number))
            return [int(rng.choice(others[one])) for one in first.choose(number)]

        second = None if said.same is None else Batches(samples, task, other, seed=seed + 1)

        def loss(net: nn.Module, number: int, device: torch.device) -> Tensor:
            here = tensors(first(number)[0], device)
            there = here if second is None else tensors(second(number)[0], device)
            views = [
                view(one, task, changes, seed=2 * (seed + number) + k)
                for k, one in enumerate((here, there))
            ]
            features = represent(net.net, joined(views, names), layer)  # type: ignore[arg-type]
            projected = net.beside["projection"](features)  # type: ignore[index,operator]
            with exact(device):
                z = projected.float()
                if second is None:
                    return nt_xent(*z.chunk(2), temperature=said.temperature)
                own = [numbers[groups[one]] for one in first.choose(number)]
                return supcon(
                    z, torch.tensor([*own, *own], device=device), temperature=said.temperature
                )

        return loss


def grouped(samples: Sequence[Sample], context: Context, same: str | None) -> list[str]:
    """The group of each case, whose members belong together.

    Raises:
        RecipeError: the cohort has no such variable, or all cases are of one value.
    """
    if same is None:
        return [str(place) for place in range(len(samples))]
    if same == "patient":
        return [sample.patient for sample in samples]
    out = []
    for place, sample in enumerate(samples):
        said = context.variables.get(sample.id, {}).get(same, "")
        out.append(said or f"#{place}")  # unknown: like itself alone
    known = {one for one in out if not one.startswith("#")}
    if not known:
        there = sorted({name for one in context.variables.values() for name in one})
        raise RecipeError(
            f"strategies.contrastive.same: the cases that teach have no variable '{same}'; "
            f"write patient, or one of: {', '.join(there) or 'none'}"
        )
    if len(set(out)) == 1:
        raise RecipeError(
            f"strategies.contrastive.same: all cases have one '{same}', so nothing is left to tell "
            "them from"
        )
    return out


def partners(groups: Sequence[str]) -> list[list[int]]:
    """For each case the others of its group, or itself where it is alone."""
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    return [
        [one for one in members[group] if one != place] or [place]
        for place, group in enumerate(groups)
    ]
