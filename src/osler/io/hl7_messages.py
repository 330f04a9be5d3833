"""Messages of HL7 version 2 that carry results: values as tables, words as reports.

Results are told as FHIR tells them, and read by its rules: the tables of both are the same.

Sources: HL7 2.9, chapter 7 (OBR, OBX, ORU), and the HL7 mapping of version 2 to FHIR (OBX to
Observation).
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from osler.errors import InputError, TooLargeError, UnreadableError, UnsupportedError
from osler.io.content import Content
from osler.io.hl7_segments import Segment, messages, moment
from osler.io.input_file import InputFile, decoding
from osler.io.table_csv import decoded
from osler.io.table_fhir import tables
from osler.io.text_reading import checked, text_item
from osler.io.text_sections import canonical
from osler.record import Item, Origin, Table, Text

MAX_BYTES: Final = 64_000_000
_RESULTS: Final = ("ORU", "OUL", "MDM")
_SYSTEMS: Final = {"UCUM": "http://unitsofmeasure.org", "SCT": "SCT", "LN": "LN"}
_WITHDRAWN: Final = {"D", "W", "X", "N", "O", "I"}
"""OBX-11: deleted, wrong, not obtained, not asked, ordered, or still in the laboratory."""
_WORDS: Final = ("TX", "FT")
_MOST_IN_A_VALUE: Final = 200
_ENCODINGS: Final = {
    "8859/1": "latin-1", "8859/2": "iso8859-2", "8859/15": "iso8859-15",
    "GB 18030-2000": "gb18030", "BIG-5": "big5", "ISO IR87": "iso2022_jp",
}  # fmt: skip
"""MSH-18, where it is not UTF-8 or ASCII."""


def read_hl7(
    file: InputFile,
    format: str,
    *,
    max_pixels: int,
    case: str | None = None,
    encoding: str | None = None,
) -> Content:
    """Read the results of one patient: observations by time, and the words of reports.

    Numbers, codes and short texts of one time are one item ``"table"`` (``"table-2"`` …); lines of
    text (TX, FT) under one order are one item ``"report"`` or ``"text"``. What the sender withdrew
    is left out.

    Args:
        file: the opened file: a message, several, or a batch.
        format: ``"hl7"``.
        max_pixels: refuse more values than this.
        case: the patient's id, where the file holds several.
        encoding: of the text; by default what the message says, else found.

    Raises:
        UnreadableError: it holds no message.
        UnsupportedError: its messages carry no results, or are of several patients and ``case``
            is not given.
        InputError: it has no such patient.
        TooLargeError: more than 64 MB, or too many values.
    """
    with decoding(file, format):
        if file.size > MAX_BYTES:
            raise TooLargeError(f"'{file.name}' has {file.size:,} bytes of messages; split it")
        text, flags = decoded(file, encoding=encoding or _encoding(file))
        found = list(messages(text))
        if not found:
            raise UnreadableError(f"'{file.name}' starts as HL7 version 2 but holds no message")
        results = [one for one in found if one[0].part(9, 1) in _RESULTS]
        if not results:
            kinds = sorted({one[0].part(9, 1)[:3] for one in found if one[0].part(9, 1).isalpha()})
            raise UnsupportedError(
                f"'{file.name}' holds messages of HL7 version 2 without results "
                f"({', '.join(kinds[:5]) or 'of no kind'}); {', '.join(_RESULTS)} are read"
            )
        patient, chosen = _of_one(file, results, case)
        return Content(_items(file, format, chosen, flags, max_pixels), patient_id=patient)


def _encoding(file: InputFile) -> str | None:
    first = next(messages(file.head.decode("latin-1")), None)
    said = [] if first is None else first[0].repetitions(18)
    return next((_ENCODINGS[one] for one in said if one in _ENCODINGS), None)


Message = list[Segment]


def _patient(message: Message) -> str | None:
    person = next((s for s in message if s.kind == "PID"), None)
    return None if person is None else person.part(3, 1) or person.part(2, 1) or None


def _of_one(
    file: InputFile, found: list[Message], case: str | None
) -> tuple[str | None, list[Message]]:
    patients = {_patient(one) for one in found}
    if case is not None:
        if case not in patients:
            raise InputError(f"'{file.name}' has no patient of the id that case= gives")
        return case, [one for one in found if _patient(one) == case]
    if len(patients) > 1:
        raise UnsupportedError(
            f"'{file.name}' holds messages about {len(patients)} patients; say case= with the id "
            "of one"
        )
    return patients.pop(), found


def _items(
    file: InputFile, format: str, found: Sequence[Message], flags: tuple[str, ...], most: int
) -> list[Item]:
    origin = file.origin(format)
    observations: list[dict[str, Any]] = []
    texts: list[Text] = []
    sexes, doubts = set(), set(flags)
    for message in found:
        person = next((s for s in message if s.kind == "PID"), None)
        if person is not None and person.field(8)[:1] in ("M", "F"):
            sexes.add({"M": "male", "F": "female"}[person.field(8)[:1]])
        for order, lines in _orders(message):
            some, words, left = _results(order, lines)
            observations += some
            doubts |= left
            if words.strip():
                texts.append(_report(file, origin, order, words))
        if len(observations) > most:
            raise TooLargeError(f"'{file.name}' holds more than {most:,} values; split it")
    items: list[Item] = [*tables(observations, origin)]
    if len(sexes) == 1:
        items.append(Table("variables", {"sex": sexes.pop()}, origin=origin))
    if not observations and not texts:
        raise UnsupportedError(f"'{file.name}' holds results without a value and without words")
    for one in (*items, *texts):
        one.flags = (*one.flags, *sorted(doubts))
    counts: dict[str, int] = {}
    for text in texts:
        counts[text.name] = counts.get(text.name, 0) + 1
        if counts[text.name] > 1:
            text.name = f"{text.name}-{counts[text.name]}"
    return [*items, *texts]


def _report(file: InputFile, origin: Origin, order: Segment | None, words: str) -> Text:
    when = moment(order.part(7, 1)) if order is not None else None
    return text_item(checked(file, words), origin, acquired=when)


def _orders(message: Message) -> Iterator[tuple[Segment | None, list[Segment]]]:
    """Each order with its results; those before the first order have none."""
    order: Segment | None = None
    lines: list[Segment] = []
    for segment in message:
        if segment.kind in ("OBR", "TXA"):
            if lines:
                yield order, lines
            order, lines = (segment if segment.kind == "OBR" else None), []
        elif segment.kind == "OBX":
            lines.append(segment)
    if lines:
        yield order, lines


def _results(
    order: Segment | None, lines: list[Segment]
) -> tuple[list[dict[str, Any]], str, set[str]]:
    """Observations, the report in words, and doubts."""
    observations, words, heading, left = [], list[str](), "", False
    for one in lines:
        kind = one.field(2)
        if one.field(11)[:1] in _WITHDRAWN:
            continue
        if kind in ("ED", "RP"):
            left = True
        elif kind in _WORDS or (kind == "ST" and len(one.field(5)) > _MOST_IN_A_VALUE):
            said = _heading(one)
            if said and said != heading:
                words.append(f"{said.upper()}:")
            heading = said or heading
            words += [one.plain(line) for line in one.repetitions(5)] or [""]
        else:
            value = _value(one, kind)
            if value:
                when = moment(one.part(14, 1)) or (moment(order.part(7, 1)) if order else None)
                observations.append(_observation(one, value, when))
    return observations, "\n".join(words), {"presented-form-not-read"} if left else set()


_SUFFIXES: Final = {"IMP": "impression", "REC": "recommendation", "GDT": "findings"}


def _heading(one: Segment) -> str:
    """The section that a line of text is in, by its identifier (7.2.5) or by its name."""
    raw = (one.repetitions(3) or [""])[0].split(one.marks[1])
    suffix = raw[0].rpartition(one.marks[4])[2]
    return _SUFFIXES.get(suffix, "") or canonical(one.part(3, 2))


def _observation(one: Segment, value: dict[str, Any], when: datetime | None) -> dict[str, Any]:
    code, name, scheme = (one.part(3, n) for n in (1, 2, 3))
    coding = [{"system": scheme, "code": code, "display": name}] if code and scheme else []
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": coding, "text": name or code or "unnamed"},
        "effectiveDateTime": when.isoformat() if when else None,
        **value,
    }


def _value(one: Segment, kind: str) -> dict[str, Any]:
    """A value as FHIR holds it; empty where there is none, or of a kind that is not read."""
    said = one.part(5, 1).strip()
    if kind == "SN":
        return _structured(one)
    if said in ("", '""'):
        return {}
    if kind == "NM":
        number = _number(said)
        if number is None:
            return {"valueString": said}
        return {"valueQuantity": {"value": number, **_unit(one)}}
    if kind in ("CE", "CWE", "CNE", "CF"):
        return {"valueString": one.part(5, 2) or said}
    if kind in ("DT", "TS", "DTM"):
        when = moment(said)
        day = len(said) == 8
        stated = when and (when.date().isoformat() if day else when.isoformat())
        return {"valueDateTime": stated} if stated else {"valueString": said}
    joined = "; ".join(one.plain(part) for part in one.repetitions(5))
    if kind == "ST" and (number := _number(joined)) is not None and one.field(6):
        return {"valueQuantity": {"value": number, **_unit(one)}}  # a number with a unit
    return {"valueString": joined} if kind in ("ST", "TM", "IS", "ID") else {}


def _structured(one: Segment) -> dict[str, Any]:
    """A comparator and one or two numbers (2.A.71)."""
    sign, first, between, second = ([*one.parts(5), "", "", "", ""])[:4]
    number = _number(first)
    if number is None:
        return {}
    if between or second:
        return {"valueString": f"{sign}{first}{between}{second}".strip()}
    quantity = {"value": number, **_unit(one)}
    if sign not in ("", "="):
        quantity["comparator"] = sign
    return {"valueQuantity": quantity}


def _unit(one: Segment) -> dict[str, str]:
    code, words, scheme = (one.part(6, n) for n in (1, 2, 3))
    if not code and not words:
        return {}
    system = {"system": _SYSTEMS["UCUM"]} if scheme == "UCUM" else {}
    return {"code": code, "unit": code or words, **system}


def _number(text: str) -> float | int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return int(text) if text.lstrip("+-").isdigit() else value
