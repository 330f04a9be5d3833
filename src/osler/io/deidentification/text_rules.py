"""Rules that find people in free text."""

from collections.abc import Iterator

from osler.io.deidentification.free_text import Passage


def find(text: str) -> Iterator[Passage]:
    """Passages of a text."""
    yield from ()
