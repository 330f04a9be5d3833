"""Free text without the people in it: placeholders such as ``[NAME]`` stand where they stood.

What a file's header knows of the patient is found in every spelling; beyond that, rules for English
and Chinese find names, dates, numbers and places. Too much rather than too little is replaced.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from osler.io.deidentification.dates import Offset
from osler.io.deidentification.known import Known


@dataclass(frozen=True, slots=True, order=True)
class Passage:
    """A piece of a text that tells of somebody.

    Attributes:
        start: index of its first character.
        end: index after its last.
        kind: NAME, DATE, TIME, ID, PHONE, EMAIL, URL, PLACE or AGE.
        moved: a date that stands in its place; empty where ``[KIND]`` does.
    """

    start: int
    end: int
    kind: str
    moved: str = ""

    @property
    def sign(self) -> str:
        """What stands in its place."""
        return self.moved or f"[{self.kind}]"


Model = Callable[[str], Iterable[Passage]]
"""Finds more passages in a text than the rules do; a hook for a language model."""


STILL: Final = Offset(0, 0)
"""Of a second look: whole dates may stand where they stand."""


class Scrubber:
    """Cleans texts of one patient.

    Args:
        known: what is known of the people in them.
        model: finds more, besides the rules.
        offset: how far whole dates move; without it all become ``[DATE]``.
    """

    def __init__(
        self, known: Known, *, model: Model | None = None, offset: Offset | None = None
    ) -> None:
        self._known = known
        self._model = model
        self._offset = offset

    def knowing(self, more: Known) -> "Scrubber":
        """A scrubber that knows more people besides."""
        known = Known()
        known.update(self._known)
        known.update(more)
        return Scrubber(known, model=self._model, offset=self._offset)

    def moving(self, offset: Offset | None) -> "Scrubber":
        """A scrubber of the same people that moves dates by another offset."""
        if offset is None or self._offset in (offset, STILL):
            return self
        other = Scrubber(self._known, model=self._model, offset=offset)
        other.__dict__.update(_kinds=self._kinds, _pattern=self._pattern)
        return other

    def clean(self, text: str) -> str:
        """The text with a placeholder for every passage."""
        return replace(text, self.passages(text))

    def phrase(self, text: str) -> str:
        """The same of a note or a label: in few words, unknown ones with a capital go too."""
        from osler.io.deidentification import descriptors

        new = self.clean(text)
        return descriptors.clean(new, capitals=True) if descriptors.is_short(new) else new

    def known_only(self, text: str) -> str:
        """The text with a placeholder for what the header knows; nothing else is touched."""
        return replace(text, self._dates(text, merged(self._of_header(text)))) if text else text

    def passages(self, text: str) -> list[Passage]:
        """What tells of somebody, from left to right, none over another."""
        if not text:
            return []
        from osler.io.deidentification import text_rules

        found = [*self._of_header(text), *text_rules.find(text)]
        if self._model is not None:
            found.extend(self._model(text))
        return self._dates(text, merged(found))

    def _dates(self, text: str, passages: list[Passage]) -> list[Passage]:
        """Passages with the dates that take the place of those that move; none that stand still."""
        if self._offset is None:
            return passages
        from osler.io.deidentification import text_dates

        out = []
        for one in passages:
            if one.kind == "DATE":
                new = text_dates.moved(text, one.start, one.end, self._offset, self._known)
                if new == text[one.start : one.end]:
                    continue
                out.append(Passage(one.start, one.end, one.kind, new or ""))
            else:
                out.append(one)
        return out

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


def second_look(known: Known, *, dates: str, offsets: bool = True) -> Scrubber:
    """What looks through a copy: where dates were moved, those that are whole may stand in texts.

    Args:
        known: what must not be there.
        dates: what was done to dates: ``"remove"``, ``"shift"`` or ``"keep"``.
        offsets: whether dates moved only where one person alone is known, as in prose.
    """
    moves = dates == "shift" and (len(known.offsets) == 1 or not offsets)
    return Scrubber(known, offset=STILL if moves else None)


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
    """The text with ``[KIND]`` for each passage, or the date that it moved to."""
    pieces, at = [], 0
    for passage in merged(passages):
        pieces += [text[at : passage.start], passage.sign]
        at = passage.end
    return "".join((*pieces, text[at:]))
