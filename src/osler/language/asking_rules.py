"""Questions answered by rule: each word is understood, and each answer is a finding's.

What no finding and no tool supports is answered with "I cannot see that". So is a question with a
word that is not understood, since that word may turn it round.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from osler.language import asking_findings as of_findings
from osler.language import asking_lesions as of_lesions
from osler.language.answers import Answer, cannot
from osler.language.asking_search import looked_for, wanted
from osler.language.facts import bounded
from osler.language.lexicon_words import NOT_SEEN, OUTSIDE_ZH
from osler.language.questions import Question
from osler.language.tools import Toolbox, ToolError
from osler.language.visits import side
from osler.record import Passage, Table, Text

_OF_PICTURES: Final = re.compile(
    r"photo|picture|image|scan|quality|blur|focus|expos|grad|judged|dark|bright|照片|图|质量|模糊|对焦|曝光|分级",
    re.IGNORECASE,
)
_OF_EYES: Final = re.compile(r"\beyes?\b|\bod\b|\bos\b|眼", re.IGNORECASE)
_NARROWS: Final[Mapping[str, frozenset[str]]] = {
    "dr-grade": frozenset({"grade-1", "grade-2", "grade-3", "grade-4"}),
    "cdr": frozenset({"vertical", "horizontal", "by-area"}),
    "avr": frozenset({"knudtson", "hubbard"}),
    "crae": frozenset({"knudtson", "hubbard"}),
    "crve": frozenset({"knudtson", "hubbard"}),
    "tortuosity": frozenset({"zone-b", "zone-c"}),
    "density": frozenset({"zone-b", "zone-c"}),
    "fractal-dimension": frozenset({"zone-b", "zone-c"}),
    "bifurcations": frozenset({"zone-b", "zone-c"}),
}
_PAGES: Final = 6  # of a text that are looked through for a word
_LESIONS: Final = ("microaneurysms", "haemorrhages", "hard-exudates", "soft-exudates")
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "lesions": _LESIONS,
    "exudates": ("hard-exudates", "soft-exudates"),
}
_STRUCTURES: Final = ("disc", "cup", "fovea", "vessels", "artery", "vein", "field")
_KINDS: Final = ("artery", "vein", "vessels")
_MEASURES: Final = (
    "cdr", "avr", "crae", "crve", "tortuosity", "density", "fractal-dimension", "bifurcations",
    "temporal-angle",
)  # fmt: skip
_LABELS: Final[Mapping[str, frozenset[str]]] = {
    "dr-grade": frozenset({"grade", "severe", "sure", "excluded", "evidence"}),
    "dr-referable": frozenset({"grade", "sure", "evidence"}),
    "dme-risk": frozenset(
        {"grade", "severe", "risk", "size", "sure", "excluded", "evidence"}
    ),
    "quality": frozenset({"grade", "sure"}),
    "laterality": frozenset({"sure"}),
    "photograph": frozenset({"sure"}),
}  # fmt: skip
_OF_LESIONS: Final = frozenset({"count", "where", "size", "largest", "far", "quadrants"})
_OF_STRUCTURES: Final = frozenset({"where", "size", "diameter", "sure"})


def answer(question: Question, tools: Toolbox) -> Answer:
    """Answer a question by rule.

    Args:
        question: taken apart.
        tools: over the case.
    """
    begun = len(tools.calls)
    tools.language = question.language
    try:
        said = _answered(question, tools)
    except ToolError as error:
        why = str(error).partition(": ")[2] or str(error)
        said = cannot(why, why, question.language)
    return replace(said, calls=tuple(tools.calls[begun:]))


def _answered(question: Question, tools: Toolbox) -> Answer:
    said = question.language
    topics = _topics(question)
    if (words := wanted(question)) is not None:
        return looked_for(words, question, tools)
    if "text" in topics and any(isinstance(i, Text) for i in tools.case.items.values()):
        return _text(question, tools)
    if question.outside:
        return _outside(question)
    if question.unknown:
        words = bounded("”, “".join(question.unknown), most=120)
        return cannot(
            f"I do not understand “{words}” here, and it may change what is asked",
            f"我不理解“{words}”，它可能改变问题的意思",
            said,
        )
    if "compare" in question.asks:
        return of_findings.compared(topics, tools)
    if not topics:
        return cannot("the question names nothing that was looked at", "问题没有说明要看什么", said)
    if topics[0] == "abilities":
        return _abilities(tools, said)
    wrong = _of_other_side(question, topics, tools)
    if wrong is not None:
        return wrong
    if topics == ("summary",):
        return _summary(tools, said)
    return _about(question, topics, tools)


def _topics(question: Question) -> tuple[str, ...]:
    """The subjects, with what is meant where the words leave it out."""
    topics = list(question.topics)
    if len(topics) > 1:
        told = [t for t in topics if t not in ("summary", "abilities", "photograph")]
        topics = told or topics[:1] if "summary" not in topics else told or ["summary"]
    graded = {"grade", "severe", "excluded"} & question.asks or any(
        one.startswith("grade-") for one in question.only
    )
    if topics == ["lesions"] and graded:
        return ("dr-grade",)
    if not topics and graded:
        return ("dr-grade",)
    if not topics and {"R", "L"} & question.only and _OF_EYES.search(question.text):
        return ("laterality",)
    expanded = [part for topic in topics for part in _GROUPS.get(topic, (topic,))]
    return tuple(dict.fromkeys(expanded))


def _outside(question: Question) -> Answer:
    what = bounded(" or ".join(question.outside), most=120)
    what_zh = "、".join(OUTSIDE_ZH.get(one, one) for one in question.outside)
    return cannot(
        f"nothing that was read here tells about {what}", f"这里没有读取关于{what_zh}的信息",
        question.language,
    )  # fmt: skip


def _of_other_side(question: Question, topics: tuple[str, ...], tools: Toolbox) -> Answer | None:
    asked = {"R", "L"} & question.only
    if not asked or topics == ("laterality",):
        return None
    shown = side(tools.case)
    if shown is not None and asked == {shown}:
        return None
    if shown is None:
        return cannot("it is not sure which eye this is", "眼别不确定", question.language)
    en, zh = ("right", "右") if shown == "R" else ("left", "左")
    return cannot(f"only the {en} eye is shown here", f"这里只有{zh}眼", question.language)


def _about(question: Question, topics: tuple[str, ...], tools: Toolbox) -> Answer:
    narrowed = {"R", "L"}.union(*(_NARROWS.get(topic, frozenset()) for topic in topics))
    if question.only - narrowed:
        return _not_told(question)
    asks, kept = question.asks, tuple(t for t in topics if t not in _KINDS)
    kinds = tuple(t for t in topics if t in _KINDS)
    measures = tuple(t for t in kept if t in _MEASURES)
    if topics == ("quality",) and not _OF_PICTURES.search(question.text):
        return _not_told(question)  # an eye may be clear too
    if len(topics) == 1 and topics[0] in _LABELS:
        if _beyond(asks, _LABELS[topics[0]]):
            return _not_told(question)
        return of_findings.label(topics[0], question, tools)
    if topics[0].startswith(("finding:", "variable:")):
        return _named(question, topics, tools)
    if len(measures) == 1 and not set(kept) - {*measures, "disc", "cup"}:
        if _beyond(asks, frozenset({"size", "diameter", "count", "grade", "severe"})):
            return _not_told(question)
        return of_findings.measure(measures[0], kinds, question, tools)
    lesions = tuple(t for t in topics if t in _LESIONS)
    rest = tuple(t for t in topics if t not in _LESIONS)
    if lesions and not _beyond(asks, _OF_LESIONS):
        if not rest:
            return of_lesions.lesions(lesions, question, tools)
        if len(rest) == 1 and rest[0] in ("fovea", "disc"):
            return of_lesions.lesions_near(lesions, rest[0], question, tools)
        return _not_told(question)
    if set(topics) == {"disc", "fovea"} and asks <= {"far", "size"} and asks:
        return of_lesions.disc_to_fovea(question, tools)
    if len(kinds) == 1 == len(topics) and {"diameter", "size"} & asks:
        return of_findings.measure("median-diameter", kinds, question, tools)
    if all(t in _STRUCTURES for t in topics) and not _beyond(asks, _OF_STRUCTURES):
        return of_findings.structures(topics, question, tools)
    return _not_told(question)


def _beyond(asks: frozenset[str], told: frozenset[str]) -> bool:
    return bool(asks - told)


def _not_told(question: Question) -> Answer:
    return cannot("no finding tells that", "没有任何所见能说明这一点", question.language)


def _named(question: Question, topics: tuple[str, ...], tools: Toolbox) -> Answer:
    """About a finding or a variable that only this case has."""
    if len(topics) != 1:
        return _not_told(question)
    kind, _, rest = topics[0].partition(":")
    if kind == "finding":
        return of_findings.named(rest, question, tools)
    table, _, variable = rest.partition(":")
    if question.asks - {"size", "count", "grade"}:
        return _not_told(question)
    given = tools.call("read_table", {"name": table, "variable": variable})
    value, unit = given.values["value"], given.values["unit"]
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    words = f"{bounded(variable)}: {shown}{' ' + unit if unit and unit != '1' else ''}"
    return Answer(words + ("。" if question.language == "zh" else "."), question.language,
                  evidence=given.evidence)  # fmt: skip


def _summary(tools: Toolbox, language: str) -> Answer:
    said = [f for f in tools.case.of(Passage) if f.language == language and f.section != "quality"]
    shown = said[:14]
    if not shown:
        facts = [f for f in tools.facts if f.kind in ("label", "risk") or f.negated][:12]
        if not facts:
            return cannot("nothing was read from it", "没有读取到内容", language)
        return Answer(
            bounded(" ".join(f.words for f in facts), most=1400), language,
            evidence=tuple(f.id for f in facts),
        )  # fmt: skip
    evidence = dict.fromkeys(e for one in shown for e in one.evidence)
    joint = "" if language == "zh" else " "
    text = bounded(joint.join(one.text for one in _impression_first(shown)), most=1400)
    return Answer(text, language, evidence=tuple(e for e in evidence if e in tools.case))


def _impression_first(said: list[Passage]) -> list[Passage]:
    """The impression first, then the findings."""
    return sorted(said, key=lambda one: one.section != "impression")


def _abilities(tools: Toolbox, language: str) -> Answer:
    given = tools.call("list_findings", {"count": 40})
    kinds = {"label": 0, "mask": 0, "measurement": 0}
    for fact in tools.facts:
        kinds[fact.kind] = kinds.get(fact.kind, 0) + 1
    absent = [f for f in tools.facts if "not-computed" in f.flags]
    not_seen = NOT_SEEN[0] if language == "en" else NOT_SEEN[1]
    if language == "zh":
        text = (
            f"可以问这里的 {given.values['all']} 项所见：{kinds['label']} 项判断、"
            f"{kinds['mask']} 个结构或病灶、{kinds['measurement']} 项测量"
            f"（其中 {len(absent)} 项未能计算）。看不到：{not_seen}。"
        )
    else:
        text = (
            f"Ask about the {given.values['all']} findings here: {kinds['label']} labels, "
            f"{kinds['mask']} structures or lesions, {kinds['measurement']} measurements "
            f"({len(absent)} of them not computed). I cannot see {not_seen}."
        )
    return Answer(text, language, evidence=tuple(given.evidence[:3]))


def _text(question: Question, tools: Toolbox) -> Answer:
    """Quote a text of the record: its words are never taken for findings."""
    texts = [i for i in tools.case.items.values() if isinstance(i, Text)]
    about = question.words
    given = tools.call("read_text", {"name": texts[0].name, "count": 3000})
    quoted = str(given.values["quoted"])
    if about:
        for page in range(1, _PAGES):
            if 3000 * page >= int(given.values["all"]):
                break
            more = {"name": texts[0].name, "start": 3000 * page, "count": 3000}
            quoted += str(tools.call("read_text", more).values["quoted"])
        kept = [s for s in of_findings.sentences(quoted) if any(w in s.casefold() for w in about)]
        if not kept:
            words = bounded(", ".join(about), most=100)
            return cannot(
                f"the text has no sentence with “{words}”", f"文字中没有提到“{words}”的句子",
                question.language,
            )  # fmt: skip
        quoted = " … ".join(kept[:3])
    shown = bounded(quoted, most=500)
    name = bounded(texts[0].name)
    words = (
        f"“{name}”写道（引用，未经核实）：“{shown}”" if question.language == "zh"
        else f"The text “{name}” says (quoted, not checked): “{shown}”"
    )  # fmt: skip
    return Answer(words, question.language, evidence=given.evidence)


def names_of(tools: Toolbox) -> dict[str, str]:
    """What only this case holds: names of its findings and variables, to topics."""
    names: dict[str, str] = {}
    for finding in list(tools.case.findings.values())[:400]:
        if isinstance(finding, Passage) or finding.id in KNOWN_IDS:
            continue
        if "." in finding.id and finding.id.partition(".")[0] in KNOWN_MEASURES:
            continue
        for name in (finding.name, finding.id.replace("-", " ").replace("_", " ")):
            names.setdefault(bounded(name, most=60).casefold(), f"finding:{finding.id}")
    for item in list(tools.case.items.values())[:40]:
        if isinstance(item, Table) and item.matrix is None:
            for variable in list(item.values)[:200]:
                name = bounded(str(variable), most=60).replace("_", " ").casefold()
                names.setdefault(name, f"variable:{item.name}:{variable}")
    return names


KNOWN_IDS: Final = frozenset(
    {*_LABELS, *_LESIONS, *_STRUCTURES, "zone-b", "zone-c", "dr-heatmap", "field-diameter",
     "disc-diameter", "disc-fovea-distance"}
)  # fmt: skip
KNOWN_MEASURES: Final = frozenset(
    {*_MEASURES, "median-diameter", "diameter-std", "lesion-count", "lesion-area",
     "lesion-area-px", "lesion-area-mm2", "lesion-fovea-distance", "lesion-quadrants"}
)  # fmt: skip
