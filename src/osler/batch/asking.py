"""A bundle of any general task and cases: what it finds, and what is written of it."""

import glob
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osler.batch import interrupt, lock
from osler.batch.collecting import Batch, collect, make_folder, one_by_one
from osler.batch.job import Outcome
from osler.batch.one import failed
from osler.batch.predictions import TABLE, write_table
from osler.batch.prompting import Prompts, add, check, kind_of
from osler.batch.registered import write_registered
from osler.errors import BundleError, InputError, RecipeError

if TYPE_CHECKING:
    from osler.bundles import Bundle
    from osler.data.cohort import Cohort, Row
    from osler.record import Case, Finding, Mask
    from osler.tasks.task import Task

_TABLES = (".csv", ".parquet")


def general(name: str) -> "Bundle | None":
    """The bundle of a name or folder, where it is none of the fundus.

    Raises:
        BundleError: there is none, or it is damaged. A name that is no network's either gets the
            nearest of both.
    """
    from osler import bundles, models

    try:
        found = bundles.load(name)
    except BundleError as error:
        if name in bundles.names() or "/" in name or Path(name).exists():
            raise
        try:
            models.find(name)
        except RecipeError as neither:
            raise BundleError(f"{error}; {neither}") from error
        raise
    return found if found.card.preprocessing is None else None


def ask(
    bundle: "Bundle",
    case: "Case",
    *,
    tasks: "Sequence[type[Task]]" = (),
    contributions: bool = True,
) -> "Case":
    """The case with what the bundle finds in it."""
    from osler.bundles.answering import answer

    answer(bundle, case, tasks=tasks, contributions=contributions)
    return case


def one_case(source: "str | Path | Case | Mapping[str, Any]") -> "Case":
    """The one case that lies at a path, is a row of a table (``cohort.csv#CASE``), or is composed.

    Raises:
        InputError: it cannot be used, or several lie there.
    """
    from osler import io
    from osler.data.composing import case_of_row, composed, row_of
    from osler.record import Case

    if isinstance(source, Case):
        return source
    if isinstance(source, Mapping):
        return composed(source)
    if (row := row_of(str(source))) is not None:
        return case_of_row(*row)
    path = Path(str(source))
    if path.suffix.lower() == ".csv" and path.is_file() and "case_id" in _columns(path):
        raise InputError(
            f"'{source}' is a table of cases; name one of them: '{source}#CASE', by its case_id"
        )
    opened = io.load(source)
    if isinstance(opened, Case):
        return opened
    found = list(opened)
    if len(found) != 1:
        raise InputError(f"'{source}' holds {len(found)} cases; name one of them, or use a loop")
    return found[0]


def _columns(table: Path) -> list[str]:
    """The names in the first line of a table."""
    with table.open(encoding="utf-8-sig", errors="replace") as file:
        return [name.strip().strip('"') for name in file.readline(65536).split(",")]


@dataclass(frozen=True, slots=True)
class Opening:
    """A case that can be opened: where it lies, its name, and how."""

    source: Path
    name: str
    open: Callable[[], "Case"]


