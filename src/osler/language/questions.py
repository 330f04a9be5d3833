"""A question in words to what is asked: about what, and what about it.

Every word must be known, as a subject, as what is asked of it, or as a word that changes nothing.
One that is not known may turn the question round, so it is said and the question is not answered.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from osler.language.engine import clean
from osler.language.lexicon import WORDS
from osler.language.traditional import simplified

MOST_ASKED: Final = 600
"""Most characters of a question; a longer one is cut off, and said to be."""

_TOKEN: Final = re.compile(r"[㐀-鿿]|[a-z0-9]+(?:\.[0-9]+)?|[^\s\w]|\w")
_CHINESE: Final = re.compile(r"[㐀-鿿]")
_SILENT: Final = frozenset(".,;:!?'\"()[]{}-–—/\\_*。，；：！？、（）《》“”‘’…·")
_SPELLING: Final = (
    (re.compile(r"\bhaem"), "hem"),
    (re.compile(r"oedema"), "edema"),
    (re.compile(r"\bcentre"), "center"),
    (re.compile(r"\b(what|where|that|it|there|how)'s\b"), r"\1 is"),
    (re.compile(r"\bcannot\b|\bcan't\b"), "can not"),
    (re.compile(r"n't\b"), " not"),
)
_YES_NO: Final = re.compile(
    r"^\W*(and |so |but )?(is|are|was|were|do|does|did|has|have|can|could|should|any|will)\b"
)
_YES_NO_ZH: Final = re.compile(r"吗|是否|有没有|是不是|能否|能不能|要不要|会不会|还是")
_NAMED: Final = re.compile(r"outside:|topic:(?!text|summary|abilities)")
_ENDS: Final = ("ss", "us", "is")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        text: the words, without control characters.
        language: ``"en"`` or ``"zh"``.
        topics: what it is about, in the order of the words.
        asks: what about it: ``"count"``, ``"where"``, ``"size"`` ….
        only: what narrows it: ``"L"``, ``"grade-2"``, ``"vertical"`` ….
        outside: things that nothing here can see.
        unknown: words that are not understood.
        pronoun: whether it refers to what was spoken of before.
        yes_no: whether yes or no would answer it.
        negated: whether it holds a negation, so that yes or no would be unclear.
        numbers: whole numbers in it.
        words: the words of the subjects, of what cannot be seen and of what is not understood.
    """

    text: str
    language: str
    topics: tuple[str, ...] = ()
    asks: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    outside: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    pronoun: bool = False
    yes_no: bool = False
    negated: bool = False
    numbers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def understood(
    text: str, *, language: str | None = None, names: Mapping[str, str] | None = None
) -> Question:
    """Take a question apart.

    Args:
        text: as it was asked; only the first ``MOST_ASKED`` characters count.
        language: of the answer; None takes that of the question.
        names: further names of what the case holds, to the topic that each stands for.
    """
    said = " ".join(clean(text[:MOST_ASKED]).split())
    spoken = language or ("zh" if _CHINESE.search(said) else "en")
    even = _evened(said)
    tokens = [t for t in _TOKEN.findall(even) if t not in _SILENT]
    found, unknown = _matched([_stem(t) for t in tokens], tokens, _table(names))
    kinds: dict[str, list[str]] = {}
    for tag, _ in found:
        kind, _, value = tag.partition(":")
        kinds.setdefault(kind, []).append(value)
    subjects = [words for tag, words in found if _NAMED.match(tag)]
    numbers = tuple(t for t in tokens if re.fullmatch(r"\d{1,4}", t))
    return Question(
        text=said,
        language=spoken,
        topics=tuple(dict.fromkeys(kinds.get("topic", ()))),
        asks=frozenset(kinds.get("ask", ())),
        only=frozenset(kinds.get("only", ())),
        outside=tuple(dict.fromkeys(kinds.get("outside", ()))),
        unknown=tuple(dict.fromkeys(unknown)),
        pronoun="pronoun" in kinds,
        yes_no=bool(_YES_NO.match(even) or _YES_NO_ZH.search(even)),
        negated="not" in kinds and not re.search(r"有没有|是不是|能不能|要不要|会不会", even),
        numbers=numbers,
        words=tuple(dict.fromkeys((*subjects, *unknown))),
    )


def following(question: Question, last: Question | None) -> Question:
    """A question that names no subject of its own, about that of the one before it."""
    if last is None or question.topics or question.outside or question.unknown:
        return question
    if not (question.pronoun or question.asks or question.only):
        return question
    if {"grade", "severe", "excluded"} & question.asks:
        return question  # these mean the grade of retinopathy by themselves
    return replace(question, topics=last.topics, asks=question.asks or last.asks)


def _evened(text: str) -> str:
    even = simplified(unicodedata.normalize("NFKC", text)).casefold().replace("’", "'")
    for pattern, instead in _SPELLING:
        even = pattern.sub(instead, even)
    return even


def _stem(token: str) -> str:
    """Without the s of a plural; the same is done to the words that are known."""
    if len(token) > 2 and token.endswith("s") and not token.endswith(_ENDS):
        return token[:-1]
    return token


def _stems(phrase: str) -> tuple[str, ...]:
    return tuple(_stem(t) for t in _TOKEN.findall(_evened(phrase)) if t not in _SILENT)


@cache
def _known() -> dict[tuple[str, ...], str]:
    return {
        stems: tag
        for tag, languages in reversed(list(WORDS.items()))  # what stands first wins
        for phrases in languages
        for phrase in phrases.split("|")
        if (stems := _stems(phrase))
    }


def _table(names: Mapping[str, str] | None) -> Mapping[tuple[str, ...], str]:
    if not names:
        return _known()
    more = {
        stems: f"topic:{topic}" for name, topic in names.items() if (stems := _stems(name[:100]))
    }
    # a name that would swallow the words of a question, such as "is there", is none
    return _known() | {s: t for s, t in more.items() if _known().get(s, "").partition(":")[0] in (
        "", "outside", "topic")}  # fmt: skip


def _matched(
    stems: list[str], tokens: list[str], table: Mapping[tuple[str, ...], str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """The longest known phrases from left to right: tag and words; and the words in none."""
    longest = max(map(len, table))
    found: list[tuple[str, str]] = []
    unknown: list[str] = []
    at = 0
    while at < len(stems):
        for length in range(min(longest, len(stems) - at), 0, -1):
            tag = table.get(tuple(stems[at : at + length]))
            if tag is not None:
                words = tokens[at : at + length]
                found.append((tag, ("" if _CHINESE.match(words[0]) else " ").join(words)))
                at += length
                break
        else:
            if not tokens[at].isdigit():
                unknown.append(tokens[at])
            at += 1
    return found, _joined(unknown)


def _joined(unknown: Iterable[str]) -> list[str]:
    """Chinese signs that are not understood as one word; others one by one."""
    out: list[str] = []
    for token in unknown:
        if out and _CHINESE.match(token) and _CHINESE.match(out[-1][-1]):
            out[-1] += token
        else:
            out.append(token)
    return [word[:40] for word in out[:8]]
