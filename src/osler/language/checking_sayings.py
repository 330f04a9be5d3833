"""How reports say sides, severities, quality, certainty, and that something is not absent."""

import re
from typing import Final, NamedTuple

_SIDE: Final = re.compile(
    r"(?P<not>\b(?:not|isn't|never)(?: of)?(?: the| a)? |(?:不是|并非|非)(?:患者的?)?)?"
    r"(?:(?i:\b(?P<R>right)\b(?!\s+(?:away|now|after|at))"
    r"|\b(?P<L>left)\b(?!\s+(?:out|untreated|over)))"
    r"|\b(?P<R2>OD|RE|R\.?E\.)(?![\w.])|\b(?P<L2>OS|LE|L\.?E\.)(?![\w.])"
    r"|\b(?P<R3>R)(?= eye)|\b(?P<L3>L)(?= eye)|(?P<R4>右)|(?P<L4>左)"
    r"|(?P<both>(?i:\bbilateral|\bboth (?:eyes|fundi|sides)\b|\beither eye\b|\beach eye\b|\bOU\b)"
    r"|双眼|两眼|双侧))"
)
_OTHER: Final = re.compile(
    r"\b(?:fellow|other|opposite|contralateral|second) eye\b|对侧眼|另一只?眼|另眼|健眼|健侧眼",
    re.IGNORECASE,
)
_RETINOPATHY: Final = r"(?:retinopathy|npdr|dr|diabetic changes)\b"
_GRADED: Final = (
    ("1", r"background|early|initial|minimal|slight|incipient|trace"),
    ("34", r"advanced|extensive|serious|sight[- ]threatening|vision[- ]threatening"),
    ("4", r"high[- ]risk|end[- ]stage"),
)
_SEVERITY: Final = tuple(
    (values, re.compile(said, re.IGNORECASE))
    for values, said in (
        ("3", r"\bmoderate(?:ly)?[- ](?:to[- ])?(?P<word>severe)\b|(?P<zh>中重度)"),
        ("1", r"\b(?P<word>mild)(?:ly)?\b|(?P<zh>轻度|轻型|轻微)"),
        ("2", r"\b(?P<word>moderate)(?:ly)?\b|(?P<zh>中度|中型)"),
        (
            "3",
            r"\b(?P<word>severe)(?:ly)?\b|\b(?P<pre>pre[- ]?proliferative)|(?P<zh>重度|重型|严重)",
        ),
        *(
            (values, rf"\b(?P<word>{words})(?=(?:\W+(?!non)\w+){{0,2}}?\W+{_RETINOPATHY})")
            for values, words in _GRADED
        ),
        *(
            (
                values,
                rf"(?<=retinopathy )(?:is|was|appears|looks|seems) (?:at )?(?P<word>{words})\b",
            )
            for values, words in _GRADED
        ),
        ("1", r"(?P<zh>早期|初期)(?=.{0,4}(?:视网膜病变|糖网|糖尿病))"),
        ("34", r"(?P<zh>晚期|进展期|威胁视力)"),
        ("0", r"\b(?P<word>R0)\b"),
        ("12", r"\b(?P<word>R1)\b"),
        ("23", r"\b(?P<word>R2)\b"),
        ("4", r"\b(?P<word>R3[AS]?)\b"),
    )
)
_PROLIFERATIVE: Final = re.compile(
    r"(?<!non-)(?<!non )(?<!non)(?<!pre-)(?<!pre)(?<!pre )\bproliferative\b|\bPDR\b"
    r"|(?<!非)(?<!前)增[殖生][期性型]",
    re.IGNORECASE,
)
_BEYOND: Final = re.compile(
    r"\b(?:(?P<up>more|worse|greater|higher)|(?P<down>less|milder|better|lower))"
    r"(?: severe)? than (?:a )?$|(?P<zh_up>重于|高于|超过|甚于)$|(?P<zh_down>轻于|低于|不及)$",
    re.IGNORECASE,
)
GRADABLE: Final = "gradable"
"""Of a photograph that is not too poor."""

