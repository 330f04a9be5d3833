"""Decoders are quiet in the thread that decodes, and in no other."""

import logging
import threading
import warnings

import pytest

from osler.io.hushing import hushed


def _warn(word: str) -> None:
    warnings.warn(word, UserWarning, stacklevel=1)


def test_no_warning_within_and_all_of_them_after() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with hushed():
            _warn("within")
            with hushed():
                _warn("deeper")
            _warn("within again")
        _warn("after")
    assert [str(one.message) for one in seen] == ["after"]


def test_filters_added_since_do_not_come_first() -> None:
    with hushed():
        pass
    warnings.simplefilter("error")
    with hushed():
        _warn("within")
    with pytest.raises(UserWarning, match="after"):
        _warn("after")


def test_threads_that_leave_in_another_order() -> None:
    """The first in is the first out, and each hushes itself alone."""
    second_in, first_out = threading.Event(), threading.Event()
    raised: list[str] = []

    def warn(word: str) -> None:
        try:
            _warn(word)
        except UserWarning as error:
            raised.append(str(error))

    def first() -> None:
        with hushed():
            assert second_in.wait(10)
            warn("first, within")
        warn("first, after")
        first_out.set()

    def second() -> None:
        with hushed():
            second_in.set()
            assert first_out.wait(10)
            warn("second, within")
        warn("second, after")

    threads = [threading.Thread(target=work) for work in (first, second)]
    for one in threads:
        one.start()
    assert second_in.wait(10)
    warn("not hushed")
    for one in threads:
        one.join()
    assert set(raised) == {"not hushed", "first, after", "second, after"}


def test_logs_are_quiet_until_the_last_thread_has_left(caplog: pytest.LogCaptureFixture) -> None:
    parent, below = logging.getLogger("pydicom"), logging.getLogger("pydicom.pixels.utils")
    before = parent.level
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with hushed():
            inside.set()
            assert leave.wait(10)

    thread = threading.Thread(target=other)
    with hushed("pypdf"):
        thread.start()
        assert inside.wait(10)
        logging.getLogger("pypdf.generic").error("one")
    below.error("two")
    leave.set()
    thread.join()
    below.error("three")
    logging.getLogger("pypdf").error("four")
    assert caplog.messages == ["three", "four"]
    assert parent.level == before
