"""The cases that teach: opened and encoded once, then drawn from."""

import difflib
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from osler.data.cohort import Cohort, Row, data_folder, read_cohort
from osler.data.importing import import_cohort
from osler.data.leaks import near_duplicates, same_files
from osler.data.opening import open_row
from osler.data.splitting import split_cohort
from osler.errors import InputError, RecipeError
from osler.learn.recipe import Recipe
from osler.learn.training_log import watched
from osler.record import Case
from osler.tasks.labels import nearest
from osler.tasks.task import Arrays, Sample, Task

T = TypeVar("T")

_MOST_NAMED = 20  # faults in one message


def cohort_of(recipe: Recipe, path: Path, *, folder: Path) -> Cohort:
    """The recipe's cohort, with folds or parts.

    Args:
        recipe: the recipe.
        path: its file.
        folder: of the run, where the table of an imported data set is written.

    Raises:
        RecipeError: it cannot be read, is empty after ``where``, or a patient is in two parts.
    """
    cohort = undealt(recipe, path, folder=folder)
    asked = (recipe.hold.test, recipe.hold.tune)
    if not cohort.folds and (not cohort.splits or any(isinstance(one, int) for one in asked)):
        # a part that is already named test is no fold of the rest
        rows = [replace(row, split=None) for row in cohort.rows if row.split != "test"]
        cohort = replace(cohort, rows=tuple(rows))
        cohort = split_cohort(
            cohort,
            folds=recipe.folds.count,
            seed=recipe.folds.seed,
            stratify=recipe.folds.stratify,
        ).cohort
    return cohort


def undealt(recipe: Recipe, path: Path, *, folder: Path) -> Cohort:
    """The recipe's cohort with the rows that are used, in the folds and parts it has itself.

    Args and errors as `cohort_of`.
    """
    source = place_of(recipe.cohort, path)
    if source.suffix.lower() in (".csv", ".parquet") and recipe.kind is None:
        cohort = read_cohort(source)
    else:
        table = folder / "cohort.csv"
        folder.mkdir(parents=True, exist_ok=True)
        written, _ = import_cohort(source, table, kind=recipe.kind, patient=recipe.patient)
        cohort = read_cohort(table, root=written.root)
    return _where(cohort, recipe)


def place_of(name: str, recipe: Path) -> Path:
    """Where a cohort lies that a recipe names: beside the recipe, else in the data folder.

    Raises:
        RecipeError: in neither.
    """
    beside = (recipe.parent / name).resolve()
    if beside.exists():
        return beside
    if Path(name).is_absolute():
        raise RecipeError(f"the cohort '{name}' does not exist")
    try:
        there: Path | None = data_folder() / name
    except RecipeError:
        there = None
    if there is None or not there.exists():
        raise RecipeError(
            f"the cohort '{name}' lies neither beside the recipe ('{beside}') nor in the data "
            + (f"folder ('{there}')" if there else "folder (OSLER_DATA names none)")
            + "; write a path relative to either, or make it where the recipe's first lines say how"
        )
    return there


def _where(cohort: Cohort, recipe: Recipe) -> Cohort:
    rows = list(cohort.rows)
    for column, allowed in recipe.where.items():
        known = {*cohort.columns("labels"), *cohort.columns("variables"), "split"}
        if column not in known:
            raise RecipeError(
                f"where: the cohort has no column '{column}'; it has: {', '.join(sorted(known))}"
            )
        rows = [row for row in rows if _value(row, column) in allowed]
    there = {row.case_id for row in cohort.rows}
    if absent := sorted(set(recipe.leave_out) - there):
        raise RecipeError(f"leave_out names cases that the cohort lacks: {', '.join(absent)}")
    rows = [row for row in rows if row.case_id not in recipe.leave_out]
    if not rows:
        raise RecipeError(f"no row of the cohort '{cohort.path}' is left by where and leave_out")
    return replace(cohort, rows=tuple(rows))


def _value(row: Row, column: str) -> str:
    if column == "split":
        return row.split or ""
    return str(row.labels.get(column, row.variables.get(column, "")))


