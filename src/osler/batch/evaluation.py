"""A bundle judged on a cohort: every figure with its interval, and all it was computed from."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from osler.batch import evaluation_figures as tables
from osler.batch import interrupt, lock
from osler.batch.collecting import make_folder
from osler.batch.evaluation_comparing import comparisons
from osler.batch.evaluation_rows import (
    RESULT,
    Judge,
    Judged,
    Kept,
    judged,
    missing_columns,
    roles,
    same_task,
    settings_of,
)
from osler.batch.predictions import whole
from osler.bundles import Bundle, load
from osler.bundles.answering import task_of
from osler.data.cohort import Cohort, Row, data_folder, read_cohort
from osler.data.digest import cohort_digest
from osler.data.leaks import part_of, same_files
from osler.data.provenance import split_digest
from osler.errors import InputError, RecipeError
from osler.tasks.catalogue import create
from osler.tasks.task import Figure, Task

PAGE: Final = "evaluation.html"
SCHEMA_VERSION: Final = 1
SEED: Final = 1
REPLICATES: Final = 2000
_MOST_NAMED: Final = 20


@dataclass(slots=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        content: what stands in ``evaluation.json``; empty where the run was interrupted.
        figures: of the bundle.
        folder: where it was written; None where it was not.
        failed: cases that could not be judged, each with the reason.
        taught: cases that taught or tuned a bundle, each with the role.
        signal: the number of the signal that ended the run early, or 0.
        left: cases that were not reached.
    """

    content: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    folder: Path | None = None
    failed: list[tuple[str, str]] = field(default_factory=list)
    taught: list[tuple[str, str]] = field(default_factory=list)
    signal: int = 0
    left: int = 0


