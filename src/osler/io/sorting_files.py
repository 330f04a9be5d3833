"""What each of many files is, by its first bytes and its header, looked at in threads.

A slow disk or a share answers several questions at a time, so as many threads ask as wait for
answers; where the answers come at once, one is faster than several that share an interpreter. A
file that never answers is left behind with the thread that waits for it. What was found comes in
the order of the names.
"""

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, Generic, Literal, TypeVar

from osler.io.dicom_scan import EndlessError, Scan, scan_tags
from osler.io.partial_file import PartialReader, partial_of
from osler.io.readers import reader_for
from osler.io.signatures import HEAD_BYTES, describe, is_dicom, is_dicomdir

THREADS: Final = 8
PATIENCE: Final = 60.0
"""Seconds after which a file that has not answered is given up."""

_BLOCK = 8192
_TURN = 32  # files that a thread takes at a time
_WORKING = 0.8  # share of its time below which a thread waits for the disk
_MOST_LOST = 32  # threads that wait for files that do not answer

Tags = dict[str, tuple[int, str]]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Looked:
    """What a file is.

    Attributes:
        kind: a DICOM file, a DICOMDIR, a file that another reader takes, or one that none does.
        reason: why none does.
        scan: of a DICOM file, the elements that were asked for; None where its header cannot be
            walked over.
        stamp: length in bytes and time of the last change, nanoseconds.
    """

    kind: Literal["dicom", "index", "other", "skipped"]
    reason: str = ""
    scan: Scan | None = None
    stamp: tuple[int, int] = (0, 0)


_OTHER = Looked("other")
_INDEX = Looked("index")


def look(path: str, tags: Tags, last: int) -> Looked:
    """What a file is; its pixels are not touched.

    Args:
        path: the file.
        tags: keyword to tag and VR of what to keep of a DICOM header.
        last: the tag to stop at.
    """
    try:
        partial = partial_of(path)
        with (
            open(path, "rb", buffering=0, opener=_without_waiting)
            if partial is None
            else PartialReader(partial)
        ) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                return Looked("skipped", "no regular file")
            block = stream.read(_BLOCK) or b""
            head = block[:HEAD_BYTES]
            if not head:
                return Looked("skipped", "empty")
            if not is_dicom(head):
                extension = os.path.splitext(path)[1][1:].lower()
                if reader_for(head, extension):
                    return _OTHER
                return Looked("skipped", f"{describe(head)}, which is not read")
            if is_dicomdir(head):
                return _INDEX
            stamp = (status.st_size, status.st_mtime_ns)
            return Looked("dicom", "", _scan(stream, tags, last, block, status.st_size), stamp)
    except EndlessError:
        return Looked("skipped", "a DICOM file whose header has no end")
    except OSError as error:
        return Looked("skipped", f"cannot be opened ({error.strerror})")


def _scan(stream: BinaryIO, tags: Tags, last: int, block: bytes, size: int) -> Scan | None:
    try:
        return scan_tags(stream, tags, last=last, head=block, size=size)
    except (EndlessError, OSError):
        raise
    except Exception:  # noqa: BLE001 - damaged headers raise anything
        return None


def _without_waiting(path: str, flags: int) -> int:
    # a pipe without a writer would wait for ever
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def in_threads(
    work: Callable[[str], Result],
    names: Sequence[str],
    *,
    late: Result,
    threads: int = THREADS,
    patience: float = PATIENCE,
) -> list[Result]:
    """The results of some work on each name, in the order of the names.

    Args:
        work: done by several threads at a time; it must not raise.
        names: what to work on.
        late: the result for a name whose work took longer than ``patience``: its thread is left to
            itself, and another takes its place. Where too many are late, it is that of the rest.
        threads: how many work at a time at most; the first hires others where it has to wait.
        patience: seconds.
    """
    crew = _Crew(work, names, late, patience, threads)
    crew.hire()
    try:
        return crew.wait()
    finally:
        crew.turns.clear()  # where the one who waits is interrupted


class _Worker(threading.Thread, Generic[Result]):
    """A thread that takes turns; what it works on, and since when."""

    def __init__(self, crew: "_Crew[Result]") -> None:
        # one that waits for a dead disk must not keep the program from its end
        super().__init__(name="osler-sort", daemon=True)
        self.crew = crew
        self.turn = range(0)
        self.at, self.since = -1, 0.0
        self.given_up = False

    def run(self) -> None:
        crew = self.crew
        while crew.take_turn(self):
            began, worked = time.monotonic(), time.thread_time()
            for index in self.turn:
                with crew.lock:
                    if self.given_up:
                        return
                    self.at, self.since = index, time.monotonic()
                result = crew.work(crew.names[index])
                if not self.given_up:
                    crew.results[index] = result
            took, worked = time.monotonic() - began, time.thread_time() - worked
            with crew.lock:
                if self.given_up:
                    return
                self.at = -1
                crew.finished(len(self.turn))
                if worked < _WORKING * took:
                    crew.grow()


class _Crew(Generic[Result]):
    """The threads, their turns and their results."""

    def __init__(
        self,
        work: Callable[[str], Result],
        names: Sequence[str],
        late: Result,
        patience: float,
        threads: int,
    ) -> None:
        self.work, self.names, self.late, self.patience = work, names, late, patience
        self.threads = threads
        self.lock = threading.Condition()
        starts = range(0, len(names), _TURN)
        self.turns = deque(range(at, min(at + _TURN, len(names))) for at in starts)
        self.results = [late] * len(names)
        self.left = len(names)
        self.workers: list[_Worker[Result]] = []
        self.lost = 0

    def hire(self) -> None:
        worker = _Worker(self)
        self.workers.append(worker)
        worker.start()

    def grow(self) -> None:
        if self.turns and len(self.workers) - self.lost < self.threads:
            self.hire()

    def take_turn(self, worker: "_Worker[Result]") -> bool:
        with self.lock:
            if worker.given_up or not self.turns:
                return False
            worker.turn = self.turns.popleft()
            return True

    def finished(self, count: int) -> None:
        self.left -= count
        if not self.left:
            self.lock.notify()

    def wait(self) -> list[Result]:
        # nothing else is done meanwhile: two threads at work would wait for each other's steps
        with self.lock:
            while self.left:
                self.lock.wait(min(1.0, self.patience / 4))
                self._replace_late()
        return self.results

    def _replace_late(self) -> None:
        now = time.monotonic()
        for worker in tuple(self.workers):
            if worker.given_up or worker.at < 0 or now - worker.since < self.patience:
                continue
            worker.given_up = True
            self.results[worker.at] = self.late
            self.lost += 1
            rest = range(worker.at + 1, worker.turn.stop)
            self.finished(len(worker.turn) - len(rest))
            if self.lost < _MOST_LOST:
                self.turns.appendleft(rest)
                self.hire()
            else:
                self.finished(len(rest) + sum(map(len, self.turns)))
                self.turns.clear()
