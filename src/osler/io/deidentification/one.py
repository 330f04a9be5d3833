"""One file → its copy without anybody, or the reason why there is none."""

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from osler.errors import InputError, MissingExtraError, OslerError, UnsupportedError
from osler.io.deidentification.free_text import Model, Scrubber
from osler.io.deidentification.key import Key
from osler.io.deidentification.known import Known
from osler.io.deidentification.names_of_files import place
from osler.io.deidentification.options import Options
from osler.io.input_file import InputFile, opened, printable
from osler.io.signatures import (
    describe,
    is_bmp,
    is_dicom,
    is_dicomdir,
    is_jpeg,
    is_png,
    is_tiff,
)

_NEIGHBOURS: Final = 200
"""So many DICOM files of a folder tell whom the other files there may be about."""

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


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """No warning and no log of a decoder: they quote values of the header."""
    logger, before = logging.getLogger("pydicom"), logging.getLogger("pydicom").level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


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


def _raster(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import raster_file

    picture = raster_file.clean(file, setting.options)
    where = place(setting.relative(file.path), picture.ending, setting.key)
    known = _nearby(file.path.parent, setting)
    return Draft(where, picture.write, picture.counts, picture.notes, known)


def _nifti(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import nifti_file

    counts: Counter[tuple[str, str]] = Counter()
    ending = ".nii.gz" if file.head.startswith(b"\x1f\x8b") else ".nii"
    where = place(setting.relative(file.path), ending, setting.key)
    known = _nearby(file.path.parent, setting)
    return Draft(where, lambda path: nifti_file.write(file, path, counts), counts, known=known)


def _text(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import text_file

    known = _nearby(file.path.parent, setting)
    text, counts = text_file.clean(file, Scrubber(known, model=setting.model))
    where = place(setting.relative(file.path), ".txt", setting.key)
    return Draft(where, lambda path: text_file.write(text, path), counts, known=known)


def _table(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import table_file, text_file

    known, relative = _nearby(file.path.parent, setting), setting.relative(file.path)
    table = table_file.Table(
        setting.options,
        setting.key,
        Scrubber(known, model=setting.model),
        relative=relative,
        source=file.path.parent,
    )
    text = table.clean(file)
    where = place(relative, file.path.suffix.lower(), setting.key)
    return Draft(where, lambda path: text_file.write(text, path), table.counts, known=known)


def _nearby(folder: Path, setting: Setting) -> Known:
    """What the DICOM files of a folder tell of their patients, for the files beside them."""
    return _of_folder(str(folder), setting)


@lru_cache(maxsize=64)
def _of_folder(folder: str, setting: Setting) -> Known:
    from osler.io.deidentification import dicom_file

    known, looked = Known(), 0
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if looked >= _NEIGHBOURS or not entry.is_file():
            continue
        with contextlib.suppress(OslerError), opened(entry.path) as file:
            if is_dicom(file.head) and not is_dicomdir(file.head):
                looked += 1
                patient = dicom_file.patient_of(dicom_file.read(file), setting.options, setting.key)
                known.update(patient.known)
    known.uids.clear()
    return known


def _has_ending(*endings: str) -> Callable[[InputFile], bool]:
    def accepts(file: InputFile) -> bool:
        return file.path.suffix.lower() in endings

    return accepts


def _is_raster(file: InputFile) -> bool:
    head = file.head
    return is_jpeg(head) or is_png(head) or is_tiff(head) or is_bmp(head)


def _is_nifti(file: InputFile) -> bool:
    from osler.io.deidentification import nifti_file

    return nifti_file.accepts(file)


# Kinds of files that are cleaned, in the order in which they are tried; any other is not copied.
MAKERS: list[tuple[str, Callable[[InputFile], bool], Maker]] = [
    ("dicom", lambda file: is_dicom(file.head), _dicom),
    ("raster", _is_raster, _raster),
    ("nifti", _is_nifti, _nifti),
    ("table", _has_ending(".csv", ".tsv"), _table),
    ("text", _has_ending(".txt", ".text"), _text),
]


def check(copied: Copied, setting: Setting) -> list[str]:
    """Look through a copy once more, by its original's header read afresh.

    Returns:
        Kinds of what is left and where; empty where nothing is.
    """
    from osler.io.deidentification import verify

    target = setting.out / copied.place
    try:
        with hushed(), opened(copied.source) as file:
            _, maker = _maker(file)
            nearby = _nearby(file.path.parent, setting)
            known = _known(file, setting) if maker is _dicom else nearby
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
        with hushed(), opened(path) as file:
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
