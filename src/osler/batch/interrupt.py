"""Ctrl-C in mid-batch: the first asks to stop after the cases in hand, the second stops at once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM"))


class Stop:
    """Whether, and by which signal, the run was asked to stop.

    Attributes:
        signal: the number of the first signal, or 0.
    """

    def __init__(self, told: Callable[[], None] | None = None) -> None:
        self.signal = 0
        self._told = told
        self._over = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal; the second one interrupts."""
        if self._over:
            return
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number
        if self._told:
            self._told()

    def settle(self) -> None:
        """The work is over; what is left is short, and no signal ends it any more."""
        self._over = True

    def __bool__(self) -> bool:
        return self.signal != 0


@contextmanager
def listen(told: Callable[[], None] | None = None) -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request, for as long as the block runs.

    Args:
        told: called when the request comes, to tell the user.
    """
    stop = Stop(told)
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread of a program receives signals
        return
    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deferred() -> Iterator[None]:
    """Hold SIGINT back while the block runs, so that a process started in it inherits that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """Leave Ctrl-C to the parent; called first in a worker."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
