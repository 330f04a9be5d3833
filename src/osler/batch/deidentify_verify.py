"""Look through a folder of cleaned copies, without their originals, for what is left of anybody."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from osler.batch import interrupt, lock, pool
from osler.batch.deidentify import REPORT, STATE
from osler.errors import InputError
from osler.io.deidentification.options import Options
from osler.terminal import counted

__all__ = ["Verified", "run"]


@dataclass(slots=True)
class Verified:
    """What came of looking.

    Attributes:
        looked: how many files were looked through.
        found: file, below the folder, to kinds of what it still tells.
        left: files that were not looked at, as the user asked to stop.
        signal: the signal that ended it early, or 0.
    """

    looked: int = 0
    found: dict[str, list[str]] = field(default_factory=dict)
    left: int = 0
    signal: int = 0

    @property
    def clean(self) -> bool:
        """Whether all was looked at and nothing found."""
        return not (self.found or self.left)

    def sentence(self) -> str:
        """The outcome in one sentence."""
        if self.left:
            return f"interrupted, {counted(self.left, 'file')} not looked at"
        if not self.found:
            return f"{counted(self.looked, 'file')} looked through, nothing found"
        return (
            f"{counted(self.looked, 'file')} looked through, something found in {len(self.found)}"
        )


@dataclass(frozen=True, slots=True)
class _Look:
    """The work on one file, as another process can be given it."""

    folder: Path
    options: Options

    def __call__(self, path: Path) -> tuple[Path, list[str]]:
        from osler.io.deidentification import unaided

        return path, unaided.left(path, path.relative_to(self.folder).as_posix(), self.options)


def run(
    folder: str | Path,
    *,
    options: Options | None = None,
    jobs: int = 1,
    started: Callable[[int], None] | None = None,
    told: Callable[[Path], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> Verified:
    """Look through every file below a folder; none is changed.

    Args:
        folder: with copies; where it has the report of their run, its options count.
        options: what was to be kept, where there is no report.
        jobs: processes that look at the same time.
        started: called with the number of files before the first is looked at.
        told: called with each file that was looked at.
        stopping: called when the user asks to stop.

    Raises:
        InputError: there is no file to look at.
        MissingExtraError: what reads text in pixels is not installed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder; name the folder of the copies")
    paths = list(_files(folder))
    if not paths:
        raise InputError(f"'{folder}' holds no copies to look through")
    options = _stated(folder) or options or Options()
    if options.pixels != "rules":
        from osler.io.deidentification import text_boxes

        text_boxes.require()
    if started:
        started(len(paths))
    result = Verified()
    with interrupt.listen(stopping) as stop:
        for path, found in _looks(paths, _Look(folder, options), jobs, stop):
            result.looked += 1
            if found:
                result.found[path.relative_to(folder).as_posix()] = found
            if told:
                told(path)
        result.signal = stop.signal
    result.left = len(paths) - result.looked
    return result


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if Path(place) == folder:
            folders[:] = [f for f in folders if f not in (STATE, REPORT)]
        folders.sort()
        yield from (Path(place, name) for name in sorted(names) if name != lock.NAME)


def _stated(folder: Path) -> Options | None:
    """The options of the run that made the copies, by its report."""
    try:
        told = json.loads((folder / REPORT / "report.json").read_text("utf-8"))["options"]
        return Options(**{f.name: told[f.name] for f in fields(Options)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _looks(
    paths: list[Path], work: _Look, jobs: int, stop: interrupt.Stop
) -> Iterator[tuple[Path, list[str]]]:
    if jobs <= 1 or len(paths) <= 1:
        for path in paths:
            yield work(path)
            if stop:
                return
        return
    workers = min(jobs, len(paths))
    yield from pool.each(
        iter(paths),
        work,
        lambda path, _: (path, ["a file that could not be checked"]),
        workers=workers,
        threads=pool.share(workers),
        stop=stop,
    )