def divide(cohort: Cohort, recipe: Recipe) -> tuple[list[Row], list[Row], list[Row]]:
    """The rows that teach, those that tune, and those that test; no patient is in two of them.

    Raises:
        RecipeError: a fold or part that is held out does not exist, nothing is left to teach, or
            a patient or a picture is in two parts; the message lists which.
    """

    def of(wanted: int | str | None) -> list[Row]:
        if wanted is None:
            return []
        found = [row for row in cohort.rows if wanted in (row.split, row.fold)]
        if not found:
            there = [str(one) for one in (*cohort.splits, *cohort.folds)]
            near = difflib.get_close_matches(str(wanted), there, n=1, cutoff=0.5)
            raise RecipeError(
                f"hold names '{wanted}', and the cohort's parts are {', '.join(there)}"
                + (f"; the nearest is '{near[0]}'" if near else "")
                + "; write null to hold nothing out"
            )
        return found

    test, tune = of(recipe.hold.test), of(recipe.hold.tune)
    held = {row.case_id for row in [*test, *tune]}
    teach = [row for row in cohort.rows if row.case_id not in held]
    if cohort.splits:  # parts by name: only what is named train teaches, if anything is
        named = [row for row in teach if row.split == "train"]
        teach = named or teach
    if not teach:
        raise RecipeError("no case is left to teach; hold out less")
    _leaks(teach, tune, test)
    _same_pictures(
        {"teach": teach, "tune": tune, "test": test}, cohort, near=recipe.near_duplicates
    )
    return teach, tune, test


def _leaks(*parts: Sequence[Row]) -> None:
    seen: dict[str, int] = {}
    both = []
    for number, rows in enumerate(parts):
        for row in rows:
            if seen.setdefault(row.patient_id, number) != number:
                both.append(row.patient_id)
    if both:
        names = ", ".join(f"'{one}'" for one in sorted(set(both))[:_MOST_NAMED])
        raise RecipeError(
            f"{len(set(both))} patients are in more than one of the parts that teach, tune and "
            f"test: {names}; deal them out anew with 'osler data split'"
        )


def _same_pictures(parts: Mapping[str, Sequence[Row]], cohort: Cohort, *, near: bool) -> None:
    try:
        found = same_files(parts)
    except InputError as error:
        raise RecipeError(str(error)) from error
    if near and not found:
        found = near_duplicates(cohort, parts)
    if not found:
        return
    listed = "\n  ".join(str(one) for one in found[:_MOST_NAMED])
    more = f"\n  and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    raise RecipeError(
        f"{len(found)} pictures are in more than one of the parts that teach, tune and test, so "
        "the figures would be those of cases that taught; give the cases one patient_id and deal "
        f"them out anew with 'osler data split', or leave one of each out:\n  {listed}{more}"
    )


def refuse_other_items(task: Task, cohort: Cohort) -> None:
    """Refuse the name of an item that the cohort has no column for, where another might be taken.

    The only image of a case may have any name. Where the cohort has several items, and one of a
    name that is nearly the same or cases that lack one, that could be another than is meant.

    Raises:
        RecipeError: a name is such; the message names the nearest.
    """
    said, columns = task.settings, cohort.columns("items")
    image, signal = getattr(said, "image", None), getattr(said, "signal", None)
    named = dict.fromkeys(getattr(image, "items", None) or (), "image.items")
    if isinstance(lead := getattr(signal, "item", None), str):
        named[lead] = "signal.item"
    for name, key in named.items():
        if len(columns) < 2 or any(name == one or name.startswith(f"{one}-") for one in columns):
            continue
        near = difflib.get_close_matches(name, columns, n=1, cutoff=0.6)
        if near or any(row.absent for row in cohort.rows):
            raise RecipeError(
                f"settings.{key} names '{name}', and the items of the cohort are "
                f"{', '.join(map(repr, columns))}{nearest(name, columns)}"
            )


def encode_rows(
    rows: Sequence[Row], cohort: Cohort, task: Task, *, keep_case: bool, threads: int = 2,
    truth: bool = True, faults: list[str] | None = None,
) -> list[Sample]:  # fmt: skip
    """The rows as samples with their truth.

    Args:
        rows: of the cohort.
        cohort: for paths and messages.
        task: says how.
        keep_case: whether each sample keeps its case, as judging needs.
        threads: cases under way at a time.
        truth: whether their labels are read.
        faults: what is wrong is added here, and the other cases are given.

    Raises:
        RecipeError: without ``faults``: cases that cannot be opened or have no truth, all listed.
    """

    def one(row: Row) -> Sample:
        sample = task.encode(open_row(row, cohort), truth=truth)
        if not keep_case:
            sample.case = None
        return sample

    listed: list[str] = [] if faults is None else faults
    each = _each(rows, one, listed, threads=threads)
    samples = list(watched(each, "opening cases", total=len(rows)))
    if faults is None:
        refuse(listed, len(rows))
    return samples


