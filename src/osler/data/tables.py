"""The table of a cohort on disk: CSV or Parquet, in and out.

Cells of a CSV are text; ``typed`` makes numbers or dates of a column whose filled cells all are.
"""

import csv
import math
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from osler.errors import MissingExtraError, OutputError, RecipeError

Value = str | int | float | bool | date
"""What a variable of a case can be; a date may carry its time."""

# "007" and "+5" are names, not numbers: writing them again must give the same
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})\Z")
_REAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?\Z")
_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?\Z")


@dataclass(frozen=True, slots=True)
class Line:
    """One row as it stands in the file; an empty cell is an absent key.

    Attributes:
        where: such as ``"line 3"``, for messages.
        cells: column to value.
    """

    where: str
    cells: Mapping[str, Value]


def is_parquet(path: Path) -> bool:
    """Whether the name says Parquet; everything else is CSV."""
    return path.suffix.lower() in (".parquet", ".pq")


def read_table(path: Path) -> tuple[tuple[str, ...], list[Line]]:
    """The columns and rows of a table.

    Raises:
        RecipeError: it cannot be read, or is no such table; the message says file and line.
        MissingExtraError: Parquet, and ``pyarrow`` is not installed.
    """
    try:
        columns, lines = _read_parquet(path) if is_parquet(path) else _read_csv(path)
    except OSError as error:
        reason = error.strerror or "it is damaged"
        raise RecipeError(f"the cohort '{path}' cannot be read: {reason}") from error
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise RecipeError(f"the cohort '{path}' has the column(s) {', '.join(twice)} twice")
    return columns, lines


def _read_csv(path: Path) -> tuple[tuple[str, ...], list[Line]]:
    try:
        # spreadsheets put a byte order mark before the first column's name
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            columns = tuple(name.strip() for name in next(reader, []))
            rows = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"the cohort '{path}' is not a CSV table in UTF-8: {error}") from error
    if len(columns) == 1 and (other := next((c for c in ";\t|" if c in columns[0]), "")):
        # not read as they are: where columns are parted so, 30,5 is a number, and here a word
        raise RecipeError(
            f"the cohort '{path}' parts its columns by {other!r}, as spreadsheets of some "
            "countries do; save it with commas between columns and points in numbers"
        )
    for number, cells in rows:
        if len(cells) > len(columns):
            raise RecipeError(f"the cohort '{path}', line {number}: more cells than columns")
    lines = []
    for number, cells in rows:
        filled = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
        lines.append(Line(f"line {number}", filled))
    return columns, lines


def typed(cells: Sequence[Value]) -> Sequence[Value]:
    """The filled cells of a column: numbers or dates, where all of them are text that reads so."""
    filled = [cell for cell in cells if isinstance(cell, str)]
    if len(filled) < len(cells):
        return cells
    for pattern, read in (
        (_WHOLE, int),
        (_REAL, float),
        (_DATE, date.fromisoformat),
        (_TIME, datetime.fromisoformat),
    ):
        if filled and all(pattern.match(cell) for cell in filled):
            try:
                return [read(cell) for cell in filled]
            except ValueError:  # such as the 31st of February
                break
    return cells


def _read_parquet(path: Path) -> tuple[tuple[str, ...], list[Line]]:
    arrow, parquet = _pyarrow("read a Parquet table")
    try:
        with path.open("rb") as stream:
            table = parquet.read_table(stream)
    except (arrow.ArrowException, ValueError) as error:
        raise RecipeError(f"the cohort '{path}' is not a Parquet table: {error}") from error
    columns = tuple(table.column_names)
    lines = []
    for number, row in enumerate(table.to_pylist(), start=1):
        for name, cell in row.items():
            if not isinstance(cell, str | int | float | bool | date | None):
                raise RecipeError(
                    f"the cohort '{path}', row {number}: column '{name}' holds a "
                    f"{type(cell).__name__}; a cell is one text, number or date"
                )
        # NaN is how tables of numbers write a missing one
        filled = {n: c for n, c in row.items() if not (c is None or c == "" or _is_nan(c))}
        lines.append(Line(f"row {number}", filled))
    return columns, lines


def _is_nan(cell: Value) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Value]]) -> None:
    """Write a table, all at once or not at all; the name decides between CSV and Parquet.

    Raises:
        OutputError: the file cannot be written.
        MissingExtraError: Parquet, and ``pyarrow`` is not installed.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (_write_parquet if is_parquet(path) else _write_csv)(part, columns, list(rows))
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Value]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_text(row[name]) if name in row else "" for name in columns])


def _text(value: Value) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Value]]) -> None:
    arrow, parquet = _pyarrow("write a Parquet table")
    table = {}
    for name in columns:
        cells = [row.get(name) for row in rows]
        kinds = {type(cell) for cell in cells if cell is not None}
        if len(kinds) > 1 and not kinds <= {int, float}:
            cells = [None if cell is None else _text(cell) for cell in cells]
        elif kinds == {int, float}:
            cells = [None if cell is None else float(cell) for cell in cells]  # type: ignore[arg-type]
        table[name] = arrow.array(cells, None if kinds else arrow.string())
    parquet.write_table(arrow.table(table), path)


def _pyarrow(purpose: str) -> tuple[Any, Any]:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("pyarrow", extra="tables", purpose=purpose) from None
    return pyarrow, pyarrow.parquet
