r"""Prototypes: a class is the mean of its cases in the space of features.

.. math::

    c_k = \frac{1}{|S_k|} \sum_{x \in S_k} f(x),\qquad
    p(y = k \mid x) = \frac{e^{-\lVert f(x) - c_k \rVert^2}}{\sum_j e^{-\lVert f(x) - c_j \rVert^2}}

The squared distance is a linear layer, :math:`2 c_k^T f(x) - c_k^T c_k` beside what is the same for
all classes, which becomes the head of the network that is exported.

Source: Snell et al. 2017, "Prototypical Networks for Few-shot Learning", NeurIPS,
arXiv:1703.05175.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.learn.checkpoint import State
from osler.learn.loop import Loss, Validate
from osler.learn.normalisation import BATCHES, settle
from osler.learn.strategies.episodes import MOST, Episodes, no_single_case
from osler.learn.strategies.features import features_of
from osler.learn.strategies.freezing import evaluating, example_inputs, heads_of
from osler.learn.strategies.strategy import Context, Training, tensors
from osler.learn.teaching import Batches
from osler.tasks.task import Sample, Settings, Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe

_AT_ONCE = 64


class PrototypesSettings(Settings):
    """The keys of ``prototypes``.

    Attributes:
        learn: whether the features learn in episodes before the means are taken; else they stay as
            they came (``network.checkpoint``, a pretraining) and nothing is stepped.
        shots: cases a class in the support of an episode.
        queries: cases a class that are asked in it.
        ways: classes in an episode; None takes all.
    """

    learn: bool = True
    shots: Annotated[int, Field(ge=1, le=MOST)] = 5
    queries: Annotated[int, Field(ge=1, le=MOST)] = 5
    ways: Annotated[int, Field(ge=2, le=MOST)] | None = None


class Prototypes(Training):
    """Features are taught by distances to class means, and the head is made of the means."""

    name: ClassVar[str] = "prototypes"
    title: ClassVar[str] = "Prototypes"
    source: ClassVar[str] = (
        "Snell et al. 2017, 'Prototypical Networks for Few-shot Learning', NeurIPS"
    )
    Settings: ClassVar[type[Settings]] = PrototypesSettings
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    refuses: ClassVar[dict[str, str]] = {
        "objective": "its episodes have a loss of their own, and the head is not learnt by any.",
        "linear-probe": "the head is made of class means, so that nothing would be left to learn; "
        "say prototypes: {learn: false} alone.",
    }

    settings: PrototypesSettings

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        """Labels one by one have no class means, and one case a class no episode."""
        learns = no_single_case(recipe, "learn: false") if self.settings.learn else []
        return [*no_single_class(task), *learns]

    def train(
        self, net: nn.Module, loss: Loss, validate: Validate | None, context: Context
    ) -> State:
        """Learn by episodes, and leave a head of class means in the network."""
        head = head_of_one(net, context)

        def placed(net: nn.Module) -> None:
            features, classes = taught_features(net, head, context)
            put_head(net, head, class_means(features, classes), context)

        if not self.settings.learn:
            placed(net)
            context.record["steps"] = 0
            return State()
        episode = episode_loss(head, context, self.settings)

        def settled(net: nn.Module) -> None:
            device = next(net.parameters()).device
            settle(net, lambda one, number: episode(one, number, device), batches=BATCHES)

        def scored(net: nn.Module) -> dict[str, float]:
            settled(net)
            placed(net)
            return {"score": context.score(net)}

        put_head(
            net, head, torch.zeros_like(shape_of(net, head)), context
        )  # with a bias, learnt not
        state = context.stage(
            net, episode, ".", learner=context.learner,
            validate=None if validate is None else scored,
            stepped=[way.stepped for way, _ in context.everyone],
        )  # fmt: skip
        if validate is None:
            settled(net)
        placed(net)
        return state


def no_single_class(task: Task) -> list[str]:
    """A fault where a case may have several labels at a time."""
    if getattr(task.settings, "kind", None) == "multi-label":
        return [
            "takes one class a case, and settings.kind is multi-label; name one target and "
            "kind: classes or ordinal"
        ]
    return []


def head_of_one(net: nn.Module, context: Context) -> str:
    """The one head of a network of classification."""
    return heads_of(net, context.task, example_inputs(context))[0]


def shape_of(net: nn.Module, head: str) -> Tensor:
    """The head's weight as ``(L, C)``.

    Raises:
        RecipeError: it looks at more than one place.
    """
    weight = net.get_parameter(f"{head}.weight").detach()
    if weight[0, 0].numel() > 1:
        raise RecipeError(
            f"the head '{head}' is a convolution of more than one place, of which no class means "
            "can be made; choose another network.name"
        )
    return weight.flatten(1)


def class_means(features: Tensor, classes: Tensor) -> Tensor:
    """``(N, C)`` and ``(N,)`` to the mean of each class, ``(L, C)``."""
    return torch.stack([features[classes == k].mean(dim=0) for k in torch.unique(classes)])


def distances(features: Tensor, means: Tensor) -> Tensor:
    """``(N, C)`` and ``(L, C)`` to scores ``(N, L)``: the squared distances, negative."""
    return -(features[:, None] - means[None]).square().sum(dim=2)


def episode_loss(head: str, context: Context, said: PrototypesSettings) -> Loss:
    """The loss of the episode of a number."""
    draw = Episodes(
        context.teach, shots=said.shots, queries=said.queries, ways=said.ways,
        seed=context.learner.seed + 31_013,
    )  # fmt: skip
    batches = context.batches_on(context.teach, lambda number: [*draw(number)[0], *draw(number)[1]])

    def loss(net: nn.Module, number: int, device: torch.device) -> Tensor:
        inputs, truths = batches(number, device)
        features, _ = features_of(net, list(inputs.values()), head)
        features, classes = features.float(), truths["class"]
        count = len(draw(number)[0])
        means = class_means(features[:count], classes[:count])
        place = torch.searchsorted(torch.unique(classes[:count]), classes[count:])
        return functional.cross_entropy(distances(features[count:], means), place)

    return loss


def taught_features(net: nn.Module, head: str, context: Context) -> tuple[Tensor, Tensor]:
    """Features ``(N, C)`` and class ``(N,)`` of every case that teaches, in evaluation."""
    return features_of_samples(net, head, context.teach, context.task)


@torch.no_grad()
def features_of_samples(
    net: nn.Module, head: str, samples: Sequence[Sample], task: Task,
    embed: Callable[[nn.Module, list[Tensor]], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Features ``(N, C)`` and class ``(N,)`` of cases, in evaluation.

    Args:
        net: the network.
        head: name of the layer whose input is taken.
        samples: with their truth.
        task: makes examples of them.
        embed: gives the features instead.
    """
    device = next(net.parameters()).device
    parts = range(0, len(samples), _AT_ONCE)
    batches = Batches(
        samples, task,
        lambda number: range(len(samples))[number * _AT_ONCE : (number + 1) * _AT_ONCE] or [0],
        seed=0,
    )  # fmt: skip
    out, classes = [], []
    with evaluating(net):
        for number in range(len(parts)):
            arrays, truths = batches(number)
            inputs = list(tensors(arrays, device).values())
            said = embed(net, inputs) if embed else features_of(net, inputs, head)[0]
            out.append(said.float())
            classes.append(torch.from_numpy(truths["class"]).to(device))
    return torch.cat(out), torch.cat(classes)


