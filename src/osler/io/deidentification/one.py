"""One file → its copy without anybody, or the reason why there is none."""

import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from osler.errors import InputError, MissingExtraError, OslerError, UnsupportedError
from osler.io.deidentification.draft import Draft, Setting
from osler.io.deidentification.kinds import kind_of, known_of
from osler.io.hushing import hushed
from osler.io.input_file import InputFile, opened, printable
from osler.io.signatures import is_dicomdir

__all__ = ["Copied", "Draft", "Setting", "check", "copy"]

Status = Literal["copied", "refused", "failed", "left out"]


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
        textless: of the pictures in which no text was found (`text_boxes.taken`).
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
    textless: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def case_id(self) -> str:
        """The name of the copy, as a progress bar shows it."""
        return Path(self.place).name


def check(copied: Copied, setting: Setting) -> list[str]:
    """Look through a copy once more, by its original's header read afresh.

    Returns:
        Kinds of what is left and where; empty where nothing is.
    """
    from osler.io.deidentification import text_boxes, verify

    text_boxes.take(copied.textless)
    target = setting.out / copied.place
    try:
        with hushed(), opened(copied.source) as file:
            known = known_of(file, setting)
            found = verify.left(target, known, setting.options, thorough=True)
        return found + verify.in_name(copied.place, known)
    except OslerError as error:
        return [f"something that could not be checked ({type(error).__name__})"]
    except Exception as error:  # noqa: BLE001 - what cannot be checked is not clean
        return [f"something that could not be checked ({type(error).__name__})"]


def copy(path: Path, setting: Setting) -> Copied:
    """Make the copy of one file; it appears whole or not at all, and never unchecked."""
    from osler.io.deidentification import text_boxes

    begun = time.monotonic()
    format, name = "", printable(path)
    text_boxes.taken()  # what a file before this one left, which failed
    try:
        with hushed(), opened(path) as file:
            name = file.name
            if is_dicomdir(file.head):
                why = f"'{name}' is a DICOMDIR, an index that holds nothing but names"
                return Copied(path, "left out", "dicomdir", error=why)
            if _has_its_header(path):
                why = f"'{name}' holds the voxels of a volume whose header lies beside it"
                return Copied(path, "left out", "volume", error=why)
            kind = kind_of(file)
            format, draft = kind.format, kind.make(file, setting)
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
        textless=text_boxes.taken(),
    )


def _has_its_header(path: Path) -> bool:
    """Whether a file goes along with the header of a volume, into one file."""
    from osler.io.deidentification import volume_file

    ending = path.name.lower()
    return ending.endswith((".raw", ".zraw", ".raw.gz")) and volume_file.is_of_a_header(path)


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
