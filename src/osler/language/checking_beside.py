"""Sides, severities, certainty and counts that are set side by side, held against findings."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from osler.language.checking_claims import Claims, clause_of
from osler.language.checking_outcome import Outcome
from osler.language.checking_sayings import KEPT, OTHER, certainty_in, excluded
from osler.language.checking_words import COMPARED, LESIONS, SEVERITY, lesion_in
from osler.language.facts import Fact

if TYPE_CHECKING:
    from osler.language.checking_against import Bench

_THINGS: Final = r"(?:lesions?|abnormalit\w+|findings?|signs?|changes?|patholog\w+)"
_SEEN: Final = r"(?:seen|present|found|visible|detected|noted|observed|there|identified)"
_FEW: Final = r"(?:(?:a few|few|some|scattered|isolated|several|the|retinal|small|occasional) )*$"
_ALONE_BEFORE: Final = re.compile(
    r"(?:\b(?:is|are|was|were|shows?|showed|reveals?|revealed|sees?|saw|has|have|with|finds?|found)"
    r" (?:only|just|solely|merely|nothing but|nothing other than) "
    r"|\b(?:limited|confined|restricted) to "
    rf"|\b(?:only|sole) {_THINGS}(?: \w+){{0,3}} (?:is|are|was|were) "
    rf"|\bconsists? (?:only |solely |merely )of ){_FEW}"
    r"|(?:(?<!不)[仅只](?:可?见|有|发现|存在|为|是)|(?:局限|仅限|限)于|唯一的?(?:病变|异常|所见)[是为])"
    r"(?:少量|少许|散在|个别|数个|一些|的)*$",
    re.IGNORECASE,
)
_ALONE_FIRST: Final = re.compile(rf"^\W*(?:only|solely|just|nothing but) {_FEW}", re.IGNORECASE)
_ALONE_AFTER: Final = re.compile(
    r"\s+(?:is|are|was|were) the (?:only|sole) |\s+(?:only|alone)\s*(?:[.;,]|$)"
    r"|[是为](?:唯一|仅有)",
    re.IGNORECASE,
)
_THERE_AFTER: Final = re.compile(
    rf"(?: and [\w -]{{1,30}}?)? (?:is|are|was|were|can be) {_SEEN}\b|\s*[.;]?\s*$", re.IGNORECASE
)
_COUNT_AFTER: Final = re.compile(r"\s*[（(]?(?:\d|[一二三四五六七八九十百两]+[处个])")


def sides(claims: Claims, pool: Sequence[Fact], out: Outcome) -> None:
    """The eyes that are named."""
    known = {f.side for f in pool if f.side} | {f.value for f in pool if f.id == "laterality"}
    conflict = any("laterality-conflict" in f.flags for f in pool)
    for side in claims.sides:
        said = {"R": "right", "L": "left", OTHER: "other eye"}[side]
        backing = [f for f in pool if f.id == "laterality"] or [f for f in pool if f.side]
        if side in known or (conflict and backing):
            out.confirm(*[f for f in backing[:1] if f.id == "laterality"])
        elif known:
            out.deny("side", said, backing[0].words)
        else:
            out.deny("unsupported", said)


def severities(
    bench: "Bench", text: str, claims: Claims, pool: Sequence[Fact], out: Outcome
) -> None:
    """Words of severity."""
    for word, values, at in claims.severities:
        if any(
            m.tag[:-1] == "concept:dr-grade-"
            and m.tag[-1] in values
            and word in text[m.start : m.stop].casefold()
            for m in claims.mentions
        ):
            continue
        grades = [f for f in pool if f.id == "dr-grade"]
        elsewhere = [f for f in bench.facts if f.id == "dr-grade"]
        others = [f for f in pool if any(w in f.meaning.casefold() for w in SEVERITY)]
        if grades:
            if borne_out(text, at, values, grades[0]):
                out.confirm(grades[0])
            else:
                out.deny("severity", word, grades[0].words)
        elif others:
            right = [f for f in others if word in f.meaning.casefold()]
            if right:
                out.confirm(right[0])
            else:
                out.deny("severity", word, others[0].words)
        elif elsewhere:
            right_there = bool(values & {str(elsewhere[0].value)})
            out.deny("citation" if right_there else "severity", word, elsewhere[0].words)
        else:
            out.deny("unsupported", word)


def certainty(text: str, pool: Sequence[Fact], out: Outcome) -> None:
    """That something is certain, of which other values cannot be excluded."""
    said = certainty_in(text)
    unsure = [f for f in pool if f.kind == "label" and len(f.possible) > 1]
    if said and unsure:
        out.deny("certainty", said, unsure[0].words)


def counts(bench: "Bench", text: str, pool: Sequence[Fact], out: Outcome) -> None:
    """More of one lesion than of another."""
    for match in COMPARED.finditer(text):
        one, other = (
            lesion_in(next(filter(None, (match[g + k] for k in ("", "_are", "_out", "_zh")))))
            for g in ("one", "other")
        )
        both = [bench.by_id.get(f"lesion-count.{tag}") for tag in (one, other)]
        numbers = [f.value for f in both if f is not None and f in pool]
        if not one or not other:
            continue
        if len(numbers) < 2 or not all(isinstance(n, float | int) for n in numbers):
            out.deny("unsupported", match[0])
            continue
        more = any(match[k] for k in ("more", "more_are", "more_out", "more_zh"))
        right = numbers[0] > numbers[1] if more else numbers[0] < numbers[1]  # type: ignore[operator]
        if right and not match["times"]:
            out.confirm(*(f for f in both if f is not None))
        else:
            out.deny("number", match[0], " ".join(f.words for f in both if f is not None))


def borne_out(text: str, at: int, said: Iterable[str], fact: Fact) -> bool:
    """Whether values that a sentence names are what a label says of them.

    Args:
        text: the sentence.
        at: where it names them: in a part that says what is, what cannot be excluded, or what can.
        said: values, of which one is meant.
        fact: the label.
    """
    start, stop = clause_of(text, at, at)
    values, part = {*said}, text[start:stop]
    if not KEPT.search(part):
        return str(fact.value) in values
    if excluded(part):
        return bool(fact.possible) and not values & {*fact.possible}
    return bool(values & {str(fact.value), *fact.possible})


def alone(bench: "Bench", text: str, claims: Claims, out: Outcome) -> None:
    """That some lesions are the only ones: no other may have been found."""
    named = [m for m in claims.mentions if m.tag in LESIONS and m.status != "absent"]
    said = {m.tag for m in named}
    for mention in named:
        before, after = text[: mention.start], text[mention.stop :]
        if not (
            (_ALONE_BEFORE.search(before) and not _COUNT_AFTER.match(after))
            or (_ALONE_FIRST.search(before) and _THERE_AFTER.match(after))
            or _ALONE_AFTER.match(after)
        ):
            continue
        others = [bench.by_id[id] for id in LESIONS if id in bench.by_id and id not in said]
        if found := [f for f in others if not f.negated]:
            out.deny("negation", f"only {text[mention.start : mention.stop]}", found[0].words)
            return
