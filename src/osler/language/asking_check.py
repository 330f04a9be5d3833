"""An engine's answer held against what it cites: numbers, sides, grades, and what none can see."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from osler.language.answers import Answer
from osler.language.checking_spelt import in_chinese, in_english, ordinals
from osler.language.checking_unread import unread
from osler.language.facts import Fact, bounded
from osler.language.questions import MOST_ASKED, Question, understood
from osler.language.tools import Given, Toolbox

# a Chinese character before a number is no part of it
_NUMBER: Final = re.compile(
    r"(?<![^\W㐀-鿿])(?<!\.)[-−]?\d+(?:[.,]\d+)?(?:e[-+]?\d+)?(\s*%)?", re.IGNORECASE
)
_AGAINST: Final = ("side", "grade", "severity", "certainty", "negation", "quality")
_UNMEASURED: Final = ("number", "unit", "unsupported")
_OF_FINDINGS: Final = ("list_findings", "get_finding", "list_items")
_QUOTED: Final = "“…”"
_BARE: Final = re.compile(r"(yes|no|是|否)\W*", re.IGNORECASE)


def refused(
    answer: Answer, by_rule: Answer, tools: Toolbox, given: Iterable[Given], question: Question
) -> str:
    """Why an engine's answer is not taken; empty where it is.

    What stands between quotation marks, and word for word in a text that a tool quoted, is the
    text's and is left alone; a text licenses nothing outside of them.

    Args:
        answer: the engine's.
        by_rule: the answer to the same question by rule.
        tools: over the case.
        given: what tools gave the engine.
        question: what was asked.
    """
    calls = list(given)
    if not answer.evidence:
        return "it cites no finding"
    known = {*tools.case.findings, *tools.case.items}
    if not set(answer.evidence) <= known:
        return "it cites what the case does not have"
    answer = replace(answer, text=_without_quotes(answer.text, calls))
    cited = [f for f in tools.facts if f.id in answer.evidence]
    numbers = [*_of_facts(cited), *_of_calls(calls, answer.evidence)]
    for said, value, places in _numbers(answer.text):
        if not any(_same(value, one, places) for one in numbers):
            return f"the number {said[:20]} is in no finding that it cites"
    return (
        _outside(answer)
        or _unknown(answer, question)
        or _yes_no(answer, by_rule)
        or _contradicted(answer, by_rule, tools, calls)
    )


def marked(answer: Answer, tools: Toolbox) -> Answer:
    """The answer, with the words in it that no rule reads told."""
    cited = [f for f in tools.facts if f.id in answer.evidence]
    words = unread(_without_quotes(answer.text, tools.calls), cited)
    if not words:
        return answer
    said = bounded(", ".join(words), most=120)
    return replace(
        answer,
        flags=(*answer.flags, "words-unread"),
        note=f"{answer.note} Words that were not checked: {said}.",
    )


def _without_quotes(text: str, calls: Iterable[Given]) -> str:
    quoted = " ".join(str(one.values.get("quoted", "")) for one in calls)

    def left(match: re.Match[str]) -> str:
        return _QUOTED if match[1].strip() in quoted else match[0]

    return re.sub(r"[“\"「]([^”\"」]{3,600})[”\"」]", left, text) if quoted else text


def _numbers(text: str) -> Iterable[tuple[str, float, int]]:
    """Numbers of a text: as it stands, its value, and the places after the point."""
    for match in _NUMBER.finditer(text):
        plain = match[0].replace("−", "-").replace(",", ".").rstrip("% \u00a0")
        places = len(plain.partition(".")[2]) if "e" not in plain.lower() else 12
        value = float(plain)
        yield match[0], value, places
    for said in re.findall(r"\b(?:half|twice|double)\b", text.casefold()):
        yield said, 0.5 if said == "half" else 2.0, 6
    for said, value, _, _ in (*in_english(text), *in_chinese(text), *ordinals(text)):
        if said.casefold() not in ("one", "single", "一"):  # "one of them" counts nothing
            yield said, value, 6


def _same(said: float, value: float, places: int) -> bool:
    """Whether a number is another one, rounded to the places that are said (or a percentage)."""
    unit = 0.5 * 10.0**-places + 1e-9
    return abs(said - value) <= unit or (0 <= value <= 1 and abs(said - 100 * value) <= unit)


def _of_facts(cited: Iterable[Fact]) -> Iterable[float]:
    for fact in cited:
        for value in (fact.value, fact.probability, fact.coverage, *fact.possible):
            yield from _floats(value)


def _of_calls(calls: Iterable[Given], evidence: tuple[str, ...]) -> Iterable[float]:
    for one in calls:
        if one.tool == "read_text":
            continue
        # a page of findings is no licence to say any of their numbers of any of them
        if one.tool != "list_findings" and (not one.evidence or set(one.evidence) & set(evidence)):
            yield from _floats(dict(one.values))


def _floats(value: Any) -> Iterable[float]:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, str):
        for match in re.findall(r"-?\d+(?:\.\d+)?", value[:2000])[:100]:
            yield float(match)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _floats(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _floats(one)


def _outside(answer: Answer) -> str:
    """Speaks of what nothing looked for."""
    for start in range(0, len(answer.text), MOST_ASKED // 2):
        named = understood(answer.text[start : start + MOST_ASKED]).outside
        if named:
            return f"it speaks of {bounded(named[0])}, which no finding tells"
    return ""


def _unknown(answer: Answer, question: Question) -> str:
    """Takes up a word of the question that no finding has."""
    text = answer.text.casefold()
    taken = [word for word in question.unknown if word.casefold() in text]
    return f"no finding tells about “{bounded(taken[0], most=40)}”" if taken else ""


def _yes_no(answer: Answer, by_rule: Answer) -> str:
    """Yes where the findings say no, or the other way round."""
    pairs = (("yes", "no"), ("是", "否"))
    for yes, no in pairs:
        mine, other = (a.text.casefold().lstrip() for a in (answer, by_rule))
        for said, found in ((yes, no), (no, yes)):
            if re.match(rf"{said}(?![a-z])", mine) and re.match(rf"{found}(?:\. |：)", other):
                return f"it says {said}, and the findings say {found}"
    return ""


def _contradicted(answer: Answer, by_rule: Answer, tools: Toolbox, calls: Iterable[Given]) -> str:
    """A sentence that the cited findings speak against, or of which they confirm nothing."""
    from osler.language.checking import check_sentence, split

    for _, sentence in split(answer.text):
        said = check_sentence(sentence, tools.facts, cites=answer.evidence)
        # what a tool measured is in no finding; all else must be
        measured = [one for one in calls if one.tool not in _OF_FINDINGS]
        against = _AGAINST if measured else (*_AGAINST, *_UNMEASURED)
        wrong = [one for one in said.problems if one.kind in against]
        if wrong:
            return f"its {wrong[0].kind} is not what the findings say"
        # numbers were held against what was cited; a yes is worth what the rules' yes is
        told = said.supports or _QUOTED in sentence or any(_numbers(sentence))
        bare = _BARE.fullmatch(sentence)
        if not told and not (bare and by_rule.text.startswith(bare[1].capitalize())):
            return "it has a sentence that no finding confirms"
    return ""
