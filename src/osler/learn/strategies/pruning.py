r"""Pruning: the smallest weights become 0 while the network learns, and stay so.

.. math::

   s_t = s\,\bigl(1 - (1 - t/n)^3\bigr)
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from osler.learn.checkpoint import State
from osler.learn.loop import Loss, Validate
from osler.learn.strategies.features import output_layer
from osler.learn.strategies.quantised_layers import layers_of
from osler.learn.strategies.strategy import Context, Settings, Training, Wrapped

_MASKS = "pruning-masks"


class PruningSettings(Settings):
    """The keys of ``pruning``.

    Attributes:
        sparsity: share of the weights that are 0 in the end.
        what: single ``weights`` by their size, or whole ``filters`` (output channels) by the root
            of their squares.
        scope: each ``layer`` loses the same share, or the ``network`` its smallest wherever they
            lie (weights only).
        share: of the recipe's steps over which it grows sparse; the rest recovers.
        every: steps between two prunings.
        keep: layers (beginnings of names) that are left dense; the head always is.
    """

    sparsity: Annotated[float, Field(gt=0, lt=1)] = 0.8
    what: Literal["weights", "filters"] = "weights"
    scope: Literal["layer", "network"] = "layer"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.6
    every: Annotated[int, Field(ge=1)] = 10
    keep: tuple[str, ...] = ()


def sparsity_at(step: int, steps: int, final: float) -> float:
    """The share of zeros after a step: fast at first, slow towards the end.

    Zhu & Gupta 2018, "To prune, or not to prune", ICLR workshop, equation 1.
    """
    left = 1 - min(step, steps) / steps
    return float(final * (1 - left**3))


class Masks(nn.Module):
    """Which weights are left, layer by layer.

    Args:
        layers: names of layers.
        net: that has them.
    """

    def __init__(self, layers: Sequence[str], net: nn.Module) -> None:
        super().__init__()
        self.layers = list(layers)
        for place, name in enumerate(self.layers):
            weight = net.get_parameter(f"{name}.weight")
            self.register_buffer(f"mask{place}", torch.ones_like(weight, dtype=torch.bool))

    def mask(self, place: int) -> Tensor:
        """True where a weight is left."""
        out: Tensor = self.get_buffer(f"mask{place}")
        return out

    @torch.no_grad()
    def update(self, net: nn.Module, share: float, *, what: str, scope: str) -> None:
        """Leave out the smallest weights, so that ``share`` of them are 0."""
        sizes = []
        for place, name in enumerate(self.layers):
            size = net.get_parameter(f"{name}.weight").abs() * self.mask(place)
            if what == "filters":
                size = size.flatten(1).norm(dim=1)
            sizes.append(size.float())
        if scope == "network" and what == "weights":
            kept = smallest_left_out(torch.cat([one.flatten() for one in sizes]), share)
            parts = list(torch.split(kept, [one.numel() for one in sizes]))
        else:
            parts = [smallest_left_out(one.flatten(), share) for one in sizes]
        for place, part in enumerate(parts):
            mask = self.mask(place)
            shape = (-1, *[1] * (mask.ndim - 1)) if what == "filters" else mask.shape
            mask.copy_(part.reshape(shape).expand_as(mask))

    @torch.no_grad()
    def apply_to(self, net: nn.Module) -> None:
        """Set the others to 0."""
        for place, name in enumerate(self.layers):
            net.get_parameter(f"{name}.weight").mul_(self.mask(place))

    def sparsity(self) -> float:
        """Share of zeros among the weights of these layers."""
        masks = [self.mask(place) for place in range(len(self.layers))]
        return 1 - sum(int(one.sum()) for one in masks) / sum(one.numel() for one in masks)


def smallest_left_out(sizes: Tensor, share: float) -> Tensor:
    """True for all but the smallest ``share`` of the values ``(N,)``; of equals the first go."""
    kept = torch.ones(len(sizes), dtype=torch.bool, device=sizes.device)
    kept[torch.argsort(sizes, stable=True)[: round(share * len(sizes))]] = False
    return kept


class Pruning(Training):
    """The network grows sparse over the first part of the steps, and recovers over the rest."""

    name = "pruning"
    title = "Pruning by magnitude"
    source = (
        'Han et al. 2015, "Learning both weights and connections for efficient neural networks", '
        'NeurIPS; Li et al. 2017, "Pruning filters for efficient ConvNets", ICLR; Zhu & Gupta '
        '2018, "To prune, or not to prune", ICLR workshop'
    )
    Settings = PruningSettings
    settings: PruningSettings

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        arrays, _ = context.batches(context.teach, batch=2)(0)
        head = output_layer(net, [torch.from_numpy(np.ascontiguousarray(one))
                                  for one in arrays.values()])  # fmt: skip
        keep = (head, *self.settings.keep)
        layers = [one for one in layers_of(net) if not one.startswith(keep)]
        return Wrapped(net, {_MASKS: Masks(layers, net)})

    def train(
        self, net: nn.Module, loss: Loss, validate: Validate | None, context: Context
    ) -> State:
        said, learner = self.settings, context.learner
        stepped = [way.stepped for way, _ in context.everyone]
        first = max(1, round(said.share * learner.steps))
        ramp = max(1, first - said.every)

        def prune(net: nn.Module, step: int) -> None:
            inner, masks = _own(net)
            if step % said.every == 0 or step == first:
                share = sparsity_at(step, ramp, said.sparsity)
                masks.update(inner, share, what=said.what, scope=said.scope)
            masks.apply_to(inner)

        def hold(net: nn.Module, step: int) -> None:
            del step
            inner, masks = _own(net)
            masks.apply_to(inner)

        def later(net: nn.Module, number: int, device: torch.device) -> Tensor:
            return loss(net, number + first * learner.accumulate, device)

        begun = context.stage(
            net, loss, "growing-sparse", stepped=[*stepped, prune],
            learner=learner.model_copy(update={"steps": first, "schedule": "constant"}),
        )  # fmt: skip
        rest = max(1, learner.steps - first)
        state = context.stage(
            net, later, "recovering", validate=validate, stepped=[*stepped, hold],
            learner=learner.model_copy(
                update={"steps": rest, "warmup": 0, "ema": min(learner.ema, 0.9),
                        "validate_every": min(learner.validate_every, rest)}
            ),
        )  # fmt: skip
        return State(state.step, state.best, state.stale, begun.seconds + state.seconds)

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        inner, masks = _own(net)
        masks.apply_to(inner)  # the running average is only nearly 0 there
        everything = sum(one.numel() for one in inner.parameters())
        zeros = sum(int((one == 0).sum()) for one in inner.parameters())
        context.record |= {
            "sparsity": round(masks.sparsity(), 4),
            "sparsity_of_all_parameters": round(zeros / everything, 4),
            "parameters_left": everything - zeros,
        }
        return inner


def _own(net: nn.Module) -> tuple[nn.Module, Masks]:
    """The network and its masks, inside whatever other strategies put around them."""
    for module in net.modules():
        if isinstance(module, Wrapped) and _MASKS in module.beside:
            masks = module.beside[_MASKS]
            assert isinstance(masks, Masks)
            return module.net, masks
    raise ValueError("the network has lost its masks")
