"""Copy a folder without anybody's identity: resumes, survives a bad file, and checks itself."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

from osler.batch import interrupt, lock, pool
from osler.batch.collecting import make_folder
from osler.errors import InputError, OutputError
from osler.io.deidentification.key import Key
from osler.io.deidentification.one import Copied, Setting, copy
from osler.io.deidentification.one import check as check_copy
from osler.io.deidentification.options import Options
from osler.terminal import counted

__all__ = ["Key", "Options", "Run", "options_of", "run"]

STATE: Final = ".osler-deidentify"
"""The folder, in the output, of a run that has not finished; it is removed at the end."""

REPORT: Final = "deidentification"
"""The folder, in the output, of the report."""

_HIDDEN: Final = frozenset(("thumbs.db", "desktop.ini"))


@dataclass(slots=True)
class Run:
    """What came of a run.

    Attributes:
        outcomes: of each file, this run's and an interrupted one's.
        skipped: how many of them an interrupted run had copied already.
        left: files that were not started.
        found: what the second pass found in copies, which it then removed.
        report: the report; None where the run was interrupted.
        signal: the signal that ended it early, or 0.
        error: why it ended early; empty where it did not.
    """

    outcomes: list[Copied] = field(default_factory=list)
    skipped: int = 0
    left: int = 0
    found: dict[str, list[str]] = field(default_factory=dict)
    report: Path | None = None
    signal: int = 0
    error: str = ""

    @property
    def clean(self) -> bool:
        """Whether every file was copied, or holds nothing but names, and nothing was found."""
        fine = all(o.status in ("copied", "left out") for o in self.outcomes)
        return fine and not (self.found or self.error or self.left)

    def sentence(self, out: Path) -> str:
        """The run in one sentence."""
        total = len(self.outcomes) + self.left
        copied = sum(o.status == "copied" for o in self.outcomes) - len(self.found)
        if self.signal:
            return f"interrupted, {self.left} of {total} not started; the same command goes on"
        named = f"; the report is {self.report}" if self.report else ""
        return f"{max(copied, 0)} of {counted(total, 'file')} copied into {out}{named}"


def options_of(dates: str, keep: Iterable[str], clean: Iterable[str], pixels: str) -> Options:
    """Options from the words of the command line."""
    kept = {name.replace("-", "_"): True for name in (*keep, *clean)}
    return Options(dates=dates, pixels=pixels, **kept)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Copy:
    """The work on one file, as another process can be given it."""

    setting: Setting

    def __call__(self, path: Path) -> Copied:
        return copy(path, self.setting)


def run(
    source: str | Path,
    out: str | Path,
    *,
    options: Options | None = None,
    key: Key | None = None,
    mapping: Path | None = None,
    jobs: int = 1,
    check: bool = True,
    started: Callable[[int], None] | None = None,
    told: Callable[[Copied], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> Run:
    """Copy every file below a folder without anybody's identity.

    Args:
        source: a folder, or one file.
        out: the folder for the copies: new, empty, or one that an interrupted run left.
        options: what is kept; the Basic Profile where None is given.
        key: what replacements are derived from; random, and forgotten at the end, where None.
        mapping: a file outside ``out`` for old and new identities, encrypted; none where None.
        jobs: processes that work at the same time.
        check: look through all copies once more at the end.
        started: called with the number of files before the first is read.
        told: called with what came of each file.
        stopping: called when the user asks to stop.

    Raises:
        InputError: there is nothing to copy, or the key is another than that of the run before.
        OutputError: the folder holds something else, or cannot be written.
        MissingExtraError: what reads text in pixels is wanted and not installed.
    """
    source, out = Path(source), Path(out)
    paths = list(_files(source, out))
    if not paths:
        raise InputError(f"'{source}' holds no file; name a folder of files, or a file")
    options = options or Options()
    if options.pixels != "rules":
        from osler.io.deidentification import text_boxes

        text_boxes.require()
    words = _passphrase(mapping, out)
    make_folder(out)
    with lock.hold(out), interrupt.listen(stopping) as stop:
        key = _key_of(out, key)
        setting = Setting(source.absolute(), out.absolute(), options, key)
        state = out / STATE
        for part in out.rglob(".*.part"):  # of a run that was killed
            part.unlink(missing_ok=True)
        done = dict(_journal(state, setting))
        _check_options(state, setting.options)
        result = Run()
        todo = []
        for path in paths:
            earlier = done.get(_mark(path, setting))
            if earlier is None:
                todo.append(path)
            else:
                result.outcomes.append(replace(earlier, source=path))
        result.skipped = len(result.outcomes)
        if started:
            started(len(todo))
        with (state / "journal.jsonl").open("a", encoding="utf-8") as journal:
            for outcome in _outcomes(todo, setting, jobs, stop):
                _note(journal, outcome, setting)
                result.outcomes.append(outcome)
                if told:
                    left_out = outcome.status == "left out"
                    told(replace(outcome, error="") if left_out else outcome)
                if outcome.disk_full:
                    result.error = f"no space is left for '{out}'; the run ended early"
                    break
        result.signal = stop.signal
        result.left = len(paths) - len(result.outcomes)
        if not (result.signal or result.error):
            if mapping is not None:
                _map(result, setting, mapping, words)
            _finish(result, setting, check=check, jobs=jobs)
    return result


def _passphrase(mapping: Path | None, out: Path) -> str:
    """The passphrase of a mapping, asked for before anything is copied."""
    from osler.io.deidentification import mapping as mappings

    if mapping is None:
        return ""
    if mapping.exists():
        raise OutputError(f"the mapping '{mapping}' is there already; name a new file")
    if out.resolve() in mapping.resolve().parents:
        raise OutputError(
            f"the mapping '{mapping}' must lie outside of '{out}': it tells who is who"
        )
    return mappings.passphrase()


def _map(result: Run, setting: Setting, mapping: Path, words: str) -> None:
    from osler.io.deidentification import mapping as mappings

    copies = [o for o in result.outcomes if o.status == "copied"]
    mappings.write(mappings.collect(copies, setting), mapping, words)


def _files(source: Path, out: Path) -> Iterator[Path]:
    """Files below a folder; hidden ones, and what a system leaves behind, are passed over."""
    if source.is_file():
        yield source
        return
    if not source.is_dir():
        raise InputError(f"'{source}' does not exist; check the path")
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise OutputError(f"'{out}' lies in '{source}'; choose a folder beside it")
    for place, folders, names in os.walk(source):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.casefold() not in _HIDDEN:
                yield Path(place, name)


def _outcomes(
    todo: list[Path], setting: Setting, jobs: int, stop: interrupt.Stop
) -> Generator[Copied]:
    work = _Copy(setting)
    if jobs <= 1 or len(todo) <= 1:
        for path in todo:
            yield work(path)
            if stop:
                return
        return
    workers = min(jobs, len(todo))
    each = pool.each(
        iter(todo), work, _died, workers=workers, threads=pool.share(workers), stop=stop
    )
    with closing(each) as results:  # type: ignore[type-var]
        yield from results


def _died(path: Path, code: int | None) -> Copied:
    why = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
    return Copied(
        path, "failed", error=f"the process that copied it ended {why}, perhaps for want of memory"
    )


# the state of a run that may be interrupted


def _key_of(out: Path, given: Key | None) -> Key:
    """The key of the run: as given, or that of the run that was interrupted, or a new one."""
    state = out / STATE
    stored = state / "key"
    if stored.is_file():
        before = Key.load(stored)
        if given is not None and given.digest("same", "") != before.digest("same", ""):
            raise InputError(
                f"'{out}' was begun with another key; give that one again, or choose a new folder"
            )
        return before
    other = not state.is_dir() and any(not p.name.startswith(".") for p in out.iterdir())
    if other:
        raise OutputError(f"'{out}' is not empty; choose a new folder")
    state.mkdir(exist_ok=True)
    key = given or Key()
    if given is None:
        key.save(stored)
    return key


def _check_options(state: Path, options: Options) -> None:
    """An interrupted run goes on with the options it was begun with."""
    stored = state / "options.json"
    said = json.dumps(asdict(options), sort_keys=True)
    if stored.is_file() and stored.read_text("utf-8") != said:
        raise InputError(
            f"'{state.parent}' was begun with other options; give the same, or choose a new folder"
        )
    stored.write_text(said, "utf-8")


def _mark(path: Path, setting: Setting) -> str:
    """Stands for a file as it is now; tells nothing of its name."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return f"{setting.id_of(path)}-{status.st_size}-{status.st_mtime_ns}"
    return setting.id_of(path)


