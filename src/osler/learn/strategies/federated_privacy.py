"""Central differential privacy of a federation: the network hardly depends on any one site.

DP-FedAvg (McMahan et al. 2018, "Learning Differentially Private Recurrent Language Models", ICLR,
algorithm 1 with the fixed-denominator estimator): sites are drawn at random, the update of each is
shortened, and the coordinator adds noise to their sum. The arithmetic is numpy, as all that a
coordinator does; the account is that of `osler.learn.strategies.private_gradients`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from osler.errors import RecipeError
from osler.learn.strategies.private_gradients import (
    Accountant,
    need_opacus,
    noise_for,
    spent,
    with_group_normalisation,
)
from osler.tasks.task import Settings, Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe

WHERE = "strategies.federated.private"
GOES_WITH = ("federated", "differential-privacy", "linear-probe", "last-blocks", "lora",
             "adapters", "visual-prompts", "mc-dropout")  # fmt: skip
"""Strategies that look at no case but in the steps of a site."""


class Private(Settings):
    """The keys of ``private``: what hides each site in the network that all make.

    Attributes:
        epsilon: that all rounds together may spend; the noise is made for it.
        noise: standard deviation as a multiple of ``most``, instead of an epsilon.
        delta: of (epsilon, delta); below one over the number of sites.
        most: length to which the update of each site is shortened.
        accountant: which bound of epsilon is taken; ``prv`` is the tighter one.
        normalisation: what becomes of batch normalisation, whose statistics would leave a site
            without noise: ``refuse`` it, or put ``group`` normalisation in its place.
        seed: makes draws and noise repeatable, and whoever knows it can take the noise away again:
            for tests only. By default a key is drawn and kept in the run's folder.
    """

    epsilon: float | None = Field(default=None, gt=0, le=1000)
    noise: float | None = Field(default=None, ge=0.25, le=4096)
    delta: float = Field(default=1e-5, gt=0, lt=0.5)
    most: float = Field(default=1.0, gt=0, le=1000)
    accountant: Accountant = "prv"
    normalisation: Literal["refuse", "group"] = "refuse"
    seed: int | None = Field(default=None, ge=0)


@dataclass(frozen=True)
class Guard:
    """What the coordinator does to hide each site.

    Attributes:
        most: length to which the update of a site is shortened.
        noise: standard deviation of the noise, as a multiple of it.
        rate: by which each site is drawn into a round, by itself.
        sites: that there are.
        secret: of which draws and noise come, beside the number of the round.
    """

    most: float
    noise: float
    rate: float
    sites: int
    secret: bytes

    def drawn(self, number: int) -> list[int]:
        """The sites of a round: each by itself with the same chance, so that it may have none."""
        chances = self._rng(number, b"sites").random(self.sites)
        return [place for place, one in enumerate(chances) if one < self.rate]

    def mean(self, number: int, updates: Sequence[NDArray[Any]], size: int) -> NDArray[np.float32]:
        """``(sum_k u_k min(1, C / |u_k|) + N(0, (z C)^2)) / (q K)``.

        Args:
            number: of the round.
            updates: of the sites that answered, ``(size,)`` each; every site weighs the same.
            size: numbers that learn.
        """
        total = np.zeros(size, np.float64)
        for one in updates:
            total += shortened(one, self.most)
        total += self._rng(number, b"noise").normal(0.0, self.noise * self.most, size)
        return np.asarray(total / (self.rate * self.sites), np.float32)

    def _rng(self, number: int, purpose: bytes) -> np.random.Generator:
        made = hashlib.sha256(self.secret + purpose + number.to_bytes(8, "big")).digest()
        return np.random.default_rng(np.frombuffer(made, np.uint32))


def shortened(update: NDArray[Any], most: float) -> NDArray[np.float64]:
    """An update of at most a length: ``u min(1, C / |u|)``.

    Raises:
        RecipeError: it holds what is no number, which no length bounds.
    """
    whole = np.asarray(update, np.float64)
    length = float(np.linalg.norm(whole))
    if not np.isfinite(length):
        raise RecipeError(f"{WHERE}: the update of a site holds what is not a finite number")
    return whole if length <= most else whole * (most / length)


def guard_of(
    said: Private, *, rate: float, sites: int, rounds: int, secret: bytes
) -> tuple[Guard, dict[str, Any]]:
    """The guard of a federation and what it promises, for the record.

    Raises:
        RecipeError: delta is too great for so few sites, or no noise keeps the epsilon.
    """
    need_opacus()
    if said.delta >= 1 / sites:
        raise RecipeError(
            f"{WHERE}.delta: {said.delta} is not below one over the number of sites ({sites}), so "
            "that a site given away whole would keep it; lower it"
        )
    how: dict[str, Any] = {
        "rate": rate, "steps": rounds, "delta": said.delta, "accountant": said.accountant,
    }  # fmt: skip
    noise = said.noise or noise_for(
        said.epsilon or 0.0, **how, where=WHERE,
        less="strategies.federated.rounds or strategies.federated.participation",
    )  # fmt: skip
    promise = {
        "epsilon": round(spent(noise=noise, **how), 4), "delta": said.delta,
        "noise": round(noise, 4), "most": said.most, "sites": sites, "rate": rate,
        "rounds": rounds, "accountant": said.accountant, "unit": "site",
        "note": "covers the weights, for all cases of a site; not the losses and numbers of cases "
        "in the record, what the task plans from the cases, those that tune, calibrate and test, "
        "nor runs before this one; the coordinator sees each update as it is",
    }  # fmt: skip
    return Guard(said.most, noise, rate, sites, secret), promise


def faults_of_private(said: Any, recipe: "Recipe", task: Task) -> list[str]:
    """What does not go with ``private``, a sentence each.

    Args:
        said: the settings of the federation, which has the key.
        recipe: of the run.
        task: to be learnt.
    """
    from osler.learn.strategies.catalogue import STRATEGIES

    private, out = said.private, []
    if (private.epsilon is None) == (private.noise is None):
        out.append("private: say either the epsilon that may be spent, or the noise")
    if said.method == "scaffold":
        out.append(
            "private: the control variates of scaffold would leave the sites without noise; write "
            "fedavg or fedprox"
        )
    if said.method == "fedbn":
        out.append(
            "private: the network that fedbn gives holds the mean of the sites' normalisation, "
            "without noise; write fedavg and private.normalisation: group"
        )
    if said.secure:
        out.append(
            "private: secure rounds what was shortened, and the account would no longer hold to "
            "the digit; leave one of them out"
        )
    if said.alone is not None:
        out.append("private: hides a site among others; with alone there are none")
    if type(task).concluded is not Task.concluded:
        out.append(
            f"private: the task {task.name} fits more to the cases that taught once its network is "
            "trained, of which the account would know nothing"
        )
    known = {name for name, _ in STRATEGIES}
    out += [
        f"private: '{other}' looks at cases or their statistics beside the steps of the sites, of "
        f"which the account would know nothing; what goes with it: {', '.join(GOES_WITH[1:])}"
        for other in recipe.strategies
        if other in known and other not in GOES_WITH
    ]
    return out


def without_statistics(net: nn.Module, said: Private) -> None:
    """Put group normalisation in the place of batch normalisation, or refuse it.

    Raises:
        RecipeError: some keeps statistics while it trains, and none shall be put in its place.
    """
    if said.normalisation == "group":
        with_group_normalisation(net)
        return
    net.train()
    found = [name for name, module in net.named_modules()
             if isinstance(module, _BatchNorm) and module.training]  # fmt: skip
    if found:
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        raise RecipeError(
            f"{WHERE}: batch normalisation ({', '.join(found[:4])}{more}) keeps statistics of a "
            f"site's cases, which would leave it without noise; write {WHERE}.normalisation: "
            "group, which puts group normalisation in its place"
        )


def unchanged(
    counted: Sequence[str], update: Mapping[str, NDArray[Any]], site: str
) -> None:  # fmt: skip
    """Hold that nothing but what is noised changed at a site.

    Raises:
        RecipeError: a buffer did; it is named.
    """
    for name in counted:
        if np.any(update[name]):
            raise RecipeError(
                f"{WHERE}: '{name}' of the network changes at '{site}' beside what learns, and "
                "would leave it without noise; choose another network"
            )
