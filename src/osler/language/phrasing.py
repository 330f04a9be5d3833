# ruff: noqa: E501 - patterns in two languages
"""Advice put into other words by a language engine, and the check that nothing else changed.

The engine gets the words of the guideline table and nothing of the patient's record but the
numbers that stand in them. What it writes is taken only where numbers with their units, the
direction of limits, urgency, negations, sides and named treatments are the same, in the same
order; else the table's own words stay.
"""

import re
from collections import Counter
from typing import Final

from osler.io.text_sections import language as language_of
from osler.language.engine import Engine, EngineError, Message, clean
from osler.language.sentences import hidden

REJECTED: Final = "phrasing-rejected"
FAILED: Final = "engine-failed"

_ASK: Final = {
    "en": "Put this advice to a primary-care doctor into one short, plain paragraph in English. "
    "Keep every number, unit, time and degree of urgency exactly, in the same order. Add nothing "
    "and leave nothing out. Write the paragraph alone.",
    "zh": "请用简体中文把下面给基层医生的建议改写成一小段通顺的话。所有数字、单位、时间和紧急程度必须"
    "原样保留，顺序不变。不得增加或省略内容。只输出这一段话。",
}

_NUMBER_WORDS: Final = {
    "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13",
    "eighteen": "18", "twenty": "20", "twenty-four": "24", "half": "0.5",
    "一": "1", "两": "2", "二": "2", "三": "3", "四": "4", "五": "5", "六": "6", "七": "7",
    "八": "8", "九": "9", "十": "10", "十二": "12", "半": "0.5",
}  # fmt: skip
_UNITS: Final = (
    ("month", r"months?|mo\b|个月|月"), ("week", r"weeks?|wks?\b|周|星期"),
    ("year", r"years?|yrs?\b|年|岁"), ("day", r"days?|天|日"), ("hour", r"hours?|小时"),
    ("mmol/mol", r"mmol/mol"), ("mmol/L", r"mmol/l"), ("mg/dL", r"mg/dl"), ("mg/g", r"mg/g"),
    ("mmHg", r"mm\s?hg"), ("mL/min", r"ml/min"), ("%", r"%|％|percent|per cent"),
    ("kg/m2", r"kg/m"), ("DD", r"disc diameters?|个视盘直径|视盘直径"),
)  # fmt: skip
_NUMBER: Final = re.compile(
    r"(?<![\w.])(?P<n>\d{1,5}(?:\.\d{1,3})?(?:\s?/\s?\d{1,3}(?:\.\d{1,3})?)?)"
    r"|\b(?P<w>" + "|".join(w for w in sorted(_NUMBER_WORDS, key=len, reverse=True) if w.isascii()) + r")\b"
    r"(?=[\s-](?:months?|weeks?|years?|days?|hours?|percent|per cent))"
    r"|(?P<z>十二|[一二两三四五六七八九十半])(?=个?(?:月|周|星期|年|岁|天|小时))",
    re.IGNORECASE,
)  # fmt: skip
_UNIT: Final = re.compile(
    r"\s?-?\s?(?:" + "|".join(f"(?P<u{k}>{p})" for k, (_, p) in enumerate(_UNITS)) + ")",
    re.IGNORECASE,
)

_KINDS: Final = {
    # what must be said as often in both
    "below": r"\bbelow\b|\bless than\b|\bunder\b|\blower than\b|<|低于|小于|不足|以下|少于",
    "above": r"\babove\b|\bover\b|\bmore than\b|\bhigher than\b|\bat least\b|≥|>|\bfrom\b|高于|超过|大于|以上|至少|\bor higher\b|及以上",
    "within": r"\bwithin\b|\bno later than\b|以内|之内",
    "emergency": r"\bemergency\b|\bsame day\b|急诊|当日|当天",
    "urgent": r"\burgent(?:ly)?\b|\bimmediate(?:ly)?\b|\bat once\b|尽快|紧急|加急|立即",
    "routine": r"\broutine(?:ly)?\b|常规",
    "negation": r"\bno\b|\bnot\b|\bnever\b|\bnone\b|\bwithout\b|\bcannot\b|\bn't\b|\bunless\b|不|无|未|没有|非(?!增)",
    "refer": r"\brefer(?:ral|red|s)?\b|转诊",
    "right": r"\bright eye\b|右眼",
    "left": r"\bleft eye\b|左眼",
}  # fmt: skip
_COUNTED: Final = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _KINDS.items()}

