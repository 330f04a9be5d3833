"""What the columns of a table hold: by their names, and where those say nothing by their values."""

import re
from collections.abc import Sequence
from typing import Final

from osler.io.deidentification import capitals, latin, text_rules_en, text_rules_zh
from osler.io.deidentification.cells import kind_of_name

# Columns of people that are called by what they do; in a tree such a name holds more than a name.
PEOPLE: Final = re.compile(
    r"\A(?:[fl][\W_]?names?|initials|gp|nok|pt|consultant|referrer|referred[\W_]?by|author|user|"
    r"user[\W_]?name|signature|surgeon|an(?:a)?esthetist|relatives?|guardian|carer|"
    r"next[\W_]?of[\W_]?kin|(?:signed|created|reported|reviewed|verified|requested|dictated|"
    r"ordered|performed|entered|annotated|graded|seen|done|read)[\W_]?by|by|who|whom|person|seen[\W_]?with)\Z|主治|主管|经治|家属$|签[名字]|"
    r"监护人|父亲$|母亲$|配偶$|护士$|教授$|术者",
    re.IGNORECASE,
)
REMARK: Final = re.compile(
    r"(?<![a-z])(?:comment|remark|note|memo)s?(?![a-z])|备注|批注", re.IGNORECASE
)
"""Where people write what they like, in words too few for a sentence to tell a name by."""

_SENTENCE: Final = 4  # words that a category does not have
_PARTS: Final = re.compile(r"[\s,;.^_·]+")
_CAPITAL: Final = re.compile(
    rf"[{latin.UPPER}][{latin.LOWER}]{{2,}}(?:[-'’][{latin.UPPER}]?[{latin.LOWER}]+)*"
)
_MOST: Final = 2_000
"""Rows that are looked at for what a column holds."""


def kinds_of(rows: Sequence[Sequence[str]]) -> list[str]:
    """The kind of each column, as ``cells.py`` has them.

    Args:
        rows: the first has the names of the columns, as far as there are any.
    """
    if not rows:
        return []
    return [_kind(str(name), [row[at] for row in rows[1:_MOST]]) for at, name in enumerate(rows[0])]


def _kind(name: str, values: Sequence[str]) -> str:
    kind = kind_of_name(name)
    if kind:
        return kind
    if PEOPLE.search(name.strip()):
        return "name"
    told = [value.strip() for value in values if value.strip() and value != "[NAME]"]
    if told and all(map(is_somebody, told)):
        few = len(set(told)) <= len(told) / 2
        if len(set(told)) < 2 and text_rules_zh.HAN.search(told[0]):
            return ""  # a diagnosis may begin as a name does
        return "name" if not few or any(map(_is_listed, told)) else ""
    written = REMARK.search(name) or any(len(value.split()) >= _SENTENCE for value in told)
    return "remark" if written else ""


def is_somebody(value: str) -> bool:
    """Whether a whole value looks like a name: no word of it is one of English or of medicine."""
    if text_rules_zh.HAN.search(value):
        return text_rules_zh.is_name(value)
    words = [word for word in _PARTS.split(value) if word]
    long = [word for word in words if len(word) > 2]
    return 0 < len(words) <= 5 and bool(long) and all(map(_is_name, long))


def _is_name(word: str) -> bool:
    if text_rules_en.is_listed(word):
        return True
    if not _CAPITAL.fullmatch(word) or text_rules_en.is_known_thing(word):
        return False
    return not capitals.is_word(word, text_rules_en.not_names())


def _is_listed(value: str) -> bool:
    return any(text_rules_en.is_listed(word) for word in _PARTS.split(value))
