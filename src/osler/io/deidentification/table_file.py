# ruff: noqa: E501 - a pattern reads best on one line
"""A table (CSV, TSV) → a table without people: columns by their names, every other cell as text."""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from osler.errors import UnsupportedError
from osler.io.deidentification.dates import Offset
from osler.io.deidentification.free_text import Scrubber
from osler.io.deidentification.key import Key
from osler.io.deidentification.known import Known
from osler.io.deidentification.names_of_files import place
from osler.io.deidentification.options import Options
from osler.io.deidentification.text_file import decoded
from osler.io.input_file import InputFile

ENDINGS: Final = frozenset((".csv", ".tsv"))

# What a column holds, by its name; the first that fits.
COLUMNS: Final = (
    ("birth", re.compile(r"birth|\bdob\b|出生|geburt|\bgeb\b|naissance|nacimiento|nascita|geboorte|nascimento", re.I)),
    ("file", re.compile(r"(^|[\W_])(file|path|image|img|filename|dicom|photo)s?($|[\W_])|文件", re.I)),
    ("contact", re.compile(r"phone|mobile|\btel\b|\bfax\b|e-?mail|address|street|zip|post.?code|telef|handy|stra(?:ss|ß)e|anschrift|adress|\bplz\b|direcci[oó]n|indirizzo|endere[cç]o|电话|手机|地址|住址|邮编|邮箱|微信", re.I)),
    ("patient", re.compile(r"(patient|subject|person|participant|medical.?record|mrn|pid|病人|患者|病案|病历|登记|住院|门诊).{0,4}(id|no|number|num|code|号|编号)?$|^id$|^mrn$|身份证|编号|^(pat|patienten|fall)[\W_]?(nr|nummer|id)\.?$", re.I)),
    ("name", re.compile(r"(patient|last|first|given|family|full|sur|middle|maiden|doctor|physician|nurse|operator|technician|reader|radiologist|referr\w*).{0,3}name|^name$|physician|doctor|radiologist|operator|reader|(nach|vor|familien|ruf|geburts)name|achternaam|voornaam|^pr[ée]?noms?$|^nom(bre|e)?( de famille)?$|apellidos?|cognome|sobrenome|arzt|ärztin|m[ée]decin|m[ée]dico|medico|behandler|姓名|医[生师]|技师|操作者|联系人", re.I)),
    ("place", re.compile(r"(?<![a-z])(hospital|institution|clinic|facility|ward|city|county|province|department)s?(?![a-z])|医院|科室|城市|单位|籍贯", re.I)),
    ("number", re.compile(r"accession|ssn|insurance|passport|licen[cs]e.?(no|num|plate)|serial|account|order.?(id|no|num)|(^|[\W_])(uid|guid|uuid)|instance.?uid|检查号|卡号|条码|影像号|护照", re.I)),
    ("age", re.compile(r"^age|[\W_]age($|[\W_])|年龄|岁", re.I)),
    ("date", re.compile(r"date|time|datum|日期|时间", re.I)),
)  # fmt: skip
_MOST_TOLD: Final = 5_000  # rows; a pattern of more names takes long
_NUMBER: Final = re.compile(r"\s*[-+]?(\d{0,6}(\.\d*)?|\d*\.\d+)([eE][-+]?\d+)?\s*\Z")
_DATE: Final = re.compile(
    r"(\d{4})([-/.]?)(\d{2})\2(\d{2})(?:[T ]?(\d{2}:?\d{2}(?::?\d{2})?(?:\.\d+)?))?Z?\Z"
)


@dataclass(frozen=True, slots=True)
class _Row:
    """What the cells of one row share."""

    pseudonym: str
    offset: Offset


