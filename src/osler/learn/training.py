"""Training of any task: from a recipe to what a bundle is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osler.data.cohort import Cohort
from osler.errors import RecipeError
from osler.learn.asking import judged, outputs_of
from osler.learn.augmenting import changed_apart, draw_changes
from osler.learn.augmenting_settings import Augmentation
from osler.learn.cases import Cases, cases_of
from osler.learn.checkpoint import random_state, restore_random
from osler.learn.distributed import is_first, join
from osler.learn.labelling import without_truth
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
from osler.learn.teaching import Batches, encode_rows
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
    task, recipe, cases = cases_of(recipe, task, cohort, path=path, folder=folder)
    taken = taught(recipe, task, cases, ways, path=path, folder=folder, resume=resume)
    if taken is None:
        return None
    net, each = taken.net, taken.each
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
        task, net, graph, figures, rows, taken.state.seconds, max(difference, further),
        {"teach": len(cases.teach), "unlabelled": len(cases.unlabelled),
         "tune": len(cases.tune), "test": len(test)},
        cases.record, {way.name: context.record for way, context in each},
        max((way.lets_differ for way in ways), default=0.0), beside,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Taught:
    """What the steps left: a network in evaluation, the state, and each strategy's context."""

    net: nn.Module
    state: State
    each: list[tuple[Strategy, Context]]


def taught(
    recipe: Recipe, task: Task, cases: Cases, ways: Sequence[Strategy], *, path: Path,
    folder: Path, resume: bool = False,
    make: Callable[[Recipe, Task, Path], nn.Module] = build,
) -> Taught | None:  # fmt: skip
    """Take the steps of a run alone: nothing is calibrated, judged on what tests, or exported.

    Args:
        recipe: with its batch.
        task: planned, and as the strategies ask it.
        cases: that teach and tune.
        ways: the strategies.
        path: the recipe's file.
        folder: of the run.
        resume: go on from the folder's checkpoints.
        make: a network of a recipe, after torch's generator was seeded.

    Returns:
        the network as it is judged; None in every process but the first.

    Raises:
        RecipeError: the cases do not serve a strategy, or the loss is not finite.
    """
    each: list[tuple[Strategy, Context]] = []

    def another(network: Network, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        net = make(recipe.model_copy(update={"network": network}), task, path)
        for way in ways:
            net = way.built(net, task)
        return net

    net = another(recipe.network, recipe.learner.seed)
    base = loss_of(net, recipe, task, cases.teach)
    each += (
        (
            way,
            Context(
                recipe, task, folder, resume, cases.teach, cases.unlabelled, cases.tune,
                variables=cases.variables, path=path, another=another, everyone=each,
                build=lambda seed: another(recipe.network, seed),
                judge=lambda net: judged(net, task, cases.tune),
                task_loss=lambda samples: loss_of(None, recipe, task, samples),
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
    return Taught(net, state, each)


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


def _calibrated(net: nn.Module, task: Task, cases: Cases, *, part: int | str | None) -> Task:
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


def loss_of(net: nn.Module | None, recipe: Recipe, task: Task, samples: Sequence[Sample]) -> Loss:
    """The task's loss on batches of these samples; a network is looked at on the first of them."""
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
