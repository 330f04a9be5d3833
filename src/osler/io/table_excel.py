"""Excel workbooks: one sheet as a table, its formulas never run."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import Any, Final, cast

from osler.errors import (
    InputError,
    MissingExtraError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from osler.io.input_file import InputFile
from osler.io.office_zip import archive, check_parts, kind_of
from osler.io.table_csv import CELL_COST
from osler.io.table_frame import Frame, from_values
from osler.io.table_merged import filled, letters, merged

_ERRORS: Final = {"#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!"}


def read_excel(
    file: InputFile,
    *,
    max_cells: int,
    missing: Sequence[str] = (),
    sheet: str | int | None = None,
) -> Frame:
    """Read a sheet whose first row names the columns.

    A formula gives the value that was stored with it, and the table the flag ``formula-cells``;
    an error such as ``#DIV/0!`` is missing, with the flag ``error-cells``; cells that are merged
    over several rows have their value in each, with the flag ``merged-cells``.

    Args:
        file: the opened file.
        max_cells: refuse more cells than a fifth of this.
        missing: codes that stand for no value.
        sheet: name, or number from 1; needed where several sheets have cells.

    Raises:
        UnreadableError: it is damaged, holds entities, or a formula has no stored value.
        UnsupportedError: no workbook, several sheets and ``sheet`` is not given, or cells that are
            merged across columns.
        TooLargeError: a bomb, or too many cells.
        MissingExtraError: ``openpyxl`` is not installed.
    """
    try:
        import openpyxl
    except ImportError:
        raise MissingExtraError("openpyxl", extra="tables", purpose="read Excel") from None
    with archive(file) as source:
        if kind_of(source.namelist()) != "xlsx":
            raise UnsupportedError(f"'{file.name}' is no Excel workbook; give an .xlsx file")
        check_parts(file, source)
    books = []
    for values in (True, False):
        file.stream.seek(0)
        books.append(
            openpyxl.load_workbook(cast("Any", file.stream), read_only=True, data_only=values)
        )
    try:
        index = _sheet(file, books[0], sheet)
        stored = _rows(file, books[0].worksheets[index], max_cells)
        written = _rows(file, books[1].worksheets[index], max_cells)
        with archive(file) as source:
            sheet_part = cast("Any", books[0].worksheets[index])._worksheet_path
            cells = merged(file, source, sheet_part)
        flags = {"merged-cells"} if cells else set[str]()
        return frame_of_cells(file, filled(stored, cells), filled(written, cells), missing, flags)
    finally:
        for book in books:
            book.close()


def _sheet(file: InputFile, book: Any, sheet: str | int | None) -> int:
    sheets = book.worksheets
    if isinstance(sheet, int):
        if not 1 <= sheet <= len(sheets):
            raise InputError(f"'{file.name}' has {len(sheets)} sheets and no sheet {sheet}")
        return sheet - 1
    if sheet is not None:
        for i, one in enumerate(sheets):
            if one.title == sheet:
                return i
        raise InputError(f"'{file.name}' has no sheet of the name that sheet= gives")
    filled = [i for i, one in enumerate(sheets) if next(_cells(one), None) is not None]
    if len(filled) != 1:
        raise UnsupportedError(
            f"'{file.name}' has {len(filled)} sheets with cells; say sheet= (a name, or a number "
            "from 1)"
        )
    return filled[0]


def _cells(sheet: Any) -> Iterator[tuple[Any, ...]]:
    sheet.reset_dimensions()  # what a sheet says of its size is often wrong
    for row in sheet.iter_rows(values_only=True):
        if any(value is not None for value in row):
            yield row


def _rows(file: InputFile, sheet: Any, max_cells: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    count = 0
    sheet.reset_dimensions()
    for row in sheet.iter_rows(values_only=True):
        # empty cells count: a sheet with one cell in its last column is 16,384 wide
        count += max(1, len(row))
        if count > max_cells // CELL_COST:
            raise TooLargeError(f"'{file.name}' has more than {max_cells // CELL_COST:,} cells")
        rows.append(row)
    return rows


def frame_of_cells(
    file: InputFile,
    stored: list[tuple[Any, ...]],
    written: list[tuple[Any, ...]],
    missing: Sequence[str],
    flags: set[str],
) -> Frame:
    """The table of a sheet's rows.

    Args:
        file: for messages.
        stored: the values, row by row; None for an empty cell.
        written: the same, with an object of any other type where there is a formula.
        missing: codes that stand for no value.
        flags: what else is to be said of it.
    """
    table: list[list[Any]] = []
    for number, (values, sources) in enumerate(zip(stored, written, strict=True), 1):
        if all(value is None for value in sources):
            continue
        table.append(
            [
                _value(file, value, source, f"{letters(i)}{number}", flags)
                for i, (value, source) in enumerate(zip(values, sources, strict=True))
            ]
        )
    if not table:
        raise UnreadableError(f"'{file.name}' has no cells in its sheet")
    headers = table[0]
    while headers and headers[-1] is None:
        headers.pop()
    width = len(headers)
    for row in table[1:]:
        if any(value is not None for value in row[width:]):
            raise UnreadableError(
                f"'{file.name}' has cells right of its last column name; name every column"
            )
    columns = [[row[i] if i < len(row) else None for row in table[1:]] for i in range(width)]
    names = ["" if name is None else str(name) for name in headers]
    return from_values(file.name, names, columns, missing=missing, flags=tuple(sorted(flags)))


def _value(file: InputFile, value: Any, source: Any, where: str, flags: set[str]) -> Any:
    formula = not isinstance(source, str | int | float | bool | date | time | None.__class__)
    if formula or (isinstance(source, str) and source.startswith("=")):
        if value is None:
            raise UnreadableError(
                f"'{file.name}', cell {where}: a formula without a stored value; open it in a "
                "spreadsheet program, save it, and try again"
            )
        flags.add("formula-cells")
    if isinstance(value, str) and value in _ERRORS:
        flags.add("error-cells")
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)  # a workbook knows no whole numbers
    if isinstance(value, time):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | datetime | None.__class__) \
        else str(value)  # fmt: skip
