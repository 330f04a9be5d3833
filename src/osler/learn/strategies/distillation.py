r"""Distillation: a small network learns what a large one says, beside what a person said.

.. math::

   L = (1 - \alpha)\,L_{\text{task}}
       + \alpha\,\tau^2\,\mathrm{KL}\bigl(\sigma(t/\tau)\,\|\,\sigma(s/\tau)\bigr)
       + \beta\,\lVert r(f_s) - f_t \rVert^2 + L_{\text{relations}}
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from osler.errors import BundleError, RecipeError
from osler.learn.loop import inference
from osler.learn.normalisation import BATCHES, settle
from osler.learn.recipe import Network
from osler.learn.strategies.answers import activations_of, heard, scores_of
from osler.learn.strategies.distillation_losses import (
    hint_distance,
    relation_distance,
    score_distance,
)
from osler.learn.strategies.features import output_layer, pooled, tapped
from osler.learn.strategies.strategy import Context, Loss, Settings, Strategy, Wrapped
from osler.tasks.task import Task

if TYPE_CHECKING:
    from osler.learn.recipe import Recipe

_HINT = "distillation-hint"


class Teacher(BaseModel):
    """Who teaches: one of the three.

    Attributes:
        network: trained first, as a stage of the run; published weights with ``checkpoint``.
        steps: of that training; None takes the recipe's, 0 takes the checkpoint as it is.
        run: the folder of an ``osler fit`` on the same cohort and parts, beside the recipe.
        bundle: a bundle's name or folder; its graph answers, so it gives scores alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Network | None = None
    steps: Annotated[int, Field(ge=0)] | None = None
    run: str | None = None
    bundle: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(one is not None for one in (self.network, self.run, self.bundle)) != 1:
            raise ValueError("name one teacher: network, run or bundle")
        return self


class DistillationSettings(Settings):
    """The keys of ``distillation``.

    Attributes:
        teacher: who teaches.
        weight: of the teacher's scores against the truth, alpha.
        temperature: by which the scores of both are divided, tau.
        features: weight of the hint, beta; 0 leaves features out.
        student_layer: whose input is compared; None takes the head.
        teacher_layer: of the teacher; None takes the head.
        distance: weight of relations by distance; 25 in the paper.
        angle: weight of relations by angle; 50 in the paper.
    """

    teacher: Teacher
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: Annotated[float, Field(gt=0, le=100)] = 4.0
    features: Annotated[float, Field(ge=0)] = 0.0
    student_layer: str | None = None
    teacher_layer: str | None = None
    distance: Annotated[float, Field(ge=0)] = 0.0
    angle: Annotated[float, Field(ge=0)] = 0.0


