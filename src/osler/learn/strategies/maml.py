r"""MAML: weights from which a few steps on a few cases lead far.

.. math::

    \theta'_i = \theta - \alpha \nabla_\theta L_{S_i}(\theta),\qquad
    \min_\theta \sum_i L_{Q_i}(\theta'_i)

Sources: Finn et al. 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
ICML, arXiv:1703.03400; Raghu et al. 2020, "Rapid Learning or Feature Reuse? Towards Understanding
the Effectiveness of MAML", ICLR, arXiv:1909.09157 (ANIL).
"""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from osler.errors import RecipeError
from osler.learn.checkpoint import State
from osler.learn.loop import Loss, Validate
from osler.learn.normalisation import BATCHES, settle
from osler.learn.strategies.episodes import MOST, Episodes, homes_of, no_single_case
from osler.learn.strategies.freezing import example_inputs, heads_of, parameters_of
from osler.learn.strategies.strategy import Context, Training
from osler.tasks.task import Sample, Settings, Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe

Weights = Mapping[str, Tensor]


class MamlSettings(Settings):
    """The keys of ``maml``.

    Attributes:
        by: a variable of the cohort, such as ``site``: an episode stays in one of its values. None
            draws episodes from all cases that teach.
        target: the value of that variable to which the network shall adapt in the end; its cases
            that teach are in no episode, and the adaptation is on them alone. None adapts on all.
        shots, queries: cases a class to adapt on and to be judged on; of tasks without classes,
            cases.
        ways: classes in an episode; None takes all.
        episodes: whose mean is one loss.
        steps: of the adaptation within an episode.
        rate: of these steps.
        final: steps of the adaptation in the end.
        first_order: leave the second derivatives out.
        anil: adapt the head only.
    """

    by: str | None = None
    target: str | None = None
    shots: Annotated[int, Field(ge=1, le=MOST)] = 5
    queries: Annotated[int, Field(ge=1, le=MOST)] = 5
    ways: Annotated[int, Field(ge=2, le=MOST)] | None = None
    episodes: Annotated[int, Field(ge=1, le=100)] = 2
    steps: Annotated[int, Field(ge=1, le=100)] = 1
    rate: Annotated[float, Field(gt=0, le=100)] = 0.05
    final: Annotated[int, Field(ge=0, le=10_000)] = 5
    first_order: bool = False
    anil: bool = False


class Maml(Training):
    """Weights learn to adapt, and have adapted when they are exported."""

    name: ClassVar[str] = "maml"
    title: ClassVar[str] = "MAML and ANIL"
    source: ClassVar[str] = (
        "Finn et al. 2017, 'Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks', "
        "ICML; Raghu et al. 2020, 'Rapid Learning or Feature Reuse?', ICLR"
    )
    Settings: ClassVar[type[Settings]] = MamlSettings
    refuses: ClassVar[dict[str, str]] = {
        "objective": "its episodes take the task's own loss twice, within and without."
    }

    settings: MamlSettings

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        """Second derivatives through what is computed again, a target of nothing, one case."""
        said = self.settings
        out = no_single_case(recipe, "train plainly, without maml")
        if recipe.learner.checkpointing and not said.first_order:
            out.append(
                "does not go with learner.checkpointing: second derivatives would need what is "
                "computed again twice; say first_order: true"
            )
        if said.target is not None and said.by is None:
            out.append(f"target is '{said.target}' and by names no variable; say by: site")
        return out

    def train(
        self, net: nn.Module, loss: Loss, validate: Validate | None, context: Context
    ) -> State:
        """Learn by episodes, then adapt to the cases for which the network is."""
        said = self.settings
        rest, support = self._parted(context)
        names = learning_names(net, context, anil=said.anil)
        homes = None if said.by is None else homes_of(rest, context.variables, said.by, self.name)
        draw = Episodes(
            rest, shots=said.shots, queries=said.queries, ways=said.ways, homes=homes,
            seed=context.learner.seed + 52_009,
        )  # fmt: skip
        context.record["homes"] = draw.homes
        context.record["adapts on"] = len(support)
        batches = context.batches_on(rest, lambda one: [*draw(one)[0], *draw(one)[1]])

        def episodes(net: nn.Module, number: int, device: torch.device) -> Tensor:
            total = torch.zeros((), device=device)
            for n in range(said.episodes):
                one = number * said.episodes + n
                count = len(draw(one)[0])
                both = batches(one, device)
                within = [{key: value[:count] for key, value in part.items()} for part in both]
                asked = [{key: value[count:] for key, value in part.items()} for part in both]
                total = total + episode_loss(
                    net, context.task, within, asked, names, rate=said.rate, steps=said.steps,
                    first_order=said.first_order, step=number,
                )  # fmt: skip
            return total / said.episodes

        def scored(net: nn.Module) -> dict[str, float]:
            tried = copy.deepcopy(net)
            self._adapt(tried, support, names, context)
            return {"score": context.score(tried)}

        state = context.stage(
            net, episodes, ".", learner=context.learner,
            validate=None if validate is None else scored,
            stepped=[way.stepped for way, _ in context.everyone],
        )  # fmt: skip
        self._adapt(net, support, names, context)
        return state

    def _parted(self, context: Context) -> tuple[list[Sample], list[Sample]]:
        """The cases of episodes, and those of the adaptation in the end."""
        said, teach = self.settings, list(context.teach)
        if said.by is None or said.target is None:
            return teach, teach
        homes = homes_of(teach, context.variables, said.by, self.name)
        ours = [one for one, home in zip(teach, homes, strict=True) if home == said.target]
        rest = [one for one, home in zip(teach, homes, strict=True) if home != said.target]
        if not ours or not rest:
            raise RecipeError(
                f"strategies.maml.target: {len(ours)} of {len(teach)} cases that teach have "
                f"'{said.by}' '{said.target}'; both they and others are needed (its values: "
                f"{', '.join(sorted(set(homes)))})"
            )
        return rest, ours

    def _adapt(
        self, net: nn.Module, support: Sequence[Sample], names: Sequence[str], context: Context
    ) -> None:
        """Take the final steps in place, and count statistics anew where they are followed."""
        device = next(net.parameters()).device
        loss = context.task_loss(support)
        net.train()
        given = [net.get_parameter(name).requires_grad_(True) for name in names]
        with torch.enable_grad():
            for number in range(self.settings.final):
                slopes = torch.autograd.grad(loss(net, number, device), given, allow_unused=True)
                with torch.no_grad():
                    for one, slope in zip(given, slopes, strict=True):
                        if slope is not None:
                            one.sub_(self.settings.rate * slope)
        settle(net, lambda one, number: loss(one, number, device), batches=BATCHES)
        net.eval()


