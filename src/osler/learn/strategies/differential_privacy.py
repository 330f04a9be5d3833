"""Differential privacy: weights that hardly depend on any one patient."""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from osler.errors import RecipeError
from osler.learn.distributed import join
from osler.learn.strategies.private_gradients import (
    Accountant,
    blurred,
    case_gradients,
    clipped,
    kept_key,
    need_opacus,
    noise_for,
    seeded_key,
    sliced,
    spent,
    untreatable,
    with_group_normalisation,
)
from osler.learn.strategies.strategy import Context, Loss, Settings, Strategy
from osler.tasks.task import Sample, Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe

KEY = "privacy.key"


class PrivacySettings(Settings):
    """The keys of differential privacy.

    Attributes:
        epsilon: that the whole training may spend; the noise is made for it.
        noise: standard deviation as a multiple of ``most``, instead of an epsilon.
        delta: of (epsilon, delta); below one over the number of patients.
        most: length to which the gradient of each case is shortened.
        accountant: which bound of epsilon is taken; ``prv`` is the tighter one.
        normalisation: what becomes of batch normalisation, which mixes the cases of a batch:
            ``refuse`` it, or put ``group`` normalisation in its place.
        one_by_one: take each case's gradient by a pass of its own: any layer but slower.
        seed: makes sampling and noise repeatable, and whoever knows it can take the noise away
            again: for tests only. By default a key is drawn and kept in the run's folder.
    """

    epsilon: float | None = Field(default=None, gt=0, le=1000)
    noise: float | None = Field(default=None, ge=0.25, le=4096)
    delta: float = Field(default=1e-5, gt=0, lt=0.1)
    most: float = Field(default=1.0, gt=0, le=1000)
    accountant: Accountant = "prv"
    normalisation: Literal["refuse", "group"] = "refuse"
    one_by_one: bool = False
    seed: int | None = Field(default=None, ge=0)


