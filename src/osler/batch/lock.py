"""One run at a time in one output folder.

The lock is the operating system's, on the open file: it ends with the process that holds it, so
a run that was killed leaves nothing behind that a person must remove. The number of the process
stands in the file only for the message.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from osler.errors import OutputError

NAME = ".osler.lock"

_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process as long as the block runs.

    Args:
        folder: an output folder that exists.

    Raises:
        OutputError: another run holds it, or it cannot be written.
    """
    file = _acquire(folder)
    try:
        yield
    finally:
        # removed while still held: see the check of the inode in _acquire. A file system that
        # went away must not hide the outcome of the run.
        with contextlib.suppress(OSError):
            (folder / NAME).unlink(missing_ok=True)
        file.close()


def _acquire(folder: Path) -> IO[str]:
    path = folder / NAME
    while True:
        try:
            file = path.open("a+", encoding="ascii")
        except OSError as error:
            raise OutputError(
                f"'{folder}' cannot be written ({error.strerror}); choose another --out"
            ) from error
        try:
            _lock(file)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                with file:
                    raise _refusal(folder, file, error) from error
        if _is_current(file, path):
            with contextlib.suppress(OSError):  # a full disk: the number is only for the message
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            return file
        file.close()  # the holder before us removed it between open and lock


def _is_current(file: IO[str], path: Path) -> bool:
    """Whether the open file is still the one that lies at ``path``."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _refusal(folder: Path, file: IO[str], error: OSError) -> OutputError:
    if error.errno not in _BUSY:
        return OutputError(f"'{folder}' cannot be locked ({error.strerror}); choose another --out")
    file.seek(0)
    pid = file.read(20).strip()
    who = f"process {pid}" if pid.isdigit() else "another process"
    return OutputError(
        f"'{folder}' is in use by another run ({who}); wait until it ends, or choose another --out"
    )


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
