"""Headers of WFDB records (``.hea``): what the samples are and where they lie.

Source: header(5) of the WFDB Applications Guide, PhysioNet.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final

from osler.errors import TooLargeError, UnreadableError
from osler.io.input_file import InputFile

MAX_HEADER_BYTES: Final = 16_000_000
DEFAULT_RATE: Final = 250.0
"""Hz, where a header gives none; the format's own default."""
DEFAULT_GAIN: Final = 200.0
"""ADC units a millivolt, where a header gives none; the format's own default."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RECORD = re.compile(
    rf"(?P<name>[^\s/]+)(?:/(?P<segments>\d+))?[ \t]+(?P<signals>\d+)"
    rf"(?:[ \t]+(?P<rate>{_NUMBER})(?:/{_NUMBER}(?:\({_NUMBER}\))?)?"
    r"(?:[ \t]+(?P<samples>\d+)(?:[ \t]+(?P<time>[\d:.]+)(?:[ \t]+(?P<date>\d+/\d+/\d+))?)?)?)?\s*"
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)[ \t]+(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?"
    r"(?:\+(?P<offset>\d+))?"
    rf"(?:[ \t]+(?P<gain>{_NUMBER})(?:\((?P<baseline>-?\d+)\))?(?:/(?P<units>\S+))?"
    r"(?:[ \t]+(?P<resolution>\d+)(?:[ \t]+(?P<zero>-?\d+)(?:[ \t]+(?P<first>-?\d+)"
    r"(?:[ \t]+(?P<checksum>-?\d+)(?:[ \t]+(?P<block>-?\d+)(?:[ \t]+(?P<name>.*))?)?)?)?)?)?)?\s*"
)
_SEGMENT = re.compile(r"(?P<name>\S+)[ \t]+(?P<samples>\d+)\s*")


@dataclass(frozen=True, slots=True)
class Channel:
    """One signal line of a header.

    Attributes:
        file: name of the file of samples.
        format: storage format, such as 212.
        per_frame: samples a frame.
        skew: frames by which this signal is late in its file.
        offset: bytes before the first sample of the file.
        gain: ADC units a physical unit.
        baseline: ADC units at zero physical units.
        units: physical unit as the header writes it.
        resolution: bits of the ADC; 0 where unknown.
        zero: ADC units at the middle of the ADC's range.
        first: first sample in ADC units, or None.
        checksum: sum of the samples modulo 65,536 as stated, or None.
        name: description, such as ``"MLII"``.
        calibrated: whether the header states a gain.
    """

    file: str
    format: int
    per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    units: str
    resolution: int
    zero: int
    first: int | None
    checksum: int | None
    name: str
    calibrated: bool


@dataclass(frozen=True, slots=True)
class Header:
    """A record's header.

    Attributes:
        name: of the record.
        rate: frames a second (Hz).
        rate_stated: whether the header states the rate.
        frames: how many, or None where the header does not say.
        signals: how many signals there are.
        acquired: base date and time, where both are stated.
        channels: one a signal; empty for a record of several segments.
        segments: ``(name, frames)`` of each segment; empty for a single one.
        comments: lines after ``#``, in order.
    """

    name: str
    rate: float
    rate_stated: bool
    frames: int | None
    signals: int
    acquired: datetime | None
    channels: tuple[Channel, ...]
    segments: tuple[tuple[str, int], ...]
    comments: tuple[str, ...]


def is_wfdb_header(head: bytes) -> bool:
    """Whether the bytes start the header of a WFDB record."""
    if b"\0" in head:
        return False
    lines = _lines(head.decode("latin-1"))
    record = _RECORD.fullmatch(next(lines, ""))
    if record is None or not (record["rate"] or record["segments"]):
        return False
    second = next(lines, None)
    if record["segments"]:
        return second is None or _SEGMENT.fullmatch(second) is not None
    if second is None:
        return record["signals"] == "0"
    signal = _SIGNAL.fullmatch(second)
    # the head may end within the line
    return signal is not None and not signal["file"].isdigit()


def parse_header(file: InputFile) -> Header:
    """Read a header.

    Raises:
        UnreadableError: it breaks the format's grammar or contradicts itself.
        TooLargeError: it has more than 16 MB.
    """
    if file.size > MAX_HEADER_BYTES:
        raise TooLargeError(f"'{file.name}' has {file.size:,} bytes, too many for a WFDB header")
    file.stream.seek(0)
    raw = file.stream.read()
    text = raw.decode("utf-8", "replace")
    if "�" in text:
        text = raw.decode("latin-1")
    lines = _lines(text)
    record = _RECORD.fullmatch(next(lines, ""))
    if record is None:
        raise _broken(file, "the record line")
    rate = float(record["rate"]) if record["rate"] else DEFAULT_RATE
    if not 0 < rate < 1e9:
        raise UnreadableError(f"'{file.name}' states a rate of {rate:g} Hz; mend its record line")
    signals, segments = int(record["signals"]), record["segments"]
    rest = list(lines)
    expected = int(segments) if segments else signals
    if len(rest) < expected:
        raise UnreadableError(
            f"'{file.name}' announces {expected} lines after the first and has {len(rest)}; it is "
            "incomplete: copy it again from its source"
        )
    comments = tuple(line[1:].strip() for line in _comments(text))
    frames = int(record["samples"]) if record["samples"] else None
    return Header(
        name=record["name"],
        rate=rate,
        rate_stated=record["rate"] is not None,
        frames=frames or None,  # 0 stands for unknown
        signals=signals,
        acquired=_acquired(record["time"], record["date"]),
        channels=() if segments else tuple(_channel(file, line) for line in rest[:signals]),
        segments=tuple(_segment(file, line) for line in rest[:expected]) if segments else (),
        comments=comments,
    )


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _comments(text: str) -> Iterator[str]:
    # a comment before the record line is about the file, not about the record
    started = False
    for line in text.splitlines():
        plain = line.strip()
        if plain.startswith("#"):
            if started and len(plain) > 1:
                yield plain
        elif plain:
            started = True


def _channel(file: InputFile, line: str) -> Channel:
    match = _SIGNAL.fullmatch(line)
    if match is None:
        raise _broken(file, "a signal line")
    gain = float(match["gain"] or 0)
    zero = int(match["zero"] or 0)
    baseline = match["baseline"]
    per_frame = int(match["per_frame"] or 1)
    if per_frame < 1 or not abs(gain) < float("inf"):
        raise _broken(file, "a signal line")
    return Channel(
        file=match["file"],
        format=int(match["format"]),
        per_frame=per_frame,
        skew=int(match["skew"] or 0),
        offset=int(match["offset"] or 0),
        gain=gain or DEFAULT_GAIN,
        baseline=zero if baseline is None else int(baseline),
        units=match["units"] or "mV",
        resolution=int(match["resolution"] or 0),
        zero=zero,
        first=None if match["first"] is None else int(match["first"]),
        checksum=None if match["checksum"] is None else int(match["checksum"]),
        name=(match["name"] or "").strip(),
        calibrated=gain != 0,
    )


def _segment(file: InputFile, line: str) -> tuple[str, int]:
    match = _SEGMENT.fullmatch(line)
    if match is None:
        raise _broken(file, "a segment line")
    return match["name"], int(match["samples"])


def _acquired(clock: str | None, day: str | None) -> datetime | None:
    """Only a full date and time: a clock without a day is not when something was acquired."""
    if clock is None or day is None:
        return None
    try:
        date, month, year = (int(part) for part in day.split("/"))
        parts = [float(part) for part in clock.split(":")]
        hour, minute, second = [0.0] * (3 - len(parts)) + parts
        whole = int(second)
        at = time(int(hour), int(minute), whole, round((second - whole) * 1e6) % 1_000_000)
        return datetime.combine(datetime(year, month, date), at)
    except (ValueError, OverflowError):
        return None


def _broken(file: InputFile, what: str) -> UnreadableError:
    return UnreadableError(
        f"'{file.name}' starts as a WFDB header but {what} cannot be understood; mend the line, "
        "or copy it again from its source"
    )
