"""A recording in EDF, EDF+ or BDF → the same samples without the patient.

Source: Kemp and Olivan, European data format 'plus' (EDF+), Clin Neurophysiol 114 (2003) 1755;
2.1.3.3 (patient and recording), 2.2 (annotations).
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

from osler.errors import UnreadableError
from osler.io.deidentification import descriptors
from osler.io.deidentification.dates import Offset
from osler.io.deidentification.draft import Cleaned
from osler.io.deidentification.free_text import Passage, Scrubber, merged, second_look
from osler.io.deidentification.key import Key
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options
from osler.io.input_file import InputFile

_MONTHS: Final = [
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
]
_NO_DATE: Final = ("01.01.85", "00.00.00")  # 2.1.3.3: stands for an unknown start
_PATIENT, _RECORDING, _START, _RESERVED = (8, 88), (88, 168), (168, 184), (192, 236)
_LABEL, _TRANSDUCER, _FILTER, _SPARE = (0, 16), (16, 80), (136, 80), (224, 32)
_SAMPLES: Final = 216  # bytes a signal before its number of samples
_ANNOTATIONS: Final = ("EDF Annotations", "BDF Annotations")
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things lie in a recording.

    Attributes:
        header: bytes before the first record.
        count: number of signals.
        records: number of data records.
        sizes: bytes of each signal in a record.
        labels: of the signals.
    """

    header: int
    count: int
    records: int
    sizes: list[int]
    labels: list[str]

    @property
    def record(self) -> int:
        return sum(self.sizes)


def told(file: InputFile, *, dates: bool) -> Known:
    """What the header tells of the patient and of who recorded.

    Args:
        file: the recording.
        dates: whether the date of the recording must not go along; that of birth never does.
    """
    known = Known()
    for fields in _readings(file.head, _PATIENT):
        _tell_patient(fields, known)
    for recording in _readings(file.head, _RECORDING):
        if recording[:1] == ["Startdate"]:
            for add, value in zip((known.add_id, known.add_name), recording[2:4], strict=False):
                if value != "X":
                    add(value.replace("_", " "))
            if dates and len(recording) > 1:
                known.add_date(_iso(recording[1]))
    return known


def _tell_patient(fields: list[str], known: Known) -> None:
    if _is_plus(fields):
        if fields[0] != "X":
            known.add_id(fields[0])
        known.add_birth(_iso(fields[2]))
        known.add_name(fields[3].replace("_", " "))
        fields = fields[4:]
    words = [p for p in fields if not any(c.isdigit() for c in p)]
    for part in fields:  # of plain EDF: anything in any order
        if part not in words:
            known.add_id(part)
            known.add_birth(_iso(part) or part)
    known.add_name(" ".join(words).replace("_", " "))


def _readings(head: bytes, place: tuple[int, int]) -> Iterator[list[str]]:
    """The words of a field in every encoding that devices write it in."""
    data, seen = head[place[0] : place[1]], set()
    for encoding in ("utf-8", "gb18030", "latin-1"):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            if text not in seen:
                seen.add(text)
                yield [p for p in text.split() if p.strip("\0")]


def clean(file: InputFile, options: Options, key: Key, scrubber: Scrubber) -> Cleaned:
    """The recording without the patient; samples stay as they are.

    Raises:
        UnreadableError: it is damaged, or an annotation is none.
    """
    layout = _layout(file)
    bdf = file.head.startswith(b"\xff")
    recording = Cleaned(".bdf" if bdf else ".edf", lambda _: None)
    head = _header(file, layout, options, key, scrubber, recording)

    def write(path: Path) -> None:
        with path.open("wb") as target:
            target.write(head)
            _records(file, layout, scrubber, recording.counts, target)

    recording.write = write
    return recording


def _layout(file: InputFile) -> _Layout:
    count, records = _number(file, 252, 4), _number(file, 236, 8)
    header = 256 * (count + 1)
    if count < 1 or _number(file, 184, 8) != header or header > file.size:
        raise _damaged(file)
    file.stream.seek(256)
    signals = file.stream.read(256 * count)
    width = 3 if file.head.startswith(b"\xff") else 2
    samples = signals[_SAMPLES * count :]
    try:
        sizes = [int(samples[8 * i : 8 * i + 8]) * width for i in range(count)]
    except ValueError:
        raise _damaged(file) from None
    size = sum(sizes)
    if min(sizes) < 0 or size < 1:
        raise _damaged(file)
    if records == -1:  # it was still recording when it was closed
        records = (file.size - header) // size
    if records < 0 or header + records * size != file.size:
        raise _damaged(file)
    labels = [_text(signals, (16 * i, 16 * i + 16)) for i in range(count)]
    return _Layout(header, count, records, sizes, labels)


