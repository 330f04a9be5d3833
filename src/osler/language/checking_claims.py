"""What a sentence claims: what is there or not, numbers with units, grades, sides, severities."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from osler.language.assertion import judge
from osler.language.assertion_words import Status
from osler.language.checking_sayings import (
    KEPT,
    TURNED,
    Severity,
    affirmed,
    quality_of,
    severities_in,
    sides_in,
)
from osler.language.checking_spelt import ORDINAL, in_chinese, in_english, ordinals
from osler.language.checking_words import (
    LESIONS,
    QUALIFIERS,
    STRUCTURES,
    concepts_in,
    topics,
    unit_after,
)
from osler.language.terms import Found, Phrases, Token, tokens

Role = Literal["count", "quadrants", "grade", "chance", "coverage", "kept", "measure"]

_NUMBER: Final = re.compile(
    # a Chinese character before or after a number is no part of it
    r"(?<![^\W㐀-鿿])(?<!\.)(?P<sign>[-−])?"
    r"(?P<digits>\d{1,12}(?:,\d{3})*(?:\.\d{1,12})?|\.\d{1,12})"
    r"(?:e(?P<power>[-+]?\d{1,2}))?(?![A-Za-z0-9_]*-[A-Za-z0-9_])"
)
_ROMAN: Final = {"i": 1, "ii": 2, "iii": 3, "iv": 4}
_COUNTED: Final = re.compile(r"\s*[余多]?\s*(?:处|枚|块|点(?!\d)|个(?!\s*(?:象限|视盘)))")
_QUADRANTS: Final = re.compile(
    r"\s*(?:(?:(?:out )?of (?:the |all )?(?:four|4)|retinal)\s+)?(?:quadrants?|个?象限)",
    re.IGNORECASE,
)
_OF_FOUR: Final = re.compile(r"[\d\w]\s+(?:out )?of (?:the |all )?$", re.IGNORECASE)
_EVERYWHERE: Final = re.compile(
    r"throughout|all over|(?:over|across) the (?:whole|entire)|遍布|布满|弥漫于|散布于?整个|遍及",
    re.IGNORECASE,
)
_WHOLE: Final = re.compile(
    r"(?: the)?(?: whole| entire)?(?: (?:retina|fundus|posterior pole))\b|(?:整个)?(?:眼底|视网膜)",
    re.IGNORECASE,
)
_NOT_A: Final = re.compile(r"\bnot (?:a|even a|even) $", re.IGNORECASE)
_EVERY_QUADRANT: Final = re.compile(
    r"\b(?:every|each|all)(?= )(?P<of> (?:retinal )?quadrants?\b)(?! but)"
    r"|(?:每个?|各个?|所有)(?P<of2>象限)"
    r"|\b(?:throughout|all over|(?:over|across) the (?:whole|entire))(?P<of3>(?: the)?"
    r"(?: whole| entire)?(?: (?:retina|fundus|posterior pole))\b)"
    r"|(?:遍布|布满|弥漫于|散布于?整个|遍及)(?P<of4>(?:整个)?(?:眼底|视网膜))",
    re.IGNORECASE,
)
_CHANCE: Final = re.compile(
    r"probabilit|chance|confiden|likelihood|certain|\bp\s*[=<>≈]|概率|可能性|置信|把握",
    re.IGNORECASE,
)
_KEPT: Final = re.compile(rf"{KEPT.pattern}|prediction set", re.IGNORECASE)
_LEVEL_AFTER: Final = re.compile(
    r"\s*(?:的)?(?:置信)?水平|\s*(?:confidence |coverage |prediction )?level", re.IGNORECASE
)
_GRADE_BEFORE: Final = re.compile(
    r"(?:\b(?:grade[sd]?|stage[sd]?|levels?|class|risks?|icdr|category)\b|分级|风险)"
    r"(?:\s*(?:is|of|was|as|at|to be|score|为|是|[:：=(（]))*[\s-]*$",
    re.IGNORECASE,
)
_GRADE_AFTER: Final = re.compile(r"\s*[级期]")
_CHAIN: Final = re.compile(r"\s*(?:to|, and|and|or|至|到|和|或|、|,|–|-|through)\s*", re.IGNORECASE)
_AT_LEAST: Final = re.compile(
    r"(?:≥|>=|\b(?:at least|no (?:less|fewer) than|not (?:less|fewer) than)"
    r"|至少|不少于|不低于)\s*$",
    re.IGNORECASE,
)
_AT_MOST: Final = re.compile(
    r"(?:≤|<=|\b(?:at most|no more than|not more than|up to)|至多|不超过|不多于)\s*$", re.IGNORECASE
)
_MORE: Final = re.compile(
    r"(?:>|\b(?:more than|greater than|over|above|upwards of|exceed(?:s|ing))"
    r"|大于|超过|高于|多于)\s*$",
    re.IGNORECASE,
)
_LESS: Final = re.compile(
    r"(?:<|\b(?:less than|fewer than|under|below)|小于|低于|不足|少于)\s*$", re.IGNORECASE
)
_ABOUT: Final = re.compile(
    r"(?:~|≈|\b(?:about|approximately|approx\.?|around|roughly|nearly|almost|ca\.?)|约|大约|近)\s*$",
    re.IGNORECASE,
)
_BOUNDS: Final = (
    (">=", _AT_LEAST), ("<=", _AT_MOST), (">", _MORE), ("<", _LESS), ("~", _ABOUT)
)  # fmt: skip
_RATIO: Final = re.compile(r"(?<![\d.])\d{1,2}\s?[:：/∶]\s?\d{1,2}(?![\d.])")
_RATIO_STEP: Final = 0.03  # of whole numbers such as 2:3, what lies between them and their like
_CUT: Final = re.compile(r"[,;:，；：()（）]")


@dataclass(frozen=True, slots=True)
class Mention:
    """Something that a sentence names.

    Attributes:
        tag: what.
        status: whether it is said to be there.
        start: its first character.
        stop: one past its last.
    """

    tag: str
    status: Status
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number that a sentence says.

    Attributes:
        said: as written.
        value: the number.
        step: half of the last place that is written: what rounding may have taken.
        role: what it is the number of.
        unit: as written after it; empty where there is none.
        bound: ``">"``, ``"<"``, ``">="``, ``"<="``, ``"~"``, or empty for the number itself.
        clause: first character of its part of the sentence, and one past the last.
        start: its first character.
        stop: one past its last.
        near: the tag of the thing that it is about, where one stands in its part.
        turn: the tag that stands at its place in a list before ("A and B are 1 and 2").
    """

    said: str
    value: float
    step: float
    role: Role
    unit: str
    bound: str
    clause: tuple[int, int]
    start: int
    stop: int
    near: str = ""
    turn: str = ""