class _Judged(nn.Module):
    """The task's loss as a module's answer, so that it can be asked with other weights."""

    def __init__(self, net: nn.Module, task: Task) -> None:
        super().__init__()
        self.net, self.task = net, task

    def forward(self, inputs: Any, targets: Any, step: int) -> Tensor:
        """The loss of a batch."""
        said: Tensor = self.task.loss(self.net, inputs, targets, step=step)
        return said


def learning_names(net: nn.Module, context: Context, *, anil: bool) -> list[str]:
    """The parameters that an adaptation changes, by name."""
    names = [name for name, one in net.named_parameters() if one.requires_grad]
    if anil:
        inside = parameters_of(net, heads_of(net, context.task, example_inputs(context)))
        names = [name for name in names if name in inside]
    if not names:
        raise RecipeError("strategies.maml: no weight that could adapt is left to learn")
    return names


def episode_loss(
    net: nn.Module, task: Task, support: Sequence[Any], queries: Sequence[Any],
    names: Sequence[str], *, rate: float, steps: int, first_order: bool, step: int = 0,
) -> Tensor:  # fmt: skip
    """The loss on the queries of weights that have adapted to the support.

    Args:
        net: whose weights are the start.
        task: the loss.
        support: inputs and targets of the cases to adapt on.
        queries: those of the cases that are asked.
        names: of the parameters that adapt.
        rate: of the adaptation.
        steps: of the adaptation.
        first_order: take the gradients within as given.
        step: as the task's loss takes it.
    """
    judged = _Judged(net, task)
    weights: dict[str, Tensor] = {f"net.{name}": net.get_parameter(name) for name in names}
    with sdpa_kernel([SDPBackend.MATH]):  # the faster ones have no second derivative
        for _ in range(steps):
            loss = functional_call(judged, weights, (*support, step))
            weights = stepped(weights, loss, rate=rate, first_order=first_order)
        out: Tensor = functional_call(judged, weights, (*queries, step))
    return out


def stepped(weights: Weights, loss: Tensor, *, rate: float, first_order: bool) -> dict[str, Tensor]:
    """Weights after a step of gradient descent, through which gradients can flow."""
    slopes = torch.autograd.grad(
        loss, list(weights.values()), create_graph=not first_order, retain_graph=True,
        allow_unused=True,
    )  # fmt: skip
    return {
        name: one if slope is None else one - rate * slope
        for (name, one), slope in zip(weights.items(), slopes, strict=True)
    }
