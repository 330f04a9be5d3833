"""What is answered about one kind of finding, from the tools alone."""

import re
from typing import Any, Final

from osler.io.wording import (
    chance,
    chance_of,
    flag_words,
    name_of,
    number,
    quantity,
    reason_words,
    unit_words,
)
from osler.language.answers import MOST_SAID, Answer, cannot
from osler.language.facts import bounded
from osler.language.questions import Question
from osler.language.tools import Toolbox
from osler.record import Box, Finding, Label, Mask, Measurement, Point

LESION_NAMES: Final = {
    "microaneurysms": ("microaneurysm", "microaneurysms", "微动脉瘤"),
    "haemorrhages": ("haemorrhage", "haemorrhages", "出血"),
    "hard-exudates": ("hard exudate", "hard exudates", "硬性渗出"),
    "soft-exudates": ("soft exudate", "soft exudates", "软性渗出"),
}
_GRADES_ZH: Final = {
    "0": "无糖尿病视网膜病变", "1": "轻度非增殖期", "2": "中度非增殖期",
    "3": "重度非增殖期", "4": "增殖期",
}  # fmt: skip
_OEDEMA_ZH: Final = {
    "0": "未见硬性渗出", "1": "硬性渗出距中心凹一个视盘直径以外",
    "2": "硬性渗出距中心凹一个视盘直径以内",
}  # fmt: skip
_VALUES_ZH: Final = {
    "good": "良好", "usable": "尚可使用", "reject": "过差", "yes": "是", "no": "否",
    "R": "右眼", "L": "左眼",
    "fundus photograph": "眼底照片", "not a fundus photograph": "非眼底照片",
}  # fmt: skip


_LESIONS: Final = ("microaneurysms", "haemorrhages", "hard-exudates", "soft-exudates")


def label(id: str, question: Question, tools: Toolbox) -> Answer:
    """About a label: its value, its chance, what is not excluded, what it stands on."""
    found = tools.case.get(id, Label)
    if found is None:
        return absent(id, question, tools)
    tools.call("get_finding", {"id": id})
    zh = question.language == "zh"
    if "evidence" in question.asks:
        return _evidence(found, question, tools)
    grade = next((o[-1] for o in question.only if o.startswith("grade-")), "")
    asked = question.numbers[0] if question.numbers and not grade else grade
    if asked and id == "dr-grade" and asked in found.probabilities:
        return _of_value(found, asked, question, tools)
    p = chance_of(found, found.value)
    words = _meaning(found, found.value, zh)
    shown = words
    if id in ("dr-grade", "dme-risk"):
        shown = f"{found.value} 级（{words}）" if zh else f"{found.value} ({words})"
    text = f"{name_of(found, language=question.language)}：{shown}" if zh else (
        f"{name_of(found, language='en')}: {shown}"
    )  # fmt: skip
    if p is not None:
        text += f"，概率 {chance(p)}" if zh else f", probability {chance(p)}"
    text += _not_excluded(found, zh) + doubts(found, zh) + ("。" if zh else ".")
    evidence: tuple[str, ...] = (id,)
    if id == "dr-grade":
        more, ids = _disagreement(found, tools, zh)
        text, evidence = text + more, (*evidence, *ids)
    return Answer(yes_no(question, _holds(found, question)) + text, question.language,
                  evidence=evidence)  # fmt: skip


def _holds(found: Label, question: Question) -> bool | None:
    """Whether what was asked of a label is so."""
    if found.id == "laterality":
        side = {"R", "L"} & question.only
        return side == {found.value} if side else None
    if question.asks - {"grade", "risk"}:
        return None
    if found.id == "dr-grade":
        return found.value != "0"
    if found.id == "dr-referable":
        return found.value == "yes"
    if found.id == "photograph":
        return found.value == "fundus photograph"
    return None  # a risk of oedema is no oedema, and quality has more than two values


