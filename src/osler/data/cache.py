"""Arrays that take long to make, kept on disk for every process that wants them.

An entry is named by the digest of all that made it: the function and its version, its options, and
the content of its inputs. So nothing has to be thrown away when a file changes: it has another
name, and what is not asked for any more is the first to go when the folder is full.

Processes and threads may share a folder. One makes an entry and the others wait for it; a name
appears when its file is complete; a file that the disk has damaged is made again.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.data.digest import location_digest
from osler.data.locations import Location
from osler.errors import OutputError

Arrays = dict[str, NDArray[Any]]

_ENDING: Final = ".npz"
_STALE: Final = 3600  # seconds after which an unfinished file has nobody who will finish it
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class Cache:
    """A folder of made arrays.

    Args:
        folder: where the entries lie; made where it does not exist.
        limit: bytes that all entries may take; those not used for longest go first.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path, *, limit: int = 20 << 30) -> None:
        self.folder = folder
        self.limit = limit
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"'{folder}' cannot be made: {error.strerror}") from error

    def arrays(
        self,
        make: Callable[[], Mapping[str, NDArray[Any]]],
        *,
        name: str,
        version: int,
        inputs: Iterable[Location] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Arrays:
        """What ``make`` gives, from the folder where it is there.

        Args:
            make: makes the arrays; called by one process only, however many ask.
            name: of the function, such as ``"canvases"``.
            version: of the function; raised when it would make something else.
            inputs: files and folders, whose content counts, and URLs, whose text counts.
            options: whatever else changes the result, as JSON values.

        Raises:
            InputError: an input cannot be read.
            OutputError: the folder cannot be written.
        """
        key = key_of(name=name, version=version, inputs=inputs, options=options or {})
        path = self.folder / f"{key}{_ENDING}"
        found = self._read(path)
        if found is not None:
            return found
        with _held(path.with_suffix(".lock")):
            found = self._read(path)  # another may have made it meanwhile
            if found is None:
                found = {part: np.asarray(array) for part, array in make().items()}
                self._write(path, found)
        return found

    def size(self) -> int:
        """Bytes that the entries take."""
        return sum(size for _, size, _ in self._entries())

    def _read(self, path: Path) -> Arrays | None:
        try:
            with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
                found = {}
                for name in archive.namelist():
                    with archive.open(name) as member:
                        array = np.lib.format.read_array(member, allow_pickle=False)
                    found[name.removesuffix(".npy")] = array
        except FileNotFoundError:
            return None
        except Exception:  # noqa: BLE001 - what a disk has damaged raises anything
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used now
        return found

    def _write(self, path: Path, arrays: Arrays) -> None:
        if sum(array.nbytes for array in arrays.values()) > self.limit:
            return
        part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
        try:
            with part.open("wb") as stream:
                # any name may be a key, which the function's own parameters would forbid
                _savez(stream, arrays)
            os.replace(part, path)
        except OSError as error:
            # a full disk must not end the work: the arrays are there
            if error.errno not in _FULL:
                raise OutputError(f"'{path}' cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        self._tidy()

    def _entries(self) -> list[tuple[float, int, str]]:
        """When each was last used, its size, its path."""
        found = []
        with os.scandir(self.folder) as listed:
            for entry in listed:
                with contextlib.suppress(FileNotFoundError):  # another process removed it
                    state = entry.stat()
                    if entry.name.endswith(_ENDING):
                        found.append((state.st_mtime, state.st_size, entry.path))
                    elif entry.name.endswith(".part") and state.st_mtime < time.time() - _STALE:
                        os.unlink(entry.path)
        return found

    def _tidy(self) -> None:
        """Remove what was not used for longest, until a tenth of the limit is free."""
        entries = sorted(self._entries())
        taken = sum(size for _, size, _ in entries)
        if taken <= self.limit:
            return
        for _, size, path in entries:
            if taken <= 0.9 * self.limit:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            taken -= size


def key_of(
    *, name: str, version: int, inputs: Iterable[Location], options: Mapping[str, Any]
) -> str:
    """The digest of all that makes an entry, 64 hexadecimal digits.

    Raises:
        InputError: an input cannot be read.
    """
    made = [name, version, options, [location_digest(one) for one in inputs]]
    text = json.dumps(made, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _savez(stream: IO[bytes], arrays: Arrays) -> None:
    with zipfile.ZipFile(stream, "w", allowZip64=True) as archive:
        for part, array in arrays.items():
            with archive.open(f"{part}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a lock as long as the block runs; wait for it where another holds it.

    The lock is the operating system's and ends with the process; the file is removed while it is
    held, so who gets a removed one asks again.
    """
    while True:
        file = path.open("a+b")
        try:
            _lock(file)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
        if _current(file, path):
            break
        file.close()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        file.close()


def _current(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        while True:
            try:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                return
            except OSError as error:
                if error.errno != errno.EDEADLK:  # it gives up after ten seconds
                    raise

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
