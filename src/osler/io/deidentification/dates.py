"""Dates and times: shifted by an offset of each patient's own, so that intervals stay.

The offset is whole days and seconds. A date with its time moves with it; a date that stands alone
moves by the days; a time that stands alone moves by the seconds within its day.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from osler.io.deidentification.key import Key

_LEAST, _MOST = 365, 3650  # days back in time
_DAY = 86_400  # seconds

_DATE = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})\Z")
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(\.\d{1,6})?)?)?\Z")
_DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\.\d{1,6})?([+-]\d{4})?\Z")


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a patient's dates move.

    Attributes:
        days: at least 365, back in time.
        seconds: 0 to 86,399, back in time.
    """

    days: int
    seconds: int

    @classmethod
    def of(cls, patient: str, key: Key) -> "Offset":
        """The offset of a patient, the same in every file and every run with this key."""
        days = _LEAST + key.number("days", patient, below=_MOST - _LEAST)
        return cls(days, key.number("seconds", patient, below=_DAY))

    def date(self, value: str, time: str = "") -> str | None:
        """A date as DICOM writes it (YYYYMMDD), moved; None where it is no date.

        Args:
            value: the date; ``YYYY.MM.DD`` and ``YYYY-MM-DD`` are understood too.
            time: the time that belongs to it, where there is one.
        """
        day = read_date(value)
        if day is None:
            return None
        clock = _seconds(time) if time else None
        try:
            moved = datetime(day.year, day.month, day.day) - timedelta(days=self.days)
            if clock is not None:
                moved += timedelta(seconds=clock[0] - self.seconds)
        except OverflowError:
            return None
        return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"

    def time(self, value: str) -> str | None:
        """A time as DICOM writes it (HHMMSS.FFFFFF, or the start of it), moved within its day."""
        clock = _seconds(value)
        if clock is None:
            return None
        seconds, length, fraction = clock
        moved = (seconds - self.seconds) % _DAY
        text = f"{moved // 3600:02d}{moved // 60 % 60:02d}{moved % 60:02d}"
        return text[:length] + fraction

    def datetime(self, value: str) -> str | None:
        """A date with time as DICOM writes it (YYYYMMDDHHMMSS.FFFFFF&ZZXX), moved."""
        match = _DATETIME.match(value.strip("\0 "))
        if not match:
            return None
        parts = [match[i] for i in range(1, 7)]
        given = [int(p) if p else d for p, d in zip(parts, (0, 1, 1, 0, 0, 0), strict=True)]
        year, month, day, hour, minute, second = given
        try:
            moved = datetime(year, month, day, hour, minute, min(second, 59))
            moved -= timedelta(days=self.days)
            if match[4]:  # without an hour there are no seconds to move by
                moved -= timedelta(seconds=self.seconds)
        except (ValueError, OverflowError):
            return None
        text = f"{moved.year:04d}{moved:%m%d%H%M%S}"
        length = sum(len(p) for p in parts if p)
        return text[:length] + (match[7] or "") + (match[8] or "")


def read_date(value: str) -> date | None:
    """A day from YYYYMMDD, YYYY-MM-DD, YYYY.MM.DD or YYYY/MM/DD."""
    match = _DATE.match(value.strip("\0 "))
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None


def _seconds(value: str) -> tuple[int, int, str] | None:
    """Whole seconds since midnight, digits before the point, and the fraction with its point."""
    match = _TIME.match(value.strip("\0 "))
    if not match:
        return None
    hours, minutes, seconds = (int(match[i] or 0) for i in (1, 2, 3))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    length = 2 * sum(match[i] is not None for i in (1, 2, 3))
    return hours * 3600 + minutes * 60 + min(seconds, 59), length, match[4] or ""