def _of_value(found: Label, asked: str, question: Question, tools: Toolbox) -> Answer:
    """About one grade: whether it is the one that is said, and its chance."""
    zh = question.language == "zh"
    tools.call("get_finding", {"id": found.id})
    p = found.probabilities[asked]
    out = asked not in found.prediction_set and found.coverage is not None
    level = f"{round(100 * (found.coverage or 0))}\u00a0%"
    if zh:
        text = f"{asked} 级（{_meaning(found, asked, zh)}）的概率为 {chance(p)}"
        text += f"，在 {level} 水平上{'可排除' if out else '不能排除'}" if found.coverage else ""
        text += f"；给出的分级是 {found.value} 级。"
    else:
        text = f"Grade {asked} ({_meaning(found, asked, zh)}) has probability {chance(p)}"
        if found.coverage:
            text += f" and {'is' if out else 'cannot be'} excluded at {level}"
        text += f"; the grade that is given is {found.value}."
    holds: bool | None = asked == found.value
    if not holds and not out:
        holds = None  # not the one that is given, and not excluded either
    if "excluded" in question.asks:
        holds = out
    elif "sure" in question.asks:
        holds = None
    return Answer(
        yes_no(question, holds, numbered=True) + text, question.language, evidence=(found.id,)
    )


def _meaning(found: Label, value: str, zh: bool) -> str:
    if zh:
        table = {"dr-grade": _GRADES_ZH, "dme-risk": _OEDEMA_ZH}.get(found.id, _VALUES_ZH)
        return table.get(value, bounded(found.meanings.get(value, value)))
    if found.id == "laterality":
        return {"R": "right eye", "L": "left eye"}.get(value, bounded(value))
    return bounded(found.meanings.get(value, value))


def _not_excluded(found: Label, zh: bool) -> str:
    if found.coverage is None or not found.prediction_set:
        return ""
    level = f"{round(100 * found.coverage)}\u00a0%"
    kept = ("、" if zh else ", ").join(bounded(v, most=40) for v in sorted(found.prediction_set))
    if zh:
        return f"；在 {level} 水平上不能排除：{kept}"
    return f"; not excluded at {level}: {kept}"


def _evidence(found: Label, question: Question, tools: Toolbox) -> Answer:
    ids = tuple(e for e in found.evidence if e in tools.case.findings)
    if not ids:
        return cannot("no evidence is named for it", "没有注明依据", question.language)
    names = [name_of(tools.case.findings[e], language=question.language) for e in ids[:10]]
    shown = bounded("、".join(names) if question.language == "zh" else ", ".join(names).lower())
    name, value = name_of(found, language=question.language), bounded(found.value, most=80)
    text = f"{name} {value} stands on: {shown}."
    if question.language == "zh":
        text = f"{name} {value} 的依据：{shown}。"
    return Answer(text, question.language, evidence=(found.id, *ids))


def _disagreement(found: Label, tools: Toolbox, zh: bool) -> tuple[str, tuple[str, ...]]:
    seen = tuple(
        i for i in LESION_NAMES if (m := tools.case.get(i, Mask)) is not None and m.mask.any()
    )
    if found.value != "0" or not seen:
        return "", ()
    if zh:
        return "但发现了病灶，与分级不一致：请对照查看。", seen
    return " But lesions were found, which do not agree with it: look at both.", seen


def structures(topics: tuple[str, ...], question: Question, tools: Toolbox) -> Answer:
    """About structures: whether they are seen, where, how large."""
    said = [_structure(one, question, tools) for one in topics]
    wrong = next((one for one in said if not one.seen), None)
    if wrong is not None:
        return wrong
    joint = "" if question.language == "zh" else " "
    found = all(seen_of(one, tools) for one in topics)
    prefix = yes_no(question, found) if not question.asks else ""
    return Answer(
        prefix + joint.join(one.text for one in said), question.language,
        evidence=tuple(dict.fromkeys(e for one in said for e in one.evidence)),
    )  # fmt: skip


