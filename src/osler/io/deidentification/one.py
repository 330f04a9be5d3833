"""One file → its copy without anybody, or the reason why there is none."""

import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from osler.errors import InputError, MissingExtraError, OslerError, UnsupportedError
from osler.io.deidentification.free_text import Model
from osler.io.deidentification.key import Key
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options
from osler.io.input_file import InputFile, opened, printable
from osler.io.signatures import describe, is_dicom, is_dicomdir

Status = Literal["copied", "refused", "failed", "left out"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for every file of a run.

    Attributes:
        source: the folder (or file) that the copies are made of.
        out: the folder they go into.
        options: what is kept.
        key: the secret that replacements are derived from.
        model: finds more in free text than the rules do.
    """

    source: Path
    out: Path
    options: Options
    key: Key
    model: Model | None = None

    def relative(self, path: Path) -> str:
        """The path below the source folder."""
        return os.path.relpath(path, self.source if self.source.is_dir() else self.source.parent)

    def id_of(self, path: Path) -> str:
        """Stands for a file of the source; it tells nothing without the key."""
        return self.key.name("path", self.relative(path), length=16)


@dataclass(slots=True)
class Draft:
    """A copy that is about to be written.

    Attributes:
        place: names of the folders and the file, below the output folder.
        write: writes the file.
        counts: what was done to what, how often.
        notes: what a person should know.
        known: what must not be found in the copy.
    """

    place: tuple[str, ...]
    write: Callable[[Path], None]
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    known: Known = field(default_factory=Known)


@dataclass(frozen=True, slots=True)
class Copied:
    """What came of one file.

    Attributes:
        source: the file, as it was named.
        status: ``"copied"``, ``"refused"`` (of a kind that is not cleaned), ``"failed"`` or
            ``"left out"`` (an index of a medium, which holds nothing but names).
        format: what kind of file it is; empty where that is unknown.
        place: the copy, below the output folder; empty where there is none.
        counts: what was done to what, how often.
        notes: what a person should know, without patient data.
        error: why there is no copy, naming the file.
        sha256: digest of the copy.
        seconds: how long it took.
        disk_full: no space is left, so that the next files would fail too.
    """

    source: Path
    status: Status
    format: str = ""
    place: str = ""
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str = ""
    sha256: str = ""
    seconds: float = 0.0
    disk_full: bool = False
    trace: str = ""

    @property
    def case_id(self) -> str:
        """The name of the copy, as a progress bar shows it."""
        return Path(self.place).name


Maker = Callable[[InputFile, Setting], Draft]


def _dicom(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import burnt_in, dicom_file

    cleaned = dicom_file.clean(
        file,
        options=setting.options,
        key=setting.key,
        model=setting.model,
        relative=setting.relative(file.path),
    )
    burnt_in.clean(cleaned, file, setting.options)
    return Draft(
        cleaned.place,
        lambda path: dicom_file.write(cleaned, path),
        cleaned.counts,
        cleaned.notes,
        cleaned.patient.known,
    )


# Kinds of files that are cleaned, in the order in which they are tried; any other is not copied.
MAKERS: list[tuple[str, Callable[[InputFile], bool], Maker]] = [
    ("dicom", lambda file: is_dicom(file.head), _dicom),
]


def check(copied: Copied, setting: Setting) -> list[str]:
    """Look through a copy once more, by its original's header read afresh.

    Returns:
        Kinds of what is left and where; empty where nothing is.
    """
    from osler.io.deidentification import verify

    target = setting.out / copied.place
    try:
        with opened(copied.source) as file:
            _, maker = _maker(file)
            known = _known(file, setting) if maker is _dicom else Known()
        found = verify.left(target, known, setting.options, thorough=True)
        return found + verify.in_name(copied.place, known)
    except OslerError as error:
        return [f"something that could not be checked ({type(error).__name__})"]
    except Exception as error:  # noqa: BLE001 - what cannot be checked is not clean
        return [f"something that could not be checked ({type(error).__name__})"]


def _known(file: InputFile, setting: Setting) -> Known:
    from osler.io.deidentification import dicom_file

    dataset = dicom_file.read(file)
    return dicom_file.patient_of(dataset, setting.options, setting.key).known


def copy(path: Path, setting: Setting) -> Copied:
    """Make the copy of one file; it appears whole or not at all, and never unchecked."""
    begun = time.monotonic()
    format, name = "", printable(path)
    try:
        with opened(path) as file:
            name = file.name
            if is_dicomdir(file.head):
                why = f"'{name}' is a DICOMDIR, an index that holds nothing but names"
                return Copied(path, "left out", "dicomdir", error=why)
            format, maker = _maker(file)
            draft = maker(file, setting)
            target = setting.out.joinpath(*draft.place)
            digest = _put(draft, target, file, setting)
    except UnsupportedError as error:
        return Copied(path, "refused", format, error=str(error))
    except MissingExtraError:
        raise
    except OslerError as error:
        return Copied(path, "failed", format, error=str(error))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = f"'{name}' cannot be copied ({error.strerror})"
        return Copied(path, "failed", format, error=why, disk_full=full)
    except Exception as error:  # noqa: BLE001 - one bad file must not end the run, nor tell names
        why = f"'{name}' cannot be cleaned ({type(error).__name__}); it was not copied"
        return Copied(path, "failed", format, error=why)
    return Copied(
        path,
        "copied",
        format,
        "/".join(draft.place),
        +draft.counts,
        tuple(draft.notes),
        sha256=digest,
        seconds=round(time.monotonic() - begun, 3),
    )


def _maker(file: InputFile) -> tuple[str, Maker]:
    for format, accepts, maker in MAKERS:
        if accepts(file):
            return format, maker
    raise UnsupportedError(
        f"'{file.name}' is {describe(file.head)}, which is not cleaned, so it was not copied"
    )


def _put(draft: Draft, target: Path, file: InputFile, setting: Setting) -> str:
    """Write beside the target, look through what was written, then rename it into its place."""
    from osler.io.deidentification import verify

    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        draft.write(part)
        found = verify.left(part, draft.known, setting.options)
        if found:
            raise InputError(
                f"'{file.name}' could not be cleaned: its copy still held {', '.join(found)}; it "
                "was not copied"
            )
        with part.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
        part.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
    return digest
