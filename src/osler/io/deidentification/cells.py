# ruff: noqa: E501 - a pattern reads best on one line
"""What stands under a name (of a column, a key, an element) → the same without people."""

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from osler.io.deidentification.dates import Offset
from osler.io.deidentification.free_text import Scrubber
from osler.io.deidentification.key import Key
from osler.io.deidentification.known import Known
from osler.io.deidentification.names_of_files import place
from osler.io.deidentification.options import Options

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
NUMBER: Final = re.compile(r"\s*[-+]?(\d{0,6}(\.\d*)?|\d*\.\d+)([eE][-+]?\d+)?\s*\Z")
_DECIMAL: Final = re.compile(r"-?\d{0,5}\.\d+\Z")
_DATE: Final = re.compile(
    r"(\d{4})([-/.]?)(\d{2})\2(\d{2})(?:[T ]?(\d{2}:?\d{2}(?::?\d{2})?(?:\.\d+)?))?Z?\Z"
)


@dataclass(frozen=True, slots=True)
class Row:
    """What the values of one person share."""

    pseudonym: str
    offset: Offset
    named: bool = False


def kind_of_name(name: str) -> str:
    """What stands under a name: the first kind of ``COLUMNS`` that fits, or empty."""
    return next((kind for kind, pattern in COLUMNS if pattern.search(name)), "")


class Cells:
    """Cleans the values of one file.

    Args:
        options: what is kept.
        key: the secret of the run.
        scrubber: cleans what no name tells about.
        relative: the file's path below the source folder.
        source: the folder the file lies in, for the files it names.
    """

    def __init__(
        self, options: Options, key: Key, scrubber: Scrubber, *, relative: str, source: Path
    ) -> None:
        self.options, self.key, self.scrubber = options, key, scrubber
        self.relative, self._source = relative, source
        self.counts: Counter[tuple[str, str]] = Counter()

    def learn(self, known: Known) -> None:
        """Know more people besides."""
        self.scrubber = self.scrubber.knowing(known)

    def about(self, identity: str = "") -> Row:
        """What the values of a person share; without an identity, those of the whole file."""
        whose = identity or f"table:{self.relative}"
        return Row(self.key.name("patient", whose), Offset.of(whose, self.key), bool(identity))

    def cell(self, cell: str, kind: str, row: Row) -> str:
        """A value without people; ``kind`` is of ``COLUMNS``, or empty for words."""
        if not cell.strip():
            return cell
        plain = NUMBER.match(cell) is not None
        moves = row.named and self.options.dates == "shift"
        scrubber = self.scrubber.moving(row.offset) if moves and not plain else self.scrubber
        ways: dict[str, Callable[[], str]] = {
            "birth": lambda: "",
            "contact": lambda: "",
            "name": lambda: "[NAME]",
            "person": lambda: cell if plain else "[NAME]",
            "place": lambda: cell if self.options.institution else "[PLACE]",
            "patient": lambda: self.key.name("patient", cell.strip()),
            "number": lambda: self.key.name("number", cell.strip()),
            "file": lambda: self._file(cell.strip()),
            "age": lambda: _age(cell),
            "date": lambda: self._date(cell.strip(), row),
            "remark": lambda: cell if plain else scrubber.phrase(cell),
            "moment": lambda: cell if self.options.dates == "keep" else "",
        }
        new = ways[kind]() if kind else cell if plain else scrubber.clean(cell)
        if new != cell:
            self.counts[f"column of {kind or 'text'}", "removed" if not new else "replaced"] += 1
        return new

    def _file(self, name: str) -> str:
        """The new name of a file that a cell names, as far as it is there; else a keyed hash."""
        if "://" in name:
            return "[URL]"
        if _DECIMAL.match(name):
            return name  # a measure of the picture
        path = self._source / name
        if not path.is_file():
            return "N" + self.key.name("file", name, length=12)
        here = os.path.dirname(self.relative)
        relative = os.path.normpath(os.path.join(here, name))
        return "/".join(place(relative, path.suffix.lower(), self.key))

    def _date(self, text: str, row: Row) -> str:
        if self.options.dates == "keep" or NUMBER.match(text):
            return text  # a plain number under such a name is a duration
        match = _DATE.match(text)
        if self.options.dates == "remove" or match is None:
            return ""
        clock = (match[5] or "").replace(":", "")
        moved = row.offset.date(match[1] + match[3] + match[4], clock)
        if moved is None:
            return ""
        time = row.offset.time(clock) if clock else None
        day = match[2].join((moved[:4], moved[4:6], moved[6:]))
        return f"{day} {time[:2]}:{time[2:4]}:{time[4:6] or '00'}" if time else day


def is_gone(kind: str, options: Options) -> bool:
    """Whether nothing of a kind stays that depends on the options."""
    return options.dates == "remove" if kind == "date" else not options.institution


CLEANED: Final = {
    "birth": re.compile(""),
    "contact": re.compile(""),
    "name": re.compile(r"\[NAME\]"),
    "person": re.compile(rf"\[NAME\]|{NUMBER.pattern}"),
    "place": re.compile(r"\[PLACE\]"),
    "patient": re.compile(r"[A-Z2-7]{12}"),
    "number": re.compile(r"[A-Z2-7]{12}"),
    "file": re.compile(
        r"\[URL\]|-?\d{0,5}\.\d+|([FSEIRN][A-Z2-7]{10,12}/)*[NIR][A-Z2-7]{10,12}(\.[\w.]{1,12})?"
    ),
    "age": re.compile(r"(?!9[1-9]|1\d\d).*", re.DOTALL),
    "date": NUMBER,
    "moment": re.compile(""),
}
"""What the cells of a column look like once they are clean."""


def _age(cell: str) -> str:
    """An age; 90 and more tell too much, and become 90."""
    match = re.match(r"\s*(\d+)(.*)", cell, re.DOTALL)
    if match is None:
        return cell if NUMBER.match(cell) else ""
    return "90" + match[2] if int(match[1]) > 90 and len(match[2]) < 8 else cell