def _note(journal: TextIO, outcome: Copied, setting: Setting) -> None:
    if outcome.status == "failed":
        return  # it is tried again
    line = {
        "mark": _mark(outcome.source, setting),
        "status": outcome.status,
        "format": outcome.format,
        "place": outcome.place,
        "counts": [[*what, count] for what, count in outcome.counts.items()],
        "notes": outcome.notes,
        "sha256": outcome.sha256,
        "error": nameless(outcome),
    }
    journal.write(json.dumps(line) + "\n")
    journal.flush()


def nameless(outcome: Copied) -> str:
    """Why there is no copy, without the file's name."""
    from osler.io.input_file import printable

    return outcome.error.replace(f"'{printable(outcome.source)}'", "the file")


def _journal(state: Path, setting: Setting) -> Iterator[tuple[str, Copied]]:
    """What an interrupted run had done, as far as its copies are still there."""
    with contextlib.suppress(FileNotFoundError):
        for text in (state / "journal.jsonl").read_text("utf-8").splitlines():
            try:
                line: dict[str, Any] = json.loads(text)
            except ValueError:
                continue  # the last line of a run that was killed
            if line["place"] and not (setting.out / line["place"]).is_file():
                continue
            yield (
                line["mark"],
                Copied(
                    Path(),
                    line["status"],
                    line["format"],
                    line["place"],
                    {(a, b): n for a, b, n in line["counts"]},
                    tuple(line["notes"]),
                    line["error"],
                    line["sha256"],
                ),
            )


