"""Delimited text: its encoding, delimiter, comments and cells."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from osler.errors import InputError, TooLargeError, UnreadableError, UnsupportedError
from osler.io.input_file import InputFile

MAX_BYTES: Final = 256_000_000
MAX_COLUMNS: Final = 2_000_000
CELL_COST: Final = 5
"""A cell of text takes at least five times the memory of a pixel."""
_DELIMITERS: Final = (",", ";", "\t", "|")
_COMMENT = re.compile(r"#\s*([A-Za-z][\w .-]{0,60}?)\s*[=:]\s*(.*\S)\s*")
_SNIFFED_LINES: Final = 200


@dataclass(frozen=True, slots=True)
class Cells:
    """A table of text.

    Attributes:
        headers: the first row.
        columns: the cells of each column below it.
        comments: ``# name = value`` and ``# name: value`` before the table.
        flags: named doubts.
    """

    headers: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    comments: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def decoded(file: InputFile, *, encoding: str | None = None) -> tuple[str, tuple[str, ...]]:
    """A file's text and doubts about it.

    By its byte order mark, else UTF-8, else GB18030 where nearly all beyond ASCII is common
    Chinese. Anything else is refused, for every byte is a letter in some encoding.

    Raises:
        TooLargeError: more than 256 MB.
        UnsupportedError: it is in no encoding that can be told.
        InputError: ``encoding`` is unknown.
    """
    if file.size > MAX_BYTES:
        raise TooLargeError(
            f"'{file.name}' has {file.size:,} bytes of text, more than {MAX_BYTES:,}; store it as "
            "Parquet, or split it"
        )
    file.stream.seek(0)
    raw = file.stream.read()
    if encoding is not None:
        return _as_said(file, raw, encoding), ()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _as_said(file, raw, "utf-16"), ()
    try:
        return raw.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        pass
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        text = ""
    if not _is_chinese(text):
        raise UnsupportedError(
            f"'{file.name}' is not in UTF-8 and its encoding cannot be told; say it, such as "
            "encoding='cp1252' (Western Europe) or encoding='gb18030' (China)"
        )
    return text, ("encoding-gb18030",)


def _as_said(file: InputFile, raw: bytes, encoding: str) -> str:
    try:
        text = raw.decode(encoding)
    except LookupError:
        raise InputError(f"encoding '{encoding}' is unknown; give one that Python knows") from None
    except UnicodeDecodeError:
        raise UnreadableError(f"'{file.name}' is not in {encoding}; say another encoding") from None
    return text.removeprefix("\ufeff")


def _is_chinese(text: str) -> bool:
    """Whether what is beyond ASCII is what GB 2312 has: any two bytes are some rare character."""
    beyond = [c for c in text if c > "\x7f"]
    rare = 0
    for character in beyond:
        try:
            character.encode("gb2312")
        except UnicodeEncodeError:
            rare += 1
    return bool(beyond) and rare <= 0.1 * len(beyond)


def read_cells(
    file: InputFile,
    *,
    max_cells: int,
    encoding: str | None = None,
    delimiter: str | None = None,
) -> Cells:
    """Parse delimited text.

    Args:
        file: the opened file.
        max_cells: refuse more cells than a fifth of this.
        encoding: by default as ``decoded`` finds it.
        delimiter: by default the one of comma, semicolon, tab and bar by which every line has
            the same number of cells.

    Raises:
        UnreadableError: no rows, a line of another length, or bytes that are no text.
        UnsupportedError: neither delimiter nor encoding can be told.
        TooLargeError: more than ``max_cells / 5`` cells.
    """
    text, flags = decoded(file, encoding=encoding)
    if "\0" in text:
        raise UnreadableError(f"'{file.name}' is named as text but holds zero bytes")
    comments, text = _split_comments(text)
    # a first line such as "sep=;" is how Excel is told, and no row
    said = re.match(r"sep=([,;\t|])\r?\n", text, re.IGNORECASE)
    if said:
        text, delimiter = text[said.end() :], delimiter or said[1]
    if delimiter is None:
        delimiter = _delimiter(file, text)
    elif len(delimiter) != 1:
        raise InputError(f"delimiter is '{delimiter}'; give one character")
    rows = _rows(file, text, delimiter)
    headers = next(rows, ((), 0))[0]
    if not headers:
        raise UnreadableError(f"'{file.name}' has no rows; export it again")
    if len(headers) > min(MAX_COLUMNS, max_cells):
        raise TooLargeError(f"'{file.name}' has {len(headers):,} columns; split it")
    columns: list[list[str]] = [[] for _ in headers]
    count = 0
    for cells, line in rows:
        if len(cells) != len(headers):
            raise UnreadableError(
                f"'{file.name}', line {line}: {len(cells)} cells where the first row has "
                f"{len(headers)}; mend the line, or say the delimiter"
            )
        count += len(cells)
        if count > max_cells // CELL_COST:
            raise TooLargeError(
                f"'{file.name}' has more than {max_cells // CELL_COST:,} cells of text; store it "
                "as Parquet, split it, or raise max_pixels"
            )
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
    return Cells(tuple(headers), tuple(tuple(c) for c in columns), comments, flags)


def _split_comments(text: str) -> tuple[dict[str, str], str]:
    comments: dict[str, str] = {}
    at = 0
    while text.startswith("#", at):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[at : min(end, at + 1000)]
        match = _COMMENT.fullmatch(line.strip())
        if match is None and any(delimiter in line for delimiter in ",\t;"):
            return comments, text[at + (at == 0) :]  # "#CHROM ..." is a row of names
        if match:
            comments[match[1].casefold()] = match[2]
        at = end + 1
    return comments, text[at:]


def _rows(file: InputFile, text: str, delimiter: str) -> Iterator[tuple[Sequence[str], int]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) or len(cells) > 1:
                yield cells, reader.line_num
    except csv.Error:
        raise UnreadableError(
            f"'{file.name}', line {reader.line_num}: a quotation mark is not closed or a cell is "
            "too long; mend the line"
        ) from None


def _delimiter(file: InputFile, text: str) -> str:
    widths: dict[str, int] = {}
    single = False
    for delimiter in _DELIMITERS:
        rows = _rows(file, text, delimiter)
        try:
            lengths = [len(cells) for (cells, _), _ in zip(rows, range(_SNIFFED_LINES))]  # noqa: B905
        except UnreadableError:
            continue
        if len(set(lengths)) == 1:
            single = single or lengths[0] == 1
            if lengths[0] > 1:
                widths[delimiter] = lengths[0]
    best = sorted(widths, key=lambda one: -widths[one])
    if len(best) > 1 and widths[best[0]] == widths[best[1]]:
        raise UnsupportedError(
            f"'{file.name}' could be separated by {best[0]!r} or by {best[1]!r}; say delimiter="
        )
    if best:
        return best[0]
    # one column, or lines that differ: the rows say which, and where
    first = text.partition("\n")[0]
    return "," if single else max(_DELIMITERS, key=first.count)
