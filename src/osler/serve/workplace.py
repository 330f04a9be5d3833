"""The files that another program may have read, and the one folder that may be written into.

An agent names paths. A path is resolved, links and all, and must then lie under one of the folders
that the user named; what lies elsewhere and what is not there are answered alike, so that nothing
is learnt of the rest of the disk.
"""

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Final

from osler.errors import InputError, OslerError, OutputError

if TYPE_CHECKING:
    from osler.record import Case

MOST_BYTES: Final = 4 << 30
"""Largest file that is opened."""

MOST_FILES: Final = 5000
"""Most files and folders of a folder that is opened as one case."""

MOST_CASES: Final = 4
"""Most cases that are held in memory; the one that was used longest ago is forgotten."""

MOST_KNOWN: Final = 10_000
_MOST_PATH: Final = 4096
_PHOTOGRAPHS: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_HANDLE: Final = re.compile(r"case-[0-9a-f]{12}")


@dataclass(slots=True, eq=False)
class Workplace:
    """What another program may do on this machine.

    Attributes:
        roots: folders that may be read, with all that is in them.
        out: the folder that may be written into; None allows no writing.
        identity: answers may tell who the patient is.
        language: of the sentences about a case.
    """

    roots: Sequence[Path]
    out: Path | None = None
    identity: bool = False
    language: str = "en"
    lock: RLock = field(default_factory=RLock, repr=False)
    _paths: dict[str, Path] = field(default_factory=dict, init=False, repr=False)
    _cases: "OrderedDict[str, Case]" = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        resolved = []
        for root in self.roots:
            try:
                folder = Path(root).resolve(strict=True)
            except OSError as error:
                raise InputError(f"--root '{root}' is not there") from error
            if not folder.is_dir():
                raise InputError(f"--root '{root}' is no folder")
            resolved.append(folder)
        if not resolved:
            raise InputError("name a folder that may be read with --root")
        self.roots = tuple(resolved)

    def allowed(self, name: str) -> Path:
        """The file or folder of a path, if it may be read.

        Args:
            name: absolute, or from one of the roots.

        Raises:
            InputError: it lies outside of them, or there is nothing, or no plain file or folder.
        """
        if not name or len(name) > _MOST_PATH or "\0" in name or "://" in name:
            raise InputError("that is no path of a file or folder")
        for root in self.roots:
            try:
                path = (root / name).resolve(strict=True)
            except (OSError, RuntimeError, ValueError):
                continue
            if self._inside(path) and (path.is_file() or path.is_dir()):
                self._look_round(path)
                return path
        raise InputError("nothing lies at that path in the folders that may be read")

    def _inside(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self.roots)

    def _look_round(self, path: Path) -> None:
        """Refuse what is too large, and links out of the folders that a reader might follow."""
        if path.is_dir():
            self._look_over(_walked(path), most=MOST_FILES)
            return
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"the file is larger than {MOST_BYTES >> 30} GB")
        if _stands_alone(path):
            return
        with os.scandir(path.parent) as entries:
            self._look_over(entries)  # a header may name other files of its folder

    def _look_over(self, entries: Iterable["os.DirEntry[str]"], *, most: int | None = None) -> None:
        for number, entry in enumerate(entries):
            if most is not None and number >= most:
                raise InputError(f"the folder holds more than {most:,} files; name one case")
            if entry.is_symlink() and not self._inside(Path(entry.path).resolve()):
                raise InputError("a link in that folder leads out of what may be read")

    def known(self, name: str) -> tuple[str, Path]:
        """The handle and the path of a case, by its handle or its path.

        Raises:
            InputError: there is no such case, or it may not be read.
        """
        if _HANDLE.fullmatch(name):
            if name not in self._paths:
                raise InputError("no case of that handle was read; call 'read' with its path")
            return name, self.allowed(str(self._paths[name]))
        path = self.allowed(name)
        handle = f"case-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
        if len(self._paths) < MOST_KNOWN:
            self._paths[handle] = path
        return handle, path

    def opened(self, name: str) -> tuple[str, "Case"]:
        """A case, by its path or its handle, read where nobody has.

        Raises:
            InputError: it may not be read, or cannot be; no name of a file stands in the message
                where ``identity`` is off.
        """
        from osler.batch.case_opening import open_case

        handle, path = self.known(name)
        with self.lock:
            if handle in self._cases:
                self._cases.move_to_end(handle)
                return handle, self._cases[handle]
            try:
                case = open_case(path, language=self.language)
                self._check_origins(case)
            except OslerError as error:
                raise InputError(self._without_names(str(error), path)) from None
            if not self.identity:
                case.id = handle
            self._cases[handle] = case
            while len(self._cases) > MOST_CASES:
                self._cases.popitem(last=False)
        return handle, case

    def _check_origins(self, case: "Case") -> None:
        """What was opened on the way must lie inside too."""
        for item in case.items.values():
            origin = item.origin
            for file in (origin.path, *origin.files) if origin else ():
                if file and not self._inside(Path(file).resolve()):
                    raise InputError("the case has a part outside of what may be read")

    def _without_names(self, message: str, path: Path) -> str:
        """A message without names of files and folders, which may be those of patients."""
        if self.identity:
            return message
        names = {str(path), path.name, str(path.parent)}
        if path.is_dir():
            names |= {e.path for e in _walked(path)} | {e.name for e in _walked(path)}
        names |= {str(root) for root in self.roots}
        for name in sorted(filter(None, names), key=len, reverse=True)[:MOST_FILES]:
            message = message.replace(name, "(file)")
        return message

    def written(self, name: str) -> str:
        """Write a case's report and findings, and give the folder's name under ``out``.

        Raises:
            OutputError: nothing may be written, or it cannot be.
            InputError: as ``opened``.
        """
        import osler

        if self.out is None:
            raise OutputError("nothing may be written; start 'osler mcp' with --out DIR")
        with self.lock:
            handle, case = self.opened(name)
            named, case.id = case.id, handle
            try:
                osler.write(case, self.out)
            except InputError:
                raise InputError(
                    "that case holds findings and no pixels; read its photograph to have a report "
                    "written"
                ) from None
            except OslerError as error:
                raise OutputError("the report could not be written into --out") from error
            finally:
                case.id = named
        return handle


def _stands_alone(path: Path) -> bool:
    """Whether a file is a photograph by its first bytes, which names no other file."""
    with path.open("rb") as file:
        return file.read(8).startswith(_PHOTOGRAPHS)


def _walked(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Everything in a folder, links not followed, one more than ``MOST_FILES`` at most."""
    left, given = [folder], 0
    while left and given <= MOST_FILES:
        with os.scandir(left.pop()) as entries:
            held = [entry for entry, _ in zip(entries, range(MOST_FILES + 1 - given), strict=False)]
        given += len(held)
        yield from held
        left += [Path(one.path) for one in held if one.is_dir(follow_symlinks=False)]
