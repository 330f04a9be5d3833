"""The part of the report that a language engine worded, apart from the rest and marked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from osler.record import Case, Passage

DRAFTED: Final = "drafted"
"""Flag of every passage that a language engine had a hand in."""

PASSED: Final = "draft-checked"
"""Flag of a draft of which every sentence stood."""

UNREAD: Final = "words-unread"
"""Flag of a sentence, and of its draft, with words that the check does not read."""

CHECK: Final = "draft-check"
"""Id of the passage that says what the check of a draft found."""

WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "title": "Drafted by a language engine",
        "passed": "checked: every sentence agrees with the findings it cites",
        "unread": "agrees with the findings, but for words that the check does not know",
        "failed": "failed its check: read the sentences above, which are written by rule",
        "about": "Worded by a program that can err. The sentences above are written by rule.",
    },
    "zh": {
        "title": "语言引擎撰写",
        "passed": "已核对：每个句子均与所引所见一致",
        "unread": "与所见一致，但含有核对程序不认识的词",
        "failed": "核对未通过：请以上方规则生成的句子为准",
        "about": "由可能出错的程序措辞。上方的句子由规则生成。",
    },
}


@dataclass(frozen=True, slots=True)
class Drafted:
    """What the page says of a draft.

    Attributes:
        title: of the part.
        state: ``"passed"``, ``"unread"`` or ``"failed"``, which also is its class.
        banner: the state in words.
        note: what the check found.
        about: who worded it.
        passages: the sentences that stand.
    """

    title: str
    state: str
    banner: str
    note: str
    about: str
    passages: tuple[Passage, ...]


def by_rule(passage: Passage) -> bool:
    """Whether no language engine had a hand in a passage."""
    return DRAFTED not in passage.flags


def draft_of(case: Case, *, language: str) -> Drafted | None:
    """The draft of a case, or None where none was asked for."""
    check = case.get(CHECK, Passage)
    if check is None:
        return None
    words = WORDS[language]
    state = "failed"
    if PASSED in check.flags:
        state = "passed"
    elif UNREAD in check.flags:
        state = "unread"
    kept = [p for p in case.of(Passage) if not by_rule(p) and p.id != CHECK]
    return Drafted(words["title"], state, words[state], check.text, words["about"], tuple(kept))
