"""Short descriptions, such as that of a series, with the words of imaging alone.

A name in "CT FOR WORTLEBURY" has nothing beside it that tells what it is, so what is no word that
imaging uses goes.
"""

import re
from functools import cache
from pathlib import Path
from typing import Final

from osler.io.deidentification import text_rules_zh
from osler.io.deidentification.capitals import is_word
from osler.io.deidentification.text_rules_en import is_product, not_names

_WORD: Final = re.compile(r"(?<!\[)[^\W\d_㐀-鿿]{4,}(?!\])")
_HAN: Final = re.compile(r"(?<![㐀-鿿])[㐀-鿿]{2,4}(?![㐀-鿿])")
# Parts of the body, sides and departments that begin as a surname does.
_NO_PERSON: Final = re.compile(
    r"[左右双全][㐀-鿿]+|[㐀-鿿]+[科期层位部室片像手足腿膝髋臂肩踝眼耳肺肾叶段骨窗]|高分辨率?|陈旧性?|石膏"
)

IMAGING: Final = frozenset(
    word
    for name in ("imaging_words.txt", "coded_words.txt")
    for word in Path(__file__).with_name(name).read_text("utf-8").split()
)
"""Names of sequences, contrasts and devices, abbreviations, stems of Latin, and words of the terms
that PS3.3 defines, as the strings of Debian's dicom3tools 1.00 have them."""

_FEW: Final = 5
"""So many words have no sentence around them that tells what is a name."""


@cache
def stays(word: str) -> bool:
    """Whether a word of four letters and more is one of imaging, of medicine or of English."""
    if is_product(word.title()):
        return True
    word = word.casefold()
    return word in IMAGING or is_word(word, not_names())


def clean(text: str, *, capitals: bool = False, sign: str = "[NAME]") -> str:
    """A description in which each word of four letters and more is one of imaging or of English.

    Args:
        text: the description.
        capitals: only words with a capital are looked at, as in what people write of findings.
        sign: what stands for a name.
    """
    text = _WORD.sub(lambda m: m[0] if (capitals and m[0].islower()) or stays(m[0]) else sign, text)
    return _HAN.sub(lambda m: sign if _is_person(m[0]) else m[0], text)


def is_short(text: str) -> bool:
    """Whether a text is too short for rules that read a name from what stands around it."""
    return len(text.split()) <= _FEW


def _is_person(word: str) -> bool:
    return text_rules_zh.is_name(word) and _NO_PERSON.fullmatch(word) is None
