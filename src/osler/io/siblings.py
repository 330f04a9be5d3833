"""The other files of a volume that lies in several, found beside the one that names them."""

import os
import re
from pathlib import Path

from osler.errors import InputError, UnreadableError
from osler.io.input_file import InputFile


def sibling(file: InputFile, name: str, *, missing_ok: bool = False) -> tuple[Path, int] | None:
    """A file that another names: its path and its length in bytes.

    A header may name files in its own folder and below it. A name that leads elsewhere is refused:
    whoever made the header could have a private file read into a picture.

    Args:
        file: the one that names it.
        name: as it stands in the header.
        missing_ok: give None for a file that is not there.

    Raises:
        InputError: the name leads out of the folder.
        UnreadableError: there is no such file.
    """
    folder = file.path.parent
    if "\0" in name or len(os.fsencode(name)) > 4000:
        raise UnreadableError(f"'{file.name}' names no possible file for its voxels")
    path = Path(os.path.normpath(folder / name.replace("\\", "/")))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise InputError(
            f"'{file.name}' names a file outside its folder for its voxels; put that file beside "
            "it and change the name in the header"
        )
    if not path.is_file():
        if missing_ok:
            return None
        raise UnreadableError(
            f"'{file.name}' keeps its voxels in another file, which is not beside it; put both "
            "into one folder"
        )
    return path, path.stat().st_size


def numbered(
    file: InputFile, pattern: str, first: int, last: int, step: int, *, most: int
) -> list[str]:
    """The names that a pattern such as ``"slice%03d.raw"`` gives, from first to last.

    Raises:
        UnreadableError: the pattern holds anything but one ``%d``, or gives no names or too many.
    """
    match = re.fullmatch(r"([^%]*)%(0?)(\d{0,2})d([^%]*)", pattern)
    steps = 0 if step == 0 else (last - first) // step + 1
    if match is None or not 1 <= steps <= most:
        raise UnreadableError(
            f"'{file.name}' names the files of its voxels by a pattern that is not read; use one "
            "%d, with a first, a last and a step"
        )
    before, zero, width, after = match.groups()
    return [f"{before}{n:{zero}{width}d}{after}" for n in range(first, first + steps * step, step)]
