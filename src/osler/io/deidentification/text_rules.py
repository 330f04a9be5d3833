"""Rules that find people, dates, numbers and places in free text, in English and in Chinese.

Rules that hold in any language stand here; those of a language in ``text_rules_en.py`` and
``text_rules_zh.py``. A measurement ("12.5 mm", "98 %") is never taken.
"""

import re
from collections.abc import Iterator
from datetime import date
from typing import Final

from osler.io.deidentification import text_rules_en, text_rules_zh
from osler.io.deidentification.free_text import Passage

_MONTH: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY: Final = r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR: Final = r"(?:18|19|20)\d\d"
_SIGN: Final = r"[^\W㐀-鿿]"  # of a word that is not Chinese
_NOT_IN_NUMBER: Final = r"(?<![\d.])"

RULES: Final[tuple[tuple[str, str], ...]] = (
    ("EMAIL", rf"(?<!{_SIGN})(?<![.+%'-])(?:{_SIGN}|[.+%'-])+@(?:{_SIGN}|-)+(?:\.(?:{_SIGN}|-)+)+"),
    ("URL", r"(?:https?|ftp)://[^\s<>\"'）)]+|www\.[^\s<>\"'）)]+"),
    ("ID", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"),  # an address in a network
    # dates
    ("DATE", rf"(?<!\d){_YEAR}\s?[-/.]\s?{_DAY}\s?[-/.]\s?{_DAY}(?!\d)"),
    ("DATE", rf"{_NOT_IN_NUMBER}{_DAY}[-/.]{_DAY}[-/.](?:{_YEAR}|\d\d)(?![\d.]\d)(?!\d)"),
    ("DATE", rf"(?<!\d){_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{{6}})?(?!\d)"),
    (
        "DATE",
        rf"\b{_DAY}(?:st|nd|rd|th)?[\s-]?(?:of\s)?{_MONTH}(?:[\s,-]*(?:{_YEAR}|'?\d\d\b))?(?![a-z])",
    ),
    ("DATE", rf"\b{_MONTH}[\s-]{_DAY}(?:st|nd|rd|th)?(?:,?\s*{_YEAR})?(?![a-z\d]|\.\d)"),
    ("DATE", rf"\b{_MONTH}[\s,-]*{_YEAR}\b"),
    ("DATE", rf"(?<![\d./]){_DAY}/{_YEAR}(?!\d)"),
    ("DATE", rf"(?<![\d.]){_YEAR}-(?:0[1-9]|1[0-2])(?![\d-])"),
    (
        "DATE",  # with the month in Roman numerals
        rf"(?<![\w.]){_DAY}[./-]\s?(?:i{{1,3}}|iv|vi{{0,3}}|ix|xi{{0,2}})[./-]\s?(?:{_YEAR}|\d\d)(?!\d)",
    ),
    (
        "DATE",
        r"\b(?:on|rv|seen|dated?|reviewed|informed|since|until|due|visit|clinic|appt|admitted|discharged)[\s:]+(?P<it>(?:0?[1-9]|[12]\d|3[01])[/.](?:0?[1-9]|1[0-2]))(?![\d/.]|\s?(?:mm|cm|mg|ml|%))",
    ),
    (
        "DATE",  # 23/6 02:10
        r"(?<![\d./])(?P<it>(?:0?[1-9]|[12]\d|3[01])/(?:0?[1-9]|[12]\d|3[01]))(?=,?\s+(?:at\s+)?(?:[01]?\d|2[0-3])[:：.h][0-5]\d)",
    ),
    (
        "DATE",
        rf"\b(?P<it>(?:(?:christmas|easter|new\syear(?:'s|s)?|thanksgiving|boxing|good\sfriday|diwali|eid|ramadan|hanukkah|halloween)(?:\s(?:eve|day|monday|sunday))?)\s{_YEAR}|(?:christmas|new\syear'?s)\s(?:eve|day)|boxing\sday)\b",
    ),
    (
        "DATE",
        rf"\b(?P<it>(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+{_DAY}(?:st|nd|rd|th)?\s+{_MONTH}(?:,?\s*{_YEAR})?)(?![a-z])",
    ),
    (
        "TIME",
        r"(?<![\d:.])(?:[01]?\d|2[0-3])[:：][0-5]\d(?:[:：][0-5]\d)?(?:\s?[ap]\.?m\b\.?)?(?![:\d])",
    ),
    (
        "DATE",
        rf"\b(?:mon|tues?|wednes|thurs?|fri|satur|sun)(?:day)?,?\s+(?:the\s+)?{_DAY}(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH}(?:,?\s*{_YEAR})?(?![a-z])",
    ),
    ("TIME", r"(?<![\d.:])(?:[01]\d|2[0-3])[0-5]\d(?=\s?(?:hrs?|hours|h)\b)"),
    # numbers
    (
        "PHONE",
        r"(?<![\d.])(?:\+|00)\d{1,3}[\s-]?(?:\(0?\d{1,4}\)[\s-]?)?\d{1,4}(?:[\s-]?\d{2,4}){1,4}(?!\d)",
    ),
    ("PHONE", r"(?<![\d.])\(?\d{3}\)?[\s.-]\d{3}[.-]\d{4}(?:\s?(?:x|ext\.?)\s?\d{1,5})?(?!\d)"),
    ("PHONE", r"(?<![\d.])0\d{2,4}[\s-]\d{3,4}[\s-]?\d{3,4}(?!\d)"),
    ("PHONE", r"(?<!\d)1[3-9]\d[\s-]?\d{4}[\s-]?\d{4}(?!\d)"),
    ("PHONE", r"(?<![\d.])(?:(?:\d{2}[ ]){4}\d{2}|\d{2}[ -]\d{3}[ -]\d{2}[ -]\d{2})(?![\d.])"),
    ("PHONE", r"(?<!\d)[48]00[\s-]\d{3,4}[\s-]\d{3,4}(?!\d)"),
    ("ID", r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)"),  # social security number
    ("ID", r"\b[A-Z]{2}\d{2}\s?[A-Z]{3}\b"),  # number plate
    ("ID", r"(?<!\d)\d{3}\s\d{3}\s\d{4}(?!\d)"),  # national health service number
    (
        "ID",
        r"(?<![A-Za-z\d.])(?=[A-Z\d-]{0,40}[A-Z])(?=(?:[A-Z-]{0,40}\d){4})[A-Z\d]+(?:-[A-Z\d]+)*(?![A-Za-z\d])",
    ),
    ("ID", r"(?<![\d.])\d{6,}(?![\d.]\d)(?!\d)(?!\s?(?:/|per|cells|copies|IU|个))"),
    ("ID", r"(?<![A-Za-z\d])\d{1,3}(?:\.\d+){4,}"),  # a unique identifier
    ("AGE", r"(?<![\d.])(?:9\d|1[0-2]\d)(?=(?:\s|-)?(?:y(?:ear|r)s?\b|y/?o\b|yo\b|岁|周岁))"),
)

_COMPILED: Final = [
    (kind, re.compile(pattern, 0 if kind == "ID" else re.IGNORECASE)) for kind, pattern in RULES
]
_PIECE: Final = 4000
"""Characters that rules see at a time, and..."""
_AROUND: Final = 300
"""...how many before and after them."""
_SPACE: Final = re.compile(r"\s")
_CARD: Final = re.compile(r"(?<!\d)[1-9]\d{16}[\dXx](?![\dXx])")


def find(text: str) -> Iterator[Passage]:
    """Passages of a text that any rule takes; they may overlap.

    A long text is read in pieces, so that time grows with its length alone, whatever it holds.
    """
    for start, stop in _pieces(text):
        left = _cut(text, max(0, start - _AROUND), start)
        right = _cut(text, stop, min(len(text), stop + _AROUND), last=True)
        for passage in _find(text[left:right]):
            if start <= passage.start + left < stop:
                yield Passage(passage.start + left, passage.end + left, passage.kind)


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Where to cut a text: after a line if there is one, else between words, else anywhere."""
    start = 0
    while len(text) - start > _PIECE:
        stop = text.rfind("\n", start + _PIECE // 2, start + _PIECE) + 1
        stop = stop or _cut(text, start + _PIECE // 2, start + _PIECE, last=True)
        yield start, stop
        start = stop
    yield start, len(text)


def _cut(text: str, start: int, stop: int, *, last: bool = False) -> int:
    """The end of the first (or last) white space within a part of a text, or its outer edge."""
    if stop >= len(text) and last:
        return len(text)
    if start == 0 and not last:
        return 0
    spaces = [m.end() for m in _SPACE.finditer(text, start, stop)]
    return (spaces[-1] if last else spaces[0]) if spaces else (stop if last else start)


def _find(text: str) -> Iterator[Passage]:
    for kind, pattern in _COMPILED:
        for match in pattern.finditer(text):
            yield Passage(*match.span("it" if "it" in pattern.groupindex else 0), kind)
    for match in _CARD.finditer(text):
        yield Passage(match.start(), match.end(), "ID")
    if text_rules_zh.HAN.search(text):
        yield from text_rules_zh.find(text)
    if any("A" <= c.upper() <= "Z" for c in text):
        yield from text_rules_en.find(text)


def is_identity_card(number: str) -> bool:
    """Whether a number is a Chinese resident identity number with its check digit [1].

    1. GB 11643-1999.
    """
    if not _CARD.fullmatch(number):
        return False
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(c) * 2 ** (17 - i) for i, c in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17].upper()
