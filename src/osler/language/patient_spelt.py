"""How people write a patient's values: the type of diabetes, weeks of pregnancy, visual acuity.

Only what is understood from its first sign to its last is taken; ``"no type 2 diabetes"`` or
``"family history of type 2"`` is none of these.
"""

import re
from typing import Final

_TYPE: Final = re.compile(
    r"(?:(?:type|t|dm)[ -]?(?P<latin>1|2|i|ii)(?:dm)?|(?P<han>[12一二]|i|ii|ⅰ|ⅱ|Ⅰ|Ⅱ) ?型)"
    r"(?: ?diabetes(?: mellitus)?| ?dm|糖尿病)?"
    r"(?:[ ,，;；、(（]*(?:x|×|for|since|duration|病程|病史|已)?[ :：]*"
    r"(?P<years>\d{1,2}) ?(?:years?|yrs?|y|年)(?: ago)?[)）]?)?"
)
_SECOND: Final = frozenset({"2", "ii", "二", "ⅱ", "Ⅱ"})
_WEEKS: Final = re.compile(
    r"(?:yes|是|pregnant|妊娠|怀孕|孕)?[ ,，(（]*(?P<weeks>\d{1,2})(?: ?\+ ?\d)? ?"
    r"(?:weeks?|wks?|w|/40|周)(?: pregnant| gestation| of pregnancy)?[)）]?"
)
_PLANNED: Final = frozenset({
    "planned", "planning", "planning pregnancy", "trying to conceive", "preconception", "备孕",
    "计划妊娠", "计划怀孕",
})  # fmt: skip
_LONGEST: Final = 44  # weeks

_ACUITY: Final = re.compile(r"(?:20|6|5)/\d{1,3}|\d(?:\.\d{1,2})?")
_LOW: Final = (
    "counting fingers", "count fingers", "finger counting", "hand movements", "hand motion",
    "hand movement", "no light perception", "light perception", "perception of light",
    "no perception of light", "blind", "cf", "hm", "nlp", "npl", "lp", "pl", "fc", "数指", "指数",
    "手动", "无光感", "光感", "失明",
)  # fmt: skip
_LOW_WORD: Final = re.compile(
    "|".join(
        re.escape(one) if one[0] > "z" else rf"\b{re.escape(one)}\b"
        for one in sorted(_LOW, key=len, reverse=True)
    )
)
_SIDES: Final = re.compile(
    r"\b(?:right|left|eyes?|od|os|re|le|r|l|va|bcva|at \d ?(?:m|ft|feet))\b|右眼?|左眼?|双眼|"
    r"/ ?\d+ ?cm"
)
_LOGMAR: Final = re.compile(r"(-?\d(?:\.\d{1,2})?) ?logmar")
_FIVE: Final = (3.6, 5.3)  # the five-grade notation, in which 5.0 is 1.0


def diabetes_spelt(said: str) -> tuple[str, float | None] | None:
    """The type of diabetes and, where it is said, its years; None where this is no such phrase.

    Args:
        said: in lower case, such as ``"type ii diabetes"`` or ``"2型，病程10年"``.
    """
    match = _TYPE.fullmatch(said)
    if match is None:
        return None
    number = match["latin"] or match["han"]
    years = None if match["years"] is None else float(match["years"])
    return ("type 2" if number in _SECOND else "type 1"), years


def pregnancy_spelt(said: str) -> str | None:
    """``"yes"``, ``"planned"`` or None; of ``"12 weeks"``, ``"孕12周"``, ``"备孕"``."""
    if said in _PLANNED:
        return "planned"
    match = _WEEKS.fullmatch(said)
    return "yes" if match and 1 <= int(match["weeks"]) <= _LONGEST else None


def acuity_spelt(said: str) -> float | str | None:
    """The decimal visual acuity of the worse eye, ``"low"`` below what a chart shows, or None.

    Snellen fractions, decimals, the five-grade notation (GB/T 11533) and logMAR are told apart by
    their range and words; both eyes may be given at once.

    Args:
        said: in lower case, such as ``"0.3 od, 20/40 os"``.
    """
    if _LOW_WORD.search(said):
        rest = _SIDES.sub(" ", _ACUITY.sub(" ", _LOW_WORD.sub(" ", said)))
        return "low" if _empty(rest) else None
    if "logmar" in said:
        values = [10 ** -float(one) for one in _LOGMAR.findall(said)]
        rest = _LOGMAR.sub(" ", said)
    else:
        values = [_decimal(one) for one in _ACUITY.findall(said)]
        rest = _ACUITY.sub(" ", said)
    if not 1 <= len(values) <= 2 or not _empty(_SIDES.sub(" ", rest)):
        return None
    return min(values)


def _decimal(said: str) -> float:
    above, slash, below = said.partition("/")
    if slash:
        return float(above) / float(below) if float(below) else 99.0  # no patient can have this
    value = float(above)
    return float(10 ** (value - 5)) if _FIVE[0] <= value <= _FIVE[1] else value


def _empty(rest: str) -> bool:
    return not re.sub(r"[\s,，;；:：、()（）.]+", "", rest)
