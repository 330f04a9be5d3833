"""A site of a federation in the process of its coordinator: local steps on its own cases."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from osler.learn import checkpoint
from osler.learn.advice import unsound_gradient, unsound_loss
from osler.learn.learner import Learner
from osler.learn.loop import Loss, Stepped
from osler.learn.optimisers import make_optimiser
from osler.learn.precision import Precision
from osler.learn.schedules import rate_at
from osler.learn.strategies.federated_messages import Order, Plan, Reply
from osler.learn.strategies.federated_updates import (
    Arrays,
    fixed_point,
    masked,
    new_control,
    pair_masks,
    with_feedback,
)

_SEEDS = 1_000_003  # between the seeds of two runs, as in the loop
_SITES = 15_485_863  # between those of two sites


class LocalSite:
    """Takes the steps of a round with the recipe's optimiser, whose moments begin anew each round.

    A local step is that of the one loop without its running average: the mean gradient of
    ``learner.accumulate`` batches, FedProx's ``mu * (w - w_global)`` added to it, shortened to
    ``learner.clip``, SCAFFOLD's ``c - c_k`` added, and a step of the optimiser at the rate that
    the schedule gives for this step of the whole run.

    Args:
        name: of the site.
        place: its number.
        cases: how many teach there.
        net: shared by the sites of the process, which take their turns; changed in place.
        loss: on the site's cases.
        plan: of the federation.
        learner: how the network is optimised.
        mu: weight of FedProx's proximal term; 0 for none.
        device: on which the network lies.
        stepped: called after each step.
    """

    def __init__(
        self, name: str, place: int, cases: int, *, net: nn.Module, loss: Loss, plan: Plan,
        learner: Learner, mu: float, device: torch.device, stepped: Sequence[Stepped] = (),
    ) -> None:  # fmt: skip
        self.name, self.place, self.cases = name, place, cases
        self.net, self.loss, self.plan, self.learner = net, loss, plan, learner
        self.mu, self.device, self.stepped = mu, device, stepped
        self.own: Arrays = taken(net, plan.home)
        self.residual = np.zeros(plan.size if plan.codec is not None else 0, np.float32)
        scaffold = plan.method == "scaffold"
        self.control: Arrays = (
            {name: np.zeros(shape, np.float32) for name, shape in plan.learning.items()}
            if scaffold
            else {}
        )

    def work(self, order: Order) -> Reply:
        """Take the steps of a round; the network holds the site's weights afterwards."""
        put(self.net, {**order.state, **self.own})
        loss, rates = self._steps(order)
        now = taken(self.net, [*self.plan.learning, *self.plan.counted])
        self.own = taken(self.net, self.plan.home)
        control: Arrays = {}
        for name, value in self.control.items():
            start = np.asarray(order.state[name], np.float32)
            new = new_control(value, order.control[name], start, now[name], rates)
            control[name] = (new - value).astype(np.float32)
            self.control[name] = new.astype(np.float32)
        return Reply(self._said(now, order), control, loss)

    def _said(self, now: Arrays, order: Order) -> Arrays:
        """The update as it is sent."""
        plan = self.plan
        update = {name: np.asarray(np.subtract(now[name], order.state[name])) for name in now}
        if plan.secure:
            parts = [plan.vector(update), *(update[name].reshape(-1) for name in plan.counted)]
            flat = np.concatenate([np.asarray(part, np.float64) for part in parts])
            whole = fixed_point(flat * order.share)
            masks = pair_masks(
                order.places, self.place, whole.size, seed=(*plan.mask_seed, order.round)
            )
            return {"masked": masked(whole, self.place, masks)}
        if plan.codec is None:
            return update
        message, _, self.residual = with_feedback(plan.vector(update), self.residual, plan.codec)
        return {**message, **{name: update[name] for name in plan.counted}}

    def _steps(self, order: Order) -> tuple[float, float]:
        """The mean loss, and the sum of the rates."""
        net, learner = self.net, self.learner
        precision = Precision.of(learner, self.device)
        optimiser, factors = make_optimiser(net, learner)
        named = {name: p for name, p in net.named_parameters() if name in self.plan.learning}
        anchors = {name: p.detach().clone() for name, p in named.items()} if self.mu else {}
        drift = {
            name: torch.from_numpy(np.asarray(order.control[name] - value)).to(self.device)
            for name, value in self.control.items()
        }
        total, rates = 0.0, 0.0
        for step in range(order.begin, order.begin + order.steps):
            rate = rate_at(step, learner)
            rates += rate
            for group, factor in zip(optimiser.param_groups, factors, strict=True):
                group["lr"] = rate * factor
            optimiser.zero_grad(set_to_none=True)
            net.train()
            value = self._gradients(step, precision)
            if not np.isfinite(value):
                raise unsound_loss(value, step, learner)
            with torch.no_grad():
                for name, anchor in anchors.items():
                    _add(named[name], named[name] - anchor, self.mu)
                most = np.inf if learner.clip is None else learner.clip
                norm = nn.utils.clip_grad_norm_(net.parameters(), most)
                if not precision.sound(norm):
                    raise unsound_gradient(step, learner)
                for name, correction in drift.items():
                    _add(named[name], correction, 1.0)
            optimiser.step()
            for call in self.stepped:
                call(net, step + 1)
            total += value
        return total / order.steps, rates

    def _gradients(self, step: int, precision: Precision) -> float:
        value = 0.0
        for i in range(self.learner.accumulate):
            number = step * self.learner.accumulate + i
            checkpoint.seed_random(self.learner.seed * _SEEDS + self.place * _SITES + number)
            with precision.forward():
                one = self.loss(self.net, number, self.device)
            one = one / self.learner.accumulate
            precision.backward(one)
            value += float(one.detach())
        return value

    def memory(self) -> dict[str, Any]:
        """What never leaves the site, what compression left out, and the control variate."""
        return {
            "own": {name: torch.from_numpy(np.array(v)) for name, v in self.own.items()},
            "residual": torch.from_numpy(self.residual.copy()),
            "control": {name: torch.from_numpy(np.array(v)) for name, v in self.control.items()},
        }

    def remember(self, kept: Mapping[str, Any]) -> None:
        """Go on from what `memory` gave."""
        self.own = {name: value.numpy() for name, value in kept["own"].items()}
        self.residual = kept["residual"].numpy()
        self.control = {name: value.numpy() for name, value in kept["control"].items()}


def _add(parameter: nn.Parameter, value: Tensor, factor: float) -> None:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    parameter.grad.add_(value, alpha=factor)


def taken(net: nn.Module, names: Sequence[str]) -> Arrays:
    """Copies of weights and buffers by name."""
    state = net.state_dict()
    return {name: state[name].detach().cpu().contiguous().numpy().copy() for name in names}


@torch.no_grad()
def put(net: nn.Module, arrays: Mapping[str, Any]) -> None:
    """Set weights and buffers by name; others stay."""
    state = net.state_dict()
    for name, value in arrays.items():
        state[name].copy_(torch.from_numpy(np.array(value)))