def check_rows(
    rows: Sequence[Row], cohort: Cohort, task: Task, faults: list[str], *, threads: int = 2
) -> None:
    """Open and encode rows with their truth, to know that they can be, and keep nothing.

    Args:
        rows: of the cohort.
        cohort: for paths and messages.
        task: says how.
        faults: what is wrong is added here.
        threads: cases under way at a time.
    """

    def one(row: Row) -> None:
        task.encode(open_row(row, cohort), truth=True)

    each = _each(rows, one, faults, threads=threads)
    for _ in watched(each, "opening the cases that test", total=len(rows)):
        pass


def _each(
    rows: Sequence[Row], one: Callable[[Row], T], faults: list[str], *, threads: int
) -> Iterator[T]:
    """What is made of each row, in their order, a few ahead; faults are listed."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Row, Future[T]]] = deque()
        left = iter(rows)
        while True:
            for row in itertools.islice(left, 4 * threads - len(waiting)):
                waiting.append((row, pool.submit(one, row)))
            if not waiting:
                return
            row, future = waiting.popleft()
            try:
                made = future.result()
            except InputError as error:
                place, said = f"{row.where or row.case_id}: ", str(error)
                faults.append(said if place in said else place + said)
                continue
            yield made


def opened(
    rows: Sequence[Row], cohort: Cohort, *, faults: list[str] | None = None
) -> Callable[[], Iterator[Case]]:
    """The rows as cases, one after the other, as often as asked.

    Cases that cannot be opened are passed over, and at the end added to ``faults``, or listed in a
    RecipeError where that is None.
    """

    def cases() -> Iterator[Case]:
        listed = []
        for row in rows:
            try:
                case = open_row(row, cohort)
            except InputError as error:
                listed.append(str(error))
                continue
            yield case
        if faults is None:
            refuse(listed, len(rows))
        else:
            faults[:] = listed

    return cases


def refuse(faults: Sequence[str], count: int) -> None:
    """Name the cases that cannot be used, if there are any.

    Raises:
        RecipeError: there are.
    """
    if not faults:
        return
    listed = "\n  ".join(faults[:_MOST_NAMED])
    more = f"\n  and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else ""
    raise RecipeError(
        f"{len(faults)} of {count} cases cannot be used; mend them or leave them out of the table:"
        f"\n  {listed}{more}"
    )


class Batches:
    """The batch of every step, which depends on the seed and the step's number alone.

    Args:
        samples: of the cases that teach.
        task: cuts examples.
        choose: gives the samples of a step by their numbers.
        seed: of the cuts.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        task: Task,
        choose: Callable[[int], Sequence[int]],
        *,
        seed: int,
    ) -> None:
        self.samples, self.task, self.choose, self.seed = samples, task, choose, seed
        self._pool = ThreadPoolExecutor(1, "osler-batches")
        self._ahead: tuple[int, Future[tuple[Arrays, Arrays]]] | None = None

    def __call__(self, step: int) -> tuple[Arrays, Arrays]:
        """Inputs and targets ``(B, ...)``; the next step's are made meanwhile."""
        if self._ahead is not None and self._ahead[0] == step:
            made = self._ahead[1].result()
        else:
            made = self._make(step)
        self._ahead = (step + 1, self._pool.submit(self._make, step + 1))
        return made

    def _make(self, step: int) -> tuple[Arrays, Arrays]:
        rng = np.random.default_rng((self.seed, step))
        examples = [self.task.example(self.samples[n], rng) for n in self.choose(step)]
        inputs, targets = zip(*examples, strict=True)
        return _stacked(inputs), _stacked(targets)


def _stacked(parts: Sequence[Arrays]) -> Arrays:
    out: dict[str, NDArray[np.generic]] = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        if len({array.shape for array in arrays}) > 1:
            shapes = ", ".join(sorted({str(array.shape) for array in arrays}))
            raise RecipeError(
                f"'{name}' has several shapes in one batch ({shapes}); set settings.patch or "
                "settings.image.size, or learner.batch to 1"
            )
        out[name] = np.stack(arrays)
    return out
