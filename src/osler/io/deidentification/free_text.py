"""Free text without the people in it: placeholders such as ``[NAME]`` stand where they stood.

What a file's header knows of the patient is found in every spelling; beyond that, rules for English
and Chinese find names, dates, numbers and places. Too much rather than too little is replaced.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from osler.io.deidentification.known import Known


@dataclass(frozen=True, slots=True, order=True)
class Passage:
    """A piece of a text that tells of somebody.

    Attributes:
        start: index of its first character.
        end: index after its last.
        kind: NAME, DATE, TIME, ID, PHONE, EMAIL, URL, PLACE or AGE.
    """

    start: int
    end: int
    kind: str


Model = Callable[[str], Iterable[Passage]]
"""Finds more passages in a text than the rules do; a hook for a language model."""


class Scrubber:
    """Cleans texts of one patient.

    Args:
        known: what is known of the people in them.
        model: finds more, besides the rules.
    """

    def __init__(self, known: Known, *, model: Model | None = None) -> None:
        self._known = known
        self._model = model

    def knowing(self, more: Known) -> "Scrubber":
        """A scrubber that knows more people besides."""
        known = Known()
        known.update(self._known)
        known.update(more)
        return Scrubber(known, model=self._model)

    def clean(self, text: str) -> str:
        """The text with a placeholder for every passage."""
        return replace(text, self.passages(text))

    def known_only(self, text: str) -> str:
        """The text with a placeholder for what the header knows; nothing else is touched."""
        return replace(text, self._of_header(text)) if text else text

    def passages(self, text: str) -> list[Passage]:
        """What tells of somebody, from left to right, none over another."""
        if not text:
            return []
        from osler.io.deidentification import text_rules

        found = [*self._of_header(text), *text_rules.find(text)]
        if self._model is not None:
            found.extend(self._model(text))
        return merged(found)

    def _of_header(self, text: str) -> list[Passage]:
        if self._pattern is None:
            return []
        return [
            Passage(m.start(), m.end(), self._kinds.get(m[0].casefold(), "ID"))
            for m in self._pattern.finditer(text)
        ]

    @cached_property
    def _kinds(self) -> dict[str, str]:
        return {text.casefold(): kind for text, kind in self._known.texts()}

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        words = [_bounded(text, kind) for text, kind in self._known.texts()]
        return re.compile("|".join(words), re.IGNORECASE) if words else None


def _bounded(text: str, kind: str) -> str:
    """A pattern for a text that is no part of a longer number, or, if it is short, of a word."""
    if text.isdigit():
        return rf"(?<![\d.]){text}(?!\d)"
    if len(text) >= 6 or not text.isascii():
        return re.escape(text)
    signs = "A-Za-z" if kind == "NAME" and len(text) > 3 else "A-Za-z0-9"
    return rf"(?<![{signs}]){re.escape(text)}(?![{signs}])"


def merged(passages: Iterable[Passage]) -> list[Passage]:
    """Passages that touch one another as one, of the kind of the longest."""
    out: list[Passage] = []
    for passage in sorted(passages):
        if not out or passage.start >= out[-1].end:
            out.append(passage)
            continue
        last = out[-1]
        more = (passage.end - passage.start) - (last.end - last.start)
        longer = passage if more > 0 or (more == 0 and last.kind in ("ID", "NAME")) else last
        out[-1] = Passage(last.start, max(last.end, passage.end), longer.kind)
    return out


def replace(text: str, passages: Iterable[Passage]) -> str:
    """The text with ``[KIND]`` for each passage."""
    pieces, at = [], 0
    for passage in merged(passages):
        pieces += [text[at : passage.start], f"[{passage.kind}]"]
        at = passage.end
    return "".join((*pieces, text[at:]))
