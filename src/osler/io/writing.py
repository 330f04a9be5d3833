"""Case → its folder, through one ordered list of writers.

The folder appears whole or not at all: it is written as a hidden sibling, brought to the disk, and
exchanged with what stood there in one step.
"""

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from osler.errors import OutputError
from osler.record import Case

Writer = Callable[[Case, Path], None]


def _findings(case: Case, folder: Path) -> None:
    from osler.io import findings_json

    findings_json.write_findings(case, folder)


def _measurements(case: Case, folder: Path) -> None:
    from osler.io import tables

    tables.write_measurements(case, folder)


def _masks(case: Case, folder: Path) -> None:
    from osler.io import masks

    masks.write_masks(case, folder)


def _images(case: Case, folder: Path) -> None:
    from osler.io import derived_images

    derived_images.write_images(case, folder)


def _overlay(case: Case, folder: Path) -> None:
    from osler.io import masks

    masks.write_overlay(case, folder)


def _html(case: Case, folder: Path) -> None:
    from osler.io import html

    html.write_report(case, folder)


def _dicom(case: Case, folder: Path) -> None:
    from osler.io import dicom_out

    dicom_out.write(case, folder)


def _fhir(case: Case, folder: Path) -> None:
    from osler.io import fhir

    fhir.write(case, folder)


# What is written into a case's folder, in this order. The names are those of `write`'s options;
# a name without an option is always written.
WRITERS: Final[tuple[tuple[str, Writer], ...]] = (
    ("findings", _findings),
    ("measurements", _measurements),
    ("masks", _masks),
    ("images", _images),
    ("overlay", _overlay),
    ("html", _html),
    ("dicom", _dicom),
    ("fhir", _fhir),
)

# A folder that holds this file was written here, and may be replaced.
MARK: Final = "findings.json"

_LONGEST_NAME = 255  # bytes, on every file system in use


def write(
    case: Case,
    out_dir: str | Path,
    *,
    html: bool = True,
    dicom: bool = False,
    fhir: bool = False,
    overwrite: bool = True,
) -> Path:
    """Write a case into its own folder, ``out_dir/CASE.id``.

    Always written: ``findings.json``, ``measurements.csv``, ``masks/*.png``, ``overlay.png``,
    and ``images/*.nrrd`` where images were derived.

    Args:
        case: the case.
        out_dir: where the folder is put; made where it does not exist.
        html: also ``report.html``.
        dicom: also DICOM SEG and SR.
        fhir: also an R4 transaction bundle.
        overwrite: replace the folder where an earlier run wrote it.

    Returns:
        The case's folder. It is replaced as a whole; a reader sees the old or the new one.

    Raises:
        OutputError: the folder cannot be written, or holds something else than a case.
    """
    out = Path(out_dir)
    target = out / _folder_name(case.id)
    wanted = {"html": html, "dicom": dicom, "fhir": fhir}
    part = out / _hidden_name(case.id)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _check_target(target, overwrite=overwrite)
        part.mkdir()
        for name, writer in WRITERS:
            if wanted.get(name, True):
                writer(case, part)
        _settle(part)
        _put(part, target)
    except OSError as error:
        raise OutputError(_explain(error, target)) from error
    finally:
        # After an exchange this is the folder that stood there before.
        _remove(part)
    return target


def _remove(folder: Path) -> None:
    """Remove a folder with all it holds; an interruption meanwhile waits until it is gone."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _folder_name(id: str) -> str:
    """The case's id, where it can name a folder.

    Raises:
        OutputError: it would name another place.
    """
    size = len(id.encode("utf-8", "surrogateescape"))
    if id in ("", ".", "..") or set(id) & set("/\\\0") or size > _LONGEST_NAME:
        shown = id if len(id) <= 60 else f"{id[:60]}…"
        raise OutputError(
            f"case id {shown!r} cannot name a folder; set case.id to a plain name of at most "
            f"{_LONGEST_NAME} bytes"
        )
    return id


def _hidden_name(id: str) -> str:
    # the end of a long id is cut off so that the name stays within the file system's limit
    short = id.encode("utf-8", "surrogateescape")[: _LONGEST_NAME - 30]
    return f".{short.decode('utf-8', 'ignore')}.{secrets.token_hex(6)}.part"


def _check_target(target: Path, *, overwrite: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not overwrite:
        raise OutputError(f"{target} exists; pass overwrite=True or another output folder")
    ours = target.is_dir() and not target.is_symlink()
    if not ours or not ((target / MARK).is_file() or not any(target.iterdir())):
        raise OutputError(
            f"{target} exists and is no folder written by osler, so it is left alone; choose "
            "another output folder, or move it away"
        )


def _settle(folder: Path) -> None:
    """Bring every file and folder to the disk, so that a power cut leaves no empty files."""
    for place, _, files in os.walk(folder):
        for name in files:
            _sync(Path(place, name))
        _sync(Path(place))


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put(part: Path, target: Path) -> None:
    """Rename ``part`` to ``target``; what stood there takes the name ``part``, or is put aside."""
    for _ in range(3):  # another run may make or remove the target between two steps
        try:
            part.rename(target)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                raise
        if _exchange(part, target) or _step_aside(part, target):
            break
    else:
        raise OutputError(f"{target} is being written by another run; wait for it to end")
    _sync(target.parent)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names in one step, where the system can (Linux ≥ 3.15) [1].

    [1] renameat2(2), RENAME_EXCHANGE.
    """
    if os.name == "nt":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0)


def _step_aside(part: Path, target: Path) -> bool:
    """The same in two renames, for other systems; a failure puts back what stood there."""
    aside = part.with_suffix(".old")
    try:
        target.rename(aside)
    except FileNotFoundError:
        return False
    try:
        part.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    _remove(aside)
    return True


_WAYS_OUT: Final = {
    errno.ENOSPC: "the disk is full: free some space, or choose another output folder",
    errno.EDQUOT: "the disk quota is used up: free some space, or choose another output folder",
    errno.EFBIG: "the file is larger than is allowed here: choose another output folder",
    errno.EROFS: "it cannot be written to: choose another output folder",
    errno.EACCES: "it cannot be written to: change its permissions, or choose another folder",
    errno.EPERM: "it cannot be written to: change its permissions, or choose another folder",
    errno.ENOTDIR: "part of the path is a file: choose another output folder",
    errno.EEXIST: "part of the path is a file: choose another output folder",
    errno.ENAMETOOLONG: "the name is too long for this disk: choose a shorter output path",
}


def _explain(error: OSError, target: Path) -> str:
    way_out = _WAYS_OUT.get(error.errno or 0, "choose another output folder")
    return f"{target} cannot be written ({error.strerror or error}); {way_out}"