@dataclass(frozen=True, slots=True)
class _Check:
    """The second look at one copy, as another process can be given it."""

    setting: Setting

    def __call__(self, copied: Copied) -> tuple[Copied, list[str]]:
        return copied, check_copy(copied, self.setting)


def _finish(result: Run, setting: Setting, *, check: bool, jobs: int) -> None:
    """Look through the copies once more, report, and forget the key."""
    from osler.io.deidentification import report

    copies = [o for o in result.outcomes if o.status == "copied"]
    if check:
        result.found = dict(_second_pass(copies, setting, jobs))
        for place in result.found:
            (setting.out / place).unlink(missing_ok=True)
        for path in _strangers(copies, setting.out):
            result.found[path] = ["a file that this run did not write; it was left there"]
    why = {
        o.source: (setting.id_of(o.source), nameless(o))
        for o in result.outcomes
        if o.status != "copied"
    }
    kept = [o for o in result.outcomes if o.place not in result.found or o.status != "copied"]
    result.report = report.write(
        setting.out / REPORT,
        kept,
        options=setting.options,
        why=why,
        found=result.found,
        checked=check,
    )
    shutil.rmtree(setting.out / STATE, ignore_errors=True)


def _second_pass(
    copies: list[Copied], setting: Setting, jobs: int
) -> Iterator[tuple[str, list[str]]]:
    work = _Check(setting)
    if jobs <= 1 or len(copies) <= 1:
        checked: Iterator[tuple[Copied, list[str]]] = map(work, copies)
    else:
        workers = min(jobs, len(copies))
        checked = pool.each(
            iter(copies),
            work,
            lambda copied, _: (copied, ["something that could not be checked"]),
            workers=workers,
            threads=pool.share(workers),
            stop=interrupt.Stop(),
        )
    for copied, found in checked:
        if found:
            yield copied.place, found


def _strangers(copies: list[Copied], out: Path) -> Iterator[str]:
    """Files in the output folder that are neither copies nor ours."""
    known = {o.place for o in copies}
    for place, folders, names in os.walk(out):
        if Path(place) == out:
            folders[:] = [f for f in folders if f not in (STATE, REPORT)]
        for name in names:
            path = Path(place, name).relative_to(out).as_posix()
            if path not in known and path != lock.NAME:
                yield path
