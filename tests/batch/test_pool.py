"""Worker processes: real ones, that finish, wait and die."""

import os
import signal
import time

import pytest

from osler.batch import interrupt, pool


def square(number: int) -> int:
    return number * number


def mortal(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def threads(_: int) -> str:
    return os.environ["OSLER_THREADS"]


def slow(number: int) -> int:
    time.sleep(0.3)
    return number


def never(job: int, code: int | None) -> int:
    raise AssertionError(f"{job} died with {code}")


def test_every_job_has_a_result():
    stop = interrupt.Stop()
    got = list(pool.each(iter(range(7)), square, never, workers=2, stop=stop))
    assert sorted(got) == [0, 1, 4, 9, 16, 25, 36]


def test_a_worker_that_dies_fails_its_own_job_only():
    stop = interrupt.Stop()
    died: list[tuple[int, int | None]] = []

    def note(job: int, code: int | None) -> int:
        died.append((job, code))
        return -1

    got = list(pool.each(iter(range(5)), mortal, note, workers=2, stop=stop))
    assert sorted(got) == [-1, 0, 1, 3, 4]
    assert died == [(2, -signal.SIGKILL)]


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.delenv("OSLER_THREADS", raising=False)
    stop = interrupt.Stop()
    assert list(pool.each(iter([0]), threads, never, workers=1, threads=3, stop=stop)) == ["3"]


def test_a_request_to_stop_finishes_what_is_in_hand():
    stop = interrupt.Stop()
    got = []
    for result in pool.each(iter(range(20)), slow, never, workers=2, stop=stop):
        got.append(result)
        stop.signal = signal.SIGINT
    assert 1 <= len(got) <= 3


def test_leaving_early_ends_the_workers():
    stop = interrupt.Stop()
    results = pool.each(iter(range(20)), slow, never, workers=2, stop=stop)
    next(results)
    results.close()
    with pytest.raises(StopIteration):
        next(results)