def evaluate(
    bundle: str | Path | Bundle,
    cohort: str | Path | Cohort,
    *,
    out: str | Path | None = None,
    split: str | None = None,
    fold: int | None = None,
    against: str | Path | Bundle | None = None,
    output: str | None = None,
    subgroups: Sequence[str] = (),
    replicates: int = REPLICATES,
    seed: int = SEED,
    include_taught: bool = False,
    root: Path | None = None,
    tasks: Sequence[type[Task]] = (),
    html: bool = True,
    started: Callable[[int], None] | None = None,
    told: Callable[[Judged], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> Evaluation:
    """Judge a bundle on the cases of a cohort, as its task judges; no torch is needed.

    Cases are opened one after the other. What each gives to the figures is kept at once, so that
    the same call goes on where it was cut short, and another number of resamples, another subgroup
    or a second bundle costs no second run.

    Args:
        bundle: of any task; of the fundus too.
        cohort: a table, a data set that ``osler data import`` takes, or a cohort; a path may be
            relative to the data folder.
        out: the folder for ``evaluation.json`` and ``evaluation.html``; None writes nothing.
        split: only the part of this name.
        fold: only this fold.
        against: another bundle of the same task, judged on the same cases and compared.
        output: which answer is judged, of a bundle of the fundus that has several; by default the
            first that the cohort has a column for.
        subgroups: columns (variables or labels) by which figures are told apart.
        replicates: resamples of each interval, and exchanges of each permutation test.
        seed: of both.
        include_taught: also judge cases that taught or tuned the bundle; figures then flatter it.
        root: the folder that the table's paths are relative to.
        tasks: tasks of one's own, beside those of Osler.
        html: also write the page.
        started: called with the number of cases before the first.
        told: called after each case.
        stopping: called when the user asks to stop.

    Raises:
        BundleError: a bundle is damaged, its task is unknown, or the two cannot be compared.
        RecipeError: the cohort cannot be read, or has no such part, column or label.
        InputError: no case could be judged; the message lists why.
        OutputError: the folder cannot be written, or another run holds it.
    """
    asked = [_loaded(one) for one in (bundle, against) if one is not None]
    for one in asked:  # better said before the cohort is read
        if one.card.preprocessing is None:
            task_of(one.card, tasks=tasks)
    if replicates < 1:
        raise RecipeError(f"replicates is {replicates}; write 1 or more, such as {REPLICATES}")
    folder = None if out is None else Path(out)
    done = Evaluation(folder=folder)
    with ExitStack() as held:
        if folder is not None:
            make_folder(folder)
            held.enter_context(lock.hold(folder))
        whole_cohort = _cohort(cohort, folder, root)
        part = _part(whole_cohort, split, fold)
        judges = [Judge.of(one, part, tasks, output=output) for one in asked]
        if len(judges) > 1:
            same_task(*judges)
        _check_columns(judges, part, subgroups)
        rows, done.taught = _without_taught(judges, part, keep=include_taught)
        stop = held.enter_context(interrupt.listen(stopping))
        if started:
            started(len(rows))
        kept = Kept(folder)
        cases: list[Judged] = []
        for case in judged(part, judges, kept, rows):
            cases.append(case)
            if told:
                told(case)
            if stop:
                break
        done.left, done.signal = len(rows) - len(cases), stop.signal
        done.failed = [(one.row.case_id, one.why) for one in cases if one.why]
        if done.left:
            return done
        good = [one for one in cases if not one.why]
        if not good:
            raise InputError(_none_judged(done, len(part)))
        stop.settle()
        done.content = _content(
            judges, whole_cohort, part, good, done, asked={"split": split, "fold": fold},
            subgroups=subgroups, replicates=replicates, seed=seed, include_taught=include_taught,
        )  # fmt: skip
        done.figures = figures_of(done.content, judges[0].task)
        done.content["figures"] = [tables.as_json(one) for one in done.figures]
        _compute(done.content, judges, seed=seed, replicates=replicates)
        if folder is not None:
            _write(done.content, folder, judges, part, html=html)
            kept.done()
    return done


def figures_of(
    content: Mapping[str, Any],
    task: Task | None = None,
    *,
    of: str = "bundle",
    tasks: Sequence[type[Task]] = (),
) -> list[Figure]:
    """The figures of an evaluation, computed again from what stands in ``evaluation.json``.

    Args:
        content: of the file.
        task: the bundle's task; made from the content by default.
        of: ``"bundle"``, or ``"against"`` for the other one.
        tasks: tasks of one's own, beside those of Osler.

    Raises:
        RecipeError: the task is not known here.
    """
    if task is None:
        said = content[of]
        task = create(said["task"], said["settings"], tasks)
        task.calibration = dict(said["calibration"])
    cases = content["cases"]
    return task.figures(
        [case[of] for case in cases],
        [case["patient"] for case in cases],
        seed=content["seed"],
        replicates=content["replicates"],
    )


def _loaded(bundle: str | Path | Bundle) -> Bundle:
    return load(bundle) if isinstance(bundle, str | Path) else bundle


def _cohort(said: str | Path | Cohort, folder: Path | None, root: Path | None) -> Cohort:
    if isinstance(said, Cohort):
        return said
    path = Path(said)
    if not path.exists() and not path.is_absolute():
        try:
            there = data_folder() / path
        except RecipeError:
            there = path
        path = there if there.exists() else path
    if not path.exists():
        raise RecipeError(f"there is no cohort '{said}'; name a table, or a data set's folder")
    if path.suffix.lower() in (".csv", ".parquet"):
        return read_cohort(path, root=root)
    if folder is None:
        raise RecipeError(f"'{said}' is a data set and no table; import it, or name a folder: out")
    from osler.data.importing import import_cohort

    written, _ = import_cohort(path, folder / "cohort.csv", kind=None, patient=None)
    return read_cohort(folder / "cohort.csv", root=written.root)


def _part(cohort: Cohort, split: str | None, fold: int | None) -> Cohort:
    rows = [
        row
        for row in cohort.rows
        if (split is None or row.split == split) and (fold is None or row.fold == fold)
    ]
    if not rows:
        there = [f"split '{one}'" for one in cohort.splits] + [f"fold {n}" for n in cohort.folds]
        asked = " and ".join(
            text
            for text, said in ((f"split '{split}'", split), (f"fold {fold}", fold))
            if said is not None
        )
        raise RecipeError(
            f"the cohort '{cohort.path}' has no case of {asked}; its parts: "
            f"{', '.join(there) or 'none'}"
        )
    return replace(cohort, rows=tuple(rows))


def _check_columns(judges: Sequence[Judge], cohort: Cohort, subgroups: Sequence[str]) -> None:
    for judge in judges:
        if missing := missing_columns(judge, cohort):
            named = ", ".join(f"'label:{name}'" for name in missing)
            there = ", ".join(cohort.columns("labels")) or "none"
            raise RecipeError(
                f"'{judge.bundle.card.name}' needs the column(s) {named} to be judged; the labels "
                f"of the cohort '{cohort.path}' are: {there}"
            )
    known = [*cohort.columns("variables"), *cohort.columns("labels")]
    for column in subgroups:
        if column not in known:
            raise RecipeError(
                f"the cohort '{cohort.path}' has no column '{column}' to tell subgroups apart; it "
                f"has: {', '.join(known) or 'none'}"
            )


def _without_taught(
    judges: Sequence[Judge], part: Cohort, *, keep: bool
) -> tuple[list[Row], list[tuple[str, str]]]:
    rows, taught = [], []
    for row in part.rows:
        try:
            found = roles(judges, row)
        except InputError:
            found = {}  # a file that cannot be read is told of when the case is judged
        taught += [(row.case_id, f"{role} of '{name}'") for name, role in found.items()]
        if keep or not found:
            rows.append(row)
    return rows, taught


def _none_judged(done: Evaluation, count: int) -> str:
    listed = [f"{case}: {why}" for case, why in done.failed[:_MOST_NAMED]]
    if done.taught:
        listed.append(
            f"{len(done.taught)} left out because they taught or tuned the bundle; "
            "--include-taught judges them all the same, which flatters it"
        )
    return f"none of {count} cases could be judged:\n  " + "\n  ".join(listed)


def _content(
    judges: Sequence[Judge], every: Cohort, part: Cohort, good: Sequence[Judged], done: Evaluation,
    *, asked: Mapping[str, Any], subgroups: Sequence[str], replicates: int, seed: int,
    include_taught: bool,
) -> dict[str, Any]:  # fmt: skip
    """What ``evaluation.json`` holds before anything is computed from it."""
    import osler

    known = replace(part, rows=tuple(one.row for one in good))
    try:
        digest = cohort_digest(every)
    except InputError:
        digest = None  # a file is missing, and its case stands among those left out
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "osler": osler.__version__,
        "seed": seed,
        "replicates": replicates,
        "level": tables.LEVEL,
        "bundle": _about(judges[0]),
        "against": _about(judges[1]) if len(judges) > 1 else None,
        "cohort": {
            "table": every.path.name,
            "sha256": digest,
            "split_sha256": split_digest(every),
            **asked,
            "judged_sha256": cohort_digest(known),
            "cases": len(part),
            "judged": len(good),
            "patients": known.patients(),
        },
        "left_out": [{"case": case, "why": why} for case, why in done.failed],
        "leaks": _leaks(judges, done, digest, known, include_taught=include_taught),
        "cases": [],
    }
    for one in good:
        case: dict[str, Any] = {
            "case": one.row.case_id,
            "patient": one.row.patient_id,
            "part": part_of(one.row),
            "sha256": one.sha256,
            "bundle": one.rows[0],
        }
        if len(one.rows) > 1:
            case["against"] = one.rows[1]
        if subgroups:
            case["subgroups"] = {column: _cell(one.row, column) for column in subgroups}
        content["cases"].append(case)
    return content


def _about(judge: Judge) -> dict[str, Any]:
    card = judge.bundle.card
    return {
        "name": card.name,
        "version": card.version,
        "title": card.title,
        "sha256": judge.sha256,
        "task": card.task,
        "settings": settings_of(judge.task) if card.preprocessing else dict(card.settings),
        "calibration": judge.task.calibration,
        "note": judge.note,
        "trained_on": [one.name for one in card.data if "training" in one.role],
        "cohort_sha256": card.training.cohort_sha256 if card.training else None,
    }


def _cell(row: Row, column: str) -> Any:
    value = row.variables.get(column, row.labels.get(column))
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _leaks(
    judges: Sequence[Judge], done: Evaluation, digest: str | None, known: Cohort,
    *, include_taught: bool,
) -> dict[str, Any]:  # fmt: skip
    """What could make the figures flatter: cases that taught, and pictures of several patients."""
    silent = [judge.bundle.card.name for judge in judges if judge.taught is None]
    same = [
        judge.bundle.card.name
        for judge in judges
        if digest is not None
        and judge.bundle.card.training is not None
        and judge.bundle.card.training.cohort_sha256 == digest
    ]
    by_patient: dict[str, list[Row]] = {}
    for row in known.rows:
        by_patient.setdefault(row.patient_id, []).append(row)
    return {
        "taught": [{"case": case, "role": role} for case, role in done.taught],
        "taught_are_judged": include_taught and bool(done.taught),
        "no_record": silent,
        "same_cohort": same,
        "twice": [
            {"cases": [one.first.case_id, one.second.case_id], "item": one.item}
            for one in same_files(by_patient)
        ],
    }


def _compute(
    content: dict[str, Any], judges: Sequence[Judge], *, seed: int, replicates: int
) -> None:
    """Everything that follows from the rows, into the content."""
    task, cases = judges[0].task, content["cases"]
    rows, patients = [case["bundle"] for case in cases], [case["patient"] for case in cases]
    if len(judges) > 1:
        others = [case["against"] for case in cases]
        other = figures_of(content, judges[1].task, of="against")
        content["against"]["figures"] = [tables.as_json(one) for one in other]
        content["comparisons"] = comparisons(
            task, rows, others, patients, content["figures"], seed=seed, replicates=replicates
        )
    columns = list(cases[0].get("subgroups", {}))
    values = {column: [case["subgroups"][column] for case in cases] for column in columns}
    content["subgroups"] = tables.subgroups(
        task,
        rows,
        patients,
        values,
        content["figures"],
        seed=seed,
        replicates=min(replicates, 1000),
    )
    content["curves"] = tables.curves(task, rows)
    for case, worth in zip(cases, tables.worths(task, rows), strict=True):
        case["worth"] = worth


def _write(
    content: Mapping[str, Any], folder: Path, judges: Sequence[Judge], part: Cohort, *, html: bool
) -> None:
    if html:
        from osler.batch.evaluation_html import page
        from osler.batch.evaluation_pictures import pictures

        text = page(content, pictures(content, judges[0], part))
        with whole(folder / PAGE) as file:
            file.write(text.encode("utf-8"))
    with whole(folder / RESULT) as file:
        said = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        file.write((said + "\n").encode("utf-8"))
