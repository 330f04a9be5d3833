"""The index of a DICOM medium: which files it names, and whether they are there.

It is never trusted to say what a file is: the files themselves do. A name in it that leads out of
its folder (CVE-2026-32711 in another reader) is refused. Source: DICOM PS3.3 annex F, PS3.10 8.
"""

import os
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from osler.errors import InputError
from osler.io.dicom_scan import Scan, of_dataset
from osler.io.input_file import InputFile, decoding, opened

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MOST_BYTES = 64 << 20


def missing(path: str) -> dict[str, str]:
    """What a DICOMDIR names and is not there or must not be read: path to the reason.

    An index that cannot be read itself is named with the reason.
    """
    folder = os.path.realpath(os.path.dirname(path) or ".")
    try:
        with opened(path) as file:
            names = _names(file)
    except InputError as error:
        return {path: f"a DICOMDIR that cannot be read: {error}"}
    found: dict[str, str] = {}
    for parts in names:
        target = os.path.realpath(os.path.join(folder, *parts))
        outside = any(part in ("..", ".", "") or "/" in part or "\\" in part for part in parts)
        if outside or os.path.commonpath([folder, target]) != folder:
            found[path] = "a DICOMDIR that names files outside its folder, which are not read"
        elif not os.path.isfile(target) and not os.path.isfile(_lower(folder, parts)):
            named = os.path.join(os.path.dirname(path), *parts)
            found[named] = "named in the DICOMDIR but not there; copy the whole medium"
    return found


def _lower(folder: str, parts: list[str]) -> str:
    # media copied by some systems have lower-case names
    return os.path.join(folder, *(part.lower() for part in parts))


def _names(file: InputFile) -> list[list[str]]:
    import pydicom

    if file.size > _MOST_BYTES:
        raise InputError(f"'{file.name}' has {file.size:,} bytes, too many for an index")
    with decoding(file, "dicom"):
        file.stream.seek(0)
        dataset = pydicom.dcmread(cast(BinaryIO, file.stream), force=True)
        records = dataset.get("DirectoryRecordSequence") or ()
        return [name for record in records if (name := _name(record))]


def _name(record: "Dataset") -> list[str]:
    value: Any = record.get("ReferencedFileID")
    if value is None or value == "":
        return []
    parts = [value] if isinstance(value, str) else list(value)
    return [str(part) for part in parts if "\0" not in str(part)]


def identity(path: str, tags: dict[str, tuple[int, str]]) -> Scan:
    """Whose a file is, through a general reader, for files that cannot be walked over.

    Raises:
        InputError: the file cannot be used.
    """
    from osler.io.dicom_image import read_header

    with opened(path) as file, decoding(file, "dicom"):
        return of_dataset(read_header(file), tags=tags)
