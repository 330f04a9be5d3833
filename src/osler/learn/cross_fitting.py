"""A recipe fitted without each fold in turn."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from osler.bundles import load
from osler.bundles.answering import task_of
from osler.errors import RecipeError
from osler.learn.card_parts import card_metrics
from osler.learn.cross_validation import RECORD, CrossValidated, cross_validate
from osler.learn.distributed import is_first
from osler.learn.ensemble_bundle import ensemble_bundle
from osler.learn.fitting import Run
from osler.learn.recipe import FUNDUS, check_recipe, read_yaml
from osler.learn.tuning_plan import with_values, write_recipe
from osler.tasks.task import Figure, Row, Task

REPLICATES = 2000


def cross_fit(
    recipe: Path | str,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    ensemble: bool = False,
    fit: Callable[..., Run] | None = None,
) -> CrossValidated[Run, Row]:
    """Fit a recipe once a fold, and judge every case by the run that never saw it.

    The run of fold K lies in ``OUT/fold-K``. It tests on fold K and tunes on the next one, so
    neither its weights nor its calibration were chosen with the cases that it is judged on.
    ``OUT/cross-validation.json`` has the figures of all cases together with their intervals by
    patient, and those of each fold.

    Args:
        recipe: of a general task.
        out: ``runs/NAME-folds`` by default.
        resume: folds that are done are kept, and the one that was interrupted goes on.
        ensemble: also write ``OUT/bundle``, which answers as the mean of the folds' bundles. It has
            the figures of its members, as no case is left that could judge it.
        fit: runs one recipe; `osler.learn.fit` by default.

    Raises:
        RecipeError: the recipe is wrong, its cohort has fewer than three folds, the classes of the
            folds differ, or their bundles cannot be averaged.
    """
    path = Path(recipe)
    content = read_yaml(path)
    if content.get("task") in FUNDUS:
        raise RecipeError(f"the task '{content['task']}' deals with its folds by itself")
    if content.get("task") == "instruction":
        raise RecipeError(
            "the task 'instruction' has no bundles to put together; hold out one fold"
        )
    read, _ = check_recipe(content, path)
    if fit is None:
        from osler.learn.fitting import fit as default

        fit = default
    from osler.learn.teaching import cohort_of

    folder = Path(out) if out is not None else Path("runs") / f"{read.name}-folds"
    folder.mkdir(parents=True, exist_ok=True)
    cohort = cohort_of(read, path, folder=folder)
    folds = sorted(fold for fold in cohort.folds if fold is not None)
    if len(folds) < 3:
        raise RecipeError(
            f"the cohort has {len(folds)} folds, and three are the least: one teaches, one tunes, "
            "one tests; deal it out anew with 'osler data split'"
        )
    patients = {row.case_id: row.patient_id for row in cohort.rows}
    runner = fit

    def train_fold(fold: int, there: Path, resume: bool) -> Run:
        following = folds[(folds.index(fold) + 1) % len(folds)]
        changed = with_values(content, {"hold.test": fold, "hold.tune": following})
        if resume and (there / "cases.json").exists() and (kept := _kept(there)) is not None:
            return kept
        if is_first():
            write_recipe(changed, there / "recipe.yaml", beside=path)
        return runner(there / "recipe.yaml", out=there, resume=resume)

    def judge(run: Run, fold: int) -> Mapping[str, Row]:
        rows: dict[str, Row] = json.loads((run.folder / "cases.json").read_text(encoding="utf-8"))
        return rows

    tasks: list[Task] = []

    def score(rows: Mapping[str, Row]) -> Mapping[str, float]:
        figures = _figures(tasks[0], rows, patients, replicates=0)
        return {
            one.name: float("nan") if one.interval.value is None else float(one.interval.value)
            for one in figures
        }

    def train_and_compare(fold: int, there: Path, resume: bool) -> Run:
        run = train_fold(fold, there, resume)
        tasks.append(task_of(load(run.bundle).card))
        if tasks[-1].outputs() != tasks[0].outputs():
            raise RecipeError(
                f"the outputs of fold {fold} are not those of fold {folds[0]}, as a class is "
                "missing from what teaches one of them; name the labels in settings, or deal the "
                "cohort out stratified by them (folds.stratify)"
            )
        return run

    done = cross_validate(
        folds, train_fold=train_and_compare, judge=judge, score=score, folder=folder, resume=resume
    )
    if is_first():
        figures = _figures(tasks[0], done.left_out, patients)
        _with_intervals(figures, folder / RECORD)
        if ensemble:
            members = [load(run.bundle) for run in done.members.values()]
            data = (
                f"{cohort.path.name}: {len(done.left_out)} cases, each judged by the member that "
                "it neither taught nor tuned; nothing judged the ensemble"
            )
            ensemble_bundle(
                members, folder / "bundle", name=read.name, metrics=card_metrics(figures, data=data)
            )
    return done


def _figures(
    task: Task,
    rows: Mapping[str, Row],
    patients: Mapping[str, str],
    *,
    replicates: int = REPLICATES,
) -> list[Figure]:
    # two replicates are the least that an interval is made of; its ends are not looked at then
    return task.figures(
        list(rows.values()), [patients[case] for case in rows], seed=1,
        replicates=max(replicates, 2),
    )  # fmt: skip


def _kept(folder: Path) -> Run | None:
    """The run that is done in a folder."""
    record = folder / "run.json"
    if not record.exists():
        return None
    said: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return Run(
        said["recipe"]["name"], folder, folder / "bundle", said["metrics"], said.get("data", {})
    )


def _with_intervals(figures: list[Figure], path: Path) -> None:
    """Add the intervals of all cases together to the record."""
    record = json.loads(path.read_text(encoding="utf-8"))
    record["intervals"] = [
        {"name": one.name, "value": one.interval.value, "low": one.interval.low,
         "high": one.interval.high, "level": one.interval.level, "cases": one.cases,
         "left_out": one.left_out, "patients": one.interval.groups, "how": one.how}
        for one in figures
    ]  # fmt: skip
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)