def _structure(id: str, question: Question, tools: Toolbox) -> Answer:
    found, zh = tools.case.findings.get(id), question.language == "zh"
    if found is None:
        return absent(id, question, tools)
    name = name_of(found, language=question.language)
    if "sure" in question.asks:
        if found.probability is None:
            return cannot("no probability is given for it", "没有给出概率", question.language)
        text = f"{name}：概率 {chance(found.probability)}。" if zh else (
            f"{name}: probability {chance(found.probability)}{doubts(found, zh)}."
        )  # fmt: skip
        return Answer(text, question.language, evidence=(id,))
    if not seen_of(id, tools):
        text = f"未找到{name}。" if zh else f"{name}: not found."
        return Answer(text, question.language, evidence=(id,))
    if "where" in question.asks:
        given = tools.call("measure", {"what": "where", "of": id}).values
        at = "，".join(f"{x:g}" for x in given["centre"])
        text = f"{name}的中心在像素（{at}）（行，列）{doubts(found, zh)}。" if zh else (
            f"{name}: its centre lies at pixel ({at.replace('，', ', ')}) (row, column)"
            f"{doubts(found, zh)}."
        )  # fmt: skip
        return Answer(text, question.language, evidence=(id,))
    if {"size", "diameter"} & question.asks:
        if id == "disc" and "disc-diameter" in tools.case.findings:
            return first(("disc-diameter",), question, tools)
        if isinstance(found, Point):
            return cannot("a point has no size", "一个点没有大小", question.language)
        what = "diameter" if "diameter" in question.asks and id in ("disc", "cup") else "area"
        given = tools.call("measure", {"what": what, "of": id}).values
        noun = {"diameter": ("diameter", "直径"), "area": ("area", "面积")}[what][zh]
        size = sized(given, question.language)
        text = f"{name}的{noun}为 {size}{doubts(found, zh)}。" if zh else (
            f"{name}: {noun} {size}{doubts(found, zh)}."
        )  # fmt: skip
        return Answer(text, question.language, evidence=(id,))
    text = f"找到了{name}{doubts(found, zh)}。" if zh else f"{name}: found{doubts(found, zh)}."
    return Answer(text, question.language, evidence=(id,))


def measure(topic: str, kinds: tuple[str, ...], question: Question, tools: Toolbox) -> Answer:
    """About a measurement of the vessels or the disc."""
    only = question.only
    if topic == "cdr":
        way = "horizontal" if "horizontal" in only else "area" if "by-area" in only else "vertical"
        return first((f"cdr.{way}",), question, tools)
    if topic in ("avr", "crae", "crve"):
        way = "hubbard" if "hubbard" in only else "knudtson"
        ids: tuple[str, ...] = (f"{topic}.{way}",)
        return first(ids, question, tools)
    zone = next((f".{one}" for one in ("zone-b", "zone-c") if one in only), "")
    named = [{"vessels": "all"}.get(kind, kind) for kind in kinds]
    if topic == "temporal-angle":
        named = [k for k in named if k != "all"] or ["artery", "vein"]
    said = [first((f"{topic}.{k}{zone}",), question, tools) for k in named or ["all"]]
    seen = [one for one in said if one.seen]
    if not seen:
        return said[0]
    joint = "" if question.language == "zh" else " "
    return Answer(
        joint.join(one.text for one in seen), question.language,
        evidence=tuple(e for one in seen for e in one.evidence),
    )  # fmt: skip


