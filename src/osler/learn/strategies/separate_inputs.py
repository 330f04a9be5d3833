"""What is peculiar to an input of a fused network kept apart from what all inputs tell."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.learn.strategies.adversarial import domain_classifier, reversed_gradient, rising
from osler.learn.strategies.separate_features import overlap
from osler.learn.strategies.strategy import Context, Loss, Role, Settings, Strategy, Wrapped
from osler.models.fusion import Fusion, Summaries
from osler.tasks.task import Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe

_LEAST = 3  # samples of an input, of which a correlation says anything
_SEVERAL = (
    "parts the features of several inputs: set settings.inputs, two at least, and "
    "network.name: fusion"
)


class SeparateInputsSettings(Settings):
    """The keys of separate inputs.

    Attributes:
        private: share of each input's features that are its own; the rest is common.
        hide: weight of the reversed gradient by which no one can tell from the common features
            which input they are of; 0 leaves it out.
        show: weight of the loss by which the own features tell it.
        apart: weight of the loss that keeps the two orthogonal.
        hidden: width of the two classifiers of inputs.
        rise: how fast the reversed gradient rises from nought over the steps.
    """

    private: float = Field(default=0.5, gt=0, lt=1)
    hide: float = Field(default=0.1, ge=0, le=100)
    show: float = Field(default=0.1, ge=0, le=100)
    apart: float = Field(default=0.1, ge=0, le=100)
    hidden: int = Field(default=32, ge=1, le=4096)
    rise: float = Field(default=10.0, gt=0, le=1000)


class _WithInputs(Wrapped):
    """A fused network with the classifiers of inputs beside it."""


@contextmanager
def summaries_of(net: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """A list to which each call of a fused network adds its inputs' features and presence."""
    seen: list[tuple[Tensor, Tensor]] = []
    module = next(one for one in net.modules() if isinstance(one, Summaries))

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        del module
        seen.append((args[0], args[1]))

    handle = module.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def parting_loss(
    features: Tensor, present: Tensor, beside: nn.ModuleDict, said: SeparateInputsSettings, *,
    reversal: float,
) -> Tensor:  # fmt: skip
    """Hides the input in the common features, shows it in its own, parts the two.

    Args:
        features: ``(B, M, D)`` of each input; the last share of them are its own.
        present: ``(B, M)``; what is absent says nothing.
        beside: the classifiers ``common`` and ``own``.
        said: weights.
        reversal: of the gradient of the common features.
    """
    own = round(said.private * features.shape[2])
    common = features.shape[2] - own
    rows = features[present].float()
    which = torch.arange(features.shape[1], device=features.device).expand(len(features), -1)
    which = which[present]
    shared, private = rows[:, :common], rows[:, common:]
    parts = [
        functional.cross_entropy(beside["common"](reversed_gradient(shared, reversal)), which),
        said.show * functional.cross_entropy(beside["own"](private), which),
    ]
    if said.hide == 0:
        parts = parts[1:]
    enough = [number for number in range(features.shape[1]) if (which == number).sum() >= _LEAST]
    if enough:
        each = [overlap(shared[which == number], private[which == number]) for number in enough]
        parts.append(said.apart * torch.stack(each).mean())
    return torch.stack(parts).sum()


class SeparateInputs(Strategy):
    """Some features of each input are its own, the others as of any; the answer reads both."""

    name: ClassVar[str] = "separate-inputs"
    title: ClassVar[str] = "Own and common features of inputs kept apart"
    role: ClassVar[Role] = "objective"
    source: ClassVar[str] = (
        "Wang et al. 2023, Multi-modal learning with missing modality via shared-specific feature "
        "modelling, CVPR"
    )
    Settings: ClassVar[type[Settings]] = SeparateInputsSettings
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "training": "its stages take the task's own loss, of which the parting is no part."
    })  # fmt: skip

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        """There must be several inputs to part."""
        if len(getattr(task.settings, "inputs", None) or {}) >= 2:
            return []
        return [_SEVERAL]

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        """The network with two classifiers of inputs beside it."""
        fused = next((one for one in net.modules() if isinstance(one, Fusion)), None)
        if fused is None or len(fused.names) < 2:
            raise RecipeError(f"separate-inputs {_SEVERAL}")
        width, many, said = fused.width, len(fused.names), self.settings
        own = round(said.private * width)
        if not 0 < own < width:
            raise RecipeError(
                f"separate-inputs.private: {said.private} of {width} features leaves none of a kind"
            )
        context.record["own"], context.record["common"] = own, width - own
        return _WithInputs(
            net,
            {
                "common": domain_classifier(width - own, said.hidden, many),
                "own": domain_classifier(own, said.hidden, many),
            },
        )

    def loss(self, loss: Loss, context: Context) -> Loss:
        """The loss, and what parts the features of the batch that it is of."""
        learner, said = context.learner, self.settings
        last = max(1, learner.steps * learner.accumulate - 1)

        def with_inputs(net: nn.Module, number: int, device: torch.device) -> Tensor:
            whole = next(one for one in net.modules() if isinstance(one, _WithInputs))
            with summaries_of(whole.net) as seen:
                out = loss(net, number, device)
            features, present = seen[0]
            reversal = said.hide * rising(number / last, said.rise)
            return out + parting_loss(features, present, whole.beside, said, reversal=reversal)

        return with_inputs

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        """The network without the classifiers."""
        return net.net if isinstance(net, _WithInputs) else net
