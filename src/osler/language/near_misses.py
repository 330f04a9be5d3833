"""Findings in other words than the vocabulary's, by how near an encoder of texts puts them.

Only parts of a sentence that the rules leave without any finding are asked about. What comes of
it is marked ``near-miss`` and is never more than ``possible``: likeness of words is no statement.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.language.assertion import judge
from osler.language.assertion_words import OPENINGS, TRIGGERS, VERBS
from osler.language.extraction import Extracted, Statement
from osler.language.findings_vocabulary import vocabulary
from osler.language.sentences import sentences, without_controls
from osler.language.terms import Found, Token, plain, tokens

if TYPE_CHECKING:
    from osler.models.text_encoder import TextEncoder

FLAG: Final = "near-miss"
_MOST: Final = 400  # phrases that are asked about in one text
_WORDS: Final = (2, 6)  # of a phrase: one word alone says too little
_CUTS: Final = frozenset(",;:()，；：（）。、.!?")
_LITTLE: Final = (
    *("the", "a", "an", "of", "in", "on", "at", "and", "or", "with", "for", "to", "by", "from"),
    *("eye", "eyes", "od", "os", "ou", "right", "left", "both"),
)
_QUIET: Final = (
    {p for word in (*VERBS, *OPENINGS, *_LITTLE) for p in plain(word)}
    | {t.word for phrase, _ in TRIGGERS for t in tokens(phrase)}
)  # fmt: skip
_SOUND: Final = frozenset(
    p
    for word in ("normal", "intact", "clear", "unremarkable", "healthy", "正常")
    for p in plain(word)
)

_KNOWN: dict[str, NDArray[Any]] = {}  # vectors of the vocabulary's names


def near_misses(
    text: str, extracted: Extracted, encoder: "TextEncoder", *, least: float = 0.75
) -> list[Statement]:
    """Statements that an encoder finds where the rules found none.

    Args:
        text: the report.
        extracted: what the rules found in it.
        encoder: of texts; its language should be the report's.
        least: cosine at and above which a phrase counts as a name of the vocabulary.

    Returns:
        Statements with the flag ``near-miss``; those that are not denied are ``possible``.
    """
    clean = without_controls(text)
    taken = sorted((s.start, s.stop) for s in extracted.statements)
    phrases = list(_phrases(clean, taken))[:_MOST]
    if not phrases:
        return []
    names, concepts = _names()
    key = f"{encoder.name}\0{encoder.version}"
    if key not in _KNOWN:
        _KNOWN.clear()  # the names of one encoder at a time
        _KNOWN[key] = np.asarray(encoder.encode(names))
    known = _KNOWN[key]
    asked = encoder.encode([clean[p[0].start : p[-1].stop] for p, *_ in phrases])
    likeness = np.asarray(asked) @ known.T
    out: list[Statement] = []
    for (part, said, sentence), row in zip(phrases, likeness, strict=True):
        best = int(row.argmax())
        if row[best] < least:
            continue
        first = said.index(part[0])
        found: Found[Any] = Found(first, first + len(part), concepts[best])
        judged, _ = judge(said, [found])
        status = "possible" if judged[0].status == "present" else judged[0].status
        out.append(
            Statement(
                concepts[best],
                status,
                judged[0].side,
                part[0].start,
                part[-1].stop,
                sentence,
                flags=(FLAG,),
            )
        )
    return out


def with_near_misses(text: str, extracted: Extracted, encoder: "TextEncoder") -> Extracted:
    """What the rules found, and what an encoder adds, in the order of the text."""
    more = near_misses(text, extracted, encoder)
    statements = sorted([*extracted.statements, *more], key=lambda s: s.start)
    return replace(extracted, statements=statements)


def _names() -> tuple[list[str], list[str]]:
    names, concepts = [], []
    for concept in vocabulary().concepts:
        for name in dict.fromkeys((concept.en.casefold(), *concept.words)):
            if len(tokens(name)) >= _WORDS[0]:
                names.append(name)
                concepts.append(concept.id)
    return names, concepts


def _phrases(
    text: str, taken: Sequence[tuple[int, int]]
) -> "list[tuple[list[Token], list[Token], tuple[int, int]]]":
    """Parts of sentences without a finding: their words without what says nothing at the ends."""
    out = []
    for start, stop in sentences(text):
        said = tokens(text, start, stop)
        part: list[Token] = []
        for token in [*said, Token(".", stop, stop)]:
            if token.word not in _CUTS:
                part.append(token)
                continue
            free = part and not any(a < part[-1].stop and part[0].start < b for a, b in taken)
            while free and part and part[0].word in _QUIET:
                part = part[1:]
            while free and part and part[-1].word in _QUIET:
                part = part[:-1]
            # "optic disc of normal colour" is near to a disc's anomaly and means the contrary
            sound = any(token.word in _SOUND for token in part)
            if free and not sound and _WORDS[0] <= len(part) <= _WORDS[1]:
                out.append((part, said, (start, stop)))
                if len(out) >= _MOST:
                    return out
            part = []
    return out
