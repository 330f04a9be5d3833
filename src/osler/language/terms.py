"""Words and phrases found in a text, in time that grows with its length alone.

A text is cut into tokens: a word in Latin letters, a number, a Chinese character, a mark. Phrases
stand in a tree of tokens, and from each token the longest phrase is taken; so nothing is ever
tried twice, and no pattern can run away. Spellings (haemorrhage, hemorrhage), plurals, hyphens,
case and full-width letters make no difference.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

HIDDEN: Final = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
"""Characters that show nothing, or turn the direction of others, as a class of a pattern."""

_HIDDEN: Final = re.compile(f"[{HIDDEN}]")
_LETTERS: Final = "A-Za-zÀ-ÖØ-öø-ɏＡ-Ｚａ-ｚ"
_DIGITS: Final = "0-9０-９"
_TOKEN: Final = re.compile(
    rf"[{_LETTERS}{HIDDEN}]*[{_LETTERS}][{_LETTERS}{HIDDEN}]*"
    rf"|[{_DIGITS}]+(?:\.[{_DIGITS}]+)?"
    # a mark that stands several times is one
    rf"|[㐀-䶿一-鿿豈-﫿Ⅰ-ⅻ]|(?P<mark>[^\s\w{HIDDEN}])(?P=mark)*"
)
_END: Final = " "  # no token has a space
_LONGEST_WORD: Final = 40
# the characters that a Chinese text is made of need no normalising
_ONE: Final = {mark: mark for mark in "，。；：、（）【】？！"}
_ONE.update((chr(code), chr(code)) for code in range(0x4E00, 0xA000))

_ODD: Final = {
    "metastases": "metastasis", "atelectases": "atelectasis", "diagnoses": "diagnosis",
    "stenoses": "stenosis", "fibroses": "fibrosis", "bronchiectases": "bronchiectasis",
    "oes": "oes", "fibres": "fiber", "fibre": "fiber", "centre": "center", "calculi": "calculus",
    "emboli": "embolus", "bullae": "bulla", "fundi": "fundus", "maculae": "macula",
    "oct": "oct", "masses": "mass", "lenses": "lens", "lens": "lens", "bias": "bias",
    "os": "os", "has": "has", "was": "was", "is": "is", "does": "does", "this": "this",
    "naevus": "nevus", "naevi": "nevus", "yes": "yes", "vs": "vs", "less": "less",
}  # fmt: skip
_SPLIT: Final = {
    "nonproliferative": ("non", "proliferative"), "nonexudative": ("non", "exudative"),
    "preproliferative": ("pre", "proliferative"), "cottonwool": ("cotton", "wool"),
    "airspace": ("air", "space"), "microaneurysm": ("micro", "aneurysm"),
    "cannot": ("can", "not"), "covid19": ("covid", "19"),
}  # fmt: skip


class Token(NamedTuple):
    """One word, number, Chinese character or mark.

    Attributes:
        word: as compared.
        start: where it begins in the text, in characters.
        stop: where it ends.
    """

    word: str
    start: int
    stop: int


class Found(NamedTuple, Generic[T]):
    """A phrase that was found.

    Attributes:
        first: number of its first token.
        last: one past that of its last token.
        value: what the phrase stands for.
    """

    first: int
    last: int
    value: T


@lru_cache(maxsize=20_000)
def plain(word: str) -> tuple[str, ...]:
    """A word as it is compared: lower case, American spelling, singular, compounds apart."""
    word = _HIDDEN.sub("", unicodedata.normalize("NFKC", word)).casefold()
    if not word.isascii() or len(word) > _LONGEST_WORD:
        return (word,)
    word = _ODD.get(word) or _singular(word)
    if len(word) > 4:
        word = word.replace("ae", "e").replace("oe", "e").replace("our", "or")
        word = re.sub(r"isation$", "ization", word)
    return _SPLIT.get(word, (word,))


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    return word[:-3] + "y" if word.endswith("ies") else word[:-1]


def tokens(text: str, start: int = 0, stop: int | None = None) -> list[Token]:
    """The tokens of a stretch of a text."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text, start, len(text) if stop is None else stop):
        first, last = match.span()
        word = match["mark"] or match[0]
        if last - first == 1 and not word.isascii():
            found.append(Token(_ONE.get(word) or plain(word)[0], first, last))
        else:
            found += [Token(one, first, last) for one in plain(word)]
    return found


class Phrases(Generic[T]):
    """Phrases, each with what it stands for.

    Args:
        phrases: phrase and value; a phrase said twice keeps its first value.
    """

    def __init__(self, phrases: Iterable[tuple[str, T]]) -> None:
        self._tree: dict[str, Any] = {}
        for phrase, value in phrases:
            node = self._tree
            for token in tokens(phrase):
                node = node.setdefault(token.word, {})
            node.setdefault(_END, value)

    def find(self, said: Sequence[Token]) -> Iterator[Found[T]]:
        """The phrases in a stretch of tokens, the longest from each place, none within another."""
        here, tree = 0, self._tree
        for place, token in enumerate(said):
            if place < here or token[0] not in tree:
                continue
            best = self._longest(said, place)
            if best is not None:
                yield best
                here = best.last

    def _longest(self, said: Sequence[Token], here: int) -> Found[T] | None:
        node, best, last = self._tree, None, here
        while last < len(said):
            word = said[last].word
            if word not in node:
                # "edema of the macula", "ground-glass": what stands between says nothing
                if word in ("-", "‐", "–", "the", "an") and last > here:
                    last += 1
                    continue
                break
            node = node[word]
            last += 1
            if _END in node:
                best = Found(here, last, node[_END])
        return best