class Table:
    """Cleans tables of one source folder.

    Args:
        options: what is kept.
        key: the secret of the run.
        scrubber: cleans the cells that no column's name tells about.
        relative: the table's path below the source folder.
        source: the folder the table lies in, for the files it names.
    """

    def __init__(
        self, options: Options, key: Key, scrubber: Scrubber, *, relative: str, source: Path
    ) -> None:
        self._options, self._key, self._scrubber = options, key, scrubber
        self._relative, self._source = relative, source
        self.counts: Counter[tuple[str, str]] = Counter()

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
        head, body = rows[0], rows[1:]
        kinds = [next((k for k, p in COLUMNS if p.search(name)), "") for name in head]
        self._scrubber = self._scrubber.knowing(_told(body, kinds))
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        writer.writerow([self._scrubber.clean(name) for name in head])
        for row in body:
            about = self._about(row, kinds)
            writer.writerow(
                self._cell(cell, kind, name, about)
                for cell, kind, name in zip(row, kinds, head, strict=True)
            )
        return out.getvalue()

    def _about(self, row: list[str], kinds: list[str]) -> _Row:
        identity = next(
            (c.strip() for c, k in zip(row, kinds, strict=True) if k == "patient" and c.strip()),
            f"table:{self._relative}",
        )
        return _Row(self._key.name("patient", identity), Offset.of(identity, self._key))

    def _cell(self, cell: str, kind: str, column: str, row: _Row) -> str:
        if not cell.strip():
            return cell
        ways: dict[str, Callable[[], str]] = {
            "birth": lambda: "",
            "contact": lambda: "",
            "name": lambda: "[NAME]",
            "place": lambda: cell if self._options.institution else "[PLACE]",
            "patient": lambda: self._key.name("patient", cell.strip()),
            "number": lambda: self._key.name("number", cell.strip()),
            "file": lambda: self._file(cell.strip()),
            "age": lambda: _age(cell),
            "date": lambda: self._date(cell.strip(), row),
        }
        plain = _NUMBER.match(cell) is not None
        new = ways[kind]() if kind else cell if plain else self._scrubber.clean(cell)
        if new != cell:
            self.counts[f"column of {kind or 'text'}", "removed" if not new else "replaced"] += 1
        return new

    def _file(self, name: str) -> str:
        """The new name of a file that a cell names, as far as it is there; else a keyed hash."""
        if "://" in name:
            return "[URL]"
        path = self._source / name
        if not path.is_file():
            return "N" + self._key.name("file", name, length=12)
        here = os.path.dirname(self._relative)
        relative = os.path.normpath(os.path.join(here, name))
        return "/".join(place(relative, path.suffix.lower(), self._key))

    def _date(self, text: str, row: _Row) -> str:
        if self._options.dates == "keep" or _NUMBER.match(text):
            return text  # a plain number under such a name is a duration
        match = _DATE.match(text)
        if self._options.dates == "remove" or match is None:
            return ""
        clock = (match[5] or "").replace(":", "")
        moved = row.offset.date(match[1] + match[3] + match[4], clock)
        if moved is None:
            return ""
        time = row.offset.time(clock) if clock else None
        day = match[2].join((moved[:4], moved[4:6], moved[6:]))
        return f"{day} {time[:2]}:{time[2:4]}:{time[4:6] or '00'}" if time else day


def left(file: InputFile, options: Options) -> Iterator[str]:
    """What a cleaned table still tells, by its columns and by the rules."""
    text = decoded(file)
    delimiter = "\t" if file.path.suffix.lower() == ".tsv" else _delimiter(text)
    rows = [r for r in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if r]
    scrubber = Scrubber(Known())
    for at, name in enumerate(rows[0] if rows else []):
        kind = next((k for k, p in COLUMNS if p.search(name)), "")
        cells = [row[at] for row in rows[1:] if at < len(row) and row[at].strip()]
        if kind in ("date", "place") and not _is_gone(kind, options):
            continue
        if kind and kind in _CLEANED:
            if not all(_CLEANED[kind].fullmatch(cell) for cell in cells):
                yield f"something in a column of {kind}"
        elif not kind and any(not _NUMBER.match(c) and scrubber.passages(c) for c in cells):
            yield "something of somebody in a column of text"


def _told(body: list[list[str]], kinds: list[str]) -> Known:
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


def _is_gone(kind: str, options: Options) -> bool:
    return options.dates == "remove" if kind == "date" else not options.institution


_CLEANED: Final = {
    "birth": re.compile(""),
    "contact": re.compile(""),
    "name": re.compile(r"\[NAME\]"),
    "place": re.compile(r"\[PLACE\]"),
    "patient": re.compile(r"[A-Z2-7]{12}"),
    "number": re.compile(r"[A-Z2-7]{12}"),
    "file": re.compile(r"\[URL\]|([FSEIRN][A-Z2-7]{10,12}/)*[NIR][A-Z2-7]{10,12}(\.[\w.]{1,12})?"),
    "age": re.compile(r"(?!9[1-9]|1\d\d).*", re.DOTALL),
    "date": _NUMBER,
}
"""What the cells of a column look like once they are clean."""


def _age(cell: str) -> str:
    """An age; 90 and more tell too much, and become 90."""
    match = re.match(r"\s*(\d+)(.*)", cell, re.DOTALL)
    if match is None:
        return cell if _NUMBER.match(cell) else ""
    return "90" + match[2] if int(match[1]) > 90 and len(match[2]) < 8 else cell


def _delimiter(text: str) -> str:
    line = text.split("\n", 1)[0]
    return max(",;\t|", key=line.count)
