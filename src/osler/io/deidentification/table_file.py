"""A table (CSV, TSV) → a table without people: columns by their names, every other cell as text."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from osler.errors import UnsupportedError
from osler.io.deidentification import columns
from osler.io.deidentification.cells import (
    CLEANED,
    NUMBER,
    Cells,
    Row,
    is_gone,
)
from osler.io.deidentification.free_text import second_look
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options
from osler.io.deidentification.text_file import decoded
from osler.io.input_file import InputFile

ENDINGS: Final = frozenset((".csv", ".tsv"))
_MOST_TOLD: Final = 5_000  # rows; a pattern of more names takes long


class Table:
    """Cleans a table.

    Args:
        cells: cleans a cell.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """What was done to what, how often."""
        return self._cells.counts

    def clean(self, file: InputFile) -> str:
        """The table as CSV (or TSV) text in UTF-8.

        Raises:
            UnsupportedError: it is no table: rows differ in length, or a field has no end.
        """
        text = decoded(file)
        delimiter = "\t" if file.path.suffix.lower() == ".tsv" else _delimiter(text)
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        except csv.Error as error:
            raise UnsupportedError(
                f"'{file.name}' is no table ({error}); export it again"
            ) from None
        rows = [row for row in rows if row]
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            raise UnsupportedError(f"'{file.name}' has rows of different lengths; export it again")
        self.learn(rows, kinds := columns.kinds_of(rows))
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        writer.writerows(self.rows(rows, kinds))
        return out.getvalue()

    def learn(self, rows: Sequence[Sequence[str]], kinds: Sequence[str]) -> None:
        """Know whom the columns name, for the cells in which people write."""
        self._cells.learn(_told(rows[1:], kinds))

    def rows(self, rows: Sequence[Sequence[str]], kinds: Sequence[str]) -> Iterator[list[str]]:
        """Each row without people, the names of the columns first."""
        yield [self._column(name, kind) for name, kind in zip(rows[0], kinds, strict=True)]
        for row in rows[1:]:
            about = self._about(row, kinds)
            yield [
                self._cells.cell(cell, kind, about) for cell, kind in zip(row, kinds, strict=True)
            ]

    def _column(self, name: str, kind: str) -> str:
        """The name of a column; where there is none, what stands there is a value as any other."""
        if kind == "name" and columns.is_somebody(name):
            self.counts["column of name", "replaced"] += 1
            return "[NAME]"
        return self._cells.scrubber.clean(name)

    def _about(self, row: Sequence[str], kinds: Sequence[str]) -> Row:
        pairs = zip(row, kinds, strict=True)
        return self._cells.about(
            next((c.strip() for c, kind in pairs if kind == "patient" and c.strip()), "")
        )


def left(file: InputFile, options: Options) -> Iterator[str]:
    """What a cleaned table still tells, by its columns and by the rules."""
    text = decoded(file)
    delimiter = "\t" if file.path.suffix.lower() == ".tsv" else _delimiter(text)
    rows = [r for r in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if r]
    yield from left_in(rows, options)


def left_in(
    rows: Sequence[Sequence[str]], options: Options, kinds: Sequence[str] | None = None
) -> Iterator[str]:
    """What cleaned rows still tell; the first has the names of the columns, if not their kinds."""
    scrubber = second_look(Known(), dates=options.dates, offsets=False)
    for at, kind in enumerate(columns.kinds_of(rows) if kinds is None else kinds):
        cells = [row[at] for row in rows[1:] if at < len(row) and row[at].strip()]
        if kind in ("date", "place") and not is_gone(kind, options):
            continue
        if kind and kind in CLEANED:
            if not all(CLEANED[kind].fullmatch(cell) for cell in cells):
                yield f"something in a column of {kind}"
        elif kind in ("", "remark") and any(
            not NUMBER.match(c) and scrubber.passages(c) for c in cells
        ):
            yield "something of somebody in a column of text"


def _told(body: Sequence[Sequence[str]], kinds: Sequence[str]) -> Known:
    """Whom a table's own columns name, for the cells in which people write."""
    known = Known()
    at = [(i, kind) for i, kind in enumerate(kinds) if kind in ("name", "patient")]
    for row in body[:_MOST_TOLD]:
        for i, kind in at:
            cell = row[i].strip()
            if kind == "name" or not any(c.isdigit() for c in cell):
                known.add_name(cell)
            else:
                known.add_id(cell)
    return known


def _delimiter(text: str) -> str:
    line = text.split("\n", 1)[0]
    return max(",;\t|", key=line.count)
