"""Ctrl-C, and a scheduler's polite request to end, taken when the weights are whole."""

import os
import signal
import threading
from types import FrameType
from typing import Any

_WORD = b"\nstopping after this step, with a checkpoint; again to stop at once without\n"


class Interruption:
    """While it lasts, SIGINT and SIGTERM wait for the end of a step.

    A second signal does not wait, and neither does one that comes while ``at_once`` is set. In
    threads other than the main one, and for signals that are ignored (``nohup``), nothing changes.
    """

    def __init__(self) -> None:
        self.heard: int | None = None
        self.at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        again = self.heard is not None
        self.heard = number
        if again or self.at_once:
            self.leave()
        if os.isatty(2):
            os.write(2, _WORD)

    def leave(self) -> None:
        """Do what was asked.

        Raises:
            KeyboardInterrupt: after Ctrl-C, and where another process was told to stop.
            SystemExit: after SIGTERM, with the status that a shell gives for it.
        """
        if self.heard == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt
