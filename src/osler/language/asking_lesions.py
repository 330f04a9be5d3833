"""What is answered about lesions: whether there are any, how many, where, how large, how near."""

from typing import Final

from osler.io.wording import word
from osler.language.answers import MOST_SAID, Answer, cannot
from osler.language.asking_findings import (
    LESION_NAMES,
    absent,
    doubts,
    first,
    seen_of,
    sized,
    yes_no,
)
from osler.language.facts import bounded
from osler.language.questions import Question
from osler.language.tools import Toolbox
from osler.record import Mask, Measurement

_SECTORS_ZH: Final = {
    "superior-temporal": "颞上方", "inferior-temporal": "颞下方", "superior-nasal": "鼻上方",
    "inferior-nasal": "鼻下方",
}  # fmt: skip


def lesions(ids: tuple[str, ...], question: Question, tools: Toolbox) -> Answer:
    """About lesions: whether there are any, how many, where, how large."""
    said: list[Answer] = [_lesion(i, question, tools) for i in ids]
    seen = [one for one in said if one.seen]
    if not seen:
        return said[0]
    joint = "" if question.language == "zh" else " "
    found = [seen_of(i, tools) for i in ids if i in tools.case.findings]
    prefix = yes_no(question, any(found)) if not question.asks else ""
    return Answer(
        bounded(prefix + joint.join(one.text for one in seen), most=MOST_SAID),
        question.language,
        evidence=tuple(dict.fromkeys(e for one in seen for e in one.evidence)),
    )


def _lesion(id: str, question: Question, tools: Toolbox) -> Answer:
    zh, asks = question.language == "zh", question.asks
    if id not in tools.case.findings:
        return absent(id, question, tools)
    one, several, chinese = LESION_NAMES[id]
    mask = tools.case.get(id, Mask)
    if mask is None or not mask.mask.any():
        doubt = doubts(mask, zh) if mask else ""
        text = f"未发现{chinese}{doubt}。" if zh else f"No {several} were found{doubt}."
        return Answer(text, question.language, evidence=(id,))
    count = tools.case.get(f"lesion-count.{id}", Measurement)
    if "largest" in asks:
        given = tools.call("measure", {"what": "largest", "of": id}).values
        size = sized(given, question.language)
        h, w = given["at"]
        text = (
            f"最大的{chinese}面积为 {size}，中心在第 {h:g} 行、第 {w:g} 列（像素）。" if zh
            else f"The largest {one} covers {size}; its centre lies at row {h:g}, column {w:g} "
            "(pixels)."
        )  # fmt: skip
        return Answer(text, question.language, evidence=(id,))
    if "where" in asks:
        return _where_lesions(id, question, tools)
    wanted = {
        "quadrants": (f"lesion-quadrants.{id}",),
        "size": (f"lesion-area.{id}", f"lesion-area-px.{id}", f"lesion-area-mm2.{id}"),
        "far": (f"lesion-fovea-distance.{id}",),
    }
    for ask, ids in wanted.items():
        if ask in asks:
            return first(ids, question, tools)
    number_: int | None = None
    evidence: tuple[str, ...] = (id,)
    if count is not None and count.value is not None:
        number_, evidence = int(count.value), (id, count.id)
    if number_ is None:
        text = f"发现{chinese}。" if zh else f"{several.capitalize()} were found."
    elif zh:
        text = f"发现 {number_} 处{chinese}。"
    else:
        were = f"{one} was" if number_ == 1 else f"{several} were"
        text = f"{number_} {were} found."
    return Answer(text, question.language, evidence=evidence)


def _where_lesions(id: str, question: Question, tools: Toolbox) -> Answer:
    zh = question.language == "zh"
    given = tools.call("measure", {"what": "where", "of": id})
    _, several, chinese = LESION_NAMES[id]
    sectors: dict[str, int] = given.values.get("sectors", {})
    if not sectors:
        h, w = given.values["centre"]
        text = (
            f"{chinese}的中心在第 {h:g} 行、第 {w:g} 列（像素）。" if zh
            else f"The centre of the {several} lies at row {h:g}, column {w:g} (pixels)."
        )  # fmt: skip
        return Answer(text, question.language, evidence=given.evidence)
    parts = [f"{_SECTORS_ZH[s]} {n} 处" if zh else f"{n} {s}" for s, n in sectors.items()]
    text = (
        f"以中心凹为准，{chinese}位于：{'、'.join(parts)}（假定照片方向端正）。" if zh else
        f"Seen from the fovea, the {several} lie: {', '.join(parts)} (taking it that the "
        "photograph stands upright)."
    )  # fmt: skip
    return Answer(text, question.language, evidence=given.evidence)


def lesions_near(ids: tuple[str, ...], what: str, question: Question, tools: Toolbox) -> Answer:
    """How far lesions are from the fovea or the disc."""
    if what == "fovea" and question.asks & {"count", "where", "size", "largest", "quadrants"}:
        return cannot("no finding tells that", "没有任何所见能说明这一点", question.language)
    zh = question.language == "zh"
    texts: list[str] = []
    evidence: list[str] = []
    for id in ids:
        name = LESION_NAMES[id][2 if zh else 1]
        if id not in tools.case.findings:
            continue
        if not seen_of(id, tools):
            one = _lesion(id, question, tools)
        elif what == "fovea":
            one = first((f"lesion-fovea-distance.{id}",), question, tools)
            if not one.seen:
                one = _between(id, what, name, question, tools)
        else:
            one = _between(id, what, name, question, tools)
        texts.append(one.text)
        evidence += one.evidence
    if not evidence:
        return absent(ids[0], question, tools)
    text = bounded(("" if zh else " ").join(texts), most=MOST_SAID)
    return Answer(text, question.language, evidence=tuple(dict.fromkeys(evidence)))


def _between(id: str, what: str, name: str, question: Question, tools: Toolbox) -> Answer:
    given = tools.call("measure", {"what": "distance", "of": id, "to": what, "edges": True})
    zh = question.language == "zh"
    other = word(what, language=question.language)
    size = sized(given.values, question.language)
    text = (
        f"最近的{name}距{other} {size}。" if zh
        else f"The nearest of the {name} lies {size} from the {other.lower()}."
    )  # fmt: skip
    return Answer(text, question.language, evidence=given.evidence)


def disc_to_fovea(question: Question, tools: Toolbox) -> Answer:
    """How far the fovea is from the disc."""
    said = first(("disc-fovea-distance",), question, tools)
    return said if said.seen else _two(question, tools)


def _two(question: Question, tools: Toolbox) -> Answer:
    given = tools.call("measure", {"what": "distance", "of": "disc", "to": "fovea"})
    size = sized(given.values, question.language)
    text = f"视盘中心距中心凹 {size}。" if question.language == "zh" else (
        f"The centre of the disc lies {size} from the fovea."
    )  # fmt: skip
    return Answer(text, question.language, evidence=given.evidence)
