"""Federated learning in one process: sites learn from their own cases and send updates only."""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from osler.errors import RecipeError
from osler.learn import checkpoint
from osler.learn.advice import advising
from osler.learn.checkpoint import State
from osler.learn.interruption import Interruption
from osler.learn.loop import Loss, Validate
from osler.learn.recomputation import recomputed
from osler.learn.strategies.federated_local import LocalSite, put, taken
from osler.learn.strategies.federated_messages import Coordinator, Plan, Site, nbytes
from osler.learn.strategies.federated_privacy import (
    Guard,
    guard_of,
    unchanged,
    without_statistics,
)
from osler.learn.strategies.federated_settings import FederatedSettings, faults_of
from osler.learn.strategies.federated_sites import split_sites
from osler.learn.strategies.federated_updates import Arrays, weighted_mean
from osler.learn.strategies.private_gradients import kept_key, seeded_key
from osler.learn.strategies.strategy import Context, Training, Wrapped
from osler.learn.training_log import Log, tell
from osler.tasks.task import Sample, Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe

NAME, KEY = "checkpoint.pt", "federation.key"


class Federated(Training):
    """FedAvg, FedProx, FedBN and SCAFFOLD over the sites of a cohort or over made-up ones."""

    name = "federated"
    title = "Federated learning"
    source = (
        "McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from Decentralized "
        "Data, AISTATS; Li et al. 2020, Federated Optimization in Heterogeneous Networks, MLSys; "
        "Li et al. 2021, FedBN, ICLR; Karimireddy et al. 2020, SCAFFOLD, ICML"
    )
    Settings = FederatedSettings
    refuses: ClassVar[Mapping[str, str]] = MappingProxyType({
        "processes": "its sites take their turns in one process",
        "float16": "its scale would differ from site to site; write bfloat16",
        "pretraining": "a stage before the training sees the cases of all sites at once; pretrain "
        "on cases that need not stay home, and name the weights under network.checkpoint",
    })  # fmt: skip

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        """What does not go together."""
        return faults_of(self.settings, recipe, task)

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        """The network, without batch normalisation where ``private`` has another put in its place.

        Raises:
            RecipeError: it has some, and ``private`` refuses it.
        """
        if self.settings.private is not None:
            without_statistics(net, self.settings.private)
        return net

    def train(
        self, net: nn.Module, loss: Loss, validate: Validate | None, context: Context
    ) -> State:
        """Rounds of local steps and a common network of them.

        Validation asks the task about the common network as it is: its running statistics are
        those that the sites sent, and are not counted anew on cases of all sites together.
        """
        del loss, validate
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        net.to(device)
        parts, blank = self._parts(context)
        plan = self._plan(net, context)
        sites = self._sites(net, parts, blank, plan, context, device)
        context.record.update(self._told(parts, plan))
        run = _Rounds(net, plan, sites, self.settings, context)
        with advising(context.learner, device), recomputed(
            net, wanted=context.learner.checkpointing
        ):  # fmt: skip
            run.go()
        run.conclude()
        return run.state

    def _parts(self, context: Context) -> tuple[dict[str, list[Sample]], dict[str, list[Sample]]]:
        """The cases of each site, and those without a label."""
        said = self.settings
        parts = split_sites(context.teach, context.variables, said.sites)
        blank: dict[str, list[Sample]] = {name: [] for name in parts}
        names = list(parts)
        for number, sample in enumerate(context.unlabelled):
            home = context.variables.get(sample.id, {}).get(said.sites.variable or "")
            if said.sites.variable is None:
                home = names[number % len(names)]
            if home in blank:
                blank[home].append(sample)
        if said.alone is not None:
            if said.alone not in parts:
                raise RecipeError(
                    f"strategies.federated.alone: there is no site '{said.alone}'; there are: "
                    f"{', '.join(parts)}"
                )
            return {said.alone: parts[said.alone]}, {said.alone: blank[said.alone]}
        return parts, blank

    def _plan(self, net: nn.Module, context: Context) -> Plan:
        said = self.settings
        state = net.state_dict()
        learning = {n: tuple(p.shape) for n, p in net.named_parameters() if p.requires_grad}
        counted = [name for name, _ in net.named_buffers() if name in state]
        counted += _following(net)
        home: list[str] = []
        if said.method == "fedbn":
            home = [
                f"{place}.{name}" if place else name
                for place, module in net.named_modules() if isinstance(module, _BatchNorm)
                for name in module.state_dict()
            ]  # fmt: skip
            if not home:
                raise RecipeError(
                    "strategies.federated.method is fedbn, and the network has no batch "
                    "normalisation that could stay at its site; write fedavg"
                )
        return Plan(
            said.method,
            {name: shape for name, shape in learning.items() if name not in home},
            tuple(name for name in counted if name not in home),
            tuple(home),
            said.compress.codec() if said.compress else None,
            said.secure,
            (context.learner.seed % 2**31, 52_021),
        )

    def _sites(
        self, net: nn.Module, parts: Mapping[str, Sequence[Sample]],
        blank: Mapping[str, Sequence[Sample]], plan: Plan, context: Context, device: torch.device,
    ) -> list[Site]:  # fmt: skip
        out: list[Site] = []
        for place, (name, samples) in enumerate(parts.items()):
            loss = context.loss_on(samples)
            for way, its in context.everyone:
                here = replace(its, teach=samples, unlabelled=blank[name], site=name)
                loss = way.loss(loss, here)
            out.append(
                LocalSite(
                    name, place, len(samples), net=net, loss=loss, plan=plan,
                    learner=context.learner, device=device,
                    mu=self.settings.mu if plan.method == "fedprox" else 0.0,
                    stepped=[way.stepped for way, _ in context.everyone],
                )
            )  # fmt: skip
        return out

    def _told(self, parts: Mapping[str, Sequence[Sample]], plan: Plan) -> dict[str, Any]:
        """Who the sites are, for the record."""
        sites = {}
        for name, samples in parts.items():
            groups: dict[str, int] = {}
            for sample in samples:
                key = str(sample.group)
                groups[key] = groups.get(key, 0) + 1
            sites[name] = {
                "cases": len(samples), "patients": len({one.patient for one in samples}),
                "groups": dict(sorted(groups.items())),
            }  # fmt: skip
        return {"method": plan.method, "sites": sites, "numbers_that_learn": plan.size}