class Distillation(Strategy):
    """The recipe's network is the student."""

    name = "distillation"
    title = "Distillation from a teacher"
    role = "objective"
    source = (
        'Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network", '
        'arXiv:1503.02531; Romero et al. 2015, "FitNets", ICLR; Park et al. 2019, "Relational '
        'knowledge distillation", CVPR'
    )
    Settings = DistillationSettings
    settings: DistillationSettings

    def faults(self, recipe: "Recipe", task: Task) -> list[str]:
        said = self.settings
        if said.teacher.bundle is not None and (said.features or said.distance or said.angle):
            return ["a bundle gives scores alone; set features, distance and angle to 0, or name "
                    "teacher.run or teacher.network"]  # fmt: skip
        if not (said.weight or said.features or said.distance or said.angle):
            return ["all weights are 0, so the teacher would say nothing"]
        return []

    def before(self, net: nn.Module, context: Context) -> None:
        teacher, said = self.settings.teacher, self.settings
        self.teacher: nn.Module | None = None
        if teacher.bundle is not None:
            self.ask = asked_bundle(teacher.bundle, context)
            context.record["teacher"] = teacher.bundle
            return
        made = (
            taught(teacher, context) if teacher.network is not None
            else network_of_run(context.path.parent / str(teacher.run), context)
        )  # fmt: skip
        made = made.eval().requires_grad_(False)
        self.teacher = made
        example = _example(context)
        self.layers = (
            said.student_layer or output_layer(net, example),
            said.teacher_layer or output_layer(made, example),
        )
        if context.tune:
            context.record["teacher_score"] = round(context.score(made), 4)
            made.eval()
        context.record["teacher_parameters"] = sum(one.numel() for one in made.parameters())

    def prepared(self, net: nn.Module, context: Context) -> nn.Module:
        if not self.settings.features:
            return net
        assert self.teacher is not None
        example = _example(context)
        widths, kinds = [], []
        for one, layer in zip((_student(net), self.teacher), self.layers, strict=True):
            with tapped(one, layer) as seen, inference(one):
                one(*example)
            kinds.append(one.get_submodule(layer))
            widths.append(_map(seen[-1], kinds[-1]))
        self.maps = widths[0].ndim == widths[1].ndim > 2
        ins, outs = (one.shape[1] for one in widths)
        conv: Mapping[int, type[nn.Module]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
        kind = conv[widths[0].ndim] if self.maps else nn.Linear
        hint = kind(ins, outs, 1) if self.maps else kind(ins, outs)
        return Wrapped(net, {_HINT: hint})

    def loss(self, loss: Loss, context: Context) -> Loss:
        said, task = self.settings, context.task
        activations = activations_of(task)
        wants = bool(said.features or said.distance or said.angle)

        def distilled(net: nn.Module, number: int, device: torch.device) -> Tensor:
            student = _student(net) if wants else net
            layer = self.layers[0] if wants else ""
            if not wants:
                with heard(net) as calls:
                    out = (1 - said.weight) * loss(net, number, device)
                seen: list[Tensor] = []
            else:
                with heard(net) as calls, tapped(student, layer) as seen:
                    out = (1 - said.weight) * loss(net, number, device)
            for place, call in enumerate(calls):
                scores, known = self._told(call.inputs, context)
                mine = scores_of(task, call.said)
                for name, kind in activations.items():
                    if said.weight and name in scores:
                        gap = score_distance(mine[name], scores[name], kind, said.temperature)
                        out = out + said.weight * gap / len(calls)
                if known is not None:
                    out = out + self._features(net, student, seen[place], known) / len(calls)
            return out

        return distilled

    def _told(
        self, inputs: Sequence[Tensor], context: Context
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """What the teacher says of a batch, and the features it says it by."""
        said = self.settings
        if self.teacher is None:
            return self.ask(inputs), None
        with torch.no_grad():
            teacher = self.teacher.to(inputs[0].device).eval()
            with tapped(teacher, self.layers[1]) as seen:
                scores = scores_of(context.task, teacher(*inputs))
        wants = said.features or said.distance or said.angle
        return scores, seen[-1] if wants else None

    def _features(self, net: nn.Module, student: nn.Module, mine: Tensor, known: Tensor) -> Tensor:
        """What features and relations add."""
        said = self.settings
        assert self.teacher is not None
        own, other = (
            student.get_submodule(self.layers[0]),
            self.teacher.get_submodule(self.layers[1]),
        )
        out = mine.new_zeros((), dtype=torch.float32)
        if said.features:
            hint = _wrapper(net).beside[_HINT]
            if self.maps:
                gap = hint_distance(hint(_map(mine, own)), _map(known, other))
            else:
                gap = hint_distance(hint(pooled(mine, own)), pooled(known, other))
            out = out + said.features * gap
        if said.distance or said.angle:
            out = out + relation_distance(
                pooled(mine, own), pooled(known, other), distance=said.distance, angle=said.angle
            )
        return out

    def finished(self, net: nn.Module, context: Context) -> nn.Module:
        return _wrapper(net).net if self.settings.features else net


def _map(features: Tensor, layer: nn.Module) -> Tensor:
    """Features with channels on axis 1: a grid as it is, tokens as their mean."""
    return pooled(features, layer) if isinstance(layer, nn.Linear) else features


def _wrapper(net: nn.Module) -> Wrapped:
    for module in net.modules():
        if isinstance(module, Wrapped) and _HINT in module.beside:
            return module
    raise ValueError("the network has lost its hint")


def _student(net: nn.Module) -> nn.Module:
    """The network inside whatever strategies put around it."""
    while isinstance(net, Wrapped):
        net = net.net
    return net


def _example(context: Context) -> list[Tensor]:
    arrays, _ = context.batches(context.teach, batch=2)(0)
    return [torch.from_numpy(np.ascontiguousarray(one)) for one in arrays.values()]


def taught(teacher: Teacher, context: Context) -> nn.Module:
    """A teacher that is trained as a stage of its own, on the recipe's loss."""
    assert teacher.network is not None
    net = context.another(teacher.network, context.learner.seed)
    steps = context.learner.steps if teacher.steps is None else teacher.steps
    if steps == 0:
        return net
    loss = context.loss_on(context.teach)

    def validate(net: nn.Module) -> Mapping[str, float]:
        device = next(net.parameters()).device
        settle(net, lambda net, number: loss(net, number, device), batches=BATCHES)
        return {"score": context.score(net)}

    learner = context.learner.model_copy(
        update={
            "steps": steps,
            "warmup": min(context.learner.warmup, steps // 2),
            "validate_every": min(context.learner.validate_every, steps),
        }
    )
    context.stage(
        net, loss, "teacher", learner=learner, validate=validate if context.tune else None
    )
    return net


def network_of_run(folder: Path, context: Context) -> nn.Module:
    """The network that a run of ``osler fit`` left, with its chosen weights.

    Raises:
        RecipeError: the folder is no finished run, or one that was taught with cases that this
            run holds out.
    """
    try:
        recipe = json.loads((folder / "run.json").read_text(encoding="utf-8"))["recipe"]
        weights = torch.load(folder / "checkpoint.pt", weights_only=True, map_location="cpu")[
            "best"
        ]
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(
            f"strategies.distillation.teacher.run: '{folder}' is no finished run of 'osler fit' "
            f"with run.json and checkpoint.pt ({error})"
        ) from error
    mine = context.recipe.model_dump(mode="json")
    differ = [key for key in ("cohort", "hold", "folds", "where") if recipe.get(key) != mine[key]]
    if differ:
        raise RecipeError(
            f"strategies.distillation.teacher.run: the teacher's recipe differs in "
            f"{', '.join(differ)}, so it may have been taught with cases that test here; fit it on "
            "the same parts"
        )
    net = context.another(Network.model_validate(recipe["network"]), 1)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).split("\n", 1)[0]
        raise RecipeError(
            f"strategies.distillation.teacher.run: the weights of '{folder}' do not fit its "
            f"network ({first}); a run with strategies that add parts cannot teach, its bundle can"
        ) from error
    return net


def asked_bundle(name: str, context: Context) -> Callable[[Sequence[Tensor]], dict[str, Tensor]]:
    """A function that gives a bundle's scores of a batch, by ONNX Runtime.

    Raises:
        RecipeError: it cannot be read, or answers another question.
    """
    from osler import bundles

    beside = context.path.parent / name
    try:
        bundle = bundles.load(beside if beside.exists() else name)
    except BundleError as error:
        raise RecipeError(f"strategies.distillation.teacher.bundle: {error}") from error
    task = context.task
    ours = {one.name: list(one.labels) for one in task.outputs()}
    theirs = {one.name: [label.name for label in one.labels] for one in bundle.card.outputs}
    if ours != theirs:
        raise RecipeError(
            f"strategies.distillation.teacher.bundle: '{name}' answers {theirs}, the task asks for "
            f"{ours}"
        )
    names = [one.name for one in task.inputs()]

    def ask(inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        arrays = [one.detach().float().cpu().numpy() for one in inputs]
        rows = [
            bundle.run(
                {key: np.ascontiguousarray(array[n : n + 1]) for key, array in
                 zip(names, arrays, strict=True)}
            )
            for n in range(len(arrays[0]))
        ]  # fmt: skip
        return {
            key: torch.from_numpy(np.concatenate([row[key] for row in rows])).to(inputs[0].device)
            for key in ours
        }

    return ask