_NAMED: Final = re.compile(
    r"ophthalmolog\w*|nephrolog\w*|paediatric\w*|grader\w*|specialist|optometrist|slit lamp|dilat\w+"
    r"|tomography|statin|ACE inhibitor|angiotensin|aspirin|GLP-1|insulin|metformin|laser|inject\w*"
    r"|anti-VEGF|steroid\w*|surgery|photocoagulation|fenofibrate|mild|moderate|severe"
    r"|proliferative|pregnan\w*|trimester|smok\w*|stop(?:ped)?|start(?:ed)?"
    r"|眼科|肾内科|儿童|阅片|专科|裂隙灯|散瞳|断层扫描|他汀|抑制剂|拮抗剂|阿司匹林|胰岛素|二甲双胍"
    r"|激光|注射|激素|手术|轻度|中度|重度|增殖期|妊娠|吸烟|戒烟|停用",
    re.IGNORECASE,
)


def numbers(text: str) -> list[tuple[str, str]]:
    """The numbers of a text with their units, in order; ``"three months"`` is a number, too."""
    found = []
    for match in _NUMBER.finditer(text):
        said = match["n"] or _NUMBER_WORDS[(match["w"] or match["z"]).lower()]
        unit = _UNIT.match(text, match.end())
        name = next((u for k, (u, _) in enumerate(_UNITS) if unit and unit[f"u{k}"]), "")
        found.append(("/".join(f"{float(p):g}" for p in said.replace(" ", "").split("/")), name))
    return found


def changed(original: str, phrased: str) -> tuple[str, ...]:
    """What other words change of advice: empty where they say the same.

    Numbers with units must be the same in the same order; limits, urgency, negations, referral
    and sides must be said as often; named specialists, treatments and grades must be the same.
    """
    problems = []
    if numbers(original) != numbers(phrased):
        problems.append("numbers")
    for name, pattern in _COUNTED.items():
        if len(pattern.findall(original)) != len(pattern.findall(phrased)):
            problems.append(name)
    if _named(original) != _named(phrased):
        problems.append("terms")
    if not 0.3 * len(original) <= len(phrased) <= 2.5 * len(original) + 40:
        problems.append("length")
    if language_of(original) != language_of(phrased):
        problems.append("language")
    if hidden(phrased) or re.search(r"https?:|www\.|[<>{}|`]", phrased):
        problems.append("characters")
    return tuple(problems)


def _named(text: str) -> set[str]:
    """Terms that must stay, by their first letters: "refers" and "referral" are one."""
    return set(Counter(word[:7].casefold() for word in _NAMED.findall(text)))


def phrase(
    text: str, engine: Engine, *, language: str, seed: int = 0
) -> tuple[str, tuple[str, ...]]:
    """Advice in the engine's words where they say the same, else as it is.

    Args:
        text: words of the guideline table.
        engine: what puts them otherwise.
        language: ``"en"`` or ``"zh"``.
        seed: for the engine.

    Returns:
        The words, and flags: ``phrasing-rejected`` or ``engine-failed`` where they are the table's.
    """
    messages = [Message("system", _ASK[language]), Message("user", text)]
    try:
        said = engine.write(messages, limit=400, seed=seed)
    except EngineError:
        return text, (FAILED,)
    said = " ".join(clean(said[:4000], keep="\n").split())
    return (text, (REJECTED,)) if changed(text, said) else (said, ())
