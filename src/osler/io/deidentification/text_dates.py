"""Dates that stand in texts, moved with all others of a patient and written as they were.

Only a date that is whole and can mean one day alone is moved: ``2019-03-05``, ``23/6/2019``,
``4 July 2019``, ``2019年7月4日``. What is left becomes ``[DATE]``: a month without a day, ``5/3``,
``04/07/2019`` (July or April), a year of two digits, a day of birth, and a date beside the name of
a day of the week, which would tell how far it was moved.
"""

import re
from datetime import date
from typing import Final

from osler.io.deidentification.dates import Offset
from osler.io.deidentification.known import Known

_TWELVE: Final = (
    "January February March April May June July August September October November December"
)
_NAMES: Final = _TWELVE.split()
_SEP: Final = r"\s?[-/.]\s?"
_MONTH: Final = "|".join(f"{name}|{name[:3]}|Sept" for name in _NAMES)

_YEAR_FIRST: Final = re.compile(rf"(\d{{4}})({_SEP})(\d\d?)({_SEP})(\d\d?)")
_YEAR_LAST: Final = re.compile(r"(\d\d?)([-/.])(\d\d?)(\2)(\d{4})")
_COMPACT: Final = re.compile(r"\d{8}(?:\d{6})?")
_HAN: Final = re.compile(r"(\d{4})(\s?年\s?)(\d\d?)(\s?月\s?)(\d\d?)(\s?[日号])")
_DAY_FIRST: Final = re.compile(
    rf"(\d\d?)(st|nd|rd|th)?([\s-]?(?:of\s)?)({_MONTH})(\.?[\s,-]*)(\d{{4}})", re.IGNORECASE
)
_MONTH_FIRST: Final = re.compile(
    rf"({_MONTH})(\.?[\s-])(\d\d?)(st|nd|rd|th)?(,?\s*)(\d{{4}})", re.IGNORECASE
)

_BORN: Final = r"\b(?:born|birth\w*|d\.?\s?o\.?\s?b|geb|geboren|n[ée]e?)\b|出生|生于|生日|诞生"
_DAY: Final = (
    r"\b(?:mon|tues?|wed(?:nes)?|thurs?|fri|sat(?:ur)?|sun)(?:day)?\b|"
    r"星期|礼拜|[周週][一二三四五六日天]"
)
# No sign between that another replacement could have: the second pass sees the same as the first.
_BEFORE: Final = re.compile(
    rf"(?:{_BORN})[^\d\[\]\n]{{0,60}}\Z|(?:{_DAY})[^\d\[\]\n]{{0,12}}\Z", re.IGNORECASE
)
_AFTER: Final = re.compile(rf"[\s(（]{{0,3}}(?:{_BORN}|{_DAY})", re.IGNORECASE)
_WINDOW: Final = 80  # characters before a date that may say what it is
_OLDEST: Final = 89  # years; an older one may be the birth of somebody whose age tells too much


def moved(text: str, start: int, end: int, offset: Offset, known: Known) -> str | None:
    """A date in a text, moved and written in the same form; None where it must not stay.

    Args:
        text: what it stands in.
        start: index of its first character.
        end: index after its last.
        offset: how far the patient's dates move.
        known: whose it is: days that must not turn up, and those of birth, which are not moved.
    """
    if _BEFORE.search(text[max(0, start - _WINDOW) : start]) or _AFTER.match(text, end):
        return None
    piece = text[start:end]
    if _COMPACT.fullmatch(piece):
        new = (offset.date if len(piece) == 8 else offset.datetime)(piece)
        return new if new and _may_stay(piece[:8], new, known) else None
    read = _read(piece)
    if read is None:
        return None
    year, month, day, form = read
    stated = f"{year:04d}{month:02d}{day:02d}"
    new = offset.date(stated)
    if new is None or not _may_stay(stated, new, known):
        return None
    meant = int(new[:4]), int(new[4:6]), int(new[6:])
    written = form(*meant)
    again = _read(written)  # a day that may be taken for a month is of no use
    return written if again is not None and again[:3] == meant else None


def _may_stay(stated: str, new: str, known: Known) -> bool:
    """Whether a date is none of a birth, and the new one is none that was there before."""
    if stated in known.births or new[:8] in known.dates:
        return False
    return int(stated[:4]) >= date.today().year - _OLDEST


class _Form:
    """How a date was written.

    Args:
        match: the parts of it.
        places: indices of the groups of year, month and day.
    """

    def __init__(self, match: re.Match[str], places: tuple[int, int, int]) -> None:
        self._parts = [part or "" for part in match.groups()]
        self._places = [place - 1 for place in places]
        numbers = [self._parts[i] for i in self._places[1:] if self._parts[i].isdigit()]
        short = any(len(number) == 1 for number in numbers)
        zero = any(number.startswith("0") for number in numbers)
        named = len(numbers) < 2 or "年" in match[0]
        self._padded = zero or not (short or named)

    def __call__(self, year: int, month: int, day: int) -> str:
        parts = list(self._parts)
        at_year, at_month, at_day = self._places
        parts[at_year] = f"{year:04d}"
        parts[at_day] = f"{day:02d}" if self._padded else str(day)
        old = parts[at_month]
        if old.isdigit():
            parts[at_month] = f"{month:02d}" if self._padded else str(month)
        else:
            parts[at_month] = _named(month, old)
        after = at_day + 1
        if after < len(parts) and parts[after].casefold() in ("st", "nd", "rd", "th"):
            parts[after] = _ordinal(day, parts[after])
        return "".join(parts)


def _read(piece: str) -> tuple[int, int, int, _Form] | None:
    """Year, month and day of a date that can mean one day alone, and how it was written."""
    for pattern in (_YEAR_FIRST, _HAN):
        if match := pattern.fullmatch(piece):
            return int(match[1]), int(match[3]), int(match[5]), _Form(match, (1, 3, 5))
    if match := _YEAR_LAST.fullmatch(piece):
        first, second = int(match[1]), int(match[3])
        if first > 12 or first == second or match[2] == ".":  # points: the day is first
            return int(match[5]), second, first, _Form(match, (5, 3, 1))
        if second > 12:
            return int(match[5]), first, second, _Form(match, (5, 1, 3))
    if match := _DAY_FIRST.fullmatch(piece):
        return int(match[6]), _month(match[4]), int(match[1]), _Form(match, (6, 4, 1))
    if match := _MONTH_FIRST.fullmatch(piece):
        return int(match[6]), _month(match[1]), int(match[3]), _Form(match, (6, 1, 3))
    return None


def _month(name: str) -> int:
    return next(i for i, one in enumerate(_NAMES, 1) if one[:3] == name[:3].title())


def _named(month: int, old: str) -> str:
    """The name of a month as another was written: in full or not, in capitals or not."""
    if _month(old) == month:
        return old
    whole = _NAMES[month - 1]
    new = whole if old.title() in _NAMES else whole[:3]
    return new.upper() if old.isupper() else new.lower() if old.islower() else new


def _ordinal(day: int, old: str) -> str:
    ending = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return ending.upper() if old.isupper() else ending