@dataclass(slots=True)
class Claims:
    """All that a sentence claims.

    Attributes:
        mentions: in order.
        numbers: in order.
        sides: ``"R"``, ``"L"`` and ``"other"`` as named.
        severities: words of severity.
        quality: the judgement of the photograph; empty where none is made.
    """

    mentions: list[Mention] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)
    sides: list[str] = field(default_factory=list)
    severities: list[Severity] = field(default_factory=list)
    quality: str = ""

    def tags(self, clause: tuple[int, int] | None = None) -> set[str]:
        """What is named, in a part of the sentence or in all of it."""
        return {
            m.tag
            for m in self.mentions
            if clause is None or (clause[0] <= m.start and m.stop <= clause[1])
        }


def claims_of(text: str, names: "Phrases[str] | None" = None) -> Claims:
    """What a sentence claims.

    Args:
        text: the sentence without its citations.
        names: names of findings of the case, beside what reports usually name.
    """
    said = tokens(affirmed(text))
    mentions = _mentions(text, said, names)
    numbers = sorted(_numbers(text, [(m.start, m.stop) for m in mentions]), key=lambda n: n[3])
    if not any(m.tag in LESIONS for m in mentions):  # "vessels throughout the retina"
        numbers = [n for n in numbers if not _EVERYWHERE.match(n[0])]
    if any(m.tag in ("avr", "cdr") for m in mentions):
        numbers = _ratios(text, numbers)
    # "0.55 disc diameters" names no disc
    units = [(stop, stop + 1 + len(unit_after(text[stop:]))) for *_, stop in numbers]
    out = Claims([m for m in mentions if not any(a <= m.start and m.stop <= b for a, b in units)])
    for number in numbers:
        out.numbers.append(_placed(number, text, out.mentions, out.numbers))
    # "grades 0, 2 and 4 cannot be excluded": what is said of the last is said of all
    for k in range(len(out.numbers) - 2, -1, -1):
        one, two = out.numbers[k], out.numbers[k + 1]
        chained = _CHAIN.fullmatch(text[one.stop : two.start]) is not None
        if two.role == "kept" and one.role == "grade" and not one.unit and chained:
            out.numbers[k] = replace(one, role="kept")
    _in_turn(text, out)
    out.sides = sides_in(text)
    out.severities = severities_in(text)
    out.quality = quality_of(text)
    return out


