"""Tables to cases: which rows are whose."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

from osler.errors import InputError, UnsupportedError
from osler.io.content import Content
from osler.io.input_file import MAX_PIXELS, InputFile, decoding, opened
from osler.io.naming import case_id, safe_name
from osler.io.readers import reader_for
from osler.io.table_frame import Frame
from osler.record import Case, Origin, Table

CASE_COLUMNS: Final = ("caseid", "case")
PATIENT_COLUMNS: Final = (
    "patientid", "patid", "patient", "subjectid", "subject", "participantid", "pid", "mrn",
    "患者编号", "病人编号", "病历号", "住院号",
)  # fmt: skip
_DATE_COLUMNS: Final = ("date", "datetime", "visitdate", "examdate", "testdate", "studydate",
                        "acquired", "检查日期", "日期")  # fmt: skip


def read_table(
    path: str | os.PathLike[str], *, max_cells: int = MAX_PIXELS, **options: Any
) -> Frame:
    """A file's whole table as typed columns: CSV, Parquet or Excel.

    Args:
        path: the file.
        max_cells: refuse more cells than this.
        options: what the format takes: ``missing`` (codes for no value, such as ``("-99",)``) for
            all; ``encoding``, ``delimiter`` and ``decimal`` for CSV; ``sheet`` for Excel.

    Raises:
        InputError: the file or its content cannot be used; the message names file, column and
            option.
        MissingExtraError: the format's package is not installed.
    """
    with opened(path) as file:
        frame, _ = frame_of(file, max_cells=max_cells, **options)
        return frame


def frame_of(file: InputFile, *, max_cells: int, **options: Any) -> tuple[Frame, str]:
    """The same for an opened file, with the name of its format."""
    reader = reader_for(file.head, file.path.suffix[1:].lower())
    format = reader.format if reader else ""
    with decoding(file, format or "a table"):
        if format == "csv":
            from osler.io.table_csv import read_cells
            from osler.io.table_frame import from_text

            cells = read_cells(file, max_cells=max_cells, **_only(options, "encoding", "delimiter"))
            frame = from_text(
                file.name, cells.headers, cells.columns, flags=cells.flags,
                comments=cells.comments, **_only(options, "decimal", "missing"),
            )  # fmt: skip
        elif format == "parquet":
            from osler.io.table_parquet import read_parquet

            frame = read_parquet(file, max_cells=max_cells, **_only(options, "missing"))
        elif format == "office":
            from osler.io.table_excel import read_excel

            format = "xlsx"
            frame = read_excel(file, max_cells=max_cells, **_only(options, "missing", "sheet"))
        elif format == "office-97":
            from osler.io.table_xls import read_xls

            format = "xls"
            frame = read_xls(file, max_cells=max_cells, **_only(options, "missing", "sheet"))
        else:
            raise UnsupportedError(
                f"'{file.name}' is no table that is read; give a CSV, Parquet or Excel file"
            )
    return frame, format


def _only(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}


def content(
    file: InputFile,
    format: str,
    frame: Frame,
    *,
    case: str | None = None,
    id_column: str | None = None,
) -> Content:
    """One case's rows as items ``"table"``, ``"table-2"`` and so on.

    Args:
        file: the file, for messages and origin.
        format: the format's name.
        frame: its table.
        case: which case, by its id in the table; needed where there are several.
        id_column: the column that says whose a row is; by default the usual names.

    Raises:
        UnsupportedError: there are rows of several cases and ``case`` is not given.
        InputError: the table has no such case or column.
    """
    column = _id_column(file.name, frame, id_column)
    groups = _groups(frame, column)
    if case is None and len(groups) > 1:
        whose = f"{len(groups)} cases" if column else "rows that may be of different patients"
        matrix = (
            ""
            if column or format != "csv"
            else ("; of a matrix of features say orientation=, of a recording rate=")
        )
        raise UnsupportedError(
            f"'{file.name}' has {frame.rows} rows: {whose}; say case= (and id_column=), or take "
            f"all with osler.io.table_cases(){matrix}"
        )
    if not groups:
        raise UnsupportedError(f"'{file.name}' has a first row and no others: no values to read")
    if case is not None and case not in groups:
        raise InputError(f"'{file.name}' has no row of the case that case= names")
    rows = groups[case] if case is not None else next(iter(groups.values()))
    origin = file.origin(format)
    return Content(_tables(frame, rows, origin), (), _patient(frame, rows))


def table_cases(
    path: str | os.PathLike[str],
    *,
    id_column: str | None = None,
    max_cells: int = MAX_PIXELS,
    **options: Any,
) -> Iterator[Case]:
    """Every case of a table: the rows of one id together, else each row a case of its own.

    Args:
        path: a CSV, Parquet or Excel file.
        id_column: the column that says whose a row is; by default ``case_id``, else
            ``patient_id`` or one of its usual names.
        max_cells: refuse more cells than this.
        options: as ``read_table``.

    Raises:
        InputError: as ``read_table``, or there is no such column.
    """
    with opened(path) as file:
        frame, format = frame_of(file, max_cells=max_cells, **options)
        column = _id_column(file.name, frame, id_column)
        origin = file.origin(format)
    stem = case_id(Path(path))
    for key, rows in _groups(frame, column).items():
        items = {item.name: item for item in _tables(frame, rows, origin)}
        id = safe_name(key) if column else f"{stem}-{int(key) + 1}"
        yield Case(id, _patient(frame, rows), dict(items))


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-.]", "", name).casefold()


def _found(frame: Frame, names: Sequence[str]) -> str | None:
    plain = {_plain(column): column for column in reversed(frame.columns)}
    return next((plain[name] for name in names if name in plain), None)


def _id_column(where: str, frame: Frame, id_column: str | None) -> str | None:
    if id_column is not None:
        if id_column not in frame.data:
            known = ", ".join(frame.columns[:20])
            raise InputError(f"'{where}' has no column '{id_column}'; it has: {known}")
        return id_column
    return _found(frame, CASE_COLUMNS) or _found(frame, PATIENT_COLUMNS)


def _groups(frame: Frame, column: str | None) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for row in range(frame.rows):
        value = frame.data[column][row] if column else row
        # a row without an id is nobody's but its own
        key = f"row {row + 2}" if value is None else str(value)
        groups.setdefault(key, []).append(row)
    return groups


def _patient(frame: Frame, rows: Sequence[int]) -> str | None:
    column = _found(frame, PATIENT_COLUMNS)
    values = {frame.data[column][row] for row in rows} if column else set()
    only = next(iter(values)) if len(values) == 1 else None
    return None if only is None else str(only)


def _tables(frame: Frame, rows: Sequence[int], origin: Origin) -> list[Table]:
    dated = _found(frame, _DATE_COLUMNS)
    tables = []
    for number, row in enumerate(rows, 1):
        values = frame.row(row)
        moment = values.get(dated) if dated else None
        tables.append(
            Table(
                "table" if number == 1 else f"table-{number}",
                values,
                {name: unit for name, unit in frame.units.items() if name in values},
                acquired=_moment(moment),
                origin=origin,
                flags=frame.flags,
            )
        )
    return tables


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    return datetime.combine(value, time()) if isinstance(value, date) else None
