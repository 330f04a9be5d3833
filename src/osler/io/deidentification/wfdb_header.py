"""The header of a WFDB record (``.hea``) → the same without the patient.

Names of records are often numbers of patients: records, their files and the lines that name them
get keyed hashes.

Source: header(5) of the WFDB Applications Guide, PhysioNet.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from osler.errors import UnreadableError, UnsupportedError
from osler.io.deidentification.cells import kind_of_name
from osler.io.deidentification.dates import Offset
from osler.io.deidentification.free_text import Scrubber
from osler.io.deidentification.key import Key
from osler.io.deidentification.known import Known
from osler.io.deidentification.names_of_files import place
from osler.io.deidentification.options import Options
from osler.io.input_file import InputFile

_KEYED: Final = re.compile(r"\s*<?([\w .()/-]{1,40}?)>?\s*[:=]\s*(.*)", re.DOTALL)
_PARTS: Final = 8  # fields of a signal line before its description
_OLDEST: Final = 90  # years
_AGE: Final = re.compile(r"(\bage\b\W{0,4})(\d{2,3})|(^\s*)(\d{2,3})(?=\s+[MF]\b)", re.IGNORECASE)
_CODES: Final = re.compile(r"\s*\d{6,18}(\s*,\s*\d{6,18})*\s*")  # of SNOMED CT


def place_of(relative: str, key: Key) -> tuple[str, str]:
    """Folder and name of the copy of a record's file; all files of a record share a stem."""
    path = PurePosixPath(relative.replace("\\", "/"))
    folder, _ = place(relative, "", key)
    return folder, _renamed(path.name, path.parent, key)


def _renamed(name: str, folder: PurePosixPath, key: Key) -> str:
    stem, dot, ending = name.partition(".")
    if not re.fullmatch(r"[A-Za-z0-9]{0,8}", ending):
        ending = key.name("ending", ending, length=6).lower()
    return f"R{key.name('record', str(folder / stem), length=12)}{dot}{ending}"


def told(file: InputFile, *, dates: bool) -> Known:
    """What a header tells: the record's name, its day, and comments that name what they hold."""
    known = Known()
    lines = _decoded(file).splitlines()
    record = next((line.split() for line in lines if _is_plain(line)), [])
    if record:
        known.add_id(record[0].partition("/")[0])
    if dates and len(record) > 5:
        known.add_date(_day(record[5]))
    for line in lines:
        match = _KEYED.fullmatch(line.lstrip("# \t")) if line.lstrip().startswith("#") else None
        if match is None:
            continue
        kind = _kind(match[1])
        if kind == "name":
            known.add_name(match[2].strip())
        elif kind in ("patient", "number"):
            value = match[2].strip()
            (known.add_id if any(c.isdigit() for c in value) else known.add_name)(value)
        elif kind == "birth":
            known.add_birth(match[2].strip())
    return known


