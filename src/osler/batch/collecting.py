"""Take what comes of case after case, until all are done, the user stops, or the disk is full."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from osler.batch.interrupt import Stop
from osler.batch.job import Outcome
from osler.errors import OutputError

T = TypeVar("T")


@dataclass(slots=True)
class Batch:
    """What came of a run.

    Attributes:
        outcomes: of each case that was started, in the order of the inputs.
        left: the number of inputs that were not started.
        summary: the table of all cases in the folder; None where it could not be written.
        signal: the number of the signal that ended the run early, or 0.
        error: why the run ended early, or why the summary is missing; empty where neither is so.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    left: int = 0
    summary: Path | None = None
    signal: int = 0
    error: str = ""


def collect(
    outcomes: Generator[Outcome],
    out: Path,
    *,
    total: int,
    stop: Stop,
    told: Callable[[Outcome], None] | None = None,
) -> Batch:
    """Take every outcome as it comes; what came before the run ended is never lost.

    A full disk ends the run, for every other case would fail too; a second signal ends it at once.
    From here on no signal interrupts, so that the caller can write its table.

    Args:
        outcomes: of case after case; ends by itself when ``stop`` is asked for.
        out: the output folder, to be named where the disk is full.
        total: the number of cases.
        stop: whether the user asked to stop.
        told: called with each outcome as it comes.
    """
    batch = Batch()
    try:
        with closing(outcomes):
            for outcome in outcomes:
                batch.outcomes.append(outcome)
                if told:
                    told(outcome)
                if outcome.disk_full:
                    batch.error = f"no space is left for '{out}'; the run ended early"
                    break
    except KeyboardInterrupt:
        pass
    stop.settle()
    batch.signal = stop.signal
    batch.left = total - len(batch.outcomes)
    return batch


def one_by_one(items: Iterable[T], work: Callable[[T], Outcome], stop: Stop) -> Generator[Outcome]:
    """What comes of each item, in their order, until the user asks to stop."""
    for item in items:
        yield work(item)
        if stop:
            return


def make_folder(out: Path) -> None:
    """Make the output folder where it is missing.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"'{out}' is a file; name a folder with --out") from error
    except OSError as error:
        raise OutputError(
            f"'{out}' cannot be made ({error.strerror}); choose another --out"
        ) from error