class DifferentialPrivacy(Strategy):
    """DP-SGD: patients drawn at random, each one's gradient shortened, noise added to the sum."""

    name = "differential-privacy"
    title = "Differential privacy"
    role = "objective"
    source = "Abadi et al. 2016, Deep Learning with Differential Privacy, CCS"
    Settings = PrivacySettings
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "checkpointing": "blocks that are computed twice would give each case's gradient twice",
        "pretraining": "its stage sees the cases without noise; pretrain on cases that need no "
        "protection, and name the weights under network.checkpoint",
        "objective": "only a loss that each case has by itself can be made private, without other "
        "terms, batches or cases",
        "afterwards": "it goes back to the cases that taught, of which the accountant would know "
        "nothing",
    })  # fmt: skip

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._key: bytes | None = None

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        """What does not go with it."""
        from osler.learn.strategies.catalogue import STRATEGIES, find

        said, learner, out = self.settings, recipe.learner, []
        if (said.epsilon is None) == (said.noise is None):
            out.append("say either the epsilon that may be spent, or the noise")
        if learner.clip is not None:
            out.append(
                "learner.clip would shorten the noised gradient once more; write learner.clip: null"
            )
        if learner.sampler != "even":
            out.append(
                "every patient must be drawn by the same chance; write learner.sampler: even"
            )
        if type(task).concluded is not Task.concluded:
            out.append(
                f"the task {task.name} fits more to the cases that taught once its network is "
                "trained, of which the accountant would know nothing"
            )
        known = {name for name, _ in STRATEGIES} - {"federated"}
        out += [
            f"does not go with '{other}': it takes other steps than those that are counted"
            for other in recipe.strategies
            if other in known and find(other).role == "training"
        ]
        return out

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        """The network without layers that mix cases.

        Raises:
            RecipeError: it has some; they are named, with the way out.
        """
        need_opacus()
        if self.settings.normalisation == "group":
            context.record["batch_normalisation_replaced"] = with_group_normalisation(net)
        if found := untreatable(net):
            more = f" and {len(found) - 8} more" if len(found) > 8 else ""
            batch = any("BatchNorm" in one for one in found)
            way = (
                "write strategies.differential-privacy.normalisation: group, which puts group "
                "normalisation in the place of batch normalisation"
                if batch
                else "choose another network, or freeze these layers with linear-probe or lora"
            )
            raise RecipeError(
                "differential privacy needs the gradient of each case by itself, and these layers "
                f"have none, since they mix cases, keep statistics of them, or have no rule: "
                f"{', '.join(found[:8])}{more}; {way}"
            )
        return net

    def loss(self, loss: Loss, context: Context) -> Loss:
        """A loss whose gradient is the private one, whatever the loop does with it.

        Its value is the mean loss of the batch. The noise and the draws of a batch depend on its
        number, the key and who the patients are, and on nothing else.
        """
        if context.site is None and "federated" in context.recipe.strategies:
            return loss  # each site has one of its own
        del loss
        said, learner, task = self.settings, context.learner, context.task
        patients = _patients(context.teach)
        batches = learner.steps * learner.accumulate
        rate, delta = learner.batch / len(patients), said.delta
        if rate > 1 or delta >= 1 / len(patients):
            where = "" if context.site is None else f" at '{context.site}'"
            raise RecipeError(
                f"strategies.differential-privacy: {len(patients)} patients teach{where}; "
                + (
                    f"lower learner.batch (now {learner.batch}) to as many at the most"
                    if rate > 1
                    else f"lower delta (now {delta}) below one over their number"
                )
            )
        noise = said.noise or noise_for(
            said.epsilon, rate=rate, steps=batches, delta=delta, accountant=said.accountant
        )
        epsilon = spent(
            noise=noise, rate=rate, steps=batches, delta=delta, accountant=said.accountant
        )
        self._tell(context, {
            "epsilon": round(epsilon, 4), "delta": delta, "noise": round(noise, 4),
            "most": said.most, "patients": len(patients), "rate": round(rate, 6),
            "batches": batches, "accountant": said.accountant, "unit": "patient",
        })  # fmt: skip
        secret = self._secret(context) + _digest(context.teach)
        whole = type(task).loss is Task.loss

        def choose(number: int) -> list[int]:
            rng = np.random.default_rng(_numbers(secret, number, b"draw"))
            drawn = rng.random(len(patients)) < rate
            return [int(rng.choice(cases)) for cases, one in zip(patients, drawn, strict=True)
                    if one]  # fmt: skip

        tensors = context.batches_on(context.teach, choose)

        def private(net: nn.Module, number: int, device: torch.device) -> Tensor:
            learning = [p for p in net.parameters() if p.requires_grad]
            sums, value = [torch.zeros_like(p) for p in learning], 0.0
            if choose(number):  # a batch may hold nobody
                inputs, targets = tensors(number, device)

                def losses(net: nn.Module) -> list[Tensor]:
                    count = len(next(iter(inputs.values())))
                    if whole:
                        said = task.named(net(*inputs.values()))
                        return [
                            task.criterion(sliced(said, n), sliced(targets, n))
                            for n in range(count)
                        ]
                    return [
                        task.loss(net, sliced(inputs, n), sliced(targets, n), step=number)
                        for n in range(count)
                    ]

                with torch.enable_grad(), torch.autocast(device.type, enabled=False):
                    found, value = case_gradients(
                        net, losses, one_by_one=self.settings.one_by_one or not whole
                    )
                shortened, _ = clipped(found, self.settings.most)
                sums = [one.sum(dim=0) for one in shortened]
            generator = torch.Generator().manual_seed(_numbers(secret, number, b"noise")[0])
            gradients = blurred(
                sums, most=self.settings.most, noise=noise, expected=learner.batch,
                generator=generator,
            )  # fmt: skip
            pairs = zip(learning, gradients, strict=True)
            return value + torch.stack([((p - p.detach()) * g).sum() for p, g in pairs]).sum()

        return private

    def _secret(self, context: Context) -> bytes:
        """The run's key: of a seed, of its folder, or drawn; one for all processes."""
        if self.settings.seed is not None:
            return seeded_key(self.settings.seed)
        if self._key is None:
            processes = join()
            key = None
            if processes.first:
                key = kept_key(context.folder / KEY, resume=context.resume)
            self._key = processes.from_first(key)
        assert self._key is not None
        return self._key

    def _tell(self, context: Context, guarantee: dict[str, object]) -> None:
        """Keep the guarantee of all cases, or of those of each site."""
        record = context.record
        record["note"] = (
            "covers the weights, for the patients that teach; not what the task plans from them, "
            "the cases that tune, calibrate and test, nor runs before this one"
        )
        if context.site is not None:
            record.setdefault("sites", {})[context.site] = guarantee
        else:
            record["all"] = guarantee


def _patients(samples: Sequence[Sample]) -> list[list[int]]:
    """The places of each patient's cases."""
    out: dict[str, list[int]] = {}
    for place, sample in enumerate(samples):
        out.setdefault(sample.patient, []).append(place)
    return list(out.values())


def _digest(samples: Sequence[Sample]) -> bytes:
    """Of who the cases are, so that no two sites add the same noise."""
    return hashlib.sha256("\n".join(one.id for one in samples).encode()).digest()


def _numbers(secret: bytes, number: int, purpose: bytes) -> list[int]:
    """Seeds of one batch and purpose: four of 32 bits, the first of 63."""
    made = hashlib.sha256(secret + purpose + number.to_bytes(8, "big")).digest()
    first = int.from_bytes(made[:8], "big") >> 1
    return [first, *(int.from_bytes(made[n : n + 4], "big") for n in (8, 12, 16))]
