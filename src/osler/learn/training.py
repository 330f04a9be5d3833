"""Training of any task: from a recipe to what a bundle is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osler.data.cohort import Cohort
from osler.data.cohort import Row as CohortRow
from osler.data.taught import taught_record
from osler.errors import OslerError, RecipeError
from osler.learn.asking import judged, outputs_of
from osler.learn.augmenting import changed_apart, draw_changes
from osler.learn.augmenting_settings import Augmentation
from osler.learn.checkpoint import random_state, restore_random
from osler.learn.distributed import is_first, join
from osler.learn.labelling import (
    keep_labels,
    planned_from_labels,
    unlabelled_rows,
    without_truth,
)
from osler.learn.loop import Loss, State, train
from osler.learn.networks import build, check
from osler.learn.normalisation import BATCHES, settle
from osler.learn.recipe import Network, Recipe
from osler.learn.samplers import CaseSampler
from osler.learn.strategies.catalogue import strategies_of
from osler.learn.strategies.strategy import (
    Choose,
    Context,
    Criterion,
    Strategy,
    TensorBatches,
    Training,
)
from osler.learn.task_graph import exported, files_beside
from osler.learn.teaching import (
    Batches,
    check_rows,
    divide,
    encode_rows,
    opened,
    refuse,
    refuse_other_items,
)
from osler.learn.training_log import watched
from osler.tasks.task import Figure, Row, Sample, Task

REPLICATES = 2000


@dataclass(slots=True)
class Trained:
    """What a training run left.

    Attributes:
        task: with everything planned and its calibration.
        net: the network with the chosen weights.
        graph: its ONNX graph.
        figures: of the cases that test; empty where none do.
        rows: what each of them gave, by case.
        seconds: spent in training.
        difference: the largest difference between graph and network, of probability.
        counts: cases that teach, tune and test.
        taught: the record of the files that taught and tuned (`osler.data.taught`).
        strategies: what the strategies of the recipe keep of the run, by name.
        let_differ: the difference that its strategies let through.
        beside: further files of the bundle, by name.
    """

    task: Task
    net: nn.Module
    graph: bytes
    figures: list[Figure]
    rows: dict[str, Row]
    seconds: float
    difference: float
    counts: dict[str, int]
    taught: bytes
    strategies: dict[str, dict[str, Any]]
    let_differ: float = 0.0
    beside: dict[str, bytes] = field(default_factory=dict)


def learn(
    recipe: Recipe, task: Task, cohort: Cohort, *, path: Path, folder: Path, resume: bool,
    strategies: Sequence[type[Strategy]] = (),
) -> Trained | None:  # fmt: skip
    """Train, choose weights and calibrate on the cases that tune, judge on those that test.

    Of several processes the first judges; the others get None once they have taught.

    Args:
        recipe: checked.
        task: the recipe's, not yet planned.
        cohort: of `osler.learn.teaching.cohort_of`.
        path: the recipe's file.
        folder: of the run.
        resume: go on from the folder's checkpoints.
        strategies: strategies of one's own, beside those of Osler.

    Raises:
        RecipeError: the cohort does not serve the recipe, or the loss is not finite.
    """
    ways, _ = strategies_of(recipe, task, strategies)
    _refuse_processes(ways)
    for way in ways:
        task = way.asked(task)
    task, recipe, cases = _cases(recipe, task, cohort, path=path, folder=folder)
    each: list[tuple[Strategy, Context]] = []

    def another(network: Network, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        net = build(recipe.model_copy(update={"network": network}), task, path)
        for way in ways:
            net = way.built(net, task)
        return net

    net = another(recipe.network, recipe.learner.seed)
    base = _loss(net, recipe, task, cases.teach)
    each += (
        (
            way,
            Context(
                recipe, task, folder, resume, cases.teach, cases.unlabelled, cases.tune,
                variables=cases.variables, path=path, another=another, everyone=each,
                build=lambda seed: another(recipe.network, seed),
                judge=lambda net: judged(net, task, cases.tune),
                task_loss=lambda samples: _loss(None, recipe, task, samples),
                task_batches=lambda samples, choose: _batches(recipe, task, samples, choose),
            ),
        )
        for way in ways
    )  # fmt: skip
    random = random_state()
    for way, context in each:
        way.before(net, context)
    for way, context in each:
        restore_random(random)  # what it draws depends on no stage before, nor on how many taught
        net = way.prepared(net, context)
    state = _train(net, base, each, recipe, task, cases.tune, folder=folder, resume=resume)
    if not is_first():
        return None
    net = net.cpu().eval()
    if not cases.tune and not any(isinstance(way, Training) for way in ways):
        _settle(net, base)
    for way, context in reversed(each):
        net = way.finished(net, context).eval()
    task = _calibrated(net, task, cases, part=recipe.hold.tune)
    test = encode_rows(cases.test_rows, cohort, task, keep_case=True)
    for way, context in each:
        net = way.adapted(net, [without_truth(one) for one in test], context).eval()
    rows = {one.id: row for one, row in zip(test, judged(net, task, test), strict=True)}
    patients = [one.patient for one in test]
    figures = (
        task.figures(list(rows.values()), patients, seed=1, replicates=REPLICATES) if rows else []
    )
    graph, difference = exported(net, task, (test or cases.teach)[:3])
    beside, further = files_beside(net, task, folder)
    return Trained(
        task, net, graph, figures, rows, state.seconds, max(difference, further),
        {"teach": len(cases.teach), "unlabelled": len(cases.unlabelled),
         "tune": len(cases.tune), "test": len(test)},
        cases.taught, {way.name: context.record for way, context in each},
        max((way.lets_differ for way in ways), default=0.0), beside,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Cases:
    """The cases of a run, those that teach and tune as samples."""

    teach: list[Sample]
    unlabelled: list[Sample]
    tune: list[Sample]
    test_rows: list[CohortRow]
    variables: dict[str, dict[str, str]]
    taught: bytes


def _cases(
    recipe: Recipe, task: Task, cohort: Cohort, *, path: Path, folder: Path
) -> tuple[Task, Recipe, _Cases]:
    """The task planned from the cases that teach, the recipe with its batch, and the cases."""
    refuse_other_items(task, cohort)
    teach_rows, tune_rows, test_rows = divide(cohort, recipe)
    labelled, blank = _with_and_without(teach_rows, recipe)
    more, other = unlabelled_rows(
        recipe, teach_rows, [*tune_rows, *test_rows], path=path, folder=folder
    )
    before, task = task, _planned(task, labelled, cohort)
    faults: list[str] = []
    labelled_samples = encode_rows(labelled, cohort, task, keep_case=False, faults=faults)
    unlabelled = encode_rows(blank, cohort, task, keep_case=False, truth=False, faults=faults)
    if other is not None:
        unlabelled += encode_rows(more, other, task, keep_case=False, truth=False, faults=faults)
    tune = encode_rows(tune_rows, cohort, task, keep_case=True, faults=faults)
    if is_first():  # who judges them: better told now than once the training is done
        check_rows(test_rows, cohort, task, faults)
    refuse(faults, len(teach_rows) + len(more) + len(tune_rows) + len(test_rows))
    teach, others = keep_labels(labelled_samples, recipe.labels)
    if others:
        task, otherwise = planned_from_labels(task, before, teach, labelled, cohort)
        if otherwise:
            kept = {one.id: one for one in teach}
            with_label = [row for row in labelled if row.case_id in kept]
            without = [row for row in labelled if row.case_id not in kept]
            teach = encode_rows(with_label, cohort, task, keep_case=False)
            if recipe.labels.noise:  # made once, of the labels of all
                teach = [replace(one, targets=kept[one.id].targets, group=kept[one.id].group)
                         for one in teach]  # fmt: skip
            others = encode_rows(without, cohort, task, keep_case=False, truth=False)
            unlabelled = encode_rows(blank, cohort, task, keep_case=False, truth=False)
            if other is not None:
                unlabelled += encode_rows(more, other, task, keep_case=False, truth=False)
            tune = encode_rows(tune_rows, cohort, task, keep_case=True)
    cases = _Cases(
        teach, others + unlabelled, tune, test_rows,
        _variables([*labelled, *blank, *more, *tune_rows]),
        taught_record({"teach": [*teach_rows, *more], "tune": tune_rows}),
    )  # fmt: skip
    return task, recipe.with_batch(task.batch()), cases


def _planned(task: Task, rows: Sequence[CohortRow], cohort: Cohort) -> Task:
    """The task planned from the cases that can be opened; the others are named later, with all."""
    closed: list[str] = []
    try:
        return task.planned(opened(rows, cohort, faults=closed))
    except OslerError:
        refuse(closed, len(rows))  # it may be what planning failed at
        raise


def _train(
    net: nn.Module, base: Loss, each: Sequence[tuple[Strategy, Context]], recipe: Recipe,
    task: Task, tune: Sequence[Sample], *, folder: Path, resume: bool,
) -> State:  # fmt: skip
    """Take the steps, with what the strategies make of the loss and of the loop."""
    loss = base
    criterion: Criterion = task.criterion
    for way, context in each:
        criterion = way.criterion(criterion, context)
        loss = way.loss(loss, context)

    def validate(net: nn.Module) -> Mapping[str, float]:
        _settle(net, base)
        return {"score": task.score(judged(net, task, tune, doing="validating"))}

    vars(task)["criterion"] = criterion  # of this task and this training
    try:
        for way, context in each:
            if isinstance(way, Training):
                return way.train(net, loss, validate if tune else None, context)
        return train(
            net, loss=loss, validate=validate if tune else None,
            learner=recipe.learner, folder=folder, resume=resume,
            pictures=partial(_pictures, task=task, sample=tune[0]) if tune else None,
            stepped=[way.stepped for way, _ in each],
        )  # fmt: skip
    finally:
        del vars(task)["criterion"]


def _calibrated(net: nn.Module, task: Task, cases: _Cases, *, part: int | str | None) -> Task:
    """The task with its calibration, and with what is only known once its network is trained."""
    tune = watched(cases.tune, "calibrating", total=len(cases.tune))
    said = [outputs_of(net, task, one) for one in tune]
    on = f"{len(cases.tune)} cases that did not teach (part {part})"
    task.calibration = dict(task.calibrate(said, cases.tune, on=on)) if cases.tune else {}
    if type(task).concluded is Task.concluded:  # asking all who taught takes its time
        return task
    return task.concluded(
        [task.calibrated(outputs_of(net, task, sample)) for sample in cases.teach], cases.teach,
        [task.calibrated(one) for one in said], cases.tune,
    )  # fmt: skip


def _refuse_processes(ways: Sequence[Strategy]) -> None:
    """Refuse strategies that cannot share a training among processes."""
    if join().count == 1:
        return
    for way in ways:
        if why := way.refuses.get("processes"):
            raise RecipeError(f"'{way.name}' runs in one process: {why}; start it without torchrun")


def _with_and_without(
    rows: Sequence[CohortRow], recipe: Recipe
) -> tuple[list[CohortRow], list[CohortRow]]:
    """The rows that have labels, and those whose label is blank, where the recipe takes such."""
    if not recipe.labels.blank:
        return list(rows), []
    blank = [row for row in rows if not any(value != "" for value in row.labels.values())]
    kept = {row.case_id for row in blank}
    labelled = [row for row in rows if row.case_id not in kept]
    if not labelled:
        raise RecipeError("no case that teaches has a label; at least some must")
    return labelled, blank


def _variables(rows: Sequence[CohortRow]) -> dict[str, dict[str, str]]:
    return {
        row.case_id: {name: str(value) for name, value in row.variables.items()} for row in rows
    }


def _loss(
    net: nn.Module | None, recipe: Recipe, task: Task, samples: Sequence[Sample]
) -> Callable[[nn.Module, int, torch.device], Tensor]:
    batches = _batches(recipe, task, samples, None, net=net)

    def loss(net: nn.Module, number: int, device: torch.device) -> Tensor:
        inputs, targets = batches(number, device)
        out: Tensor = task.loss(net, inputs, targets, step=number)
        return out

    return loss


def _batches(
    recipe: Recipe, task: Task, samples: Sequence[Sample], choose: Choose | None, *,
    net: nn.Module | None = None,
) -> TensorBatches:  # fmt: skip
    """Batches as tensors, augmented; a network is looked at on the first of them."""
    learner = recipe.learner
    batches = Batches(samples, task, choose or chooser(samples, recipe), seed=learner.seed)
    if net is not None:
        check(net, task, *batches(0))
    changes = _augmentation(recipe)

    def batch(number: int, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        arrays, truths = batches(number)
        inputs = {name: _tensor(array, device) for name, array in arrays.items()}
        targets = {name: _tensor(array, device) for name, array in truths.items()}
        if changes is not None:
            _change(inputs, targets, task, changes, seed=learner.seed * 1_000_003 + number)
        return inputs, targets

    return batch


def _pictures(net: nn.Module, *, task: Task, sample: Sample) -> dict[str, NDArray[Any]]:
    """The middle plane of a case and of what the network says of it, 0 to 1, for TensorBoard."""
    out: dict[str, NDArray[Any]] = {}
    said = outputs_of(net, task, sample)
    for room, arrays in (("case", sample.inputs), ("answer", said), ("truth", sample.targets)):
        for name, array in arrays.items():
            if array.ndim not in (3, 4):
                continue  # neither (C, H, W) nor (C, D, H, W)
            planes = array if array.ndim == 3 else array[:, array.shape[1] // 2]
            plane = planes.argmax(0) if room == "answer" and len(planes) > 1 else planes[0]
            low, high = float(plane.min()), float(plane.max())
            out[f"{room}/{name}"] = (plane - low) / max(high - low, 1e-8)
    return out


def _settle(net: nn.Module, loss: Callable[[nn.Module, int, torch.device], Tensor]) -> None:
    device = next(net.parameters()).device
    settle(net, lambda net, number: loss(net, number, device), batches=BATCHES)


def _tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array)).to(device)
    if tensor.ndim == 4 and tensor.is_floating_point():
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def _augmentation(recipe: Recipe) -> Augmentation | None:
    said = recipe.augment
    settings = Augmentation.model_validate({"preset": said} if isinstance(said, str) else said)
    return None if settings == Augmentation.model_validate({"preset": "none"}) else settings


def _change(
    inputs: dict[str, Tensor], targets: dict[str, Tensor], task: Task,
    changes: Augmentation, *, seed: int,
) -> None:  # fmt: skip
    """Change images, and masks and boxes that lie on them alike, in place of the dictionaries."""
    generator = torch.Generator().manual_seed(seed)
    images = [(room, name) for room in (inputs, targets) for name in task.images if name in room]
    masks = [name for name in task.masks if name in targets]
    if not images:
        return
    if task.apart:
        names = [name for room, name in images if room is inputs]
        inputs.update(changed_apart(inputs, names, changes, generator))
        return
    widths = [room[name].shape[1] for room, name in images]
    together = torch.cat([room[name] for room, name in images], dim=1)
    labels = torch.cat([targets[name] for name in masks], dim=1) if masks else None
    sizes = [targets[name].shape[1] for name in masks]
    drawn = draw_changes(len(together), together.shape[2:], changes, generator)
    together, labels = drawn.apply(together, labels)
    for name in task.boxes:
        if name in targets:
            targets[name] = torch.stack(drawn.boxes(list(targets[name])))
    for (room, name), part in zip(images, together.split(widths, dim=1), strict=True):
        room[name] = part
    if labels is not None:
        for name, part in zip(masks, labels.split(sizes, dim=1), strict=True):
            targets[name] = part


def chooser(samples: Sequence[Sample], recipe: Recipe) -> CaseSampler:
    """The samples of each step, as ``learner.sampler`` draws them, by class and patient.

    Raises:
        RecipeError: the task knows no classes to balance, or patients are fewer than places.
    """
    return CaseSampler.of(
        recipe.learner,
        len(samples),
        labels=[sample.group for sample in samples],
        groups=[sample.patient for sample in samples],
    )