@torch.no_grad()
def put_head(net: nn.Module, head: str, means: Tensor, context: Context) -> None:
    """Make class means the head of a network, in place.

    Raises:
        RecipeError: a class has no case that teaches, or the network's answer is not its head's.
    """
    shape = shape_of(net, head)
    if means.shape != shape.shape:
        raise RecipeError(
            f"prototypes: {len(means)} classes have cases that teach, and the network answers "
            f"{len(shape)}; each class needs one"
        )
    old = net.get_submodule(head)
    weight = net.get_parameter(f"{head}.weight")
    if getattr(old, "bias", None) is None:
        old.register_parameter("bias", nn.Parameter(weight.new_zeros(len(means))))
    bias = net.get_parameter(f"{head}.bias")
    weight.copy_((2 * means).reshape(weight.shape))
    bias.copy_(-means.square().sum(dim=1))
    inputs = [one.to(weight.device) for one in example_inputs(context)]
    with evaluating(net):
        features, said = features_of(net, inputs, head)
    scores = next(iter(context.task.named(said).values()))
    due = features @ (2 * means).T - means.square().sum(dim=1)
    if scores.shape != due.shape or not torch.allclose(scores, due, rtol=1e-3, atol=1e-2):
        raise RecipeError(
            f"the network does something to what its head '{head}' says, so that class means "
            "cannot be its head; choose another network.name"
        )
