"""Which findings a text names as there or not there, by words and by the negations around them.

A small rule for scoring texts of one kind against what is known of their cases, whose words a
recipe lists; it is no reader of reports from elsewhere.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from osler.metrics import tokens
from osler.tasks.writing_settings import NamedFinding

_SENTENCE = re.compile(r"(?<=[.;!?。；！？])\s*|\n+")
_NEGATIONS: Final = frozenset(
    {"no", "not", "without", "none", "never", "absent", "negative", "无", "未", "没", "否"}
)
_NO: Final = frozenset({"", "0", "0.0", "no", "none", "false", "absent"})


def named(text: str, findings: Mapping[str, NamedFinding]) -> dict[str, bool | None]:
    """Whether each finding is said to be there; None where the text does not name it.

    A finding counts as there where any sentence names it without a negation.

    Args:
        text: in sentences.
        findings: name to its words.
    """
    sentences = [tokens(one) for one in _SENTENCE.split(text)]
    out: dict[str, bool | None] = {}
    for name, finding in findings.items():
        runs = [tokens(words) for words in finding.words]
        said = [
            not _NEGATIONS & set(sentence)
            for sentence in sentences
            if any(_holds(sentence, run) for run in runs)
        ]
        out[name] = any(said) if said else None
    return out


def is_there(cell: str) -> bool:
    """Whether a cell of a label column says that something is there."""
    return cell.strip().lower() not in _NO


def _holds(sentence: Sequence[str], run: Sequence[str]) -> bool:
    width = len(run)
    return width > 0 and any(
        tuple(sentence[n : n + width]) == tuple(run) for n in range(len(sentence) - width + 1)
    )
