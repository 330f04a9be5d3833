"""Domain-adversarial training: features from which no one can tell where a case comes from."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.learn.recipe import Recipe
from osler.learn.strategies.features import features_of, output_layer, pooled, tapped
from osler.learn.strategies.sites import Draws, sites_of
from osler.learn.strategies.strategy import Context, Loss, Role, Settings, Strategy, Wrapped
from osler.tasks.task import Sample, Task


class AdversarialSettings(Settings):
    """The keys of domain-adversarial training.

    Attributes:
        by: a variable of the cohort, such as the site or the camera, whose values are the domains.
            None has two: cases with a label and cases without one.
        weight: of the reversed gradient once it has risen to its height; ``lambda`` of the paper.
        hidden: width of the classifier of domains.
        rise: how fast the weight rises from nought over the steps; ``gamma`` of the paper.
        layer: name of a layer of the network whose input is looked at; None takes the head's.
    """

    by: str | None = Field(default=None, min_length=1)
    weight: float = Field(default=1.0, gt=0, le=100)
    hidden: int = Field(default=64, ge=1, le=4096)
    rise: float = Field(default=10.0, gt=0, le=1000)
    layer: str | None = Field(default=None, min_length=1)


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def reversed_gradient(features: Tensor, weight: float) -> Tensor:
    """The features, whose gradient comes back multiplied by ``-weight`` (Ganin 2016, eq. 17-18)."""
    out: Tensor = _Reversal.apply(features, weight)  # type: ignore[no-untyped-call]
    return out


def rising(progress: float, rate: float) -> float:
    """The weight of the reversed gradient, 0 to 1, at a share of the steps (Ganin 2016, 5.2.2)."""
    return 2 / (1 + math.exp(-rate * progress)) - 1


class _WithDomains(Wrapped):
    """A network with a classifier of domains beside it."""


def domain_classifier(inputs: int, hidden: int, domains: int) -> nn.Module:
    """Scores of the domains, from features ``(B, C)``."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, domains))


class Adversarial(Strategy):
    """A classifier learns domains from features, and the network not to let it."""

    name: ClassVar[str] = "adversarial"
    title: ClassVar[str] = "Domain-adversarial training (DANN)"
    role: ClassVar[Role] = "objective"
    source: ClassVar[str] = (
        "Ganin et al. 2016, Domain-Adversarial Training of Neural Networks, JMLR"
    )
    Settings: ClassVar[type[Settings]] = AdversarialSettings
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "training": "its stages take the task's own loss, of which the domains are no part."
    })  # fmt: skip

    def faults(self, recipe: Recipe, task: Task) -> list[str]:
        """Two domains are needed."""
        if self.settings.by is None and not recipe.some_unlabelled:
            return [
                "tells cases with a label from those without one, and the recipe has none of these;"
                " name a cohort under unlabelled, set labels.blank, or write by: and a variable"
            ]
        return []

    def before(self, net: nn.Module, context: Context) -> None:
        """Count the domains."""
        if self.settings.by is None:
            if not context.unlabelled:
                raise RecipeError(f"{self.name} tells apart cases without a label; none teaches")
            self._of = {one.id: 0 for one in context.teach}
            self._of |= {one.id: 1 for one in context.unlabelled}
            context.record["domains"] = ["labelled", "unlabelled"]
            return
        everyone = [*context.teach, *context.unlabelled]
        values = sites_of(everyone, self.settings.by, context)
        names = sorted(set(values))
        numbers = [names.index(value) for value in values]
        self._of = dict(zip([one.id for one in everyone], numbers, strict=True))
        context.record["domains"] = names

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        """The network with the classifier beside it."""
        said = self.settings
        inputs = self._inputs(context, context.teach[:2], torch.device("cpu"))
        try:
            self._layer = said.layer or output_layer(net, inputs)
            net.get_submodule(self._layer)
        except (ValueError, AttributeError) as error:
            raise RecipeError(f"{self.name}.layer: {error}") from error
        training = net.training
        net.eval()
        with torch.no_grad():
            width = features_of(net, inputs, self._layer)[0].shape[1]
        net.train(training)
        context.record["features"] = width
        domains = len(context.record["domains"])
        return _WithDomains(net, {"domains": domain_classifier(width, said.hidden, domains)})

    def _inputs(
        self, context: Context, samples: Sequence[Sample], device: torch.device
    ) -> list[Tensor]:
        """Samples as the network takes them, cut like the first example of each."""
        rng = np.random.default_rng(0)
        shown = [context.task.example(one, rng)[0] for one in samples]
        return [
            torch.from_numpy(np.stack([one[name] for one in shown])).to(device)
            for name in shown[0]
        ]  # fmt: skip

    def loss(self, loss: Loss, context: Context) -> Loss:
        """The loss and the cross-entropy of the domains, reversed where it enters the network."""
        learner, said = context.learner, self.settings
        last = max(1, learner.steps * learner.accumulate - 1)
        draws = Draws(context)
        more = context.batches(context.unlabelled, seed=11) if context.unlabelled else None

        def with_domains(net: nn.Module, number: int, device: torch.device) -> Tensor:
            whole = self.whole(net)
            with tapped(whole.net, self._layer) as seen:
                out = loss(net, number, device)
            layer = whole.net.get_submodule(self._layer)
            features = [pooled(seen[0], layer)]  # of the batch that the task's loss is of
            drawn = draws(number)
            if more is not None:
                places = more.choose(number)
                arrays = more(number)[0]
                inputs = [torch.from_numpy(array).to(device) for array in arrays.values()]
                features.append(features_of(whole.net, inputs, self._layer)[0])
                drawn = [*drawn, *(context.unlabelled[place] for place in places)]
            together = torch.cat(features)
            if len(together) != len(drawn):
                raise RecipeError(
                    f"{self.name} looks at the batch of the task's loss, and another strategy "
                    "shows the network something else first"
                )
            domains = torch.tensor([self._of[one.id] for one in drawn], device=device)
            weight = said.weight * rising(number / last, said.rise)
            return out + self.domain_loss(whole, together, domains, weight)

        return with_domains

    def whole(self, net: nn.Module) -> Wrapped:
        """The network with the classifier, wherever other strategies have put it."""
        return next(one for one in net.modules() if isinstance(one, _WithDomains))

    def domain_loss(
        self, whole: Wrapped, features: Tensor, domains: Tensor, weight: float
    ) -> Tensor:
        """The cross-entropy of the domains of features ``(B, C)``, reversed as it goes back."""
        scores = whole.beside["domains"](reversed_gradient(features, weight))
        return functional.cross_entropy(scores.float(), domains)

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        """The network without the classifier."""
        return net.net if isinstance(net, _WithDomains) else net
