"""Files of which only those parts are here that somebody has asked for.

A large file behind a URL becomes a file of the same length on the disk, with holes. Whoever reads
from it asks for the bytes first: ``opened`` does so by itself, ``need`` serves those who read by
path or through a map of memory. Holes are never read as zeros.
"""

import io
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

BLOCK: Final = 256 << 10
"""Bytes that are fetched at least."""

_MOST_AHEAD: Final = 32  # blocks

Fetch = Callable[[int, int], bytes]

_PARTIAL: "WeakValueDictionary[str, PartialFile]" = WeakValueDictionary()


class PartialFile:
    """A file with holes, known by its path for as long as somebody holds this.

    Args:
        path: of a new file.
        size: its length in bytes.
        fetch: gives the bytes from a start to a stop; it must give them all, or raise.
        begin: the first bytes, which are here already.
    """

    def __init__(self, path: Path, size: int, fetch: Fetch, begin: bytes = b"") -> None:
        self.path, self.size, self._fetch = path, size, fetch
        self._here = bytearray(math.ceil(size / BLOCK))
        self._lock = threading.Lock()
        self._expected, self._ahead = -1, 1
        with open(path, "wb") as stream:
            stream.write(begin)
            stream.truncate(size)
        known = len(self._here) if len(begin) >= size else len(begin) // BLOCK
        self._here[:known] = b"\1" * known
        _PARTIAL[os.fspath(path)] = self

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return all(self._here)

    def need(self, start: int = 0, stop: int | None = None) -> None:
        """Have these bytes here.

        Raises:
            InputError: they cannot be had.
        """
        end = self.size if stop is None else min(stop, self.size)
        if start >= end:
            return
        first, last = start // BLOCK, math.ceil(end / BLOCK)
        with self._lock:
            missing = [i for i in range(first, last) if not self._here[i]]
            while missing:
                run = 1
                while run < len(missing) and missing[run] == missing[0] + run:
                    run += 1
                self._get(missing[0], run)
                missing = [i for i in missing[run:] if not self._here[i]]

    def _get(self, first: int, count: int) -> None:
        """Fetch a run of blocks; somebody who reads on and on gets more each time."""
        self._ahead = min(2 * self._ahead, _MOST_AHEAD) if first == self._expected else 1
        count = min(max(count, self._ahead), len(self._here) - first)
        done = next((n for n in range(count) if self._here[first + n]), count)
        while done:  # piece by piece, so that the memory for it stays small
            some = min(done, 4 * _MOST_AHEAD)
            start, stop = first * BLOCK, min((first + some) * BLOCK, self.size)
            data = self._fetch(start, stop)
            with open(self.path, "r+b") as stream:
                stream.seek(start)
                stream.write(data)
            self._here[first : first + some] = b"\1" * some
            first, done = first + some, done - some
        self._expected = first


class PartialReader(io.FileIO):
    """The bytes of a file with holes, which are filled before they are read."""

    def __init__(self, partial: PartialFile) -> None:
        super().__init__(partial.path, "rb")
        self._partial = partial

    def readinto(self, buffer: Any, /) -> int | None:
        """Fill a buffer, fetching what is missing."""
        start = self.tell()
        self._partial.need(start, start + memoryview(buffer).nbytes)
        return super().readinto(buffer)

    def readall(self) -> bytes:
        """All that is left."""
        self._partial.need(self.tell())
        return super().readall()


def partial_of(path: str | os.PathLike[str]) -> PartialFile | None:
    """The file with holes at a path, or None."""
    return _PARTIAL.get(os.fspath(path)) if _PARTIAL else None


def need(path: str | os.PathLike[str], start: int = 0, stop: int | None = None) -> None:
    """Have some bytes of a file here, all of them by default; nothing to do for a plain file.

    Raises:
        InputError: they cannot be had.
    """
    partial = partial_of(path)
    if partial is not None:
        partial.need(start, stop)
