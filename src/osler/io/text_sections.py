"""Sections of a report in English or Chinese, and its language.

A report is cut at its headings and nowhere else: what is cut, put together again, is the report.
"""

import re
from typing import Final, NamedTuple

_HEADINGS: Final[dict[str, tuple[str, ...]]] = {
    "examination": (
        "examination", "exam", "study", "procedure performed", "检查项目", "检查部位",
        "检查名称",
    ),
    "indication": (
        "clinical indication", "indications for exam", "indication for exam", "indications",
        "indication", "reason for examination", "reason for exam", "reason for study",
        "reason for this examination", "clinical question", "clinical details",
        "reason for referral", "reason for visit", "临床诊断", "申请目的", "检查目的",
        "检查原因", "适应证", "适应症",
    ),
    "history": (
        "clinical history", "clinical information", "clinical data",
        "history of present illness", "past medical history", "history", "past ocular history",
        "chief complaint", "hpi", "pmh", "presenting complaint", "临床表现", "过去史", "家族史",
        "临床病史", "临床资料", "临床信息", "现病史", "既往史", "病史摘要", "病史", "主诉",
    ),
    "technique": (
        "technique", "techniques", "procedure", "protocol", "technical details", "检查方法",
        "检查技术", "扫描方法", "扫描技术", "成像方法",
    ),
    "comparison": (
        "comparisons", "comparison", "prior studies", "prior study", "对比检查", "比较影像",
        "对照", "对比", "比较",
    ),
    "findings": (
        "findings", "finding", "radiological findings", "description", "examination findings",
        "clinical findings", "imaging findings", "report", "ocular examination", "影像描述",
        "超声描述", "图像描述", "检查描述", "描述", "眼科检查", "专科检查", "体格检查", "查体",
        "辅助检查", "肉眼所见", "光镜所见", "大体所见", "影像学所见", "影像学表现", "影像所见",
        "影像表现", "检查所见", "超声所见", "镜下所见", "内镜所见", "眼底所见", "CT所见",
        "CT表现", "MR所见", "MRI所见", "MRI表现", "放射学表现", "所见",
    ),
    "impression": (
        "impressions", "impression", "conclusions", "conclusion", "diagnosis", "opinion",
        "assessment", "final diagnosis", "impression and plan", "impression/plan",
        "assessment and plan", "a/p", "impression and recommendation",
        "impression and recommendations", "summary", "interpretation", "final impression",
        "radiologist's impression", "radiologist impression", "provisional diagnosis",
        "检查印象", "影像学意见", "影像意见", "诊断提示", "检查提示", "提示", "报告结论",
        "初步诊断", "入院诊断", "出院诊断", "放射学诊断", "报告意见", "意见", "小结",
        "影像学诊断", "影像诊断", "诊断意见", "诊断印象", "诊断结论", "检查结论", "超声提示",
        "超声诊断", "检查意见", "病理诊断", "印象", "结论", "诊断",
    ),
    "recommendation": (
        "recommendations", "recommendation", "follow-up", "plan", "management plan",
        "management", "处理意见", "治疗意见", "诊疗意见", "处理", "医嘱", "随访建议", "建议",
    ),
}  # fmt: skip
_NAMES: Final = {word.casefold(): name for name, words in _HEADINGS.items() for word in words}


def _either(words: list[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_LATIN: Final = _either([w for w in _NAMES if w.isascii() and not w.startswith(("ct", "mr"))])
_HAN: Final = _either([w for w in _NAMES if not w.isascii()])
_MARK = r"[ \t　]*(?:[#*_>]{1,6}[ \t]*|\d{1,2}[.)、][ \t]*|[一二三四五六七八九十]{1,2}[、.][ \t]*)?"
_END = r"[ \t　]*[*_]{0,3}[ \t　]*(?:[:：][ \t　]*[*_]{0,3}|[-–—][ \t]+|(?=\r?\n|\Z))"
_HEADING = re.compile(
    # a line that is or begins with a heading: "FINDINGS:", "**Impression**", "【检查所见】"
    rf"(?:^|(?<=\n)|(?<=\r)){_MARK}(?:(?P<a>{_LATIN}){_END}"
    rf"|(?P<b>{_HAN}){_END}|[【\[](?P<c>{_HAN}|{_LATIN})[】\]][ \t　]*[:：]?)"
    # one within a line: Chinese with its colon or brackets, English in capitals with its colon
    rf"|(?<=[。；;\s])(?P<d>{_HAN})[ \t　]*[:：]|【(?P<e>{_HAN})】[ \t　]*[:：]?",
    re.IGNORECASE,
)
_CAPITALS = re.compile(rf"(?<=[.;\s])(?P<a>{_LATIN.upper()})[ \t]*:")
_WORD = re.compile(r"[A-Za-zÀ-ɏ]+")
_HAN_CHARACTER = re.compile(r"[㐀-䶿一-鿿豈-﫿]")


class Part(NamedTuple):
    """A piece of a report.

    Attributes:
        name: of the section; empty for what stands before the first heading.
        heading: as it stands in the text, with its colon.
        body: what follows, up to the next heading.
    """

    name: str
    heading: str
    body: str


def canonical(heading: str) -> str:
    """The name of a section by its heading; empty where it is not known."""
    return _NAMES.get(heading.strip(" \t\r\n　:：*#_【】[]").casefold(), "")


def parts(text: str) -> tuple[Part, ...]:
    """A report cut at its headings: joined again, headings and bodies are the text."""
    found = [
        (match.start(), match.end(), next(g for g in match.groups() if g))
        for match in sorted(
            [*_HEADING.finditer(text), *_CAPITALS.finditer(text)],
            key=lambda m: (m.start(), -m.end()),
        )
    ]
    pieces: list[Part] = []
    name, heading, body = "", "", 0
    for start, end, word in found:
        if start < body:
            continue  # within the heading before it
        pieces.append(Part(name, heading, text[body:start]))
        name, heading, body = _NAMES[word.casefold()], text[start:end], end
    pieces.append(Part(name, heading, text[body:]))
    return tuple(p for p in pieces if p.name or p.heading or p.body)


def sections(text: str) -> dict[str, str]:
    """Section name to its text; a section that stands twice is joined by a line break.

    Names are ``examination``, ``indication``, ``history``, ``technique``, ``comparison``,
    ``findings``, ``impression`` and ``recommendation``. What has no heading is in none.
    """
    found: dict[str, list[str]] = {}
    for part in parts(text):
        body = part.body.strip()
        if part.name and body:
            found.setdefault(part.name, []).append(body)
    return {name: "\n".join(bodies) for name, bodies in found.items()}


def language(text: str) -> str:
    """``"zh"`` or ``"en"`` by the script that says more, ``"und"`` where there is neither.

    A Han character counts as half a word, so that English terms in a Chinese report do not make
    it English. Other languages in Latin letters are called English, too.
    """
    han = len(_HAN_CHARACTER.findall(text)) / 2
    words = len(_WORD.findall(text))
    if not han and not words:
        return "und"
    return "zh" if han >= words else "en"
