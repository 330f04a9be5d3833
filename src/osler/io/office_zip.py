"""Office documents (docx, xlsx): zip archives of XML, opened with care."""

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final, cast

from osler.errors import TooLargeError, UnreadableError, UnsupportedError
from osler.io.input_file import InputFile

MAX_PART: Final = 256_000_000
"""Bytes that a part may inflate to; a member is never read beyond the size that it states."""
MAX_TOTAL: Final = 512_000_000
MAX_PARTS: Final = 10_000
MAX_RATIO: Final = 200
"""XML of real documents shrinks 5 to 30 times, and a bomb 1,000 times."""

_DOCTYPE = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


def kind_of(names: list[str]) -> str:
    """``docx``, ``xlsx``, ``opendocument``, ``xlsb``, ``npz``; empty for anything else."""
    if "word/document.xml" in names:
        return "docx"
    if "xl/workbook.xml" in names:
        return "xlsx"
    if "META-INF/manifest.xml" in names and "content.xml" in names:
        return "opendocument"
    if "xl/workbook.bin" in names:
        return "xlsb"
    return "npz" if names and all(name.endswith(".npy") for name in names) else ""


@contextmanager
def archive(file: InputFile) -> Iterator[zipfile.ZipFile]:
    """The archive in a file, checked for bombs by what its directory states.

    Raises:
        UnreadableError: it is no sound archive, or two parts share a name.
        UnsupportedError: it is encrypted.
        TooLargeError: it has too many parts, or they would inflate to too much.
    """
    file.stream.seek(0)
    try:
        opened = zipfile.ZipFile(cast("IO[bytes]", file.stream))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise UnreadableError(
            f"'{file.name}' starts as a ZIP archive but cannot be opened; it is incomplete: copy "
            "it again from its source"
        ) from None
    with opened:
        parts = opened.infolist()
        if len({part.filename for part in parts}) < len(parts):
            raise UnreadableError(f"'{file.name}' has two parts of one name; save it again")
        if any(part.flag_bits & 1 for part in parts):
            raise UnsupportedError(f"'{file.name}' is encrypted; save it without a password")
        total = sum(part.file_size for part in parts)
        swollen = any(
            part.file_size > 1_000_000 and part.file_size > MAX_RATIO * max(1, part.compress_size)
            for part in parts
        )
        if len(parts) > MAX_PARTS or total > MAX_TOTAL or swollen:
            raise TooLargeError(
                f"'{file.name}' has {len(parts):,} parts that inflate from {file.size:,} to "
                f"{total:,} bytes, as an archive bomb does; save it again without what is not "
                "needed"
            )
        yield opened


def part(file: InputFile, source: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a part.

    Raises:
        UnreadableError: there is none, it is damaged, or it is XML with a document type (from
            which entities come, and which no office program writes).
        TooLargeError: it inflates to more than 256 MB.
    """
    try:
        with source.open(name) as stream:
            data = stream.read(MAX_PART + 1)
    except KeyError:
        raise UnreadableError(
            f"'{file.name}' lacks its part '{name}'; it is incomplete: copy it again"
        ) from None
    if len(data) > MAX_PART:
        raise TooLargeError(f"'{file.name}' has a part of more than {MAX_PART:,} bytes")
    if _DOCTYPE.search(data):
        raise UnreadableError(
            f"'{file.name}' holds XML with a document type or entities, which no office document "
            "has; do not trust it"
        )
    return data


def check_parts(file: InputFile, source: zipfile.ZipFile) -> None:
    """Inflate and check every XML part once, before another library reads them."""
    for one in source.infolist():
        if one.filename.casefold().endswith((".xml", ".rels", ".vml")):
            part(file, source, one.filename)


def read_office(file: InputFile, format: str, *, max_pixels: int, **options: Any) -> Any:
    """Read a docx or xlsx file, by what is in the archive.

    Raises:
        UnsupportedError: it is an archive of anything else.
        InputError: as their readers.
    """
    with archive(file) as source:
        kind = kind_of(source.namelist())
    if kind == "xlsx":
        from osler.io.table_reading import read_table_file

        return read_table_file(file, format, max_pixels=max_pixels, **options)
    if kind == "docx":
        from osler.io.text_docx import read_docx

        return read_docx(file, "docx", max_pixels=max_pixels)
    if kind == "npz":
        raise UnsupportedError(
            f"'{file.name}' is a NumPy archive (.npz): its arrays say nothing of what they show or "
            "of scale; 'osler data import' takes those of MedMNIST, and any others become an Image "
            "in Python, or NIfTI files"
        )
    if kind in ("opendocument", "xlsb"):
        what = "an OpenDocument file" if kind == "opendocument" else "a binary workbook (.xlsb)"
        raise UnsupportedError(
            f"'{file.name}' is {what}, which is not read; save it as .docx, .xlsx or PDF"
        )
    raise UnsupportedError(
        f"'{file.name}' is a ZIP archive that is no Word or Excel document; unpack it and open "
        "what is inside"
    )
