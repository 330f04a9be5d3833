"""Tables as CSV and Parquet files that read back as the same."""

import csv
import io
import math
import os
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

from osler.errors import OutputError
from osler.io.atomic_file import replacing
from osler.io.table_frame import Frame, Kind, from_values
from osler.record import Table

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def frame_of_tables(tables: Iterable[Table]) -> Frame:
    """One row a table; a variable that a table lacks is missing in its row.

    Raises:
        OutputError: tables give one variable in different units.
    """
    rows = list(tables)
    names = list(dict.fromkeys(name for table in rows for name in table.values))
    units: dict[str, str] = {}
    for table in rows:
        for name, unit in table.units.items():
            if units.setdefault(name, unit) != unit:
                raise OutputError(
                    f"variable '{name}' is in '{units[name]}' and in '{unit}'; convert one of them"
                )
    columns = [[_scalar(table.values.get(name)) for table in rows] for name in names]
    # a frame of units and types, from the values that there are
    return from_values("tables", names, columns, units=units)


def frame_of_matrix(table: Table) -> Frame:
    """A matrix as a frame: the column ``sample``, then a column a feature.

    Raises:
        UnreadableError: two features share a name, which no table of columns can hold.
    """
    matrix = table.matrix
    if matrix is None:
        raise OutputError(f"table '{table.name}' has no matrix")
    columns: list[list[Any]] = [list(table.samples)]
    columns += [[None if math.isnan(v) else v for v in column] for column in matrix.T.tolist()]
    return from_values("matrix", ["sample", *table.features], columns)


def _scalar(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return "; ".join(str(one) for one in value)
    return value


def write_table(frame: Frame, path: str | os.PathLike[str]) -> Path:
    """Write a CSV or, by the name's ``.parquet`` or ``.pq``, a Parquet file; whole or not at all.

    CSV is UTF-8 with units in the first row (``"glucose [mmol/L]"``); a missing value is an empty
    cell; text that a spreadsheet would run gets an apostrophe before it, which is taken off when
    it is read.

    Raises:
        OutputError: the file cannot be written.
        MissingExtraError: Parquet, and ``pyarrow`` is not installed.
    """
    path = Path(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        from osler.io.table_parquet import parquet_bytes

        data = parquet_bytes(frame)
    else:
        data = csv_text(frame).encode()
    with replacing(path) as part:
        part.write_bytes(data)
    return path


def csv_text(frame: Frame) -> str:
    """A frame as CSV (RFC 4180)."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(
        f"{name} [{frame.units[name]}]" if name in frame.units else _safe(name)
        for name in frame.columns
    )
    columns = [(frame.kinds[name], values) for name, values in frame.data.items()]
    for row in range(frame.rows):
        cells = [_cell(kind, values[row]) for kind, values in columns]
        # a row of one empty cell would be an empty line, which is no row
        writer.writerow(cells if cells != [""] else ["NA"])
    return buffer.getvalue()


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _cell(kind: Kind, value: Any) -> str:
    if value is None:
        return ""
    if kind == "bool":
        return "true" if value else "false"
    if kind == "float":
        # repr of a whole one keeps its ".0", and so its type
        return repr(float(value))
    if kind == "datetime" and isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return _safe(str(value)) if kind == "text" else str(value)