def _ratios(
    text: str, numbers: list[tuple[str, float, float, int, int]]
) -> list[tuple[str, float, float, int, int]]:
    """Numbers, with "2:3" and "2/3" as the one number that they are."""
    for match in _RATIO.finditer(text):
        inside = [n for n in numbers if match.start() <= n[3] and n[4] <= match.end()]
        if len(inside) == 2 and inside[1][1] > 0:
            value = inside[0][1] / inside[1][1]
            one = (match[0], value, _RATIO_STEP, match.start(), match.end())
            numbers = sorted([*(n for n in numbers if n not in inside), one], key=lambda n: n[3])
    return numbers


def _in_turn(text: str, claims: Claims) -> None:
    """Numbers in a list are about the things of a list of the same length before them."""
    places = [(n.start, n.stop) for n in claims.numbers]
    runs = _chained(
        [(a, b + len(m[0]) if (m := _COUNTED.match(text, b)) else b) for a, b in places], text
    )
    lists = [
        [m for m in claims.mentions if m.tag in tags]
        for tags in (LESIONS, QUALIFIERS, ("artery", "vein"))
    ]
    things = [
        [few[i].tag for i in run]
        for few in lists
        for run in _chained([(m.start, m.stop) for m in few], text)
        if len({few[i].tag for i in run}) == len(run)
    ]
    for i, (number, (_, stop)) in enumerate(zip(claims.numbers, places, strict=True)):
        behind = [m for m in claims.mentions if m.tag in QUALIFIERS[:2] and 0 <= m.start - stop < 2]
        if behind and number.role == "measure":  # "0.51 vertically"
            claims.numbers[i] = replace(number, turn=behind[0].tag)
    for run in runs:
        for tags in things:
            if len(tags) != len(run) or len(tags) < 2:
                continue
            for i, tag in zip(run, tags, strict=True):
                one = claims.numbers[i]
                if tag not in LESIONS:
                    claims.numbers[i] = replace(one, turn=tag)
                elif one.role in ("measure", "count"):
                    role: Role = "measure" if one.unit else "count"
                    claims.numbers[i] = replace(one, turn=tag, near=tag, role=role)


def _chained(spans: Sequence[tuple[int, int]], text: str) -> list[list[int]]:
    """Numbers of the places that are joined by commas and "and" only."""
    out: list[list[int]] = []
    for i, (start, _) in enumerate(spans):
        if i and _CHAIN.fullmatch(text[spans[i - 1][1] : start]):
            out[-1].append(i)
        else:
            out.append([i])
    return out


