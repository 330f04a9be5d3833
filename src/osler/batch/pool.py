"""Worker processes, each of which loads the models once and reads one case at a time.

Written here and not taken from ``concurrent.futures``, where one worker that dies (of a file that
exhausts the memory) fails every case that waits; here it fails the one that it was reading.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

from osler.batch import interrupt

J = TypeVar("J")
R = TypeVar("R")

_POLL = 0.1  # seconds between looks at a request to stop


class _Worker(Generic[J, R]):
    """One process and the job it has in hand."""

    def __init__(self, work: Callable[[J], R], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work, threads), daemon=True)
        self.job: J | None = None
        if hasattr(resource_tracker, "ensure_running"):
            resource_tracker.ensure_running()  # it would undo the mask if start() had to start it
        with interrupt.deferred():
            self.process.start()
        theirs.close()

    def give(self, job: J) -> None:
        self.job = job
        with contextlib.suppress(OSError):  # it died between two jobs; take() says so
            self.connection.send(job)

    def take(self) -> R | None:
        """The result of the job in hand, or None where the process ended without one."""
        try:
            result: R = self.connection.recv()
        except (EOFError, OSError):
            return None
        return result

    def end(self, *, kill: bool = False) -> int | None:
        """Let the process end (or make it) and give its exit code."""
        self.connection.close()
        if kill:
            self.process.terminate()
        self.process.join()
        return self.process.exitcode


def _serve(connection: Connection, work: Callable[[J], R], threads: int) -> None:
    """Body of a worker: results for jobs, until the parent hangs up."""
    interrupt.ignore()
    limit_threads(threads)
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(work(job))


def limit_threads(threads: int) -> None:
    """Let the numeric libraries of this process use so many threads; 0 leaves them alone."""
    if threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        os.environ.setdefault("OSLER_THREADS", str(threads))


def share(workers: int) -> int:
    """Threads for each of so many processes, so that together they fill the processor once."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, cores // workers)


def each(
    jobs: Iterator[J],
    work: Callable[[J], R],
    died: Callable[[J, int | None], R],
    *,
    workers: int,
    threads: int = 0,
    stop: interrupt.Stop,
) -> Iterator[R]:
    """Results of ``work`` for ``jobs``, as they come.

    Args:
        jobs: taken one at a time, when a worker is free.
        work: a picklable function; it must not raise.
        died: gives the result for a job whose process ended, from its exit code.
        workers: the number of processes.
        threads: threads a process, 0 for the libraries' own choice.
        stop: once set, no further job is started; those in hand are finished.
    """
    crew: list[_Worker[J, R]] = []
    finished = False
    try:
        while True:
            crew = [w for w in crew if w.job is not None or w.process.is_alive()]
            idle = [w for w in crew if w.job is None]
            while not (finished or stop) and (idle or len(crew) < workers):
                job = next(jobs, None)
                if job is None:
                    finished = True
                    break
                if not idle:
                    crew.append(_Worker(work, threads))
                    idle.append(crew[-1])
                idle.pop().give(job)
            busy = {w.connection: w for w in crew if w.job is not None}
            if not busy:
                return
            for connection in wait(list(busy), timeout=_POLL):
                worker = busy[connection]  # type: ignore[index]
                job, worker.job = worker.job, None
                assert job is not None
                result = worker.take()
                if result is None:
                    crew.remove(worker)
                    result = died(job, worker.end())
                yield result
    except BaseException:
        for worker in crew:
            worker.end(kill=True)
        crew = []
        raise
    finally:
        for worker in crew:
            worker.end()
