"""Numbers that a sentence says in words: ``twenty-two``, ``a couple``, ``hundreds``, ``二十二``."""

import re
from collections.abc import Iterator
from typing import Final

_UNITS: Final = {
    "zero": 0, "one": 1, "single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6,
    "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13,
    "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS: Final = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80, "ninety": 90,
}  # fmt: skip
_MANY: Final = {
    "dozen": 12, "dozens": 24, "hundred": 100, "hundreds": 100, "thousand": 1000,
    "thousands": 1000, "couple": 2, "pair": 2,
}  # fmt: skip
_WORD: Final = re.compile(
    r"\b(?:(?P<tens>" + "|".join(_TENS) + r")(?:[- ](?P<ones>" + "|".join(list(_UNITS)[1:11])
    + r"))?|(?P<unit>" + "|".join(_UNITS) + r")|(?:a |one )?(?P<many>" + "|".join(_MANY)
    + r"))\b(?:[- ](?P<times>hundred|thousand|dozen)(?: and (?P<rest>" + "|".join(_UNITS)
    + r"))?\b)?",
    re.IGNORECASE,
)  # fmt: skip
_HAN_DIGITS: Final = {sign: n for n, sign in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_HAN: Final = re.compile(r"[零〇一二两三四五六七八九十百千]+")
_COUNTED: Final = re.compile(
    r"\s*(?:余|多|几)?\s*"
    r"(?:处|枚|块|倍|度|成|岁|%|点(?!\d)|级|期|个象限|象限|个微|个出|个硬|个软|个棉|个病|个(?=[。，；、]|$))"
)
ORDINAL: Final = re.compile(
    r"\b(?P<word>first|second|third|fourth)[- ](?:degree|grade|stage|level)\b", re.IGNORECASE
)
_ORDINALS: Final = {"first": 1, "second": 2, "third": 3, "fourth": 4}


def in_english(text: str) -> Iterator[tuple[str, float, int, int]]:
    """Each number in English words: as said, its value, and where it stands."""
    for match in _WORD.finditer(text):
        if match["tens"]:
            value = float(_TENS[match["tens"].casefold()])
            value += _UNITS[match["ones"].casefold()] if match["ones"] else 0
        elif match["unit"]:
            value = float(_UNITS[match["unit"].casefold()])
        else:
            value = float(_MANY[match["many"].casefold()])
        if match["times"]:
            value *= _MANY[match["times"].casefold()]
            value += _UNITS[match["rest"].casefold()] if match["rest"] else 0
        yield match[0], value, match.start(), match.end()


def in_chinese(text: str) -> Iterator[tuple[str, float, int, int]]:
    """Each number in Chinese signs that counts or grades something."""
    for match in _HAN.finditer(text):
        if not _COUNTED.match(text, match.end()):
            continue
        said = match[0]
        if said in "百千十" or (text[match.start() - 1 : match.start()] in ("数", "几")):
            said = {"百": "一百", "千": "一千", "十": "十"}.get(said, said)
        yield match[0], _chinese(said), match.start(), match.end()


def ordinals(text: str) -> Iterator[tuple[str, float, int, int]]:
    """Grades by their order: ``third-degree``, ``second grade``."""
    for match in ORDINAL.finditer(text):
        value = float(_ORDINALS[match["word"].casefold()])
        yield match["word"], value, match.start("word"), match.end("word")


def _chinese(signs: str) -> float:
    """The value of Chinese signs below ten thousand: 二十二, 一百零五, 二〇."""
    if not any(sign in signs for sign in "十百千"):
        return float("".join(str(_HAN_DIGITS[sign]) for sign in signs))
    total, digit = 0, 1
    for place, sign in enumerate(signs):
        if sign in "十百千":
            total += digit * {"十": 10, "百": 100, "千": 1000}[sign]
            digit = 0
        else:
            digit = _HAN_DIGITS[sign]
            following = signs[place + 1 : place + 2]
            if not following:
                total += digit
    return float(total)
