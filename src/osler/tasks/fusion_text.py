"""How words become an array: which of the planned words a text holds, by weight.

A text is bounded, freed of control characters and of marks that turn the direction of writing, and
cut into words; of Chinese, Japanese and Korean into characters and pairs of neighbours [1]_. Each
planned word counts by how often it stands there, with a logarithm, times how few texts hold it
(tf-idf [2]_). A text is data: nothing in it is ever followed.

References:
    .. [1] Nie, Gao, Zhang and Zhou, "On the use of words and n-grams for Chinese information
       retrieval", IRAL 2000.
    .. [2] Salton and Buckley, "Term-weighting approaches in automatic text retrieval", Information
       Processing & Management 24, 1988.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LONGEST = 20_000
"""Characters of a text that are looked at; what comes after them is not."""

_LONGEST_WORD = 40
_TOGETHER = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PARTS = re.compile(rf"[{_TOGETHER}]+|[^\W_{_TOGETHER}]+(?:['’-][^\W_{_TOGETHER}]+)*")
_RUN = re.compile(rf"[{_TOGETHER}]")


def plain(text: str) -> str:
    """The beginning of a text in lower case, without what is not seen."""
    begun = unicodedata.normalize("NFKC", text[:LONGEST])
    kept = (" " if unicodedata.category(c) == "Cc" else c for c in begun[:LONGEST])
    return "".join(c for c in kept if unicodedata.category(c)[0] != "C").lower()


def words(text: str) -> list[str]:
    """The words of a text in their order; numbers alone are none."""
    out: list[str] = []
    for part in _PARTS.findall(plain(text)):
        if _RUN.match(part):
            out += [*part, *(a + b for a, b in pairwise(part))]
        elif len(part) > 1 and len(part) <= _LONGEST_WORD and not part.isdecimal():
            out.append(part)
    return out


def planned_words(
    texts: Iterable[tuple[str, Iterable[str]]], *, most: int, least: int
) -> tuple[list[str], list[float]]:
    """The words that are looked for, and what each weighs.

    Args:
        texts: patient and the words of a text of theirs.
        most: how many words at most; those that most patients' texts hold.
        least: patients in whose texts a word must stand; rarer ones, such as names, are left out.

    Returns:
        The words, sorted, and the logarithm of ``(1 + N) / (1 + n)`` plus 1 of each, where its n
        are among N patients.
    """
    held: dict[str, set[str]] = {}
    for patient, found in texts:
        held.setdefault(patient, set()).update(found)
    counts = Counter(word for found in held.values() for word in found)
    common = [word for word, count in counts.items() if count >= least]
    chosen = sorted(sorted(common, key=lambda word: (-counts[word], word))[:most])
    return chosen, [1 + math.log((1 + len(held)) / (1 + counts[word])) for word in chosen]


def encoded_words(
    text: str, vocabulary: Sequence[str], weights: Sequence[float]
) -> NDArray[np.float32]:
    """``(V,)`` of length 1, or all 0 where the text holds no planned word."""
    place: Mapping[str, int] = {word: k for k, word in enumerate(vocabulary)}
    out = np.zeros(len(vocabulary), np.float64)
    for word, count in Counter(words(text)).items():
        if word in place:
            out[place[word]] = (1 + math.log(count)) * weights[place[word]]
    length = float(np.linalg.norm(out))
    return np.asarray(out / length if length else out, np.float32)
