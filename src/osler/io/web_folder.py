"""A private folder for what was fetched; it goes when nobody holds what was read from it."""

import hashlib
import os
import pickle
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

from osler.errors import InputError, OutputError, TooLargeError, UnreadableError
from osler.io.partial_file import Fetch, PartialFile
from osler.record import Case, Deferred, Finding, Image, Item, Mask
from osler.record.item import Region

_LONGEST = 1 << 42


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
        self._partial: list[PartialFile] = []
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

    def partial(self, name: str, size: int, fetch: Fetch, begin: bytes) -> Path:
        """Make a file whose parts are fetched when somebody asks for them.

        Args:
            name: of the file.
            size: its length in bytes.
            fetch: gives the bytes from a start to a stop.
            begin: the first bytes, which are here already.

        Raises:
            TooLargeError: the folder would hold more than its most.
            OutputError: the disk is full or fails, or takes no file of that length.
        """
        path = self.path / name
        if size > _LONGEST:
            raise TooLargeError(f"'{self.shown}' states a length of {size:,} bytes; it is no file")
        self._take(len(begin))
        take = weakref.WeakMethod(self._take)  # else the folder would hold itself, and stay

        def counted(start: int, stop: int) -> bytes:
            count = take()
            if count is not None:
                count(stop - start)
            return fetch(start, stop)

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.append(PartialFile(path, size, counted, begin))
        except (OSError, OverflowError, MemoryError) as error:
            raise _full(error) from None
        self._digests[str(path)] = ""
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

    def keep(self, case: Case, again: "Again | None" = None) -> Case:
        """A case whose deferred pixels hold the folder, and whose items name the URL.

        Args:
            case: read from the folder.
            again: where another process finds the same, item by item.
        """
        for at, item in enumerate(case.items.values()):
            self.keep_item(item, again, at)
        for finding in case.findings.values():
            self.keep_finding(finding)
        case.left_out = self.told(case.left_out)
        return case

    def told(self, files: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Files and reasons, by the URL and not the folder."""
        return [(self._url(path), self._said(words)) for path, words in files]

    def keep_finding(self, finding: Finding) -> None:
        """As ``keep``, for one finding: masks may be deferred."""
        if isinstance(finding, Mask):
            for name in ("mask", "probabilities"):
                held = finding.__dict__[f"_{name}"]
                if isinstance(held, Deferred):
                    setattr(finding, name, replace(held, load=_Held(self, held.load)))

    def keep_item(self, item: Item, again: "Again | None" = None, at: int = 0) -> None:
        """As ``keep``, for one item, the ``at``-th of those that are found again."""
        origin = item.origin
        if isinstance(item, Image):
            held = item.__dict__["_held"]
            if isinstance(held, Deferred):
                digest = self._digests.get(origin.path, "") if origin else ""
                there = None if again is None else Found(again, at, digest)
                region = None if held.region is None else _Held(self, held.region, there, True)
                item.array = replace(held, load=_Held(self, held.load, there), region=region)
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


class Again:
    """Where another process finds what was fetched: the URL and how it is asked.

    Pickled, it holds the scheme, host and path, and the options, but no user, password or token:
    the other process takes those from its environment (see ``Access.for_host``).

    Args:
        load: opens it again; called without arguments, and pickled.
    """

    def __init__(self, load: Callable[[], Case]) -> None:
        self._load = load
        self._case: Case | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Again, (self._load,)

    def image(self, at: int) -> Image:
        """The ``at``-th item, opened once."""
        with self._lock:
            if self._case is None:
                self._case = self._load()
            items = list(self._case.items.values())
        found = items[at] if at < len(items) else None
        if not isinstance(found, Image):
            raise UnreadableError("a URL gives other items than it did; load it again")
        return found


@dataclass(frozen=True)
class Found:
    """Pixels that another process fetches for itself.

    Attributes:
        again: where they are.
        at: number of the item.
        digest: hexadecimal SHA-256 that the file had; empty where it was not fetched as a whole.
    """

    again: Again
    at: int
    digest: str

    def load(self) -> NDArray[Any]:
        """All pixels.

        Raises:
            InputError: they cannot be had any more, or are others.
        """
        return self._image().array

    def region(self, slices: Region) -> NDArray[Any]:
        """A part; as ``load``."""
        return self._image().region(*slices)

    def _image(self) -> Image:
        image = self.again.image(self.at)
        now = image.origin.sha256 if image.origin else ""
        if self.digest and now != self.digest:
            raise UnreadableError(
                f"'{image.origin.path if image.origin else ''}' has changed since it was opened; "
                "load it again"
            )
        return image


@dataclass(frozen=True)
class _Held:
    """A function that reads from the folder, and so keeps it."""

    folder: Fetched
    read: Callable[..., NDArray[Any]]
    there: Found | None = None
    part: bool = False

    def __call__(self, *region: Region) -> NDArray[Any]:
        with self.folder.named():
            return self.read(*region)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.there is None:
            raise pickle.PicklingError("what was fetched lies in a folder of this process")
        return getattr, (self.there, "region" if self.part else "load")


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:  # a child that was forked must not take it from its parent
        shutil.rmtree(path, ignore_errors=True)


def _full(error: OSError | OverflowError | MemoryError) -> OutputError:
    why = getattr(error, "strerror", None) or type(error).__name__
    return OutputError(
        f"the folder of temporary files cannot be written ({why}); set TMPDIR to one with more room"
    )
