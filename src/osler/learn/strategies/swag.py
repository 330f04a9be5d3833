r"""SWAG with a diagonal covariance: a normal distribution of weights around a running mean.

.. math::

   \bar\theta = \tfrac{1}{T}\sum_t \theta_t, \qquad
   \sigma^2 = \tfrac{1}{T}\sum_t \theta_t^2 - \bar\theta^2, \qquad
   \tilde\theta \sim \mathcal{N}(\bar\theta, \operatorname{diag}(\sigma^2))
"""

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from osler.learn.checkpoint import State
from osler.learn.ensembling import Ensemble
from osler.learn.loop import Loss, Validate
from osler.learn.normalisation import BATCHES, settle
from osler.learn.strategies.ensemble import activations
from osler.learn.strategies.strategy import Context, Settings, Training, Wrapped

_MOMENTS = "swag-moments"


class SwagSettings(Settings):
    """The keys of ``swag``.

    Attributes:
        steps: at a constant rate after the recipe's own, along which weights are gathered.
        rate: of those steps, as a share of the recipe's.
        every: steps between two gatherings.
        members: networks that are drawn and answer together.
        scale: of the standard deviation; 0 gives the mean of the weights (SWA).
        seed: of the draws.
    """

    steps: Annotated[int, Field(ge=2)] = 200
    rate: Annotated[float, Field(gt=0, le=10)] = 0.5
    every: Annotated[int, Field(ge=1)] = 5
    members: Annotated[int, Field(ge=1, le=50)] = 5
    scale: Annotated[float, Field(ge=0, le=10)] = 1.0
    seed: int = 1


class Moments(nn.Module):
    """The running mean of weights and of their squares.

    Args:
        net: whose trainable parameters are gathered.
    """

    count: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.names = [name for name, one in net.named_parameters() if one.requires_grad]
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        for place, name in enumerate(self.names):
            value = net.get_parameter(name).detach()
            self.register_buffer(f"mean{place}", torch.zeros_like(value, dtype=torch.float32))
            self.register_buffer(f"square{place}", torch.zeros_like(value, dtype=torch.float32))

    @torch.no_grad()
    def gather(self, net: nn.Module) -> None:
        """Count the weights as they are now."""
        self.count += 1
        share = 1.0 / int(self.count)
        for place, name in enumerate(self.names):
            value = net.get_parameter(name).float()
            self.get_buffer(f"mean{place}").lerp_(value, share)
            self.get_buffer(f"square{place}").lerp_(value.square(), share)

    @torch.no_grad()
    def draw(self, net: nn.Module, generator: torch.Generator, scale: float) -> None:
        """Give a network weights from the distribution."""
        for place, name in enumerate(self.names):
            mean, square = self.get_buffer(f"mean{place}"), self.get_buffer(f"square{place}")
            spread = (square - mean.square()).clamp(min=0).sqrt()
            noise = torch.randn(mean.shape, generator=generator)
            net.get_parameter(name).copy_(mean + scale * spread * noise)


class Swag(Training):
    """The members are drawn once and exported, so the graph answers alike every time."""

    name = "swag"
    title = "SWAG, diagonal"
    source = (
        'Maddox et al. 2019, "A simple baseline for Bayesian uncertainty in deep learning", '
        "NeurIPS (SWAG-Diag.)"
    )
    Settings = SwagSettings
    settings: SwagSettings

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        return Wrapped(net, {_MOMENTS: Moments(net)})

    def train(
        self, net: nn.Module, loss: Loss, validate: Validate | None, context: Context
    ) -> State:
        said, learner = self.settings, context.learner
        stepped = [way.stepped for way, _ in context.everyone]
        first = context.stage(
            net, loss, "converging", learner=learner, validate=validate, stepped=stepped
        )

        def gather(net: nn.Module, step: int) -> None:
            if step % said.every == 0 or step == said.steps:
                inner, moments = _own(net)
                moments.gather(inner)

        def later(net: nn.Module, number: int, device: torch.device) -> Tensor:
            return loss(net, number + learner.steps * learner.accumulate, device)

        state = context.stage(
            net, later, "gathering", stepped=[*stepped, gather],
            learner=learner.model_copy(
                update={"steps": said.steps, "rate": learner.rate * said.rate, "ema": 0.0,
                        "schedule": "constant", "warmup": 0, "patience": None}
            ),
        )  # fmt: skip
        return State(state.step, first.best, 0, first.seconds + state.seconds)

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        said = self.settings
        inner, moments = _own(net)
        context.record["gathered"] = int(moments.count)
        generator = torch.Generator().manual_seed(said.seed)
        loss = context.loss_on(context.teach)
        members = []
        for _ in range(said.members if said.scale else 1):
            member = copy.deepcopy(inner)
            moments.draw(member, generator, said.scale)
            settle(member, lambda net, n: loss(net, n, torch.device("cpu")), batches=BATCHES)
            members.append(member.eval())
        return Ensemble(members, activations(context.task)) if len(members) > 1 else members[0]


def _own(net: nn.Module) -> tuple[nn.Module, Moments]:
    """The network and what was gathered of it, inside whatever other strategies put around them."""
    for module in net.modules():
        if isinstance(module, Wrapped) and _MOMENTS in module.beside:
            moments = module.beside[_MOMENTS]
            assert isinstance(moments, Moments)
            return module.net, moments
    raise ValueError("the network has lost what was gathered of its weights")
