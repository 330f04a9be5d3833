"""Messages of HL7 version 2 as segments, fields and components, with escapes undone.

Source: HL7 2.9, chapter 2 (control: delimiters, escape sequences, data types).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

_TIME = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(?:(\d\d)(?:\.\d+)?)?)?(?:([+-])(\d\d)(\d\d))?"
)
_BREAKS = {".br": "\n", ".sp": "\n", ".ce": "\n"}


@dataclass(frozen=True, slots=True)
class Segment:
    """One line of a message.

    Attributes:
        kind: its three letters.
        fields: as they are; number 0 is the first after the kind's own separator.
        marks: the five delimiters: of fields, components, repetitions, the escape, of
            subcomponents.
    """

    kind: str
    fields: tuple[str, ...]
    marks: str

    def field(self, number: int) -> str:
        """A field, raw, by the number that the standard gives it; empty where there is none."""
        return self.fields[number - 1] if 0 < number <= len(self.fields) else ""

    def repetitions(self, number: int) -> list[str]:
        """The repetitions of a field, raw."""
        said = self.field(number)
        return said.split(self.marks[2]) if said else []

    def parts(self, number: int) -> list[str]:
        """The components of a field's first repetition, with escapes undone."""
        first = (self.repetitions(number) or [""])[0]
        return [self.plain(one) for one in first.split(self.marks[1])]

    def part(self, number: int, component: int) -> str:
        """One component of a field, counted from 1; empty where there is none."""
        parts = self.parts(number)
        return parts[component - 1] if component <= len(parts) else ""

    def plain(self, text: str) -> str:
        """Text with its escapes undone: delimiters, line breaks, hexadecimal; no highlighting."""
        mark = self.marks[3]
        pieces = text.split(mark)
        if len(pieces) < 3:
            return text
        names = dict(zip("FSRET", self.marks, strict=True))
        out = [pieces[0]]
        for n in range(1, len(pieces) - 1, 2):
            out += [self._escape(pieces[n], names), pieces[n + 1]]
        return "".join(out) + (mark + pieces[-1] if len(pieces) % 2 == 0 else "")

    def _escape(self, said: str, names: dict[str, str]) -> str:
        if said in names:
            return names[said]
        if said[:1] == "X" and re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", said[1:]):
            return bytes.fromhex(said[1:]).decode("utf-8", "replace")
        return _BREAKS.get(said[:3].lower(), "")


def messages(text: str) -> Iterator[list[Segment]]:
    """The messages of a file, a batch or a transmission."""
    marks, message = "", list[Segment]()
    for line in re.split(r"[\r\n\x1c\x0b]+", text):
        kind, rest = line[:3], line[3:]
        if kind in ("MSH", "FHS", "BHS") and len(rest) > 5:
            marks = rest[:5]
            if message:
                yield message
            message = []
        if kind == "MSH" and marks:
            # the separator of fields is itself the first field
            message.append(Segment(kind, (marks[0], *rest[1:].split(marks[0])), marks))
        elif message and marks and rest[:1] == marks[0]:
            message.append(Segment(kind, tuple(rest[1:].split(marks[0])), marks))
    if message:
        yield message


def moment(text: str) -> datetime | None:
    """A time stamp of the standard; None where it is none, or not even a day."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, sign, hours, minutes = found.groups()
    zone = None
    if sign:
        away = timedelta(hours=int(hours), minutes=int(minutes))
        zone = timezone(-away if sign == "-" else away)
    try:
        day_of = datetime(int(year), int(month), int(day), tzinfo=zone)
        return day_of.replace(hour=int(hour or 0), minute=int(minute or 0), second=int(second or 0))
    except ValueError:
        return None
