"""A private folder for what was fetched; it goes when nobody holds what was read from it."""

import hashlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from osler.errors import InputError, OutputError, TooLargeError
from osler.record import Case, Deferred, Finding, Image, Item, Mask
from osler.record.item import Region


class Fetched:
    """A folder that its user alone may read, with a most of bytes.

    Args:
        shown: what it holds, for messages: a URL without its query.
        max_bytes: most bytes of all files together.
    """

    def __init__(self, shown: str, max_bytes: int) -> None:
        self.shown, self._left, self._max = shown, max_bytes, max_bytes
        self._lock = threading.Lock()
        self._digests: dict[str, str] = {}
        try:
            self.path = Path(tempfile.mkdtemp(prefix="osler-"))  # of mode 0700
        except OSError as error:
            raise _full(error) from None
        weakref.finalize(self, _remove, str(self.path), os.getpid())

    def write(self, name: str, blocks: Iterable[bytes]) -> Path:
        """Write a file, all or nothing of it.

        Raises:
            TooLargeError: the folder would hold more than its most.
            OutputError: the disk is full or fails.
        """
        path, digest = self.path / name, hashlib.sha256()
        part = path.with_name(f"{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as stream:
                for block in blocks:
                    self._take(len(block))
                    digest.update(block)
                    stream.write(block)
            os.replace(part, path)
            self._digests[str(path)] = digest.hexdigest()
        except OSError as error:
            raise _full(error) from None
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()  # ends a request that is under way
        return path

    def drop(self, path: Path) -> None:
        """Remove a file that is needed no more."""
        size = path.stat().st_size
        path.unlink()
        self._take(-size)

    def _take(self, count: int) -> None:
        with self._lock:
            self._left -= count
            if self._left < 0:
                raise TooLargeError(
                    f"'{self.shown}' has more than {self._max:,} bytes; ask for less, or raise "
                    "max_bytes"
                )

    @contextmanager
    def named(self) -> Iterator[None]:
        """Within, errors name the URL and not the folder."""
        try:
            yield
        except InputError as error:
            words = self._said(str(error))
            if words == str(error):
                raise
            raise type(error)(words) from None

    def _said(self, words: str) -> str:
        for path in self._digests:
            words = words.replace(path, self._url(path))
        return words.replace(str(self.path), self.shown.rpartition("/")[0])

    def keep(self, case: Case) -> Case:
        """A case whose deferred pixels hold the folder, and whose items name the URL."""
        for item in case.items.values():
            self.keep_item(item)
        for finding in case.findings.values():
            self.keep_finding(finding)
        case.left_out = [(self._url(path), self._said(words)) for path, words in case.left_out]
        return case

    def keep_finding(self, finding: Finding) -> None:
        """As ``keep``, for one finding: masks may be deferred."""
        if isinstance(finding, Mask):
            for name in ("mask", "probabilities"):
                held = finding.__dict__[f"_{name}"]
                if isinstance(held, Deferred):
                    setattr(finding, name, replace(held, load=_Held(self, held.load)))

    def keep_item(self, item: Item) -> None:
        """As ``keep``, for one item."""
        if isinstance(item, Image):
            held = item.__dict__["_held"]
            if isinstance(held, Deferred):
                region = None if held.region is None else _Held(self, held.region)
                item.array = replace(held, load=_Held(self, held.load), region=region)
        origin = item.origin
        if origin is not None:
            files = tuple(self._url(path) for path in origin.files)
            digest = origin.sha256 or ("" if files else self._digests.get(origin.path, ""))
            item.origin = replace(origin, path=self._url(origin.path), files=files, sha256=digest)

    def _url(self, path: str) -> str:
        inside = Path(path)
        if not inside.is_relative_to(self.path):
            return path
        if not self.shown.endswith("/"):
            return self.shown
        return self.shown + inside.relative_to(self.path).as_posix()


@dataclass(frozen=True)
class _Held:
    """A function that reads from the folder, and so keeps it."""

    folder: Fetched
    read: Callable[..., NDArray[Any]]

    def __call__(self, *region: Region) -> NDArray[Any]:
        with self.folder.named():
            return self.read(*region)


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a child that was forked must not take it from its parent
        shutil.rmtree(path, ignore_errors=True)


def _full(error: OSError) -> OutputError:
    return OutputError(
        f"the folder of temporary files cannot be written ({error.strerror}); set TMPDIR to one "
        "with more room"
    )
