"""The cases of a run as samples: those that teach, with their labels or without, and that tune."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from osler.data.cohort import Cohort
from osler.data.cohort import Row as CohortRow
from osler.data.taught import taught_record
from osler.errors import OslerError, RecipeError
from osler.learn.distributed import is_first
from osler.learn.labelling import keep_labels, planned_from_labels, unlabelled_rows
from osler.learn.recipe import Recipe
from osler.learn.teaching import (
    check_rows,
    divide,
    encode_rows,
    opened,
    refuse,
    refuse_other_items,
)
from osler.tasks.task import Sample, Task


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases of a run, those that teach and tune as samples.

    Attributes:
        teach, unlabelled, tune: samples; of those unlabelled the truth is not known.
        test_rows: of the cases that test.
        variables: of each case but those, by id.
        record: of the files that taught and tuned (`osler.data.taught`).
    """

    teach: list[Sample]
    unlabelled: list[Sample] = field(default_factory=list)
    tune: list[Sample] = field(default_factory=list)
    test_rows: list[CohortRow] = field(default_factory=list)
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    record: bytes = b""


def cases_of(
    recipe: Recipe, task: Task, cohort: Cohort, *, path: Path, folder: Path
) -> tuple[Task, Recipe, Cases]:
    """The task planned from the cases that teach, the recipe with its batch, and the cases.

    Args:
        recipe: checked.
        task: as its strategies ask it, not yet planned.
        cohort: of `osler.learn.teaching.cohort_of`.
        path: the recipe's file.
        folder: of the run.

    Raises:
        RecipeError: the cohort does not serve the recipe; the message lists the cases.
    """
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
    cases = Cases(
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
