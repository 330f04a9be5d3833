"""Merged cells of an Excel sheet: one value that stands for several rows."""

import re
import zipfile
from collections.abc import Iterator
from typing import Any, Final

from osler.errors import TooLargeError, UnsupportedError
from osler.io.input_file import InputFile
from osler.io.office_zip import part

_MERGED: Final = re.compile(
    rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"'
)
_MOST: Final = 100_000

Rows = list[tuple[Any, ...]]


def merged(file: InputFile, source: zipfile.ZipFile, name: str) -> list[tuple[int, int, int]]:
    """Column, first row and last row of each merged cell, from 0.

    Args:
        file: the workbook.
        source: it, as an archive.
        name: of the sheet's part.

    Raises:
        UnsupportedError: cells are merged across columns, so nobody can say whose value it is.
        TooLargeError: there are more than any sheet has.
    """
    found = []
    for match in _MERGED.finditer(part(file, source, name.lstrip("/"))):
        left, top, right, bottom = (text.decode() for text in match.groups())
        if left != right:
            raise UnsupportedError(
                f"'{file.name}' has cells merged across columns ({left}{top}:{right}{bottom}); "
                "unmerge them, and give each column its own name and value"
            )
        found.append((_column(left), int(top) - 1, int(bottom) - 1))
        if len(found) > _MOST:
            raise TooLargeError(f"'{file.name}' has more than {_MOST:,} merged cells")
    return found


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def letters(index: int) -> str:
    """The name of a column, counted from 0: ``A``, ``B`` … ``Z``, ``AA``."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(65 + rest) + name
    return name


def filled(rows: Rows, cells: list[tuple[int, int, int]]) -> Rows:
    """The rows with the value of a merged cell in each of the rows that it spans."""
    wide = {row: list(values) for row, values in _spanned(rows, cells)}
    for column, first, last in cells:
        value = wide[first][column] if column < len(wide.get(first, ())) else None
        for row in range(first + 1, min(last + 1, len(rows))):
            wide[row] += [None] * (column + 1 - len(wide[row]))
            wide[row][column] = value
    return [tuple(wide.get(row, values)) for row, values in enumerate(rows)]


def _spanned(rows: Rows, cells: list[tuple[int, int, int]]) -> Iterator[tuple[int, Any]]:
    for _, first, last in cells:
        for row in range(first, min(last + 1, len(rows))):
            yield row, rows[row]
