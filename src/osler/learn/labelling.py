"""Which of the cases that teach do so with their labels, and which without."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from osler.data.cohort import Cohort, Row
from osler.data.leaks import same_files
from osler.errors import RecipeError
from osler.learn.recipe import Labels, Recipe
from osler.learn.teaching import opened, place_of, undealt
from osler.tasks.task import Sample, Task

_WEIGHS = frozenset({"counts"})
"""Settings that weigh classes in the loss: no case is encoded otherwise by them."""


def keep_labels(samples: Sequence[Sample], labels: Labels) -> tuple[list[Sample], list[Sample]]:
    """The samples that keep their labels, and the others without their truth.

    With ``share``, patients are taken in proportion of their groups (the class of a patient's first
    case), at least one of each; with ``count``, so many cases of each group, or all there are; with
    ``cases``, those. A greater share of the same seed holds the cases of a smaller one.

    Raises:
        RecipeError: ``cases`` names some that do not teach.
    """
    samples = mislabelled(samples, labels)
    if labels.share == 1 and labels.count is None and labels.cases is None:
        return list(samples), []
    rng = np.random.default_rng((labels.seed, 20_011))
    kept: set[int] = set()
    if labels.cases is not None:
        named = set(labels.cases)
        if strange := sorted(named - {sample.id for sample in samples}):
            raise RecipeError(
                f"labels.cases names cases that do not teach: {', '.join(strange[:20])}"
            )
        kept = {place for place, sample in enumerate(samples) if sample.id in named}
    elif labels.count is not None:
        of_group: dict[str | None, list[int]] = {}
        for place, sample in enumerate(samples):
            of_group.setdefault(sample.group, []).append(place)
        for _, places in sorted(of_group.items(), key=lambda one: str(one[0])):
            kept |= {int(one) for one in rng.permutation(places)[: labels.count]}
    else:
        first: dict[str, str | None] = {}
        for sample in samples:
            first.setdefault(sample.patient, sample.group)
        patients: dict[str | None, list[str]] = {}
        for patient, group in first.items():
            patients.setdefault(group, []).append(patient)
        chosen: set[str] = set()
        for _, members in sorted(patients.items(), key=lambda one: str(one[0])):
            count = max(1, round(labels.share * len(members)))
            chosen |= {members[one] for one in rng.permutation(len(members))[:count]}
        kept = {place for place, sample in enumerate(samples) if sample.patient in chosen}
    return (
        [sample for place, sample in enumerate(samples) if place in kept],
        [without_truth(sample) for place, sample in enumerate(samples) if place not in kept],
    )


def planned_from_labels(
    task: Task, before: Task, kept: Sequence[Sample], rows: Sequence[Row], cohort: Cohort
) -> tuple[Task, bool]:
    """The task planned without what is told by labels that were taken away.

    Args:
        task: planned from all cases that teach.
        before: the same, not planned.
        kept: the samples that keep their labels.
        rows: of all cases that have one.
        cohort: theirs.

    Returns:
        the task, and whether cases are encoded otherwise with it.

    Raises:
        RecipeError: the cases that are left do not serve the task.
    """
    names = {sample.id for sample in kept}
    left = [row for row in rows if row.case_id in names]
    try:
        again = task.planned_again(before, opened(left, cohort))
    except RecipeError as error:
        raise RecipeError(
            f"of the {len(left)} cases that labels leaves with one: {error}"
        ) from None
    one, other = (vars(made.settings) for made in (task, again))
    changed = {name for name in one if one[name] != other[name]}
    return again, bool(changed - _WEIGHS)


def mislabelled(samples: Sequence[Sample], labels: Labels) -> list[Sample]:
    """The samples, of which the share ``labels.noise`` has the truth of one of another group.

    Raises:
        RecipeError: there are no two groups.
    """
    if labels.noise == 0:
        return list(samples)
    if len({sample.group for sample in samples}) < 2:
        raise RecipeError("labels.noise takes a task of classes, of which at least two teach")
    rng = np.random.default_rng((labels.seed, 20_021))
    wrong = rng.permutation(len(samples))[: round(labels.noise * len(samples))]
    out = list(samples)
    for place in sorted(int(one) for one in wrong):
        others = [one for one in samples if one.group != samples[place].group]
        taken = others[int(rng.integers(len(others)))]
        out[place] = replace(samples[place], targets=taken.targets, group=taken.group)
    return out


def without_truth(sample: Sample) -> Sample:
    """The same case, of which nothing is known."""
    return Sample(sample.id, sample.patient, sample.inputs, {}, sample.case, dict(sample.home))


def unlabelled_rows(
    recipe: Recipe, teach: Sequence[Row], held: Sequence[Row], *, path: Path, folder: Path
) -> tuple[list[Row], Cohort | None]:
    """The rows of the recipe's cohort without labels.

    Cases and patients of another data set are called ``unlabelled-ID``, since two data sets may
    give one name to different patients. Of the same data set, the patients that are judged and the
    cases that teach anyway are left out.

    Args:
        recipe: the recipe.
        teach: rows that teach.
        held: rows that tune and test.
        path: the recipe's file.
        folder: of the run.

    Raises:
        RecipeError: it cannot be read, or one of its pictures tunes or tests.
    """
    said = recipe.unlabelled
    if said is None:
        return [], None
    cohort = undealt(
        recipe.model_copy(update=said.model_dump()), path, folder=folder / "unlabelled"
    )
    if place_of(said.cohort, path) == place_of(recipe.cohort, path):
        patients = {row.patient_id for row in held}
        cases = {row.case_id for row in teach}
        rows = [
            row
            for row in cohort.rows
            if row.patient_id not in patients and row.case_id not in cases
        ]
    else:
        rows = [
            replace(
                row, case_id=f"unlabelled-{row.case_id}", patient_id=f"unlabelled-{row.patient_id}"
            )
            for row in cohort.rows
        ]
    if found := same_files({"unlabelled": rows, "tune and test": held}):
        listed = "\n  ".join(str(one) for one in found[:20])
        raise RecipeError(
            f"{len(found)} pictures of unlabelled.cohort also tune or test; leave them out with "
            f"unlabelled.leave_out or unlabelled.where:\n  {listed}"
        )
    if not rows:
        raise RecipeError("no case of unlabelled.cohort is left to teach")
    return rows, cohort
