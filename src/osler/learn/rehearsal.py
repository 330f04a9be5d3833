"""``osler fit --dry-run``: all that comes before the first step, and a few steps that are timed.

A recipe, its cohort and its network are tried as they are trained, so that what would end the run
after an hour of opening files, or at the first batch, ends it in minutes, and the time that the
steps will take is known before they are taken. Nothing is kept but what the training of a fundus
recipe looks for: canvases, and what the lesion network saw.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from osler.errors import RecipeError
from osler.learn.advice import advising
from osler.learn.cases import cases_of
from osler.learn.distributed import join
from osler.learn.learner import Learner
from osler.learn.loop import Loss, train
from osler.learn.networks import build
from osler.learn.recipe import FUNDUS, Recipe, check_recipe, read_yaml
from osler.learn.strategies.catalogue import strategies_of
from osler.learn.teaching import cohort_of
from osler.learn.training import loss_of
from osler.tasks.instruction import Instruction

if TYPE_CHECKING:
    from osler.learn.strategies.strategy import Strategy
    from osler.tasks.task import Task

STEPS = 4  # the first warms up and is not counted


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a recipe would do.

    Attributes:
        name: the recipe's name.
        parts: cases and patients of each part: ``teach``, ``unlabelled``, ``tune``, ``test``; of a
            fundus recipe ``teach`` and ``hold``; of graders all, as each fold is left out in turn.
        groups: cases that teach by the label they are balanced by, where the task has such.
        network: its name.
        parameters: numbers that it learns.
        inputs: name to shape of what one sample gives the network, in training.
        device: where it would be trained.
        batch: samples of a step.
        steps: that the recipe asks for.
        seconds: of a step, the median of those tried.
        strategies: of the recipe; what they do beside such steps is not in the time.
        kept: the folder of what was kept for the training, if anything was.
        left_out: conversations that neither teach nor tune, for no token of their answer fits.
    """

    name: str
    parts: Mapping[str, tuple[int, int]]
    groups: Mapping[str, int]
    network: str
    parameters: int
    inputs: Mapping[str, tuple[int, ...]]
    device: str
    batch: int
    steps: int
    seconds: float
    strategies: tuple[str, ...] = ()
    kept: Path | None = None
    left_out: int = 0


def rehearse(
    recipe: Path | str | Mapping[str, Any],
    *,
    tasks: "Sequence[type[Task]]" = (),
    strategies: "Sequence[type[Strategy]]" = (),
) -> Rehearsal:
    """Try what `osler.learn.fitting.fit` would do, as far as its first steps, and keep nothing.

    Every case is opened and encoded, those that test too; the network is built, shown a batch and
    trained for four steps with the recipe's loss. What strategies do before, after and in place of
    such steps is left out, and so are validation, calibration and export.

    Args:
        recipe: the recipe's file, or its keys; paths in those are relative to the current folder.
        tasks: tasks of one's own, beside those of Osler.
        strategies: strategies of one's own, likewise.

    Raises:
        RecipeError: the recipe or its cohort is wrong, or the steps cannot be taken.
        MissingExtraError: a package is not installed.
    """
    path = Path("recipe.yaml") if isinstance(recipe, Mapping) else Path(recipe)
    content = dict(recipe) if isinstance(recipe, Mapping) else read_yaml(path)
    name = content.get("task")
    if name in FUNDUS:
        if isinstance(recipe, Mapping):
            raise RecipeError(f"the task '{name}' takes a recipe's file, not its keys")
        return _rehearse_grading(path) if name == "fundus-grading" else _rehearse_fundus(path)
    read, task = check_recipe(content, path, tasks=tasks, strategies=strategies)
    if isinstance(task, Instruction):
        return _rehearse_instruction(read, task, path)
    ways, _ = strategies_of(read, task, strategies)
    for way in ways:
        task = way.asked(task)
    device = join().device()
    with TemporaryDirectory() as place, advising(read.learner, device):
        folder = Path(place)
        cohort = cohort_of(read, path, folder=folder)
        task, read, cases = cases_of(read, task, cohort, path=path, folder=folder)
        torch.manual_seed(read.learner.seed)
        net = build(read, task, path)
        for way in ways:
            net = way.built(net, task)
        seconds = _timed(net, loss_of(net, read, task, cases.teach), read.learner, folder / "steps")
    parts = {
        name: _counted([one.patient for one in found])
        for name in ("teach", "unlabelled", "tune")
        if (found := getattr(cases, name))
    }
    if rows := cases.test_rows:
        parts["test"] = _counted([row.patient_id for row in rows])
    arrays, _ = task.example(cases.teach[0], np.random.default_rng(0))
    return Rehearsal(
        name=read.name,
        parts=parts,
        groups=Counter(one.group for one in cases.teach if one.group),
        network=read.network.name or task.network()[0],
        parameters=_learning(net),
        inputs={name: tuple(array.shape) for name, array in arrays.items()},
        device=str(device),
        batch=read.learner.batch * read.learner.accumulate,
        steps=read.learner.steps,
        seconds=seconds,
        strategies=tuple(way.name for way in ways),
    )