def run(
    bundle: "Bundle",
    inputs: Sequence[str],
    out: str | Path,
    *,
    dicom: bool = False,
    fhir: bool = False,
    prompts: Prompts = Prompts(),  # noqa: B008 - frozen
    contributions: bool = True,
    trace: bool = False,
    tasks: "Sequence[type[Task]]" = (),
    started: Callable[[int], None] | None = None,
    told: Callable[[Outcome], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> Batch:
    """Ask a bundle about every input, and write what it finds.

    Each case gets the folder ``out/CASE`` with ``findings.json``, masks in native size (PNG of
    pictures, NIfTI of volumes), of images that are registered the moved one and its displacement
    (see `write_registered`), of an answer from several inputs ``report.html`` with what each
    contributed, and, where asked for, DICOM and FHIR; ``out/predictions.csv`` has a row for each.

    Args:
        bundle: of any task but those of the fundus.
        inputs: files, folders (a DICOM series, say), globs, and tables of cases.
        out: the output folder; made where it is missing.
        dicom: also write a DICOM segmentation and a structured report.
        fhir: also write an HL7 FHIR R4 transaction bundle.
        prompts: what to mark in each input, for a bundle that is told; a table may say it case by
            case, in columns ``label:NAME`` of boxes or points.
        contributions: of answers from several inputs, also say what each contributed.
        trace: keep where unexpected errors came from.
        tasks: tasks of one's own, beside those of Osler.
        started: called with the number of cases before the first.
        told: called with each outcome as it comes.
        stopping: called when the user asks to stop.

    Raises:
        BundleError: the bundle's task is not known here.
        InputError: there is nothing to read.
        RecipeError: the bundle does not take such prompts.
        OutputError: the folder cannot be written, or another run holds it.
    """
    from osler.bundles.answering import answer, task_of

    task = task_of(bundle.card, tasks=tasks)  # better said before the first case than at each
    check(prompts, task, bundle.card.name)

    def answered(case: "Case") -> "Sequence[Finding]":
        add(prompts, case, task)
        return answer(bundle, case, tasks=tasks, contributions=contributions)

    return each(
        openings(inputs, prompted=kind_of(task) != "none"), out, answered, dicom=dicom, fhir=fhir,
        trace=trace, started=started, told=told, stopping=stopping,
    )  # fmt: skip


def each(
    openings: Iterable[Opening],
    out: str | Path,
    answered: Callable[["Case"], "Sequence[Finding] | None"],
    *,
    dicom: bool = False,
    fhir: bool = False,
    trace: bool = False,
    started: Callable[[int], None] | None = None,
    told: Callable[[Outcome], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> Batch:
    """Answer about every case, and write what is found as `run` says.

    Args:
        openings: the cases.
        out: the output folder; made where it is missing.
        answered: adds its findings to a case, and gives them; None where there is nothing to write.
        dicom: also write a DICOM segmentation and a structured report.
        fhir: also write an HL7 FHIR R4 transaction bundle.
        trace: keep where unexpected errors came from.
        started: called with the number of cases before the first.
        told: called with each outcome as it comes.
        stopping: called when the user asks to stop.

    Raises:
        InputError: there is nothing to read.
        OutputError: the folder cannot be written, or another run holds it.
    """
    out = Path(out)
    todo = list(_named(openings))
    make_folder(out)
    with lock.hold(out), interrupt.listen(stopping) as stop:
        if started:
            started(len(todo))
        batch = collect(
            one_by_one(
                todo,
                lambda one: _one(one, answered, out, dicom=dicom, fhir=fhir, trace=trace),
                stop,
            ),
            out, total=len(todo), stop=stop, told=told,
        )  # fmt: skip
        rows = [one.row for one in batch.outcomes if one.row]
        if rows:
            batch.summary = write_table(rows, out / TABLE)
    return batch


def openings(inputs: Sequence[str], *, prompted: bool) -> Iterator[Opening]:
    """Every case that the inputs name, in their order; none is opened yet but tables and folders.

    Raises:
        InputError: an input names nothing.
    """
    from osler import io
    from osler.data.composing import case_of_row, row_of
    from osler.io.naming import case_id, safe_name

    for named in inputs:
        if (row := row_of(named)) is not None:
            yield Opening(Path(named), safe_name(row[1]), lambda row=row: case_of_row(*row))  # type: ignore[misc]
            continue
        found = [named]
        if not Path(named).exists() and "://" not in named:
            found = sorted(glob.glob(named, recursive=True))
            if not found:
                raise InputError(f"there is nothing at '{named}'")
        for text in found:
            path = Path(text)
            if path.suffix.lower() in _TABLES:
                yield from _rows(path, prompted=prompted)
            elif path.is_dir():
                cases = io.sort(path)
                for study in cases.studies:
                    name = study.id if len(cases) > 1 else case_id(path.resolve())
                    yield Opening(path, name, study.load)
                if not cases.studies:
                    raise InputError(f"'{path}' holds nothing that can be read")
            else:
                yield Opening(path, case_id(path), lambda text=text: one_case(text))  # type: ignore[misc]


def _rows(path: Path, *, prompted: bool) -> Iterator[Opening]:
    from osler.data.cohort import read_cohort
    from osler.io.naming import safe_name

    try:
        cohort = read_cohort(path)
    except RecipeError as error:
        raise InputError(str(error)) from error
    for row in cohort.rows:
        yield Opening(
            path,
            safe_name(row.case_id),
            lambda row=row: _case_of(row, cohort, prompted=prompted),  # type: ignore[misc]
        )


def _case_of(row: "Row", cohort: "Cohort", *, prompted: bool) -> "Case":
    """A row without its labels, but for the places that tell a bundle what to mark."""
    from osler.data.opening import add_place, open_row

    case = open_row(row, cohort, labels=False)
    for name, text in row.labels.items() if prompted else ():
        add_place(case, name, text)
    return case


def _named(openings: Iterable[Opening]) -> Iterator[Opening]:
    """Names that no file system takes for one another; a second ``ct`` becomes ``ct-2``."""
    taken: set[str] = set()
    for one in openings:
        name, number = one.name, 1
        while name.casefold() in taken:
            number += 1
            name = f"{one.name}-{number}"
        taken.add(name.casefold())
        yield Opening(one.source, name, one.open)


def _one(
    one: Opening, answered: Callable[["Case"], "Sequence[Finding] | None"], out: Path, *,
    dicom: bool, fhir: bool, trace: bool,
) -> Outcome:  # fmt: skip
    import osler
    from osler.io.input_file import printable
    from osler.io.tables import safe
    from osler.record import Label, Risk

    start = time.perf_counter()
    try:
        case = one.open()
        if not case.items:
            raise InputError("; ".join(why for _, why in case.left_out) or "nothing is in it")
        case.id = one.name
        found = answered(case)
        if found is None:
            return Outcome(one.source, one.name, "read", seconds=time.perf_counter() - start)
        several = any(isinstance(f, Label | Risk) and f.contributions for f in found)
        write_registered(case, found, osler.write(case, out, html=several, dicom=dicom, fhir=fhir))
        row = {"input": safe(printable(one.source)), "case": safe(case.id), **cells(case, found)}
        return Outcome(one.source, one.name, "read", row=row, seconds=time.perf_counter() - start)
    except Exception as error:  # noqa: BLE001 - one bad case must not end the others
        seconds = time.perf_counter() - start
        return failed(one.source, one.name, error, trace=trace, seconds=seconds)


def cells(case: "Case", found: "Sequence[Finding]") -> dict[str, object]:
    """What was found as cells of the table.

    A label's value is in a column of its name and its probabilities in ``p_NAME_VALUE`` (of yes or
    no, ``p_NAME``); a mask has ``NAME_pixels`` or ``NAME_voxels`` and, where the scale is known,
    ``NAME_mm2`` or ``NAME_ml``; a number is in ``NAME_UNIT``; a chance in ``p_NAME_DAYS_days``;
    words are in a column of their name; of boxes and points there is a count.
    """
    from osler.io.tables import safe
    from osler.record import Box, Label, Mask, Measurement, Passage, Point, Risk

    row: dict[str, object] = {}
    for one in found:
        if isinstance(one, Label):
            row[one.name] = safe(one.value)
            row |= _chances(one.name, one.probabilities or {})
        elif isinstance(one, Mask):
            row |= _size(case, one)
        elif isinstance(one, Measurement):
            row[f"{one.name}_{one.unit}" if one.unit else one.name] = one.value
        elif isinstance(one, Risk):
            days = "" if one.horizon_days is None else f"_{one.horizon_days:g}_days"
            row[f"p_{one.name}{days}"] = f"{one.value:.6f}"
        elif isinstance(one, Passage):
            row[one.name] = safe(" ".join(filter(None, (str(row.get(one.name, "")), one.text))))
        elif isinstance(one, Box | Point):
            key = f"{one.name}_count"
            row[key] = int(str(row.get(key, 0))) + 1
    return row


def _chances(name: str, chances: Mapping[str, float]) -> dict[str, str]:
    if set(chances) == {"yes", "no"}:
        return {f"p_{name}": f"{chances['yes']:.6f}"}
    return {f"p_{name}_{value}": f"{p:.6f}" for value, p in chances.items()}


def _size(case: "Case", mask: "Mask") -> dict[str, object]:
    from osler.record import Image

    count, axes = int(mask.mask.sum()), len(mask.shape)
    row: dict[str, object] = {f"{mask.name}_{'pixels' if axes == 2 else 'voxels'}": count}
    image = case.items.get(mask.item or "")
    if isinstance(image, Image) and image.spacing is not None:
        one = 1.0
        for length in image.spacing[-axes:]:
            one *= float(length)
        unit, scale = ("mm2", 1.0) if axes == 2 else ("ml", 1e-3)
        row[f"{mask.name}_{unit}"] = f"{count * one * scale:.3f}"
    return row
