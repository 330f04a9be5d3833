"""A table as columns with types and units, whatever file it was read from."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Literal

from osler.errors import InputError, UnreadableError, UnsupportedError
from osler.io.table_units import split_header

Kind = Literal["bool", "int", "float", "date", "datetime", "text", "empty"]

MISSING: Final = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "<na>"})
"""What stands for no value, in any case."""

# "007" and "+5" are names, not numbers: writing them again must give the same
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_LONG = re.compile(r"-?\d{18,}")
_REAL = re.compile(r"-?(?:0|[1-9]\d*)?(?:\.\d+|\.)?(?:[eE][+-]?\d{1,3})?")
_DATE = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})")
_CHINESE_DATE = re.compile(r"(\d{4})年(\d{1,2})月(\d{1,2})日")
_MOMENT = re.compile(
    r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)"
)
_COMMA = re.compile(r"-?\d+,\d+")
# a spreadsheet would run such a cell, so writers put an apostrophe before it
_ESCAPED = re.compile(r"'(?=[=+\-@\t\r\n])")


@dataclass(frozen=True, slots=True)
class Frame:
    """Columns of equal length.

    Attributes:
        data: column name to its values, None where one is missing.
        kinds: column name to the type of its values.
        units: column name to UCUM unit, for those that have one.
        rows: how many rows there are.
        flags: named doubts of the reader.
        comments: what stands in comments before the table, by name.
    """

    data: Mapping[str, Sequence[Any]]
    kinds: Mapping[str, Kind]
    units: Mapping[str, str]
    rows: int
    flags: tuple[str, ...] = ()
    comments: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names, in the file's order."""
        return tuple(self.data)

    def row(self, index: int) -> dict[str, Any]:
        """The values of one row; a missing one is an absent key."""
        return {
            name: values[index] for name, values in self.data.items() if values[index] is not None
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.row(i) for i in range(self.rows))


