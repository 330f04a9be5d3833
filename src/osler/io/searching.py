"""From what a person typed (files, folders, globs) to the files that can be read."""

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osler.errors import InputError
from osler.io.input_file import printable, unopenable
from osler.io.readers import reader_for
from osler.io.signatures import HEAD_BYTES, describe, is_dicomdir

REPORTS = ("text", "pdf", "office", "fhir", "hl7", "xml")
"""Formats that reports are written in, as ``Reader.format`` has them."""

OUTPUT_MARK = "findings.json"
"""A folder that holds a file of this name was written by us and is never read as input."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes:
        paths: the files to read, in natural order (2 before 10), each once.
        skipped: files and folders that were passed over, each with the reason.
    """

    paths: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def find(inputs: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files to read: see ``find_all``, which also says what was skipped.

    Raises:
        InputError: an input does not exist or cannot be listed, or nothing was found.
    """
    return find_all(inputs).paths


def find_all(
    inputs: Sequence[str | os.PathLike[str]], *, formats: Sequence[str] | None = None
) -> Found:
    """Search files, folders (recursively) and globs (``**`` goes down) for what can be read.

    A file that is named is always returned, so that a batch can say why it fails. Files in a
    folder or matched by a glob are returned where their first bytes are of a format that is read.
    Hidden files and folders, and folders that we wrote, are skipped.

    Args:
        inputs: what was typed.
        formats: of the files that a search is for; None takes every format of images.

    Raises:
        InputError: an input does not exist or cannot be listed, or nothing was found.
    """
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    search = _Search(formats)
    for given in inputs:
        search.add(given)
    if not search.paths:
        wanted = "JPEG, PNG, TIFF, BMP or DICOM image" if formats is None else "report"
        raise InputError(_nothing(inputs, search.skipped, wanted))
    paths = sorted(search.paths.values(), key=natural_key)
    skipped = sorted(search.skipped.items(), key=lambda item: natural_key(item[0]))
    return Found(paths, skipped)


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key by which ``eye2.jpg`` comes before ``eye10.jpg``, in any folder."""
    pieces = re.split(r"([0-9]+)", str(path).casefold())
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in pieces if p], str(path)


class _Search:
    """Collects files, each once by its real path, and what was skipped."""

    def __init__(self, formats: Sequence[str] | None = None) -> None:
        self.formats = formats
        self.paths: dict[str, Path] = {}
        self.skipped: dict[Path, str] = {}
        self._folders: set[tuple[int, int]] = set()

    def add(self, given: str | os.PathLike[str]) -> None:
        path = Path(given)
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError) as error:
            if glob.has_magic(os.fspath(given)):
                self._add_glob(os.fspath(given))
                return
            raise unopenable(printable(given), error) from None
        if stat.S_ISDIR(mode):
            self._add_folder(path, named=True)
        else:
            self._keep(path)

    def _add_glob(self, pattern: str) -> None:
        matches = sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise InputError(f"no file matches '{printable(pattern)}'; check the pattern")
        base = _fixed_part(pattern)
        marked: dict[Path, bool] = {}
        for match in map(Path, matches):
            if _is_under_output(match, base, marked):
                self.skipped[match] = "lies in an output folder"
            elif match.is_dir():
                # "**" matches the folders on the way as well as all that is in them
                if "**" not in pattern:
                    self._add_folder(match, named=False)
            else:
                self._add_if_readable(match)

    def _add_folder(self, folder: Path, *, named: bool) -> None:
        try:
            entries = list(_entries(folder))
            status = os.stat(folder)
        except OSError as error:
            if named:
                raise _unlistable(folder, error) from None
            self.skipped[folder] = f"cannot be listed ({error.strerror})"
            return
        if (status.st_dev, status.st_ino) in self._folders:
            return  # a link that leads back, or a folder that was given twice
        self._folders.add((status.st_dev, status.st_ino))
        if any(entry.name == OUTPUT_MARK for entry in entries):
            self.skipped[folder] = f"an output folder (it holds {OUTPUT_MARK})"
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                self._add_folder(folder / entry.name, named=False)
            else:
                self._add_if_readable(folder / entry.name)

    def _add_if_readable(self, path: Path) -> None:
        reason = _why_not(path, self.formats)
        if reason:
            self.skipped[path] = reason
        else:
            self._keep(path)

    def _keep(self, path: Path) -> None:
        self.paths.setdefault(os.path.realpath(path), path)
        self.skipped.pop(path, None)


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as listing:
        yield from listing


def _why_not(path: Path, formats: Sequence[str] | None) -> str:
    """Why a file is passed over, judged by its first bytes; empty where it is read."""
    try:
        # a pipe would block and a device would not end
        if not stat.S_ISREG(os.stat(path).st_mode):
            return "no regular file"
        with open(path, "rb", buffering=0) as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    if not head:
        return "empty"
    if is_dicomdir(head):
        return "a DICOMDIR, an index without images"
    if formats is None:
        reader = reader_for(head)
        return "" if reader and reader.kind == "image" else describe(head)
    reader = reader_for(head, path.suffix[1:].lower())
    if reader is None:
        return describe(head)
    return "" if reader.format in formats else f"{reader.title or reader.format}, no report"


def _fixed_part(pattern: str) -> Path:
    """The folder before the first part of a pattern that has a wildcard."""
    fixed: list[str] = []
    for part in Path(pattern).parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _is_under_output(path: Path, base: Path, known: dict[Path, bool]) -> bool:
    """Whether a folder from ``base`` down to the path holds our mark."""
    folder = path if path.is_dir() else path.parent
    if folder not in known:
        here = (folder / OUTPUT_MARK).exists()
        above = folder not in (base, folder.parent) and _is_under_output(folder.parent, base, known)
        known[folder] = here or above
    return known[folder]


def _unlistable(folder: Path, error: OSError) -> InputError:
    name = printable(folder)
    if isinstance(error, PermissionError):
        return InputError(f"folder '{name}' may not be listed by this user; grant read permission")
    return InputError(f"folder '{name}' cannot be listed ({error.strerror}); check the disk")


def _nothing(
    inputs: Sequence[str | os.PathLike[str]], skipped: dict[Path, str], wanted: str
) -> str:
    if not inputs:
        return "no input was given; name files, folders or globs"
    named = ", ".join(f"'{printable(i)}'" for i in list(inputs)[:3])
    more = f" and {len(inputs) - 3} more" if len(inputs) > 3 else ""
    message = f"found no {wanted} in {named}{more}"
    if skipped:
        path, reason = next(iter(skipped.items()))
        message += f"; {len(skipped)} skipped, such as '{printable(path)}': {reason}"
    return message + "; name a file itself to learn more"
