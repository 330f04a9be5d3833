"""An Excel workbook → a workbook of the same values without people, written anew.

Every sheet is taken as a table: its first row names the columns. Formulas become the values that
were stored with them; pictures, charts, comments, macros, forms and properties are left out.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, cast

from osler.errors import InputError, MissingExtraError, TooLargeError, UnsupportedError
from osler.io.deidentification import columns
from osler.io.deidentification.cells import Cells
from osler.io.deidentification.free_text import Scrubber
from osler.io.deidentification.known import Known
from osler.io.deidentification.office_package import EMPTY_CORE, Package
from osler.io.deidentification.options import Options
from osler.io.deidentification.table_file import Table, left_in
from osler.io.input_file import InputFile, opened
from osler.io.office_zip import archive, check_parts, kind_of
from osler.terminal import counted

_MOST_CELLS: Final = 4_000_000
_CORE: Final = "docProps/core.xml"
_PARTS: Final = re.compile(
    r"\[Content_Types\]\.xml|_rels/\.rels|docProps/(app|core)\.xml|xl/_rels/workbook\.xml\.rels|"
    r"xl/(workbook|styles|sharedStrings|theme/theme1|worksheets/sheet\d+)\.xml"
)
"""What a workbook that was written anew consists of."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
Rows = list[list[Any]]


def accepts(file: InputFile) -> bool:
    """Whether an archive is an Excel workbook."""
    try:
        with archive(file) as source:
            return kind_of(source.namelist()) == "xlsx"
    except InputError:
        return False


def clean(file: InputFile, cells: Cells) -> Package:
    """The workbook without people.

    Raises:
        UnsupportedError: a sheet is no table, or a formula has no stored value.
        UnreadableError: it is damaged, or holds entities.
        TooLargeError: it is a bomb, or has more than four million cells.
        MissingExtraError: ``openpyxl`` is not installed.
    """
    sheets = [_squared(file, rows) for rows in _sheets(file)]
    table = Table(cells)
    texts = [[[_text(value) for value in row] for row in rows] for rows in sheets]
    kinds = [_kinds(rows) for rows in sheets]
    for text, kind in zip(texts, kinds, strict=True):
        if text:
            table.learn(text, kind)
    cleaned = []
    for rows, text, kind in zip(sheets, texts, kinds, strict=True):
        new = list(table.rows(text, kind)) if text else []
        cleaned.append(
            [
                [_value(*one) for one in zip(*three, strict=True)]
                for three in zip(rows, text, new, strict=True)
            ]
        )
    with archive(file) as source:
        left_out = sum(not _PARTS.fullmatch(name) for name in source.namelist())
    book = Package(_written(cleaned), table.counts)
    book.notes.append("the workbook was written anew: only values are in it, no forms or formulas")
    if left_out:
        book.notes.append(f"{counted(left_out, 'part')} besides the sheets left out")
    return book


def _sheets(file: InputFile) -> Iterator[Rows]:
    """The values of each sheet, hidden ones too."""
    try:
        import openpyxl
    except ImportError:
        raise MissingExtraError("openpyxl", extra="tables", purpose="clean Excel") from None
    with archive(file) as source:
        check_parts(file, source)
    books = []
    for values in (True, False):
        file.stream.seek(0)
        stream = cast("Any", file.stream)
        books.append(openpyxl.load_workbook(stream, read_only=True, data_only=values))
    try:
        count = 0
        for stored, written in zip(books[0].worksheets, books[1].worksheets, strict=True):
            rows: Rows = []
            for sheet in (stored, written):
                cast("Any", sheet).reset_dimensions()  # what a sheet says of its size may be wrong
            pairs = zip_longest(
                stored.iter_rows(values_only=True), written.iter_rows(values_only=True)
            )
            for row, sources in pairs:
                count += max(1, len(row))
                if count > _MOST_CELLS:
                    raise TooLargeError(f"'{file.name}' has more than {_MOST_CELLS:,} cells")
                if any(v is None and s is not None for v, s in zip(row, sources, strict=True)):
                    raise UnsupportedError(
                        f"'{file.name}' has a formula without a stored value; open it in a "
                        "spreadsheet program, save it, and try again"
                    )
                rows.append(list(row))
            yield rows
    finally:
        for book in books:
            book.close()


def _squared(file: InputFile, rows: Rows) -> Rows:
    """The rows that hold anything, all as long as the first, which names the columns."""
    rows = [row for row in rows if any(value is not None for value in row)]
    if not rows:
        return []
    width = max(i + 1 for i, value in enumerate(rows[0]) if value is not None)
    named = all(isinstance(value, str) and value.strip() for value in rows[0][:width])
    if not named or any(v is not None for row in rows for v in row[width:]):
        raise UnsupportedError(
            f"'{file.name}' has a sheet that is no table: its first row must name every column "
            "that has cells, or nobody can tell what they hold; name them, or export tables as CSV"
        )
    return [[*row[:width], *[None] * (width - len(row))] for row in rows]


def _kinds(rows: Rows) -> list[str]:
    """What the columns hold: by their names, and a column of dates by its cells."""
    kinds = columns.kinds_of([[_text(v) for v in row] for row in rows])
    for at, kind in enumerate(kinds):
        if not kind and any(isinstance(row[at], date | time) for row in rows[1:]):
            kinds[at] = "date"
    return kinds


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        day, clock = value.date(), value.time().replace(microsecond=0)
        return f"{day} {clock}" if clock != time() else str(day)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))  # a workbook knows no whole numbers
    return str(value)


def _value(value: Any, text: str, new: str) -> Any:
    """A cleaned cell in the type that it had; None where it is empty."""
    if new == text and not (isinstance(value, date | time) and not text):
        return value
    if isinstance(value, int | float) and new.isdigit() and len(new) < 4:
        return int(new)  # an age
    if isinstance(value, datetime | date) and new:
        try:
            return datetime.fromisoformat(new)
        except ValueError:
            return new
    return new or None


def _written(sheets: list[Rows]) -> dict[str, bytes]:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(cast("Any", book.active))
    for number, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"Sheet{number}")  # their own names may be anybody's
        for y, row in enumerate(rows, 1):
            for x, value in enumerate(row, 1):
                if value is None:
                    continue
                cell = sheet.cell(
                    y, x, _CONTROL.sub(" ", value) if isinstance(value, str) else value
                )
                if isinstance(value, str):
                    cell.data_type = "s"  # a text, or "=..." would become a formula
    stream = io.BytesIO()
    book.save(stream)
    with zipfile.ZipFile(stream) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    return {**parts, _CORE: EMPTY_CORE.encode()}


def left(path: Path, known: Known) -> Iterator[str]:
    """What a copy still tells of people who are known."""
    scrubber = Scrubber(known)
    with opened(path) as file:
        with archive(file) as source:
            if not all(_PARTS.fullmatch(name) for name in source.namelist()):
                yield "a part that is not cleaned"
            elif source.read(_CORE) != EMPTY_CORE.encode():
                yield "core properties"
        for rows in _sheets(file):
            for row in rows:
                for text in (value for value in row if isinstance(value, str)):
                    if scrubber.known_only(text) != text:
                        yield "something of a patient in its cells"


def left_unaided(file: InputFile, options: Options) -> Iterator[str]:
    """What a copy still tells, by the names of its columns and by the rules."""
    for rows in _sheets(file):
        squared = _squared(file, rows)
        texts = [[_text(value) for value in row] for row in squared]
        yield from left_in(texts, options, _kinds(squared))
