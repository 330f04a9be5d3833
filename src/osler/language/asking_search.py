"""Questions by rule that look in an index: for what is like the case, or like some words."""

import re
from typing import Any, Final

from osler.language.answers import MOST_SAID, Answer, cannot
from osler.language.facts import bounded
from osler.language.questions import Question
from osler.language.tools import Toolbox

_COUNT: Final = 5

_KEPT: Final = r"(?:photographs?|photos?|pictures?|images?|scans?|cases?|patients?|reports?)"
_BEGIN: Final = (
    r"^\W*(?:(?:please|can you|could you|will you)\W+)*(?:find|show|search|retrieve|list|give"
    r"|get|look for|are there|is there|have you|which)\b[^.?!]*?\b"
)
_ALIKE: Final = re.compile(
    rf"{_BEGIN}(?:similar|comparable|resembling|alike)\b[^.?!]*?\b{_KEPT}\b"
    rf"|{_BEGIN}{_KEPT}\b[^.?!]*?\b(?:similar to|like|alike|resembl\w+)\b"
    r"(?: (?:this|it|that|these)\b|\W*$)"
    r"|(?:相似|类似|相像|近似)的?(?:眼底)?(?:照片|图像|图片|病例|病人|患者|报告)",
    re.IGNORECASE,
)
_WORDS: Final = re.compile(
    r"^\W*(?:(?:please|can you|could you|will you)\W+)*"
    r"(?:search|look)(?: in| through)? (?:the|this|your|my) index for (?P<en>.+)"
    r"|^\W*(?:请)?(?:在索引(?:中|里)?(?:搜索|检索|查找|寻找)|(?:搜索|检索|查找)索引(?:中|里)?的?)"
    r"[:：]?(?P<zh>.+)",
    re.IGNORECASE | re.DOTALL,
)


def wanted(question: Question) -> str | None:
    """What a question looks for: words, none for what is like the case; None where it does not."""
    if _ALIKE.search(question.text):
        return ""
    found = _WORDS.match(question.text)
    words = (found["en"] or found["zh"]).strip(" .?!。？！\"'“”") if found else ""
    return words[:300] or None


def looked_for(words: str, question: Question, tools: Toolbox) -> Answer:
    """The nearest in the index.

    Args:
        words: of what is wanted; empty for what is like the case.
        question: as it was asked.
        tools: over the case, with the index.

    Raises:
        ToolError: the index cannot be asked so.
    """
    if tools.search is None:
        return cannot(
            "there is no index at hand to look in", "没有可供检索的索引", question.language
        )
    given = tools.call("search", {"words": words, "count": _COUNT})
    hits: list[dict[str, Any]] = list(given.values["found"])
    if not hits:
        return cannot("the index holds nothing", "索引中没有内容", question.language)
    told = "; ".join(
        f"{n + 1}. {bounded(str(hit.get('file', hit.get('item', '?'))))} ({_score(hit)})"
        for n, hit in enumerate(hits)
    )
    strange = hits[0].get("known") is False
    if question.language == "zh":
        head = (
            "索引中没有与此相像的内容；最接近的是"
            if strange
            else "索引中最接近的（相似度，不是概率）"
        )
        text = f"{head}：{told}。"
    else:
        head = (
            "Nothing like this is in the index; the least unlike" if strange
            else "The nearest in the index, with their likeness, which is no probability"
        )  # fmt: skip
        text = f"{head}: {told}."
    return Answer(bounded(text, most=MOST_SAID), question.language, evidence=given.evidence)


def _score(hit: dict[str, Any]) -> str:
    score = hit.get("score")
    return f"{score:.2f}" if isinstance(score, float | int) else "?"
