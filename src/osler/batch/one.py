"""Read one case and write it; whatever happens becomes an outcome, never an exception."""

import errno
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.batch.job import Job, Options, Outcome
from osler.errors import OslerError


@dataclass(frozen=True, slots=True)
class ReadOne:
    """The work on one case; picklable, so that a worker process can do it.

    Attributes:
        out: the output folder.
        options: what to write.
        trace: keep where an unexpected error came from.
    """

    out: Path
    options: Options
    trace: bool = False

    def __call__(self, job: Job) -> Outcome:
        """Read and write the case, or take up the one that lies there."""
        start = time.perf_counter()
        try:
            if job.done:
                return Outcome(
                    job.source, job.case_id, "skipped", row=row_of(self.out / job.case_id)
                )
            return self._read(job, start)
        except Exception as error:  # noqa: BLE001 - one bad case must not end the others
            seconds = time.perf_counter() - start
            return failed(job.source, job.case_id, error, trace=self.trace, seconds=seconds)

    def _read(self, job: Job, start: float) -> Outcome:
        import osler
        from osler.io.tables import summary_row

        case = osler.read(job.source, language=self.options.language)
        case.id = job.case_id
        options = self.options
        draft = ""
        if options.engine != "none":
            from osler.batch.drafting import drafted

            draft = drafted(case, options)
        if options.patient:
            from osler.batch.advising import advised

            advised(case, options)
        osler.write(case, self.out, html=options.html, dicom=options.dicom, fhir=options.fhir)
        seconds = time.perf_counter() - start
        return Outcome(
            job.source, job.case_id, "read", row=summary_row(case), seconds=seconds, draft=draft
        )


def row_of(folder: Path) -> dict[str, Any]:
    """The summary row of a case that lies in a folder."""
    from osler.io.findings_json import read_findings
    from osler.io.tables import summary_row

    return dict(summary_row(read_findings(folder, pixels=False)))


def sentence(error: BaseException) -> str:
    """What went wrong, in one line that holds no patient data.

    The text of an unexpected exception may quote what it choked on, so only its kind and its
    place are told.
    """
    if isinstance(error, OslerError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "there was not enough memory to read it; close other programs, or lower --jobs"
    place = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(place[-1].filename).name}:{place[-1].lineno}" if place else ""
    return f"unexpected {type(error).__name__}{where}; run again with --debug to see the trace"


def failed(
    source: Path, name: str, error: Exception, *, trace: bool, seconds: float = 0.0
) -> Outcome:
    """What is said of a case that could not be done; one bad file does not end the others.

    Args:
        source: the input file, as the user named it.
        name: of the case.
        error: why.
        trace: keep where the error came from.
        seconds: how long it took.
    """
    return Outcome(
        source,
        name,
        "failed",
        error=sentence(error),
        trace="".join(traceback.format_exception(error)) if trace else "",
        seconds=seconds,
        disk_full=_is_disk_full(error),
    )


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether an error comes of a disk or quota without space."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