class Cleaner:
    """Cleans one header.

    Args:
        options: what is kept.
        key: the secret of the run.
        scrubber: cleans comments.
        relative: the header's path below the source folder.
    """

    def __init__(self, options: Options, key: Key, scrubber: Scrubber, *, relative: str) -> None:
        self._options, self._key, self._scrubber = options, key, scrubber
        self._path = PurePosixPath(relative.replace("\\", "/"))
        self.counts: Counter[tuple[str, str]] = Counter()
        self.notes: list[str] = []

    def clean(self, file: InputFile) -> str:
        """The header's text.

        Raises:
            UnreadableError: it has fewer lines than it announces.
            UnsupportedError: it names files elsewhere.
        """
        out: list[str] = []
        expected, segments = -1, False
        for line in _decoded(file).splitlines():
            if line.lstrip().startswith("#"):
                out.append("#" + self._comment(line.lstrip()[1:]))
            elif not _is_plain(line):
                continue
            elif expected < 0:
                new, expected, segments = self._record(line.split(), file)
                out.append(new)
            elif expected > 0:
                expected -= 1
                out.append(self._segment(line, file) if segments else self._signal(line, file))
            else:
                self.counts["WFDB lines beyond the signals", "removed"] += 1
        if expected:
            raise UnreadableError(f"'{file.name}' has fewer lines than it announces; copy it again")
        return "\n".join(out) + "\n"

    def _record(self, parts: list[str], file: InputFile) -> tuple[str, int, bool]:
        name, slash, segments = parts[0].partition("/")
        try:
            expected = int(segments or parts[1])
        except (ValueError, IndexError):
            raise UnreadableError(f"'{file.name}' has a record line that is none") from None
        base, rest = parts[:4], parts[4:]
        base[0] = self._name(name) + slash + segments
        self.counts["WFDB record name", "replaced"] += 1
        if rest and self._options.dates != "keep":
            shifts = self._options.dates == "shift"
            self.counts["WFDB base date and time", "shifted" if shifts else "removed"] += 1
            rest = self._moved(rest, name) if shifts else []
        return " ".join((*base, *rest)), expected, bool(slash)

    def _moved(self, rest: list[str], name: str) -> list[str]:
        """Base time and date, moved by the record's offset; nothing where they are unreadable."""
        offset = Offset.of(name, self._key)
        numbers = re.findall(r"\d+", rest[0].partition(".")[0])
        clock = "".join(n.zfill(2) for n in (*["0"] * (3 - len(numbers)), *numbers))
        day = _day(rest[1]) if len(rest) > 1 else ""
        moved = offset.datetime(day + clock) if day else offset.time(clock)
        if moved is None:
            return []
        time = ":".join((moved[-6:-4], moved[-4:-2], moved[-2:]))
        return [time, f"{moved[6:8]}/{moved[4:6]}/{moved[:4]}"] if day else [time]

    def _signal(self, line: str, file: InputFile) -> str:
        parts = line.split(maxsplit=_PARTS)
        parts[0] = self._file(parts[0], file)
        if len(parts) > _PARTS:
            parts[_PARTS] = self._scrubber.phrase(parts[_PARTS].strip())
        return " ".join(parts)

    def _segment(self, line: str, file: InputFile) -> str:
        name, _, rest = line.strip().partition(" ")
        return f"{name if name == '~' else self._file(name, file)} {rest.strip()}"

    def _file(self, name: str, file: InputFile) -> str:
        if name in ("~", "-"):
            return name
        if "/" in name or "\\" in name:
            raise UnsupportedError(
                f"'{file.name}' names files in other folders; put them beside it"
            )
        return _renamed(name, self._path.parent, self._key)

    def _name(self, name: str) -> str:
        return _renamed(name, self._path.parent, self._key)

    def _comment(self, text: str) -> str:
        match = _KEYED.fullmatch(text)
        kind = _kind(match[1]) if match else ""
        if match and kind in _GONE and match[2].strip():
            new = text[: match.start(2)] + _GONE[kind]
        elif match and match[1].strip().casefold() == "dx" and _CODES.fullmatch(match[2]):
            new = text
        else:
            new = self._scrubber.phrase(_AGE.sub(_young, text))
        if new != text:
            self.counts["WFDB comments", "cleaned"] += 1
        return new


def left(file: InputFile, options: Options) -> Iterator[str]:
    """What a cleaned header still tells."""
    lines = _decoded(file).splitlines()
    record = next((line.split() for line in lines if _is_plain(line)), [])
    if len(record) > 4 and options.dates == "remove":
        yield "a base time"
    if record and not re.fullmatch(r"R[A-Z2-7]{12}(/\d+)?", record[0]):
        yield "a record's name"
    scrubber = Scrubber(Known())
    for line in lines:
        if line.lstrip().startswith("#"):
            match = _KEYED.fullmatch(line.lstrip()[1:])
            codes = match is not None and _CODES.fullmatch(match[2]) is not None
            if not codes and scrubber.passages(line):
                yield "something of somebody in a comment"


_GONE: Final = {
    "birth": "[DATE]",
    "contact": "[PLACE]",
    "patient": "[ID]",
    "name": "[NAME]",
    "place": "[PLACE]",
    "number": "[ID]",
    "file": "[ID]",
}


def _young(match: re.Match[str]) -> str:
    before, age = (match[1], match[2]) if match[2] else (match[3], match[4])
    return f"{before}{min(int(age), _OLDEST)}"


def _kind(column: str) -> str:
    return kind_of_name(column.strip())


def _is_plain(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _day(text: str) -> str:
    """DD/MM/YYYY as YYYYMMDD."""
    match = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text)
    return f"{match[3]}{int(match[2]):02d}{int(match[1]):02d}" if match else ""


def _decoded(file: InputFile) -> str:
    from osler.io.deidentification.text_file import decoded

    try:
        return decoded(file)
    except UnsupportedError:
        file.stream.seek(0)
        return file.stream.read().decode("latin-1")
