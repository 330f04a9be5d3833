"""Office documents of before 2007 (OLE compound files): told apart; old workbooks are read."""

from typing import Any, Final

from osler.errors import UnreadableError, UnsupportedError
from osler.io.input_file import InputFile

MAX_FILE: Final = 256_000_000
"""Bytes; a sheet of that time has 65,536 rows of 256 columns at most."""

_STREAMS: Final = {
    "EncryptedPackage": "encrypted",
    "WordDocument": "doc",
    "PowerPoint Document": "ppt",
    "Workbook": "xls",
    "Book": "xls",
}
"""Names of streams [MS-CFB 2.6.1] to what they make of a file, the more telling first."""


def read_old_office(file: InputFile, format: str, *, max_pixels: int, **options: Any) -> Any:
    """Read an Excel workbook of before 2007.

    Args:
        file: the opened file.
        format: ``"office-97"``.
        max_pixels: refuse more cells than a fifth of this.
        options: as for a table.

    Raises:
        UnsupportedError: it is another document; the message says how to bring it to one that is
            read.
        InputError: as the reader of tables.
    """
    kind = _kind(file)
    if kind == "xls":
        from osler.io.table_reading import read_table_file

        return read_table_file(file, format, max_pixels=max_pixels, **options)
    if kind == "doc":
        raise UnsupportedError(
            f"'{file.name}' is a Word document of before 2007 (.doc), which is not read; save it "
            "as .docx or PDF (Word: Save As; without Word: 'soffice --headless --convert-to docx "
            "FILE')"
        )
    if kind == "encrypted":
        raise UnsupportedError(f"'{file.name}' is encrypted; save it without a password")
    what = "a PowerPoint document" if kind == "ppt" else "no Office document"
    raise UnsupportedError(
        f"'{file.name}' is {what}, which is not read; save it as PDF, or its tables as .xlsx"
    )


def _kind(file: InputFile) -> str:
    """What the names of the file's streams make of it; empty for anything else."""
    if file.size > MAX_FILE:
        raise UnreadableError(f"'{file.name}' is longer than any document of its format; check it")
    file.stream.seek(0)
    data = file.stream.read()
    for name, kind in _STREAMS.items():
        # a directory entry is the name, with a zero behind it, in 64 bytes, and its length
        entry = (name + "\0").encode("utf-16-le")
        if entry.ljust(64, b"\0") + len(entry).to_bytes(2, "little") in data:
            return kind
    return ""
