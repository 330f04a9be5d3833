"""An encoder that needs no model: which words, and which parts of words, a text has."""

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from osler.models.text_encoder import TextEncoder, Vectors, unit

_DIM: Final = 1024
_WORD: Final = re.compile(r"[^\W_]+")
_HAN: Final = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af]+")
_PART: Final = 0.3  # what a part of a word weighs against the word

# the commonest words of English say nothing of what a text is about
_EMPTY: Final = {
    "a", "an", "and", "are", "as", "at", "be", "been", "by", "for", "from", "had", "has", "have",
    "he", "her", "his", "in", "is", "it", "its", "of", "on", "or", "she", "that", "the", "there",
    "they", "this", "to", "was", "were", "which", "with",
}  # fmt: skip


class WordsEncoder(TextEncoder):
    """Words, pairs of Han characters and trigrams of letters, hashed with a sign into 1024 places.

    A word that occurs n times counts 1 + log n. Words that mean the same are strangers to it,
    unless they are spelt alike; a negation is a word like others.
    """

    name = "words"
    version = "1"
    dim = _DIM

    def _encode(self, texts: list[str]) -> Vectors:
        out = np.zeros((len(texts), _DIM), np.float64)
        for row, text in zip(out, texts, strict=True):
            for part, count in Counter(_parts(text)).items():
                number = zlib.crc32(part.encode("utf-8"))
                weight = _PART if part[0] == "#" else 1.0
                sign = 1 if number & 1 else -1
                row[(number >> 1) % _DIM] += sign * weight * (1 + math.log(count))
            if not row.any():  # punctuation alone
                row[zlib.crc32(text.encode("utf-8")) % _DIM] = 1.0
        return unit(out)


def _parts(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.casefold()):
        for run in _HAN.findall(word):
            yield from (run[k : k + 2] for k in range(max(1, len(run) - 1)))
        spelt = _HAN.sub(" ", word)
        for one in spelt.split():
            if one in _EMPTY:
                continue
            yield one
            framed = f"<{one}>"
            yield from (f"#{framed[k : k + 3]}" for k in range(len(framed) - 2))