def _mentions(text: str, said: list[Token], names: "Phrases[str] | None") -> list[Mention]:
    """What is named, the longest name first where several overlap."""
    # the name of a finding of the case before what others mean by it
    found: list[Found[str]] = list(names.find(said)) if names is not None else []
    found += [*topics().find(said), *concepts_in(said)]
    taken: set[int] = set()
    kept: list[Found[str]] = []
    for one in sorted(found, key=lambda f: (f.first - f.last, f.value.startswith("concept:"))):
        span = range(one.first, one.last)
        if taken.isdisjoint(span):
            kept.append(one)
            taken.update(span)
    kept.sort(key=lambda f: f.first)
    judged, _ = judge(said, kept)
    out = [
        Mention(f.value, j.status, said[f.first].start, said[f.last - 1].stop)
        for f, j in zip(kept, judged, strict=True)
    ]
    if TURNED.search(text):
        out = [replace(m, status="absent") if m.tag == "dr-referable" else m for m in out]
    return out


def _numbers(
    text: str, spans: Sequence[tuple[int, int]]
) -> Iterator[tuple[str, float, float, int, int]]:
    """As written, value, half of the last place, and where; none within a name."""
    for match in _NUMBER.finditer(text):
        start, stop = match.span()
        if any(a <= start < b for a, b in spans) or _of_four(text, start, stop, match["digits"]):
            continue
        if not text[:start].strip(" -*•") and re.match(r"[.)、]\s", text[stop : stop + 2]):
            continue  # the number of a list
        digits = match["digits"].replace(",", "")
        power = int(match["power"] or 0)
        step = 0.5 * 10.0 ** (power - len(digits.partition(".")[2]))
        value = float(digits) * 10.0**power * (-1 if match["sign"] else 1)
        yield match[0], value, step, start, stop
    for said, value, start, stop in in_english(text):
        if any(a <= start < b for a, b in spans) or _of_four(text, start, stop, said):
            continue
        if (
            value != 1
            or _QUADRANTS.match(text[stop:])
            or (_lesion_follows(text, stop) and not _NOT_A.search(text[:start]))
        ):
            yield said, value, 0.0, start, stop
    for said, value, start, stop in (*in_chinese(text), *ordinals(text)):
        yield said, value, 0.0, start, stop
    for match in _EVERY_QUADRANT.finditer(text):
        name = next(name for name, said in match.groupdict().items() if said)
        yield match[0], 4.0, 0.0, match.start(), match.start(name)
    for match in re.finditer(r"\b(?:grade|stage|degree)\s+(IV|I{1,3})\b", text, re.IGNORECASE):
        yield match[1], float(_ROMAN[match[1].casefold()]), 0.0, match.start(1), match.end(1)
    for match in re.finditer(r"([Ⅰ-Ⅳ]|\bI{1,3}|\bIV)(?=\s*[级期])", text):
        value = float(_ROMAN[unicodedata.normalize("NFKC", match[1]).casefold()])
        yield match[1], value, 0.0, match.start(1), match.end(1)


def _of_four(text: str, start: int, stop: int, said: str) -> bool:
    """Whether a number only says of how many quadrants another one is."""
    four = said.casefold() in ("4", "four")
    return four and bool(_OF_FOUR.search(text[:start]) and _QUADRANTS.match(text[stop:]))


def _lesion_follows(text: str, stop: int) -> bool:
    said = tokens(text, stop, min(len(text), stop + 60))[:4]
    return any(f.value in LESIONS for f in topics().find(said))


