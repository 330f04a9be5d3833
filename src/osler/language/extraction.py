"""Findings that a report states, by rule, with the characters that state them.

English and Chinese reports: which finding, whether it is there, denied, doubted, past, asked for
or a relative's, and of which side. Nothing is guessed beyond the words: a finding whose name the
vocabulary lacks is not found.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from osler.io.text_sections import language, parts
from osler.language.assertion import Frame, Judged, Side, judge
from osler.language.assertion_words import Status
from osler.language.findings_vocabulary import Concept, Shared, Vocabulary, vocabulary
from osler.language.sentences import hidden, sentences, without_controls
from osler.language.terms import Found, Token, tokens
from osler.language.traditional import simplified

MOST: Final = 20_000
"""Most statements that are taken of one text."""

_IN_SECTION: Final[dict[str, Status]] = {
    "indication": "hypothetical",
    "recommendation": "hypothetical",
    "history": "history",
    "comparison": "history",
}
_LATIN_EYES: Final = frozenset(("od", "os", "ou"))


@dataclass(frozen=True, slots=True)
class Statement:
    """What a text says of one finding.

    Attributes:
        concept: id of the finding in the vocabulary.
        status: ``"present"``, ``"absent"``, ``"possible"``, ``"history"``, ``"hypothetical"`` or
            ``"family"``.
        side: ``"R"``, ``"L"``, ``"B"`` for both, or None where none is said.
        start: first character that says it.
        stop: one past the last.
        sentence: first character of its sentence, and one past the last.
        section: of the report; empty where it has none.
        flags: named doubts.
    """

    concept: str
    status: Status
    side: Side | None
    start: int
    stop: int
    sentence: tuple[int, int]
    section: str = ""
    flags: tuple[str, ...] = ()


@dataclass(slots=True)
class Extracted:
    """What a text states.

    Attributes:
        statements: in the order of the text.
        language: ``"en"``, ``"zh"`` or ``"und"``.
        flags: named doubts about the text as a whole.
    """

    statements: list[Statement] = field(default_factory=list)
    language: str = "en"
    flags: tuple[str, ...] = ()


def extract(text: str, *, place: str = "eye") -> Extracted:
    """The findings that a text states, in time that grows with its length alone.

    Args:
        text: a report, a sentence, or keywords with commas between.
        place: where words such as "haemorrhage" are, if nothing in the text says it.

    Returns:
        The statements. A text with hidden characters has the flag ``hidden-characters``, one with
        more than 20,000 statements ``too-many-statements`` and only the first of them.
    """
    known = vocabulary()
    flags = ("hidden-characters",) if hidden(text) else ()
    plain = simplified(without_controls(text))
    out = Extracted(language=language(text[:20_000]), flags=flags)
    here = place
    at = 0
    for part in parts(plain):
        start = at + len(part.heading)
        at = start + len(part.body)
        frame = Frame()
        for begin, end in sentences(plain, start, at):
            said = _tokens(plain, begin, end)
            found, here = _findings(said, known, here)
            if "\n\n" in plain[begin - 2 : begin]:
                frame = Frame()
            judged, frame = judge(said, found, frame=frame)
            out.statements += _statements(said, found, judged, known, part.name, (begin, end))
            if len(out.statements) > MOST:
                out.statements = out.statements[:MOST]
                out.flags += ("too-many-statements",)
                return out
    return out


def _tokens(text: str, start: int, stop: int) -> list[Token]:
    """Tokens, in which ``os`` is an eye only where it is written as one."""
    return [
        Token("_" + t.word, t.start, t.stop)
        if t.word in _LATIN_EYES
        and not text[t.start : t.stop].isupper()
        and text[t.stop : t.stop + 1] not in (":", "：")
        else t
        for t in tokens(text, start, stop)
    ]


Meaning = tuple[str, bool]


def _findings(
    said: Sequence[Token], known: Vocabulary, here: str
) -> tuple[list[Found[Meaning]], str]:
    """The findings of a sentence, and the place that the next one is in, if it says none."""
    raw = list(known.phrases.find(said))
    places = [
        *((f.first, f.last, f.value) for f in known.place_phrases.find(said)),
        *(
            (f.first, f.last, of)
            for f in raw
            if not isinstance(f.value, Shared)
            and (of := known.concept(f.value[0]).of) not in ("any",)
        ),
    ]
    out: list[Found[Meaning]] = []
    for found in raw:
        if isinstance(found.value, Shared):
            concept = _resolved(found, found.value, places, known, here)
            if concept:
                out.append(Found(found.first, found.last, (concept, False)))
        else:
            out.append(Found(found.first, found.last, found.value))
    if places:
        here = known.around(places[-1][2])[-1]
    return out, here


def _resolved(
    found: Found[Any],
    shared: Shared,
    places: Sequence[tuple[int, int, str]],
    known: Vocabulary,
    here: str,
) -> str | None:
    """What a word stands for at the place nearest to it; None where it is of none of them."""
    before = sorted((p for p in places if p[1] <= found.first), key=lambda p: -p[1])
    after = sorted((p for p in places if p[0] >= found.last), key=lambda p: p[0])
    for name in (*(p[2] for p in before), *(p[2] for p in after), here):
        for place in known.around(name):
            if place in shared.by:
                return shared.by[place]
    return None


def _statements(
    said: Sequence[Token],
    found: Sequence[Found[Meaning]],
    judged: Sequence[Judged],
    known: Vocabulary,
    section: str,
    sentence: tuple[int, int],
) -> Iterable[Statement]:
    out: list[Statement] = []
    seen: set[tuple[str, str, str | None]] = set()
    for one, judgement in zip(found, judged, strict=True):
        id, denied = one.value
        concept = known.concept(id)
        status = "absent" if denied else _in_section(concept, judgement.status, section)
        key = (id, status, judgement.side)
        if key in seen:
            continue
        seen.add(key)
        out.append(
            Statement(
                id,
                status,
                judgement.side,
                said[one.first].start,
                said[one.last - 1].stop,
                sentence,
                section,
            )
        )
    return _without_wider(out, known)


def _in_section(concept: Concept, status: Status, section: str) -> Status:
    if status == "history" and (concept.chronic or concept.kind == "symptom"):
        return "present"  # "a 2-day history of fever" is why the patient came
    if status != "present" or concept.kind != "finding":
        return status
    said = _IN_SECTION.get(section, "present")
    return "present" if said == "history" and concept.chronic else said


def _without_wider(statements: Sequence[Statement], known: Vocabulary) -> list[Statement]:
    """A sentence that says a grade has said the disease, too: it is not told twice."""
    out = list(statements)
    for one in statements:
        narrower = [
            k
            for k, other in enumerate(out)
            if one.status == other.status and one.concept in known.ancestors(other.concept)
        ]
        if not narrower:
            continue
        # the side may stand with the wider name: "right eye: diabetic retinopathy, moderate NPDR"
        for k in narrower:
            out[k] = replace(out[k], side=out[k].side or one.side)
        out = [o for o in out if (o.concept, o.start) != (one.concept, one.start)]
    return out