def _header(
    file: InputFile,
    layout: _Layout,
    options: Options,
    key: Key,
    scrubber: Scrubber,
    recording: Cleaned,
) -> bytes:
    """The header with the patient's fields replaced, the date moved and texts cleaned."""
    file.stream.seek(0)
    head = bytearray(file.stream.read(layout.header))
    patient = [p for p in _text(head, _PATIENT).split(" ") if p]
    identity, name = pseudonym(file, key)
    sex = patient[1] if options.patient and _is_plus(patient) else "X"
    _put(head, _PATIENT, f"{name} {sex} X X")
    start, clock, day = _moved(head, Offset.of(identity, key), options)
    described = _text(head, _RECORDING).split(" ")
    device = described[4] if len(described) > 4 and described[0] == "Startdate" else "X"
    device = scrubber.known_only(device) if options.device else "X"
    _put(head, _RECORDING, f"Startdate {day} X X {device.replace(' ', '_')}")
    _put(head, _START, start + clock)
    kept = re.match(r"(?:EDF|BDF)\+[CD]|24BIT", _text(head, _RESERVED))
    _put(head, _RESERVED, kept[0] if kept else "")
    how = {"remove": "removed", "shift": "shifted", "keep": "kept"}[options.dates]
    recording.counts["EDF patient", "replaced"] += 1
    recording.counts["EDF recording", "replaced"] += 1
    recording.counts["EDF start", how] += 1
    if options.dates == "shift" and (start, clock) == _NO_DATE:
        recording.notes.append("its start cannot be written in EDF once shifted, and was removed")
    _signals(head, layout, scrubber, recording.counts)
    return bytes(head)


def _signals(
    head: bytearray, layout: _Layout, scrubber: Scrubber, counts: Counter[tuple[str, str]]
) -> None:
    """Clean what the header says of each signal."""
    ways: tuple[tuple[tuple[int, int], Callable[[str], str]], ...] = (
        (_LABEL, scrubber.phrase),
        (_TRANSDUCER, scrubber.phrase),
        (_FILTER, scrubber.phrase),
        (_SPARE, lambda _: ""),
    )
    for (before, width), way in ways:
        for i in range(layout.count):
            at = 256 + before * layout.count + width * i
            old = _text(head, (at, at + width))
            new = way(old)
            if new != old:
                _put(head, (at, at + width), new)
                counts["EDF words about a signal", "cleaned"] += 1


def _moved(head: bytearray, offset: Offset, options: Options) -> tuple[str, str, str]:
    """Start date, start time, and the day as EDF+ writes it."""
    date, clock = _text(head, (168, 176)), _text(head, (176, 184))
    stated = _text(head, _RECORDING).split(" ")
    long = _iso(stated[1]) if len(stated) > 1 and stated[0] == "Startdate" else ""
    match = re.fullmatch(r"(\d\d)[.:/-](\d\d)[.:/-](\d\d)", date)
    time = re.fullmatch(r"(\d\d)[.:](\d\d)[.:](\d\d)", clock)
    if options.dates == "remove" or match is None or time is None:
        return *_NO_DATE, "X"
    century = 1900 if int(match[3]) >= 85 else 2000
    text = long or f"{century + int(match[3])}{match[2]}{match[1]}"
    if options.dates == "keep":
        return date, clock, _worded(text)
    moved = offset.datetime(text + "".join(time.groups()))
    if moved is None or not 1985 <= int(moved[:4]) <= 2084:
        return *_NO_DATE, "X"
    new = f"{moved[6:8]}.{moved[4:6]}.{moved[2:4]}"
    return new, f"{moved[8:10]}.{moved[10:12]}.{moved[12:14]}", _worded(moved[:8])


def _records(
    file: InputFile,
    layout: _Layout,
    scrubber: Scrubber,
    counts: Counter[tuple[str, str]],
    target: BinaryIO,
) -> None:
    """Copy the samples, and the annotations cleaned."""
    source = cast("BinaryIO", file.stream)
    source.seek(layout.header)
    notes = [i for i, label in enumerate(layout.labels) if label in _ANNOTATIONS]
    if not notes:
        while block := source.read(_BLOCK):
            target.write(block)
        return
    for _ in range(layout.records):
        for i, size in enumerate(layout.sizes):
            data = source.read(size)
            if i in notes:
                data = _annotated(data, file, scrubber, counts)
            target.write(data)


def _annotated(
    data: bytes, file: InputFile, scrubber: Scrubber, counts: Counter[tuple[str, str]]
) -> bytes:
    """The annotations of one record, cleaned, in as many bytes."""
    new = b""
    for stamp, texts in _lists(data, file):
        cleaned = [_shortened(text, scrubber) for text in texts]
        counts["EDF annotations", "cleaned"] += sum(
            a != b for a, b in zip(texts, cleaned, strict=True)
        )
        words = b"".join(text.encode() + b"\x14" for text in cleaned)
        new += stamp + b"\x14" + words + b"\0"
    return new[: len(data)].ljust(len(data), b"\0")


