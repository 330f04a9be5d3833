"""What was done is kept, however a run ends."""

import os
import signal
from pathlib import Path

import pytest

from osler.batch import interrupt
from osler.batch.collecting import collect, one_by_one
from osler.batch.job import Outcome

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def outcome(number: int, **more) -> Outcome:
    return Outcome(Path(str(number)), str(number), "read", row={"n": number}, **more)


def names(batch) -> list[str]:
    return [one.case_id for one in batch.outcomes]


@pytest.mark.parametrize(("signals", "kept"), [(0, "01234"), (1, "012"), (2, "01")])
def test_one_signal_ends_it_after_the_case_in_hand_and_two_at_once(signals, kept):
    told = []

    def work(number: int) -> Outcome:
        for _ in range(signals if number == 2 else 0):
            os.kill(os.getpid(), signal.SIGINT)
        return outcome(number)

    with interrupt.listen() as stop:
        batch = collect(
            one_by_one(range(5), work, stop), Path("out"), total=5, stop=stop, told=told.append
        )
        os.kill(os.getpid(), signal.SIGINT)  # while the table is written: too late to interrupt
    assert "".join(names(batch)) == kept
    assert told == batch.outcomes
    assert batch.left == 5 - len(kept)
    assert batch.signal == (signal.SIGINT if signals else 0)
    assert not batch.error


def test_a_full_disk_ends_it_and_is_said(tmp_path):
    closed = []

    def outcomes():
        try:
            yield outcome(0)
            yield outcome(1, disk_full=True)
            yield outcome(2)
        finally:
            closed.append(True)

    with interrupt.listen() as stop:
        batch = collect(outcomes(), tmp_path, total=3, stop=stop)
    assert names(batch) == ["0", "1"]
    assert batch.left == 1
    assert batch.error == f"no space is left for '{tmp_path}'; the run ended early"
    assert closed  # workers were told, before the table is written
