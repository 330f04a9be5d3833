"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from osler.errors import OutputError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A hidden sibling to write into, which takes the name ``path`` when all went well.

    A reader sees the old file or the new one, never half of one; the folder is made where it does
    not exist.

    Raises:
        OutputError: the disk or the permissions do not allow it.
    """
    target = Path(path)
    # the ending is kept: writers choose by it
    part = target.with_name(f".{secrets.token_hex(6)}.part-{target.name[-80:]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _settle(part)
        os.replace(part, target)
    except OSError as error:
        raise OutputError(
            f"'{target}' cannot be written ({error.strerror or error}); choose another place, or "
            "free space on its disk"
        ) from error
    finally:
        with suppress(OSError):  # there may be no folder to remove it from
            part.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Bring a file to the disk, so that a power cut leaves no empty one."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
