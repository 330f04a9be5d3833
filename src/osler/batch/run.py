"""Read many cases into one folder: resumes, survives a bad case, and stops cleanly."""

import contextlib
import math
import re
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from osler.batch import drafting, interrupt, lock, plan, pool
from osler.batch.collecting import Batch, collect, make_folder, one_by_one
from osler.batch.job import Job, Options, Outcome
from osler.batch.one import ReadOne, row_of, sentence
from osler.errors import OslerError, OutputError

# a half-written case of `osler.io.write`, and the age in seconds at which nobody writes it any more
_PART = re.compile(r"\..*\.[0-9a-f]{12}\.part", re.DOTALL)
_ABANDONED = 3600


def run(
    inputs: Sequence[str],
    out: str | Path,
    *,
    options: Options | None = None,
    jobs: int = 1,
    force: bool = False,
    trace: bool = False,
    started: Callable[[int], None] | None = None,
    told: Callable[[Outcome], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> Batch:
    """Read every input into a folder of its own under ``out``, and write ``out/summary.csv``.

    Args:
        inputs: files, folders and globs.
        out: the output folder; made where it is missing.
        options: what to write for each case.
        jobs: processes that read at the same time; 1 reads in this process.
        force: read again what lies there already.
        trace: keep where unexpected errors came from.
        started: called with the number of inputs before the first is read.
        told: called with each outcome as it comes.
        stopping: called when the user asks to stop.

    Returns:
        What came of each. A case that fails does not end the run.

    Raises:
        InputError: there is nothing to read.
        OutputError: the folder cannot be written, or another run holds it.
    """
    options = options or Options()
    out = Path(out)
    paths = plan.inputs(inputs, out)
    drafting.ready(options, jobs=jobs)
    make_folder(out)
    with lock.hold(out), interrupt.listen(stopping) as stop:
        begun = time.time()
        _sweep(out, before=begun - _ABANDONED)
        if started:
            started(len(paths))
        todo = plan.jobs(paths, out, options=options, current=versions(), force=force)
        work = ReadOne(out.absolute(), options, trace)
        batch = collect(
            _outcomes(todo, work, jobs, len(paths), stop), out,
            total=len(paths), stop=stop, told=told,
        )  # fmt: skip
        if stop:
            _sweep(out, after=begun)
        order = {path: i for i, path in enumerate(paths)}
        batch.outcomes.sort(key=lambda o: order[o.source])
        _summarise(batch, out)
    return batch


def versions() -> dict[str, str]:
    """Name to version of the bundles at hand.

    Raises:
        BundleError: one of them is damaged: better said before the first case than at each.
    """
    from osler import bundles

    return {name: bundles.load(name).card.version for name in bundles.names()}


def _outcomes(
    todo: Iterator[Job], work: ReadOne, jobs: int, total: int, stop: interrupt.Stop
) -> Generator[Outcome]:
    if jobs <= 1 or total <= 1:
        yield from one_by_one(todo, work, stop)
        return
    workers = min(jobs, total)
    yield from pool.each(todo, work, _died, workers=workers, threads=pool.share(workers), stop=stop)


def _died(job: Job, code: int | None) -> Outcome:
    why = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
    return Outcome(
        job.source,
        job.case_id,
        "failed",
        error=f"the process that read it ended {why}, perhaps for want of memory; lower --jobs",
    )


def _sweep(out: Path, *, before: float = math.inf, after: float = -math.inf) -> None:
    """Remove half-written cases whose writer was killed; times are seconds since the epoch."""
    for path in out.iterdir():
        with contextlib.suppress(OSError):
            if _PART.fullmatch(path.name) and after <= path.stat().st_mtime < before:
                shutil.rmtree(path)


def _summarise(batch: Batch, out: Path) -> None:
    """Write the table of this run's cases and of those that earlier runs left in the folder."""
    from osler.io.tables import write_summary

    rows = [_row(o) for o in batch.outcomes]
    rows.extend(_earlier(out, {o.case_id for o in batch.outcomes}))
    try:
        batch.summary = write_summary(rows, out / "summary.csv")
    except OutputError as error:
        batch.error = batch.error or sentence(error)


def _row(outcome: Outcome) -> dict[str, Any]:
    from osler.io.input_file import printable

    return {
        **outcome.row,
        "case": outcome.case_id,
        "file": printable(outcome.source.name),
        "status": outcome.status,
        "error": outcome.error,
    }


def _earlier(out: Path, known: set[str]) -> Iterator[dict[str, Any]]:
    for folder in sorted(out.iterdir()):
        there = plan.written(folder) if folder.name not in known else None
        if there is None:
            continue
        try:
            row = row_of(folder)
        except OslerError:
            continue  # a damaged folder of another day is no reason to fail today
        yield {**row, "case": folder.name, "file": there.file, "status": "earlier"}