def named(id: str, question: Question, tools: Toolbox) -> Answer:
    """About a finding of any other kind, by its name."""
    found, zh, asks = tools.case.findings[id], question.language == "zh", question.asks
    name = bounded(name_of(found, language=question.language), most=80)
    stop = "。" if zh else "."
    if isinstance(found, Mask):
        if not found.mask.any():
            text = f"未发现{name}{stop}" if zh else f"{name}: none found{stop}"
            return Answer(yes_no(question, False) + text, question.language, evidence=(id,))
        if asks & {"size", "diameter", "where"}:
            what = "where" if "where" in asks else "diameter" if "diameter" in asks else "area"
            given = tools.call("measure", {"what": what, "of": id}).values
            size = ", ".join(f"{x:g}" for x in given["centre"]) if what == "where" else sized(
                given, question.language)  # fmt: skip
            return Answer(f"{name}: {size}{doubts(found, zh)}{stop}", question.language,
                          evidence=(id,))  # fmt: skip
    elif asks - {"sure", "grade", "size", "risk"} and not isinstance(found, Box | Point):
        return cannot("no finding tells that", "没有任何所见能说明这一点", question.language)
    if asks & {"count", "far", "quadrants", "evidence", "excluded", "largest"}:
        return cannot("no finding tells that", "没有任何所见能说明这一点", question.language)
    given = tools.call("get_finding", {"id": id}).values
    holds = found.value == "yes" if isinstance(found, Label) and found.value in (
        "yes", "no") else None  # fmt: skip
    if isinstance(found, Mask):
        holds = True
    if isinstance(found, Measurement) and found.value is None:
        return first((id,), question, tools)
    prefix = yes_no(question, holds) if not asks else ""
    return Answer(prefix + str(given["words"]), question.language, evidence=(id,))


def compared(topics: tuple[str, ...], tools: Toolbox) -> Answer:
    """What changed since the earlier visit."""
    language = tools.language
    zh = language == "zh"
    if tools.earlier is None:
        return cannot("there is no earlier visit at hand to compare with", "没有可供比较的既往检查",
                      language)  # fmt: skip
    wanted = set(topics) - {"summary", "abilities"}
    # one call a subject: a page of all findings may end before what is asked about
    groups = {"lesions": _LESIONS, "exudates": _LESIONS[2:]}
    wanted = {one for topic in wanted for one in groups.get(topic, (topic,))}
    subjects = sorted(wanted) or ["dr-", "dme-risk", "lesion-count.", "cdr.vertical"]
    calls = [tools.call("compare_visits", {"about": about[:100]}) for about in subjects[:8]]
    given = tools.call("compare_visits", {}) if tools.follow else calls[0]
    rows: list[dict[str, Any]] = [
        row for one in calls for row in one.values["changes"] if _meant(row["id"], wanted)
    ]
    if not rows and not given.values.get("followed"):
        return cannot("the two visits have no such finding in common", "两次检查没有共同的该项所见",
                      language)  # fmt: skip
    days = given.values["days"]
    texts = []
    for row in rows[:6]:
        sure = {True: ("changed", "有变化"), False: ("no sure change", "无确定变化"),
                None: ("not known whether that is more than measuring twice would differ",
                       "尚不知是否超出重复测量的差异")}[row["changed"]][zh]  # fmt: skip
        if row["before"] == row["now"]:
            sure = ("the same", "相同")[zh]
        texts.append(
            f"{row['name']}：之前 {row['before']}，现在 {row['now']}（{sure}）" if zh
            else f"{row['name']}: {row['before']} before, {row['now']} now ({sure})"
        )  # fmt: skip
    since = "" if days is None else f"{days:g} 天间隔：" if zh else f"After {days:g} days: "
    text = since + ("；".join(texts) + "。" if zh else "; ".join(texts) + ".") if texts else ""
    evidence = [row["id"] for row in rows[:6]]
    for one in given.values.get("followed", ()):
        # of lesions that were asked about, or of all
        about = {id.rpartition(".")[2] for id in one["evidence"]}
        if not wanted & set(_LESIONS) or wanted & about:
            text += ("" if zh or not text else " ") + one["words"]
            evidence += one["evidence"]
    if why := given.values.get("not_followed"):
        text += (
            f"未能逐一追踪病灶：{why}" if zh else f" Single lesions could not be followed: {why}."
        )
    return Answer(bounded(text, most=1400), language, evidence=tuple(dict.fromkeys(evidence))[:16])


