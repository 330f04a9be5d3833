"""A bundle and a case: what the bundle finds, for any task."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from osler.bundles.card import Card
from osler.bundles.session import Bundle
from osler.errors import BundleError, RecipeError
from osler.record import Case, Finding, Source
from osler.record.case import Event
from osler.tasks.catalogue import create

if TYPE_CHECKING:
    from osler.tasks.task import Task


def task_of(card: Card, *, tasks: "Sequence[type[Task]]" = ()) -> "Task":
    """The task that a card describes, with its settings and its calibration.

    Args:
        card: of the bundle.
        tasks: tasks of one's own, beside those of Osler.

    Raises:
        BundleError: the bundle reads photographs of the fundus, which has its own way, its task
            or settings are not known here, or its settings name other labels than its outputs.
    """
    if card.preprocessing is not None or any(one.source != "case" for one in card.inputs):
        raise BundleError(
            f"bundle '{card.name}' reads prepared photographs of the fundus ('osler read'); it has "
            "no task of its own"
        )
    try:
        task = create(card.task, card.settings, tasks)
    except RecipeError as error:
        raise BundleError(f"bundle '{card.name}': {error}") from error
    _refuse_other_labels(card, task)
    task.calibration = {
        one.name: one.calibration.model_dump()
        for one in card.outputs
        if one.calibration is not None
    }
    return task


def _refuse_other_labels(card: Card, task: "Task") -> None:
    """Refuse a card of which the labels were changed in one place and not in the other."""
    said = {one.name: [label.name for label in one.labels] for one in card.outputs}
    for spec in task.outputs():
        if said.get(spec.name, list(spec.labels)) != list(spec.labels):
            raise BundleError(
                f"bundle '{card.name}': its card names the labels of '{spec.name}' "
                f"{', '.join(said[spec.name])} under 'outputs' and {', '.join(spec.labels)} under "
                "'settings'; write those that the network was taught, in their order, in both"
            )


def answer(
    bundle: Bundle,
    case: Case,
    *,
    tasks: "Sequence[type[Task]]" = (),
    contributions: bool = True,
) -> list[Finding]:
    """Ask a bundle about a case and add what it finds.

    Args:
        bundle: of any task.
        case: with the items that the task's settings name; gets the findings and an event.
        tasks: tasks of one's own, beside those of Osler.
        contributions: of an answer from several inputs, also say what each contributed; it takes
            a run of the network for every subset of them.

    Returns:
        The findings that were added.

    Raises:
        BundleError: the bundle is damaged, or its task is not known here.
        InputError: the case lacks an item, or already has a finding of the same id.
    """
    begun = time.monotonic()
    task = task_of(bundle.card, tasks=tasks)
    task.opened(bundle)
    sample = task.encode(case)
    outputs = task.calibrated(task.run(bundle.run, sample))
    source = Source("bundle", bundle.card.name, bundle.card.version)
    found = task.decode(outputs, sample, source=source)
    if contributions:
        found = task.attributed(bundle.run, sample, found)
    for finding in found:
        case.add(finding)
    by = f"{bundle.card.name} {bundle.card.version}"
    case.history.append(Event(task.name, by, time.monotonic() - begun))
    return found
