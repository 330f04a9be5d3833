"""Excel workbooks of before 2007 (.xls): one sheet as a table, as ``table_excel`` makes it.

Source: [MS-XLS] 2.4 (records).
"""

import io
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from osler.errors import (
    InputError,
    MissingExtraError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from osler.io.input_file import InputFile
from osler.io.table_csv import CELL_COST
from osler.io.table_excel import frame_of_cells
from osler.io.table_frame import Frame
from osler.io.table_merged import filled, letters

_SHEET, _MERGED, _END, _BEGIN = 0x85, 0xE5, 0x0A, 0x0809
_FORMULAS: Final = (0x06, 0x0206, 0x0406)
_WORKSHEET: Final = 0


class _Formula:
    """Stands for the formula of a cell, which is not read."""


def read_xls(
    file: InputFile,
    *,
    max_cells: int,
    missing: Sequence[str] = (),
    sheet: str | int | None = None,
) -> Frame:
    """Read a sheet whose first row names the columns; arguments and flags as ``read_excel``.

    Raises:
        UnreadableError: it is damaged.
        UnsupportedError: several sheets and ``sheet`` is not given, cells that are merged across
            columns, or a password.
        TooLargeError: too many cells.
        MissingExtraError: ``xlrd`` is not installed.
    """
    try:
        import xlrd
        from xlrd.biffh import XLRDError
        from xlrd.compdoc import CompDoc
    except ImportError:
        raise MissingExtraError("xlrd", extra="tables", purpose="read old Excel (.xls)") from None
    file.stream.seek(0)
    data = file.stream.read()
    silent = io.StringIO()
    whole = CompDoc(data, logfile=silent)
    stream = whole.get_named_stream("Workbook") or whole.get_named_stream("Book")
    if stream is None:
        raise UnreadableError(f"'{file.name}' lacks its workbook; copy it again from its source")
    try:
        book = xlrd.open_workbook(
            file_contents=data, logfile=silent, on_demand=True, ragged_rows=True
        )
    except XLRDError as error:
        if "encrypted" in str(error):
            raise UnsupportedError(
                f"'{file.name}' is encrypted; save it without a password"
            ) from None
        raise
    index = _sheet(file, book, sheet)
    stored = _rows(file, book, index, max_cells)
    written = [list(row) for row in stored]
    formulas, merged = _extras(stream, index)
    for row, column in formulas:
        if row < len(written) and column < len(written[row]):
            written[row][column] = _Formula()
    cells = []
    for top, bottom, left, right in merged:
        if left != right:
            where = f"{letters(left)}{top + 1}:{letters(right)}{bottom + 1}"
            raise UnsupportedError(
                f"'{file.name}' has cells merged across columns ({where}); unmerge them, and give "
                "each column its own name and value"
            )
        cells.append((left, top, bottom))
    rows = [tuple(row) for row in stored]
    sources = [tuple(row) for row in written]
    flags = {"merged-cells"} if cells else set[str]()
    return frame_of_cells(file, filled(rows, cells), filled(sources, cells), missing, flags)


def _sheet(file: InputFile, book: Any, sheet: str | int | None) -> int:
    names = book.sheet_names()
    if isinstance(sheet, int):
        if not 1 <= sheet <= len(names):
            raise InputError(f"'{file.name}' has {len(names)} sheets and no sheet {sheet}")
        return sheet - 1
    if sheet is not None:
        if sheet not in names:
            raise InputError(f"'{file.name}' has no sheet of the name that sheet= gives")
        return int(names.index(sheet))
    found = [i for i in range(len(names)) if book.sheet_by_index(i).nrows]
    if len(found) != 1:
        raise UnsupportedError(
            f"'{file.name}' has {len(found)} sheets with cells; say sheet= (a name, or a number "
            "from 1)"
        )
    return found[0]


def _rows(file: InputFile, book: Any, index: int, max_cells: int) -> list[list[Any]]:
    sheet = book.sheet_by_index(index)
    if sum(max(1, sheet.row_len(row)) for row in range(sheet.nrows)) > max_cells // CELL_COST:
        raise TooLargeError(f"'{file.name}' has more than {max_cells // CELL_COST:,} cells")
    return [[_value(book, cell) for cell in sheet.row(row)] for row in range(sheet.nrows)]


def _value(book: Any, cell: Any) -> Any:
    """A cell as openpyxl would give it."""
    import xlrd

    kind, value = cell.ctype, cell.value
    if kind in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK):
        return None
    if kind == xlrd.XL_CELL_ERROR:
        return xlrd.error_text_from_code.get(value, "#VALUE!")
    if kind == xlrd.XL_CELL_BOOLEAN:
        return bool(value)
    if kind == xlrd.XL_CELL_DATE:
        moment = xlrd.xldate_as_datetime(value, book.datemode)
        return moment.time() if 0 <= value < 1 else moment
    return value


def _extras(stream: bytes, index: int) -> tuple[list[tuple[int, int]], list[tuple[int, ...]]]:
    """Row and column of each formula of a sheet, and its merged cells.

    xlrd gives the value of a formula and does not say that it is one. Merged cells come as first
    row, last row, first column, last column.
    """
    sheets = [
        struct.unpack_from("<I", body)[0]
        for code, body in _records(stream, 0)
        if code == _SHEET and body[5] == _WORKSHEET
    ]
    formulas: list[tuple[int, int]] = []
    merged: list[tuple[int, ...]] = []
    for code, body in _records(stream, sheets[index]):
        if code in _FORMULAS:
            formulas.append(struct.unpack_from("<HH", body))
        elif code == _MERGED:
            (count,) = struct.unpack_from("<H", body)
            merged += [struct.unpack_from("<4H", body, 2 + 8 * n) for n in range(count)]
    return formulas, merged


def _records(stream: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The records of one substream, but for those of charts within it."""
    depth = 0
    while at + 4 <= len(stream):
        code, length = struct.unpack_from("<HH", stream, at)
        at += 4 + length
        if code == _BEGIN:
            depth += 1
        elif code == _END:
            depth -= 1
            if depth <= 0:
                return
        elif depth == 1:
            yield code, stream[at - length : at]
