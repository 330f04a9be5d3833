"""A signal, table or text to one file: the ordered list of their writers, and ``save_record``."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from osler.errors import OutputError
from osler.io.atomic_file import replacing
from osler.record import Markers, Signal, Table, Text


@dataclass(frozen=True, slots=True)
class RecordWriter:
    """One kind of file that a signal, table or text is written to.

    Attributes:
        format: its name.
        extensions: what a name must end in, in lower case.
        holds: what it is given.
        write: writes it; markers go with a signal where the format has a place for them.
        keeps: what comes back from it.
        drops: what it has no place for.
    """

    format: str
    extensions: tuple[str, ...]
    holds: type
    write: Callable[[Any, Path, Sequence[Markers]], Path]
    keeps: str = ""
    drops: str = ""


def _wfdb(signal: Signal, path: Path, markers: Sequence[Markers]) -> Path:
    from osler.io.signal_wfdb_out import write_wfdb

    named = {
        re.sub(r"[^A-Za-z0-9_-]", "_", one.id.rpartition(".")[2]) or "atr": one for one in markers
    }
    return write_wfdb(signal, path.parent, path.stem, markers=named)[0]


def _signal_csv(signal: Signal, path: Path, markers: Sequence[Markers]) -> Path:
    from osler.io.signal_csv import signal_csv_text

    return _whole(path, signal_csv_text(signal).encode())


def _table(table: Table, path: Path, markers: Sequence[Markers]) -> Path:
    from osler.io.table_out import frame_of_matrix, frame_of_tables, write_table

    frame = frame_of_matrix(table) if table.matrix is not None else frame_of_tables([table])
    return write_table(frame, path)


def _text(text: Text, path: Path, markers: Sequence[Markers]) -> Path:
    return _whole(path, text.text.encode())


def _waveform(signal: Signal, path: Path, markers: Sequence[Markers]) -> Path:
    from osler.io.dicom_pdf import copy_object

    return copy_object(signal, path)


def _document(text: Text, path: Path, markers: Sequence[Markers]) -> Path:
    from osler.io.dicom_pdf import write_document

    return write_document(text, path)


RECORD_WRITERS: Final = (
    RecordWriter(
        "wfdb", (".hea",), Signal, _wfdb,
        "samples, rate, channels, units, markers; what came from WFDB sample by sample",
        "the other fields of another format's header",
    ),
    RecordWriter(
        "csv", (".csv",), Signal, _signal_csv, "samples, rate, channels, units",
        "markers, when it was made, the header",
    ),
    RecordWriter(
        "csv", (".csv",), Table, _table, "values, units in the names of columns, a matrix",
        "codes, when it was made",
    ),
    RecordWriter(
        "parquet", (".parquet", ".pq"), Table, _table,
        "values with their types, units in the fields of its schema, a matrix",
        "codes, when it was made",
    ),
    RecordWriter("text", (".txt",), Text, _text, "the text", "codes of sections, when it was made"),
    # a waveform as the file that it came from; a text as an encapsulated PDF
    RecordWriter("dicom", (".dcm",), Signal, _waveform, "the file that it came from", "nothing"),
    RecordWriter(
        "dicom", (".dcm",), Text, _document, "the text, set as a PDF", "codes of sections"
    ),
)  # fmt: skip
"""What each kind of item is written to; the name of the file decides."""


def save_record(
    item: Signal | Table | Text, path: str | os.PathLike[str], *, markers: Sequence[Markers] = ()
) -> Path:
    """Write one item to one file (WFDB: its header, with the samples beside it).

    Args:
        item: a signal, a table (a matrix: a row a sample) or a text.
        path: its extension decides the format.
        markers: what goes with a signal; kept by WFDB alone.

    Returns:
        The path.

    Raises:
        OutputError: no such format for the item, or the file cannot be written.
        MissingExtraError: the format's package is not installed.
    """
    path = Path(path)
    fitting = [one for one in RECORD_WRITERS if isinstance(item, one.holds)]
    for writer in fitting:
        if path.name.lower().endswith(writer.extensions):
            return writer.write(item, path, markers)
    known = ", ".join(extension for one in fitting for extension in one.extensions)
    raise OutputError(
        f"'{path}' has no extension that a {type(item).__name__.lower()} is written to; use one "
        f"of {known}"
    )


def _whole(path: Path, data: bytes) -> Path:
    with replacing(path) as part:
        part.write_bytes(data)
    return path