def named(where: str, headers: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Column names and their units, from headers such as ``"glucose [mmol/L]"``.

    Args:
        where: the file, for messages.
        headers: as they stand in the file.

    Raises:
        UnreadableError: a name stands twice.
    """
    numbers: dict[str, int] = {}
    units: dict[str, str] = {}
    for number, header in enumerate(headers, 1):
        name, unit = split_header(header)
        name = name or f"column {number}"
        if name in numbers:
            raise UnreadableError(
                f"'{where}' has two columns of one name (columns {numbers[name]} and {number}); "
                "rename one"
            )
        numbers[name] = number
        if unit is not None:
            units[name] = unit
    return tuple(numbers), units


def from_text(
    where: str,
    headers: Sequence[str],
    columns: Sequence[Sequence[str]],
    *,
    decimal: str | None = None,
    missing: Sequence[str] = (),
    flags: tuple[str, ...] = (),
    comments: Mapping[str, str] | None = None,
) -> Frame:
    """Types for columns of text: each is of the narrowest type that all its cells are of.

    Args:
        where: the file, for messages.
        headers: names, perhaps with units.
        columns: the cells of each.
        decimal: ``"."`` or ``","``; by default a point, and a column that could be of decimal
            commas is refused.
        missing: what else stands for no value, such as ``"-99"``.
        flags: doubts to go with the table.
        comments: what stood before it.

    Raises:
        UnsupportedError: a column may be of decimal commas.
        UnreadableError: two columns of one name.
        InputError: ``decimal`` is neither.
    """
    if decimal not in (None, ".", ","):
        raise InputError(f"decimal is '{decimal}'; give '.' or ','")
    names, units = named(where, headers)
    absent = MISSING | {code.strip().casefold() for code in missing}
    data: dict[str, Sequence[Any]] = {}
    kinds: dict[str, Kind] = {}
    for name, cells in zip(names, columns, strict=True):
        filled = [None if cell.strip().casefold() in absent else cell for cell in cells]
        kind, values = _typed(filled, decimal=decimal or ".")
        if kind == "text" and decimal is None and _commas(filled):
            raise UnsupportedError(
                f"'{where}', column '{name}': every value is digits with a comma; say decimal=',' "
                "if these are fractions, or decimal='.' if they are words"
            )
        data[name], kinds[name] = values, kind
    rows = len(columns[0]) if columns else 0
    return Frame(data, kinds, units, rows, flags, comments or {})


def _commas(cells: Sequence[str | None]) -> bool:
    present = [cell.strip() for cell in cells if cell is not None]
    return bool(present) and all(
        _COMMA.fullmatch(cell) or _WHOLE.fullmatch(cell) for cell in present
    )


def from_values(
    where: str,
    headers: Sequence[str],
    columns: Sequence[Sequence[Any]],
    *,
    missing: Sequence[str] = (),
    flags: tuple[str, ...] = (),
    units: Mapping[str, str] | None = None,
) -> Frame:
    """The same for columns of values that have types of their own (Parquet, Excel)."""
    names, stated = named(where, headers)
    absent = MISSING | {code.strip().casefold() for code in missing}
    data: dict[str, Sequence[Any]] = {}
    kinds: dict[str, Kind] = {}
    for name, cells in zip(names, columns, strict=True):
        values = [None if _is_missing(cell, absent) else cell for cell in cells]
        kinds[name], data[name] = _united(values)
    rows = len(columns[0]) if columns else 0
    return Frame(data, kinds, {**stated, **(units or {})}, rows, flags)


def _is_missing(cell: Any, absent: frozenset[str]) -> bool:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return True
    if isinstance(cell, str):
        return cell.strip().casefold() in absent
    # site codes such as -99 may be stored as numbers
    is_number = isinstance(cell, int | float) and not isinstance(cell, bool)
    return is_number and f"{cell:g}" in absent


def _united(values: list[Any]) -> tuple[Kind, list[Any]]:
    types = {type(value) for value in values if value is not None}
    if not types:
        return "empty", values
    if types == {bool}:
        return "bool", values
    if types == {int}:
        return "int", values
    if types <= {int, float}:
        return "float", [None if v is None else float(v) for v in values]
    if types == {date}:
        return "date", values
    if types == {datetime}:
        if all(v is None or (v.hour, v.minute, v.second, v.microsecond) == (0, 0, 0, 0)
               for v in values):  # fmt: skip
            return "date", [None if v is None else v.date() for v in values]
        return "datetime", values
    return "text", [None if v is None else _words(v) for v in values]


def _words(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if isinstance(value, date) else str(value)


_Parse = Callable[[str], Any]


def _typed(cells: Sequence[str | None], *, decimal: str) -> tuple[Kind, list[Any]]:
    parsers: tuple[tuple[Kind, _Parse], ...] = (
        ("bool", _bool),
        ("int", _int),
        ("float", _float if decimal == "." else lambda cell: _float(_point(cell))),
        ("date", _date),
        ("datetime", _moment),
    )
    if all(cell is None for cell in cells):
        return "empty", list(cells)
    for kind, parse in parsers:
        values = _parsed(cells, parse)
        if values is not None:
            return kind, values
    return "text", [None if cell is None else _ESCAPED.sub("", cell, count=1) for cell in cells]


def _parsed(cells: Sequence[str | None], parse: _Parse) -> list[Any] | None:
    """The values, or None at the first cell that is not of the type."""
    values: list[Any] = []
    for cell in cells:
        value = None if cell is None else parse(cell.strip())
        if value is None and cell is not None:
            return None
        values.append(value)
    return values


def _bool(cell: str) -> bool | None:
    return {"true": True, "false": False}.get(cell.casefold())


def _int(cell: str) -> int | None:
    return int(cell) if _WHOLE.fullmatch(cell) else None


def _float(cell: str) -> float | None:
    if _LONG.fullmatch(cell):
        return None  # a number of an archive or a device: a float would lose its last digits
    if not _REAL.fullmatch(cell) or not any(c.isdigit() for c in cell.partition("e")[0]):
        return None
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _point(cell: str) -> str:
    """With a decimal comma a point is no part of a number."""
    return "x" if "." in cell else cell.replace(",", ".")


def _date(cell: str) -> date | None:
    """Only year first: 03/04/2020 is two days, and nobody can say which."""
    match = _DATE.fullmatch(cell)
    parts = match.group(1, 3, 4) if match else None
    if parts is None and (chinese := _CHINESE_DATE.fullmatch(cell)):
        parts = chinese.group(1, 2, 3)
    try:
        return date(*(int(part) for part in parts)) if parts else None
    except ValueError:
        return None


def _moment(cell: str) -> datetime | None:
    match = _MOMENT.fullmatch(cell)
    if match is None:
        # a column of moments may hold a midnight as a date
        day = _date(cell)
        return datetime(day.year, day.month, day.day) if day else None
    year, _, month, day_, clock = match.groups()
    try:
        return datetime.fromisoformat(f"{year}-{int(month):02}-{int(day_):02}T{clock}")
    except ValueError:
        return None