def _shortened(text: str, scrubber: Scrubber) -> str:
    """The text cleaned, and no longer than it was: its record has no more room."""
    passages = scrubber.passages(text)
    long = scrubber.phrase(text)
    if len(long.encode()) <= len(text.encode()):
        return long
    short = _crossed_out(text, passages)
    return (
        descriptors.clean(short, capitals=True, sign="X") if descriptors.is_short(text) else short
    )


def _crossed_out(text: str, passages: list[Passage]) -> str:
    pieces, at = [], 0
    for passage in merged(passages):
        pieces += [text[at : passage.start], passage.moved or "X"]
        at = passage.end
    return "".join((*pieces, text[at:]))


def _lists(data: bytes, file: InputFile) -> Iterator[tuple[bytes, list[str]]]:
    """Onset (with duration) and texts of each time-stamped list; what is none is refused."""
    for one in data.rstrip(b"\0").split(b"\0"):
        stamp, _, texts = one.partition(b"\x14")
        if not one:
            continue
        if not re.fullmatch(rb"[+-]\d+(\.\d*)?(\x15\d+(\.\d*)?)?", stamp):
            raise UnreadableError(
                f"'{file.name}' has an annotation that is none (2.2.2 of EDF+); it is damaged"
            )
        pieces = texts.split(b"\x14")
        yield stamp, [_decoded(piece) for piece in pieces[: len(pieces) - (not pieces[-1])]]


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("gb18030", "replace")


def left(path: Path, known: Known, options: Options) -> Iterator[str]:
    """What a copy still tells."""
    from osler.io.input_file import opened

    scrubber = second_look(known, dates=options.dates)
    with opened(path) as file:
        layout = _layout(file)
        file.stream.seek(0)
        head = file.stream.read(layout.header)
        if not re.fullmatch(r"[A-Z2-7]{12} [MFX] X X", _text(head, _PATIENT)):
            yield "EDF patient"
        if not re.fullmatch(r"Startdate \S+ X X \S+", _text(head, _RECORDING)):
            yield "EDF recording"
        words = head[256 : 256 + 96 * layout.count].decode("latin-1")
        if scrubber.known_only(words) != words:
            yield "something of the patient in its header"
        for _ in range(layout.records):
            for label, size in zip(layout.labels, layout.sizes, strict=True):
                data = file.stream.read(size)
                if label in _ANNOTATIONS:
                    texts = [text for _, each in _lists(data, file) for text in each]
                    if any(scrubber.passages(text) for text in texts):
                        yield "something of somebody in an annotation"
                        return


def pseudonym(file: InputFile, key: Key) -> tuple[str, str]:
    """What stands for the patient in a recording, and in its copy."""
    identity = _identity([p for p in _text(file.head, _PATIENT).split(" ") if p], file)
    return identity, key.name("patient", identity)


def _identity(patient: list[str], file: InputFile) -> str:
    """What stands for the patient: the code, else the name and birth, else the file."""
    if _is_plus(patient) and patient[0] != "X":
        return patient[0]
    telling = " ".join(p for p in patient if p not in ("X", "M", "F"))
    return f"name:{telling}" if telling else f"file:{file.sha256()}"


def _is_plus(patient: list[str]) -> bool:
    """Whether a patient field has the form of EDF+: code, sex, birth date and name."""
    if len(patient) < 4 or patient[1] not in ("M", "F", "X"):
        return False
    return patient[2] == "X" or bool(_iso(patient[2]))


def _iso(text: str) -> str:
    """DD-MMM-YYYY as YYYYMMDD; empty where it is none."""
    match = re.fullmatch(r"(\d\d)-([A-Z]{3})-(\d{4})", text.upper())
    if match is None or match[2] not in _MONTHS:
        return ""
    return f"{match[3]}{_MONTHS.index(match[2]) + 1:02d}{match[1]}"


def _worded(day: str) -> str:
    """YYYYMMDD as DD-MMM-YYYY."""
    try:
        date = datetime.strptime(day, "%Y%m%d")
    except ValueError:
        return "X"
    return f"{date.day:02d}-{_MONTHS[date.month - 1]}-{date.year:04d}"


def _text(data: bytes | bytearray, place: tuple[int, int]) -> str:
    return bytes(data[place[0] : place[1]]).decode("latin-1").strip("\0 ")


def _put(data: bytearray, place: tuple[int, int], text: str) -> None:
    width = place[1] - place[0]
    data[place[0] : place[1]] = text.encode("latin-1", "replace")[:width].ljust(width)


def _number(file: InputFile, at: int, width: int) -> int:
    try:
        return int(file.head[at : at + width])
    except ValueError:
        raise _damaged(file) from None


def _damaged(file: InputFile) -> UnreadableError:
    return UnreadableError(
        f"'{file.name}' is damaged, or not whole: its header does not fit its length; copy it again"
    )