_QUALITY: Final = (
    ("reject", re.compile(
        r"too poor|not gradable|ungradable|cannot be (?:judged|graded|assessed)|inadequate"
        r"|\b(?:poor|bad|insufficient) (?:image )?quality"
        r"|quality (?:is|was) (?:poor|bad|insufficient)"
        r"|过差|无法判读|质量(?:差|较差|很差)", re.IGNORECASE)),
    ("usable", re.compile(
        r"usable|acceptable quality|adequate quality"
        r"|quality (?:is|was) (?:fair|acceptable|adequate)"
        r"|尚可", re.IGNORECASE)),
    ("good", re.compile(
        r"(?<!not )\b(?:good|excellent|high)(?: image)?[- ]quality"
        r"|quality (?:is|was) (?:good|excellent|high)|质量(?:良好|好|优|佳)|of good",
        re.IGNORECASE)),
    (GRADABLE, re.compile(
        r"(?<!un)(?<!not )\bgradable\b|(?:可供?|可以|能够|适合)判读", re.IGNORECASE)),
)  # fmt: skip
_CERTAIN: Final = re.compile(
    r"(?<!un)\b(?:certain(?:ly)?|definite(?:ly)?|undoubtedly|unequivocal(?:ly)?|beyond (?:any )?"
    r"doubt|without (?:any )?doubt|no doubt|proven|confirmed)\b"
    r"|确诊|毫无疑问|无疑|肯定(?:是|为|有)|确定为",
    re.IGNORECASE,
)
_UNCERTAIN: Final = re.compile(
    r"\b(?:not|less than|how|most|least|nor) (?:entirely |fully |quite )?$|[不未]$", re.IGNORECASE
)
_TWICE_NOT: Final = re.compile(
    r"\bnot (?:entirely |wholly |completely |altogether )?(?:without|free of|free from|devoid of"
    r"|lacking(?: in)?|absent|missing|negative for)\b"
    r"|\bno (?:lack|absence|shortage|want) of\b|\b(?:cannot|can not|could not) be denied\b"
    r"|\bnot (?:un|in)visible\b|\b(?:by no means|anything but|never|far from) (?:absent|missing)\b"
    r"|\bno (?:more|fewer|less) than\b"
    r"|并非没有|不是没有|不能说没有|不可说没有|并非无|不是无|并非不存在|不是不存在|并非未见|不无|并不缺乏",
    re.IGNORECASE,
)
_LEVEL: Final = (
    r"(?P<{0}0>no|nil|zero|negligible)|(?P<{0}01>low|lower|slight|minimal|minor|little|small)"
    r"|(?P<{0}1>moderate|intermediate|medium)|(?P<{0}12>increased|raised)"
    r"|(?P<{0}2>high|elevated|considerable|substantial|significant|marked)"
)
_RISK: Final = re.compile(
    rf"\b(?:{_LEVEL.format('a')}) risk (?:of|for) (?:\w+ )?(?:macular |dm[eo]\b)"
    r"|\b(?:risk (?:of|for) (?:\w+ )?(?:macular o?edema|dm[eo])|(?:macular o?edema|dm[eo]) risk)"
    r"(?: is| was| appears| seems|:)? (?:very |rather |only |quite )?"
    rf"(?:{_LEVEL.format('b')})\b"
    r"|水肿的?风险(?:程度)?[为是属于较很极：:]*(?:(?P<c0>无)|(?P<c01>[低小])|(?P<c1>中)|(?P<c2>[高大]))"
    r"|水肿的?(?:(?P<d0>无)|(?P<d01>低)|(?P<d1>中)|(?P<d2>高))度?风险",
    re.IGNORECASE,
)
KEPT: Final = re.compile(
    r"exclude|ruled out|rule out|remains? possible|(?:is|are) still possible|排除|除外",
    re.IGNORECASE,
)
"""Words of what can, or cannot, be excluded."""