class _Rounds:
    """One federation, round by round, with its checkpoint."""

    def __init__(
        self, net: nn.Module, plan: Plan, sites: Sequence[Site], settings: Any, context: Context
    ) -> None:
        self.net, self.plan, self.sites, self.context = net, plan, sites, context
        self.learner, self.alone = context.learner, settings.alone is not None
        self.rounds = settings.rounds
        self.steps = self.learner.steps // settings.rounds
        self.coordinator = Coordinator(
            plan, taken(net, [*plan.learning, *plan.counted]), [one.cases for one in sites],
            participation=settings.participation, rate=settings.rate, seed=self.learner.seed,
            guard=self._guard(settings),
        )  # fmt: skip
        self.state = State()
        self.best: Arrays = {}
        self.told: list[dict[str, Any]] = []
        self.path = context.folder / NAME
        if self.path.exists() and context.resume:
            self._load()
        elif self.path.exists():
            os.replace(self.path, self.path.with_name(checkpoint.BEFORE))

    def _guard(self, settings: Any) -> Guard | None:
        """What hides the sites, and its promise in the record."""
        said, context = settings.private, self.context
        if said is None:
            return None
        key = (
            kept_key(context.folder / KEY, resume=context.resume)
            if said.seed is None
            else seeded_key(said.seed)
        )
        guard, context.record["private"] = guard_of(
            said, rate=settings.participation, sites=len(self.sites), rounds=self.rounds, secret=key
        )
        return guard

    def go(self) -> None:
        """Rounds until they, the patience or the user's is at an end."""
        state = self.state
        self.since = self.saved = time.monotonic()
        smooth = self.told[-1]["loss"] if self.told else None
        log = Log(self.context.folder, self.learner.steps, begin=state.step, smooth=smooth)
        try:
            with Interruption() as interruption:
                while not self._done():
                    loss = self._round()
                    log.step(state.step, loss, seconds=self._seconds())
                    due = -(-self.learner.validate_every // self.steps)
                    if self.context.tune and (len(self.told) % due == 0 or self._last()):
                        score = self._judge()
                        log.figures(state.step, {"score": score}, seconds=self._seconds())
                    stop = interruption.heard is not None
                    long = time.monotonic() - self.saved > 60 * self.learner.checkpoint_minutes
                    if self._done() or stop or long:
                        self._save()
                    if stop:
                        interruption.leave()
        finally:
            log.close()

    def _round(self) -> float:
        """One round; its mean loss."""
        number, coordinator = len(self.told), self.coordinator
        asked = coordinator.asked(number)
        orders = [coordinator.order(number, one, asked, steps=self.steps) for one in asked]
        replies = [
            self.sites[place].work(order) for place, order in zip(asked, orders, strict=True)
        ]
        if coordinator.guard is not None:
            for place, reply in zip(asked, replies, strict=True):
                unchanged(self.plan.counted, reply.arrays, self.sites[place].name)
        coordinator.gather(asked, replies, number)
        self.state.step += self.steps
        before = self.told[-1]["loss"] if self.told else 0.0  # where nobody was drawn
        loss = float(np.mean([one.loss for one in replies])) if replies else before
        self.told.append({
            "sites": [self.sites[one].name for one in asked],
            "loss": loss,
            "bytes_to_sites": 0 if self.alone else sum(nbytes(o.state, o.control) for o in orders),
            "bytes_from_sites": 0 if self.alone else sum(
                nbytes(one.arrays, one.control) for one in replies
            ),
        })  # fmt: skip
        return loss

    def _common(self) -> Arrays:
        """The common network; what never leaves the sites is averaged for it, by cases."""
        if not self.plan.home:
            return self.coordinator.state
        own = [site.memory()["own"] for site in self.sites]
        arrays = [{name: value.numpy() for name, value in one.items()} for one in own]
        return {**self.coordinator.state, **weighted_mean(arrays, self.coordinator.cases)}

    def _judge(self) -> float:
        random = checkpoint.random_state()
        common = self._common()
        put(self.net, common)
        score = self.context.score(self.net)
        checkpoint.restore_random(random)
        self.told[-1]["score"] = round(score, 5)
        self.state.stale += 1
        if score > self.state.best:
            self.state.best, self.state.stale = score, 0
            self.best = {name: np.array(value) for name, value in common.items()}
        tell(self.state.step, {"score": score})
        return score

    def conclude(self) -> None:
        """Leave the chosen network, write those of the sites, and fill the record."""
        record = self.context.record
        if self.plan.home:
            folder = self.context.folder / "sites"
            folder.mkdir(exist_ok=True)
            for place, site in enumerate(self.sites):
                own = {name: v.numpy() for name, v in site.memory()["own"].items()}
                put(self.net, {**self.coordinator.state, **own})
                torch.save(self.net.state_dict(), folder / f"{place + 1}.pt")
                if self.context.tune:
                    record["sites"][site.name]["score_of_its_own_network"] = round(
                        self.context.score(self.net), 5
                    )
        put(self.net, self.best if self.state.best > -math.inf else self._common())
        self.net.eval()
        record["rounds"] = self.told
        for way in ("to", "from"):
            record[f"bytes_{way}_sites"] = sum(one[f"bytes_{way}_sites"] for one in self.told)

    def _last(self) -> bool:
        return bool(self.state.step >= self.steps * self.rounds)

    def _done(self) -> bool:
        patience = self.learner.patience
        return self._last() or (patience is not None and self.state.stale >= patience)

    def _seconds(self) -> float:
        return self.state.seconds + time.monotonic() - self.since

    def _save(self) -> None:
        self.state.seconds = self._seconds()
        self.since = self.saved = time.monotonic()
        state = self.state
        coordinator = self.coordinator
        content = {
            "net": _tensors(coordinator.state),
            "control": _tensors(coordinator.control),
            "best": _tensors(self.best),
            "sites": [one.memory() for one in self.sites],
            "state": [state.step, state.best, state.stale, state.seconds],
            "rounds": json.dumps(self.told),
            "federation": self._make(),
        }
        part = self.path.with_suffix(".part")
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.path)

    def _make(self) -> str:
        """What a checkpoint must agree with."""
        plan, sites = self.plan, [[one.name, one.cases] for one in self.sites]
        return json.dumps([plan.method, list(plan.learning), sites, self.steps])

    def _load(self) -> None:
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
            make, told = kept["federation"], json.loads(kept["rounds"])
        except Exception as error:  # whatever a damaged archive makes torch raise
            raise RecipeError(
                f"the checkpoint '{self.path}' is damaged or of a training that was not "
                "federated; start anew without --resume"
            ) from error
        if make != self._make():
            raise RecipeError(
                f"the checkpoint '{self.path}' belongs to another network, method, number of steps "
                "a round or other sites; choose another output folder, or start anew without "
                "--resume"
            )
        step, best, stale, seconds = kept["state"]
        self.state = State(int(step), best, int(stale), seconds)
        self.told = told
        self.coordinator.state = _arrays(kept["net"])
        self.coordinator.control = _arrays(kept["control"])
        self.best = _arrays(kept["best"])
        for site, memory in zip(self.sites, kept["sites"], strict=True):
            site.remember(memory)


def _following(net: nn.Module) -> list[str]:
    """Weights beside a network that learn by no gradient, such as those of a mean teacher."""
    beside = tuple(
        f"{place}.beside." if place else "beside."
        for place, module in net.named_modules() if isinstance(module, Wrapped)
    )  # fmt: skip
    return [
        name for name, p in net.named_parameters()
        if not p.requires_grad and name.startswith(beside)
    ]  # fmt: skip


def _tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}


def _arrays(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    return {name: value.numpy() for name, value in tensors.items()}
