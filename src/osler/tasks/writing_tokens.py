"""Text as numbers and back: byte pairs that were merged because they are common.

No word is unknown: what no merge covers is written byte by byte, in any script. The merges are
found in the teaching cases, stand in the card, and need nothing but Python to be applied.

Source: Sennrich, Haddow & Birch, "Neural machine translation of rare words with subword units",
ACL 2016; on bytes as in Radford et al., "Language models are unsupervised multitask learners",
2019.
"""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

PAD: Final = 0
BEGIN: Final = 1
END: Final = 2
FIRST_BYTE: Final = 3
SPECIALS: Final = 3

Pair = tuple[int, int]

# a word with the space before it; every digit alone, so that numbers are spelt and can be copied;
# no part is long, or merging it would take the square of its length
_PART = re.compile(r" ?[^\W\d_]{1,64}| ?\d| ?(?:[^\w\s]|_){1,64}|\s{1,64}")
_MOST = 100_000  # characters of one text that are looked at


def plain(text: str, *, lower: bool = False) -> str:
    """One line without control characters and without marks that turn the direction of writing.

    Args:
        text: anything; of more than 100,000 characters the rest is dropped.
        lower: also in lower case.
    """
    shown = unicodedata.normalize("NFKC", text[:_MOST])
    kept = (" " if unicodedata.category(one)[0] in "CZ" else one for one in shown)
    out = " ".join("".join(kept).split())
    return out.lower() if lower else out


def learn_merges(texts: Iterable[str], count: int, *, least: int = 2) -> list[Pair]:
    """The merges that shorten the texts most, one after the other.

    Of pairs as common the first in the order of their numbers is taken, so the same texts give the
    same merges.

    Args:
        texts: what is to be written; made `plain` before.
        count: merges at most.
        least: times that a pair must stand in the texts.
    """
    counted = Counter(part for text in texts for part in _PART.findall(text))
    words = [(_bytes(part), times) for part, times in sorted(counted.items())]
    merges: list[Pair] = []
    while len(merges) < count:
        pairs: Counter[Pair] = Counter()
        for word, times in words:
            for pair in itertools.pairwise(word):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < least:
            break
        made = FIRST_BYTE + 256 + len(merges)
        merges.append(best)
        words = [
            (_merged(word, best, made) if best[0] in word else word, times) for word, times in words
        ]
    return merges


class Tokens:
    """Text to numbers and back.

    Args:
        merges: of `learn_merges`, in the order in which they were found.

    Attributes:
        size: how many numbers there are: three that mean nothing written (padding, beginning,
            end), 256 bytes, and one a merge.
    """

    def __init__(self, merges: Sequence[Pair]) -> None:
        self._rank = {(int(a), int(b)): n for n, (a, b) in enumerate(merges)}
        self._bytes = [b"", b"", b"", *(bytes([n]) for n in range(256))]
        for a, b in merges:
            self._bytes.append(self._bytes[int(a)] + self._bytes[int(b)])
        self.size = len(self._bytes)
        self._part = lru_cache(maxsize=20_000)(self._encoded)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text; made `plain` before."""
        return [number for part in _PART.findall(text) for number in self._part(part)]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of numbers up to the end; what is no character is shown as a question mark."""
        out = bytearray()
        for number in numbers:
            if number == END:
                break
            out += self._bytes[number]
        return plain(out.decode("utf-8", errors="replace"))

    def _encoded(self, part: str) -> tuple[int, ...]:
        word = _bytes(part)
        while len(word) > 1:
            known = [
                (self._rank[pair], pair) for pair in itertools.pairwise(word) if pair in self._rank
            ]
            if not known:
                break
            rank, pair = min(known)
            word = _merged(word, pair, FIRST_BYTE + 256 + rank)
        return tuple(word)


def _bytes(part: str) -> list[int]:
    return [FIRST_BYTE + one for one in part.encode("utf-8", errors="replace")]


def _merged(word: Sequence[int], pair: Pair, made: int) -> list[int]:
    out: list[int] = []
    n = 0
    while n < len(word):
        if n + 1 < len(word) and (word[n], word[n + 1]) == pair:
            out.append(made)
            n += 2
        else:
            out.append(word[n])
            n += 1
    return out
