"""What a strategy of learning is: what it adds to a training run, and what it does not go with.

A strategy is one class in one file and one entry in `osler.learn.strategies.catalogue.STRATEGIES`.
A recipe names any number of them under ``strategies:``, each with its settings. They act on the one
run of `osler.learn.training.learn`, at the places below, in the order of the list (and in reverse
where what was put around a network is taken off again), so that any of them goes with any task, any
network and any other strategy that does not say otherwise.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from osler.learn.checkpoint import State
from osler.learn.learner import Learner
from osler.learn.loop import Loss, Stepped, Validate, train
from osler.learn.samplers import CaseSampler
from osler.learn.teaching import Batches
from osler.tasks.task import Arrays, Row, Sample, Settings, Task

if TYPE_CHECKING:
    from osler.learn.recipe import Network, Recipe

__all__ = ("Context", "Criterion", "Loss", "Role", "Settings", "Strategy", "Wrapped", "tensors")

Choose = Callable[[int], Sequence[int]]
TensorBatches = Callable[[int, torch.device], tuple[dict[str, Tensor], dict[str, Tensor]]]
"""Inputs and targets of a batch by its number."""

Criterion = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
"""A loss, from answers by name and the truth by name; see `osler.tasks.task.Task.criterion`."""

Role = Literal["tuning", "pretraining", "objective", "training", "afterwards"]
"""Which part of a run a strategy changes.

``tuning``: which weights learn. ``pretraining``: a stage before the training. ``objective``: the
loss or the batches. ``training``: how the steps are taken, in the loop's place. ``afterwards``:
what is made of the trained network. Of ``tuning`` and of ``training`` a recipe takes one each.
"""


@dataclass(slots=True)
class Context:
    """The run that a strategy takes part in.

    Attributes:
        recipe: of the run.
        task: with everything planned.
        folder: of the run; a stage keeps its checkpoints in a sub-folder.
        resume: whether the run goes on from its checkpoints.
        teach: the cases that teach, with their truth.
        unlabelled: cases that teach without it (``labels.share``, ``unlabelled``).
        tune: the cases that choose weights, with their truth and case.
        variables: of each case that teaches, is unlabelled or tunes, by id: the cohort's variables
            (site, device, age), as text.
        build: a fresh network of the recipe with the random weights of a seed.
        judge: what a network says of the cases that tune, judged.
        another: a network that the recipe does not name, for the same task, with the random
            weights of a seed.
        path: the recipe's file, beside which the files lie that it names.
        everyone: all strategies of the run in their order, each with its context.
        task_loss: behind `loss_on`.
        task_batches: behind `batches_on`.
        site: the site whose cases these are, where each learns from its own; None for all.
        record: what the strategy wants to be kept in ``run.json``; plain JSON values.
    """

    recipe: "Recipe"
    task: Task
    folder: Path
    resume: bool
    teach: Sequence[Sample]
    unlabelled: Sequence[Sample]
    tune: Sequence[Sample]
    variables: Mapping[str, Mapping[str, str]]
    build: Callable[[int], nn.Module]
    judge: Callable[[nn.Module], list[Row]]
    task_loss: Callable[[Sequence[Sample]], Loss]
    another: "Callable[[Network, int], nn.Module]"
    path: Path
    task_batches: Callable[[Sequence[Sample], Choose | None], TensorBatches]
    site: str | None = None
    everyone: "list[tuple[Strategy, Context]]" = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def learner(self) -> Learner:
        """How the recipe's network is optimised."""
        return self.recipe.learner

    def batches(
        self, samples: Sequence[Sample], *, batch: int | None = None, seed: int = 0
    ) -> Batches:
        """Batches of cases, each of which depends on its number alone.

        Args:
            samples: drawn each once before any twice.
            batch: cases in one; as the recipe says by default.
            seed: another seed draws otherwise; the recipe's is added to it.
        """
        seed = self.learner.seed + 7919 * seed
        choose = CaseSampler(
            "even", batch=batch or self.learner.batch, seed=seed, count=len(samples),
        )  # fmt: skip
        return Batches(samples, self.task, choose, seed=seed)

    def loss_on(self, samples: Sequence[Sample]) -> Loss:
        """The task's own loss on batches of these cases, drawn and augmented as the recipe says."""
        return self.task_loss(samples)

    def batches_on(self, samples: Sequence[Sample], choose: Choose | None = None) -> TensorBatches:
        """Batches of these cases as tensors, augmented as the recipe says.

        Args:
            samples: to draw from.
            choose: the places of a batch's cases, by its number; as the recipe says by default.
        """
        return self.task_batches(samples, choose)

    def score(self, net: nn.Module) -> float:
        """The task's score of a network on the cases that tune; NaN where none do."""
        return self.task.score(self.judge(net)) if self.tune else math.nan

    def stage(
        self, net: nn.Module, loss: Loss, name: str, *, learner: Learner,
        validate: Validate | None = None, stepped: Sequence[Stepped] = (),
    ) -> State:  # fmt: skip
        """Train in a stage of its own, through the one loop; resumed like the run itself.

        Args:
            net: changed in place.
            loss: as `osler.learn.loop.train` takes it.
            name: sub-folder of its checkpoints.
            learner: how it is optimised.
            validate: as `osler.learn.loop.train` takes it; None keeps the last weights.
            stepped: called after each step, such as `Strategy.stepped` of `everyone` where the
                stage trains what they prepared.
        """
        state = train(
            net, loss=loss, validate=validate, learner=learner,
            folder=self.folder / name, resume=self.resume, stepped=stepped,
        )  # fmt: skip
        net.train()
        return state


