"""Sentences of a report in English or Chinese, with their places in the text."""

import re
from collections.abc import Iterator
from typing import Final

from osler.language.terms import HIDDEN

LONGEST: Final = 2_000
"""A sentence of more characters is cut: no report has one, and what a rule reaches is bounded."""

# what cannot be seen turns into one that can be, so that every place stays where it was
_CONTROLS: Final = {
    code: " " for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}
_END: Final = re.compile(
    # a full stop within a number, an abbreviation or an ordinal ends nothing
    r"[。！!?？]+"
    r"|(?<![A-Z])(?<!\b[A-Za-z])(?<!\bFig)(?<!\bDr)(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)\.(?=\s|\Z|[A-Z])"
    r"|(?<=[A-Z]{2})\.(?=\s|\Z)"
    # an empty line, or a line that a new statement begins
    r"|\n[ \t]*\n\s*|\n(?=[ \t]*(?:[-*•·]|\d{1,2}[.)、]|[A-Z㐀-䶿一-鿿【]))"
)


def without_controls(text: str) -> str:
    """The text with a space for every control character: nothing changes its place."""
    return text.replace("\r\n", " \n").replace("\r", "\n").translate(_CONTROLS)


def hidden(text: str) -> bool:
    """Whether a text holds characters that show nothing or turn the direction of others."""
    return re.search(f"[{HIDDEN}]", text) is not None


def sentences(text: str, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
    """First character and one past the last of each sentence of a stretch, in order.

    Args:
        text: without control characters.
        start: where the stretch begins.
        stop: where it ends.
    """
    end = len(text) if stop is None else stop
    here = start
    for match in _END.finditer(text, start, end):
        yield from _cut(text, here, match.end())
        here = match.end()
    yield from _cut(text, here, end)


def _cut(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    while stop - start > LONGEST:
        # at a space or a comma where there is one
        middle = start + LONGEST
        place = max(text.rfind(mark, start + LONGEST // 2, middle) for mark in " ,，、")
        middle = place + 1 if place > start else middle
        yield start, middle
        start = middle
    if text[start:stop].strip():
        yield start, stop
