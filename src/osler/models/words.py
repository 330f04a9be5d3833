"""Words as numbers, for the small encoder of texts that learns its own. No torch is needed."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from osler.metrics import tokens

SPECIAL: Final = ("[padding]", "[unknown]", "[begin]", "[end]")
"""What the first numbers stand for; the words come after them, in the order of the vocabulary."""


def vocabulary_of(texts: Iterable[str], *, least: int = 1) -> list[str]:
    """The words of texts that stand in so many of them or more, sorted.

    Args:
        texts: sentences.
        least: texts in which a word must stand.
    """
    count: dict[str, int] = {}
    for text in texts:
        for word in set(tokens(text)):
            count[word] = count.get(word, 0) + 1
    return sorted(word for word, found in count.items() if found >= least)


def word_ids(
    texts: Sequence[str], vocabulary: Sequence[str], *, longest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the words of texts, between a begin and an end.

    Args:
        texts: sentences; what is beyond the longest is cut.
        vocabulary: the known words.
        longest: numbers of a text, begin and end among them.

    Returns:
        ids and mask, ``(P, longest)`` each; the mask is 1 at words and 0 at padding.
    """
    place = {word: len(SPECIAL) + number for number, word in enumerate(vocabulary)}
    ids = np.zeros((len(texts), longest), np.int64)
    for row, text in zip(ids, texts, strict=True):
        known = [place.get(word, 1) for word in tokens(text[: 32 * longest])[: longest - 2]]
        row[: len(known) + 2] = [2, *known, 3]
    return ids, (ids > 0).astype(np.int64)