class Strategy:
    """A way to learn, with its settings.

    Attributes:
        name: as recipes say it.
        title: as a person reads it.
        role: which part of a run it changes.
        source: where the method comes from.
        Settings: the keys that a recipe may set under ``strategies.NAME``.
        needs_unlabelled: whether it cannot do without cases that have no truth.
        tasks: names of the tasks that it goes with; empty for all.
        lets_differ: by how much of probability the graph may differ from the network on any value
            of a few real cases, where it cannot compute the same to the last digit; 0 leaves it at
            what is let through of any.
        refuses: what it does not go with, and why, in a sentence. Keys are names of strategies or
            roles, and ``processes`` (torchrun), ``float16``, ``accumulate``, ``checkpointing``.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    role: ClassVar[Role]
    source: ClassVar[str]
    Settings: ClassVar[type[Settings]]
    needs_unlabelled: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ()
    lets_differ: ClassVar[float] = 0.0
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init__(self, settings: Any) -> None:
        self.settings: Any = settings

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        """What of the recipe does not go with it, before any data is read: a sentence each."""
        return []

    def asked(self, task: Task) -> Task:
        """The task as it is learnt with it, before any case is read; of the same name and keys."""
        return task

    def built(self, net: nn.Module, task: Task) -> nn.Module:
        """A network as it answers the task, before anything is asked of it."""
        return net

    def before(self, net: nn.Module, context: Context) -> None:
        """A stage before the training, which changes the network in place."""

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        """The network that learns: frozen in part, with parts added, or inside another."""
        return net

    def criterion(self, criterion: Criterion, context: Context) -> Criterion:
        """What answers are compared with the truth by while the network learns."""
        return criterion

    def loss(self, loss: Loss, context: Context) -> Loss:
        """The loss that is minimised, made from the one before it.

        It must depend on the batch's number alone, so that a run goes on exactly after a kill.
        What it has to remember belongs in the network, as parameters or buffers.
        """
        return loss

    def stepped(self, net: nn.Module, step: int) -> None:
        """After each step of the optimiser (``step`` counts from 1), in every process alike."""

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        """The network that is calibrated, judged and exported, made from the one that learnt."""
        return net

    def adapted(self, net: nn.Module, samples: Sequence[Sample], context: Context) -> nn.Module:
        """The network fitted to the cases that test, of which it sees no truth."""
        return net


class Training(Strategy, ABC):
    """A strategy that takes the steps itself, in the place of the one call of the loop."""

    role: ClassVar[Role] = "training"

    @abstractmethod
    def train(
        self, net: nn.Module, loss: Loss, validate: Validate | None, context: Context
    ) -> State:
        """Train the network in place, and leave the chosen weights in it.

        Args:
            net: of `prepared`.
            loss: of all strategies together.
            validate: scores a network on the cases that tune; None where none do.
            context: of the run; `Context.stage` runs the loop.
        """


class Wrapped(nn.Module):
    """A network with modules beside it that learn, or are remembered, with it.

    Args:
        net: answers when the whole is called.
        beside: modules by name, which only the loss uses.
        still: modules of either whose statistics and dropout shall rest while the whole trains.
    """

    def __init__(
        self, net: nn.Module, beside: Mapping[str, nn.Module] | None = None, *,
        still: Sequence[nn.Module] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.net = net
        self.beside = nn.ModuleDict(dict(beside or {}))
        names = {id(module): name for name, module in self.named_modules()}
        self.still = [names[id(module)] for module in still]

    def forward(self, *inputs: Tensor) -> Any:
        """What the network says."""
        return self.net(*inputs)

    def train(self, mode: bool = True) -> "Wrapped":
        """Training mode, in which what shall be still is not."""
        super().train(mode)
        for name in self.still:
            self.get_submodule(name).eval()
        return self


def tensors(arrays: Arrays, device: torch.device) -> dict[str, Tensor]:
    """Arrays by name on a device."""
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