def _placed(
    number: tuple[str, float, float, int, int],
    text: str,
    mentions: Sequence[Mention],
    earlier: Sequence[Number],
) -> Number:
    said, value, step, start, stop = number
    clause = clause_of(text, start, stop)
    unit = unit_after(text[stop:])
    before = text[max(0, start - 40) : start]
    bound = next((mark for mark, at in _BOUNDS if at.search(before)), "")
    if re.match(r"\s*[余多]\s*[处枚个块]|\+", text[stop:]):
        bound = ">"
    role = _role(number, text, clause, unit, mentions, earlier)
    if role == "quadrants" and re.search(r"\bover\s*$", before, re.IGNORECASE):
        bound = ""  # "spread over 2 quadrants"
    near = _near(start, stop + len(unit), text, clause, mentions)
    return Number(said, value, step, role, unit, bound, clause, start, stop, near)


def clause_of(text: str, start: int, stop: int) -> tuple[int, int]:
    """The part of the sentence between marks that a number stands in."""
    begin, end = 0, len(text)
    for match in _CUT.finditer(text):
        if match.end() <= start:
            begin = match.end()
        elif match.start() >= stop:
            end = match.start()
            break
    return begin, end


def _role(
    number: tuple[str, float, float, int, int],
    text: str,
    clause: tuple[int, int],
    unit: str,
    mentions: Sequence[Mention],
    earlier: Sequence[Number],
) -> Role:
    _, _, _, start, stop = number
    after, part = text[stop:], text[clause[0] : clause[1]]
    percent = unit.casefold() in ("%", "percent")
    if _KEPT.search(part) or (
        percent and _LEVEL_AFTER.match(after.lstrip()[len(unit) :]) and _KEPT.search(text)
    ):
        return "coverage" if percent else "kept"
    if _CHANCE.search(text[max(clause[0], start - 30) : start]) or (
        _CHANCE.search(after[:30].partition(",")[0]) and (percent or "." in number[0])
    ):
        return "chance"
    if _QUADRANTS.match(after) or (_EVERYWHERE.match(number[0]) and _WHOLE.match(after)):
        return "quadrants"
    before = text[max(0, start - 40) : start]
    if _GRADE_BEFORE.search(before) or (_GRADE_AFTER.match(after) and not unit):
        return "grade"
    if ORDINAL.match(text, start):
        return "grade"
    if earlier and earlier[-1].role in ("grade", "kept"):
        between = text[earlier[-1].stop : start]
        if _CHAIN.fullmatch(between):
            return earlier[-1].role
    if not unit:
        if _COUNTED.match(after) or _follows(stop, text, mentions, LESIONS, most=3):
            return "count"
        last = next((m for m in reversed(mentions) if m.stop <= start), None)
        if last and last.tag in LESIONS and re.fullmatch(r"[\s:：=(（]*", text[last.stop : start]):
            return "count" if float(number[1]).is_integer() else "measure"  # "CWS 0"
        if last and last.tag in ("dme-risk", "dr-grade") and start - last.stop <= 6:
            return "grade"
    return "measure"


def _follows(
    stop: int, text: str, mentions: Sequence[Mention], tags: Sequence[str], *, most: int
) -> bool:
    """Whether one of some things stands right after a number, but for so many words."""
    after = next((m for m in mentions if m.start >= stop), None)
    if after is None or after.tag not in tags:
        return False
    between = text[stop : after.start]
    return (
        not _CUT.search(between)
        and len(between.split()) <= most
        and not re.search(r"\b(?:in|of|for|from|and|to|are|is|were|was)\b", between)
    )


def _near(
    start: int, stop: int, text: str, clause: tuple[int, int], mentions: Sequence[Mention]
) -> str:
    """The thing that a number is about: behind "in", else the nearest in its part."""
    things = [
        m for m in mentions if m.tag in STRUCTURES and clause[0] <= m.start and m.stop <= clause[1]
    ]
    if not things:
        return ""
    if re.match(r"[\s\u00a0%]*(?:in|for|of)\b", text[stop:]):
        behind = [m for m in things if m.start >= stop]
        if behind:
            return behind[0].tag
    return min(
        things, key=lambda m: start - m.stop if m.stop <= start else m.start - stop + 0.5
    ).tag
