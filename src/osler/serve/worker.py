"""Calls in a process of their own, which is ended where one takes too long.

A thread cannot be stopped while it decodes a file or runs a network; a process can. It holds the
cases that were opened, and another is started at the next call after it was ended.
"""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock
from typing import Any, Final

from osler.errors import InputError, OslerError
from osler.language.facts import bounded
from osler.serve.calls import Calls

_START: Final = 60.0  # seconds that a process may take to be ready, apart from the call's own


@dataclass(slots=True)
class Worker:
    """Runs calls, one at a time.

    Attributes:
        make: gives the calls; run in the other process, so it is a function of a module, or a
            ``functools.partial`` of one.
        seconds: that a call may take.
    """

    make: Callable[[], Calls]
    seconds: float
    _process: BaseProcess | None = field(default=None, init=False)
    _line: Connection | None = field(default=None, init=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def do(self, name: str, arguments: Mapping[str, Any]) -> str | bytes:
        """One call.

        Raises:
            InputError: it cannot be done, took too long, or failed; the sentence says which.
        """
        with self._lock:
            line = self._ready()
            line.send((name, dict(arguments)))
            if not line.poll(self.seconds):
                self._end()
                raise InputError(
                    f"the call took more than {self.seconds:g} seconds and was ended; cases are "
                    "read again by their paths"
                )
            try:
                kind, said = line.recv()
            except EOFError:
                self._end()
                raise InputError(
                    "the call ended its process; it may need too much memory"
                ) from None
        if kind == "error":
            raise InputError(said)
        result: str | bytes = said
        return result

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def _ready(self) -> Connection:
        if self._line is not None and self._process is not None and self._process.is_alive():
            return self._line
        self._end()
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.make), daemon=True)
        self._process.start()
        theirs.close()
        try:
            started = self._line.poll(_START) and self._line.recv() == "ready"
        except EOFError:
            started = False
        if not started:
            self._end()
            raise InputError("the process that reads cases did not start")
        return self._line

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
            self._process = None
        if self._line is not None:
            self._line.close()
            self._line = None


def _serve(line: Connection, make: Callable[[], Calls]) -> None:
    """Answer calls until nobody is there to ask."""
    os.dup2(2, 1)  # what the server says to the agent is not ours to write
    calls = make()
    line.send("ready")
    while True:
        try:
            name, arguments = line.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            line.send(("said", calls.do(name, arguments)))
        except OslerError as error:
            line.send(("error", bounded(str(error))))
        except Exception as error:  # noqa: BLE001 - its words may quote the record
            line.send(("error", f"it failed ({type(error).__name__})"))