_EXCLUDED: Final = re.compile(r"exclude|ruled out|rules? out|ruling out|排除|除外", re.IGNORECASE)
_NOT_EXCLUDED: Final = re.compile(
    r"(?:\bnot\b|\bcannot\b|n't\b|\bnever\b|\bunable\b|\bimpossible\b|\bfail(?:s|ed)?\b"
    r"|\bno (?:grade|stage|level|value|risk)s?\b|\bnone\b|\bneither\b|\bnor\b|\bwithout\b"
    r"|\bhard\b|\bdifficult\b)[^,;:.]*$|(?:[不未]|无法|难以|没有)[^，。；、]{0,5}$",
    re.IGNORECASE,
)

TURNED: Final = re.compile(r"\b(?:non|un)[- ]?refer(?:able|red)\b|非转诊", re.IGNORECASE)
"""Referral, denied by a prefix."""

OTHER: Final = "other"
"""The side of an eye that is not the one that is shown."""


class Severity(NamedTuple):
    """A word of severity.

    Attributes:
        word: as said, in lower case.
        values: the grades of retinopathy that it may stand for.
        at: its first character.
    """

    word: str
    values: frozenset[str]
    at: int


def sides_in(text: str) -> list[str]:
    """The eyes that a sentence names: ``"R"``, ``"L"`` and `OTHER`; "not the left" is the right."""
    out: list[str] = []
    for match in _SIDE.finditer(text):
        if match["both"]:
            out += ["R", "L"]
            continue
        right = any(match[name] for name in ("R", "R2", "R3", "R4"))
        out.append("R" if right is not bool(match["not"]) else "L")
    return out + [OTHER for _ in _OTHER.finditer(text)]


def severities_in(text: str) -> list[Severity]:
    """The words of severity of a sentence; "more than moderate" stands for what is worse."""
    out: list[Severity] = []
    taken: list[tuple[int, int]] = []
    for values, pattern in _SEVERITY:
        for match in pattern.finditer(text):
            name = next(n for n, said in match.groupdict().items() if said)
            start, stop = match.span(name)
            if any(a < stop and start < b for a, b in taken):
                continue
            taken.append((start, stop))
            allowed = frozenset(values)
            if beyond := _BEYOND.search(text[max(0, start - 24) : start]):
                up = bool(beyond["up"] or beyond["zh_up"])
                allowed = frozenset(
                    g for g in "01234" if (g > max(values)) is up and g not in values
                )
            out.append(Severity(match[name].casefold(), allowed, start))
    if found := _PROLIFERATIVE.search(text):
        out.append(Severity(found[0], frozenset("4"), found.start()))
    return sorted(out, key=lambda one: one.at)


def risks_in(text: str) -> list[tuple[str, frozenset[str]]]:
    """How high a sentence calls the risk of macular oedema: its words, and the labels they fit."""
    out = []
    for match in _RISK.finditer(text):
        name = next(name for name, said in match.groupdict().items() if said)
        out.append((match[name], frozenset(name[1:])))
    return out


def spans_in(text: str) -> list[tuple[int, int]]:
    """Where a sentence says sides, severities, quality, certainty, or denies an absence."""
    patterns = [
        _SIDE, _OTHER, _PROLIFERATIVE, _CERTAIN, _TWICE_NOT, TURNED, _RISK,
        *(pattern for _, pattern in _SEVERITY), *(pattern for _, pattern in _QUALITY),
    ]  # fmt: skip
    return [match.span() for pattern in patterns for match in pattern.finditer(text)]


def excluded(text: str) -> bool:
    """Whether a part of a sentence says that something can be excluded, not that it cannot."""
    return any(
        not _NOT_EXCLUDED.search(text[: match.start()]) for match in _EXCLUDED.finditer(text)
    )


def quality_of(text: str) -> str:
    """The judgement of the photograph; empty where none is made."""
    return next((value for value, said in _QUALITY if said.search(text)), "")


def certainty_in(text: str) -> str:
    """The word by which a sentence calls itself certain; empty where there is none."""
    for match in _CERTAIN.finditer(text):
        if not _UNCERTAIN.search(text[: match.start()]):
            return match[0]
    return ""


def affirmed(text: str) -> str:
    """The text with blanks in place of what denies an absence: "not without", 并非没有."""
    return _TWICE_NOT.sub(lambda match: " " * len(match[0]), text)
