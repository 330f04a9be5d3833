"""Deep ensembles: several networks from other random weights, which answer as one."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from osler.learn.checkpoint import State
from osler.learn.ensembling import Ensemble
from osler.learn.loop import Loss, Validate
from osler.learn.strategies.strategy import Context, Settings, Training
from osler.tasks.task import Task


class DeepEnsembleSettings(Settings):
    """The keys of ``deep-ensemble``.

    Attributes:
        members: networks; each takes the time of a plain training.
    """

    members: Annotated[int, Field(ge=2, le=20)] = 5


class DeepEnsemble(Training):
    """Each member is a stage of its own, so a killed run goes on with the one it was at."""

    name = "deep-ensemble"
    title = "Deep ensemble"
    source = (
        'Lakshminarayanan, Pritzel & Blundell 2017, "Simple and scalable predictive uncertainty '
        'estimation using deep ensembles", NeurIPS'
    )
    Settings = DeepEnsembleSettings
    settings: DeepEnsembleSettings
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "pretraining": "members would all start at the one pretrained network; fit a recipe for "
        "each seed instead.",
    })  # fmt: skip

    def train(
        self, net: nn.Module, loss: Loss, validate: Validate | None, context: Context
    ) -> State:
        learner = context.learner
        others = [one for one in context.everyone if one[0] is not self]
        stepped = [way.stepped for way, _ in others]
        self.rest: list[nn.Module] = []
        states = []
        for number in range(self.settings.members):
            member = net
            if number:
                member = context.build(learner.seed + 1009 * number)
                for way, own in others:
                    member = way.prepared(member, own)
                self.rest.append(member)
            states.append(
                context.stage(
                    member, _shifted(loss, number * learner.steps * learner.accumulate),
                    f"member-{number}", validate=validate, stepped=stepped,
                    learner=learner.model_copy(update={"seed": learner.seed + 1009 * number}),
                )
            )  # fmt: skip
            member.cpu()
        context.record["members"] = [round(one.best, 4) for one in states if one.best > -1e300]
        last = states[-1]
        return State(last.step, last.best, last.stale, sum(one.seconds for one in states))

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        members = [net]
        for member in self.rest:
            done = member.eval()
            for way, own in reversed(context.everyone):
                done = done if way is self else way.finished(done, own).eval()
            members.append(done)
        return Ensemble(members, activations(context.task))


def _shifted(loss: Loss, offset: int) -> Loss:
    """The loss on other batches."""

    def later(net: nn.Module, number: int, device: torch.device) -> Tensor:
        return loss(net, number + offset, device)

    return later


def activations(task: Task) -> Any:
    """The activation of each output, by its place and by its name."""
    out: dict[Any, str] = {}
    for place, one in enumerate(task.outputs()):
        out[place] = out[one.name] = one.activation
    return out