def _meant(id: str, wanted: set[str]) -> bool:
    if not wanted:
        first = ("dr-grade", "dme-risk", "dr-referable")
        return id in first or id.startswith(("lesion-count.", "cdr.vertical"))
    base, _, rest = id.partition(".")
    return bool({id, base} & wanted) or (base == "lesion-count" and rest in wanted)


def sentences(text: str) -> list[str]:
    """The sentences of a text, English or Chinese."""
    return [
        one.strip() for one in re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n+", text) if one.strip()
    ]


def first(ids: tuple[str, ...], question: Question, tools: Toolbox) -> Answer:
    """The first of these measurements that has a value, else why there is none."""
    zh = question.language == "zh"
    held = [m for i in ids if (m := tools.case.get(i, Measurement)) is not None]
    if not held:
        return absent(ids[0], question, tools)
    found = next((m for m in held if m.value is not None), None)
    if found is None:
        reason = reason_words(held[0].reason, language=question.language)
        return cannot(f"it was not computed: {reason}", f"未能计算：{reason}", question.language)
    tools.call("get_finding", {"id": found.id})
    name = name_of(found, language=question.language)
    said = _spoken(found, question.language)
    text = f"{name}：{said}{doubts(found, zh)}。" if zh else f"{name}: {said}{doubts(found, zh)}."
    return Answer(bounded(text, most=MOST_SAID), question.language, evidence=(found.id,))


def _spoken(found: Measurement, language: str) -> str:
    said = quantity(found, language=language)
    if said.endswith("\u00a0DD"):
        return said.removesuffix("DD") + ("disc diameters" if language == "en" else "个视盘直径")
    return said


def sized(values: Any, language: str) -> str:
    """A measured value with its unit, in disc diameters too where that is known."""
    unit = unit_words(values["unit"], language=language)
    said = f"{number(float(values['value']), unit=values['unit'])} {unit}".strip()
    if "disc_diameters" in values:
        ruler = "个视盘直径" if language == "zh" else " disc diameters"
        said += f" ({number(values['disc_diameters'], unit='{DD}')}{ruler})"
    return said


def seen_of(id: str, tools: Toolbox) -> bool:
    """Whether the case has a finding, and a mask of it is not empty."""
    finding = tools.case.findings.get(id)
    return finding is not None and (not isinstance(finding, Mask) or bool(finding.mask.any()))


def absent(id: str, question: Question, tools: Toolbox) -> Answer:
    """Why the case has no such finding, where a finding tells it."""
    said, case = question.language, tools.case
    kind, quality = case.get("photograph", Label), case.get("quality", Label)
    if kind is not None and kind.value == "not a fundus photograph":
        return cannot("this is not recognised as a fundus photograph", "该图像未被识别为眼底照片",
                      said)  # fmt: skip
    if quality is not None and quality.value == "reject":
        return cannot("the photograph is too poor to be judged", "照片质量过差，无法判读", said)
    return cannot("nothing here looked for it", "这里没有进行该项检查", said)


def doubts(finding: Finding, zh: bool) -> str:
    """A finding's flags as words in brackets."""
    words = flag_words(finding.flags, language="zh" if zh else "en")
    if not words:
        return ""
    return f"（{bounded('、'.join(words))}）" if zh else f" ({bounded(', '.join(words))})"


def yes_no(question: Question, holds: bool | None, *, numbered: bool = False) -> str:
    """A yes or no, where that answers the question and no negation makes it unclear."""
    if question.numbers and not numbered:
        return ""  # "are there 5?" asks more than whether there are any
    if not question.yes_no or question.negated or holds is None:
        return ""
    if question.language == "zh":
        return "是：" if holds else "否："
    return "Yes. " if holds else "No. "