def _rehearse_fundus(path: Path) -> Rehearsal:
    """The same for the networks of the fundus, which have a loss and a sampler of their own."""
    from osler.learn.fundus import quality, segment
    from osler.learn.fundus.canvases import CANVASES
    from osler.learn.fundus.recipe import read_recipe

    recipe = read_recipe(path)
    learner, device = recipe.learner, join().device()
    begin = segment.begin if recipe.task == "fundus-segmentation" else quality.begin
    with TemporaryDirectory() as place, advising(learner, device):
        begun = begin(recipe, path)
        seconds = _timed(begun.net, begun.loss, learner, Path(place))
    parts = {
        name: _counted([one.row.patient_id for one in found])
        for name, found in (("teach", begun.teaching), ("hold", begun.held))
        if found
    }
    last = recipe.task == "fundus-segmentation" and begun.held
    return Rehearsal(
        name=recipe.name,
        parts=parts,
        groups={},
        network=recipe.network.name,
        parameters=_learning(begun.net),
        inputs={"image": begun.sample},
        device=str(device),
        batch=learner.batch * learner.accumulate,
        steps=learner.steps + (learner.finish if last else 0),
        seconds=seconds,
        kept=CANVASES,
    )


def _rehearse_grading(path: Path) -> Rehearsal:
    """The same for graders, of which one is tried; each fold is left out in turn."""
    from osler.learn.fundus import grading
    from osler.learn.fundus.recipe import read_recipe

    recipe = read_recipe(path)
    begun = grading.begin(recipe, path)
    few = recipe.learner.model_copy(update={"steps": STEPS})
    marks = [perf_counter()]
    grader = grading.fit_grader(
        begun.cases, recipe.model_copy(update={"learner": few}), seed=recipe.learner.seed,
        stepped=lambda: marks.append(perf_counter()),
    )  # fmt: skip
    shape = np.max([one.views[0].shape for one in begun.cases], axis=0)
    return Rehearsal(
        name=recipe.name,
        parts={"teach": _counted([one.row.patient_id for one in begun.cases])},
        groups=dict(sorted(Counter(f"grade {one.grade}" for one in begun.cases).items())),
        network=f"{len(begun.folds) * begun.seeds} graders",
        parameters=len(begun.folds) * begun.seeds * _learning(grader),
        inputs={"cells": tuple(int(n) for n in shape)},
        device="cpu",
        batch=recipe.learner.batch,
        steps=len(begun.folds) * begun.seeds * recipe.learner.steps,
        seconds=_median(marks),
        kept=grading.CELLS,
    )


def _rehearse_instruction(recipe: Recipe, task: Instruction, path: Path) -> Rehearsal:
    """The same for language models, which are opened from a folder and read conversations."""
    from osler.learn import instruction

    source = instruction.check_instruction(recipe, task, path)
    with TemporaryDirectory() as place, advising(recipe.learner, join().device()):
        folder = Path(place)
        cohort = cohort_of(recipe, path, folder=folder)
        begun = instruction.begin(recipe, task, cohort, source)
        tested = begun.taught.samples(begun.test_rows)
        seconds = _timed(begun.taught.net, begun.loss, begun.learner, folder / "steps")
    patients = {
        "teach": [row.patient_id for row in begun.teach_rows],
        "tune": [row.patient_id for row in begun.tune_rows],
        "test": [one.patient for one in tested],
    }
    length = task.settings.length if task.settings.pack else begun.longest
    return Rehearsal(
        name=recipe.name,
        parts={name: _counted(found) for name, found in patients.items() if found},
        groups={},
        network=source.name,
        parameters=sum(one.numel() for one in begun.taught.net.learnt),
        inputs={"tokens": (length,)},
        device=str(begun.taught.device),
        batch=recipe.learner.batch * recipe.learner.accumulate,
        steps=recipe.learner.steps,
        seconds=seconds,
        left_out=begun.left_out,
    )


def _timed(net: nn.Module, loss: Loss, learner: Learner, folder: Path) -> float:
    """Seconds of a step, the median of those tried but the first."""
    marks = [perf_counter()]
    few = learner.model_copy(update={"steps": STEPS, "warmup": 0, "patience": None, "graph": False})
    train(
        net, loss=loss, validate=None, learner=few, folder=folder, resume=False,
        stepped=[lambda net, step: marks.append(perf_counter())],
    )  # fmt: skip
    return _median(marks)


def _median(marks: Sequence[float]) -> float:
    """Between marks, without what came before the first step and that step itself."""
    return statistics.median(after - before for before, after in pairwise(marks[1:]))


def _counted(patients: Sequence[str]) -> tuple[int, int]:
    return len(patients), len(set(patients))


def _learning(net: nn.Module) -> int:
    return sum(one.numel() for one in net.parameters() if one.requires_grad)
