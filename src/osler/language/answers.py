"""An answer to a question about a case, with what it stands on."""

from dataclasses import dataclass, field
from typing import Any

from osler.language.facts import bounded
from osler.language.tools import Given

MOST_SAID = 1500
"""Most characters of an answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What is answered.

    Attributes:
        text: the words.
        language: ``"en"`` or ``"zh"``.
        seen: False where the answer is that it cannot be seen.
        evidence: ids of the findings and items that it stands on; empty where it cannot be seen.
        by: ``"rules"``, an engine's or a bundle's name.
        flags: what went wrong on the way, such as ``"engine-down"`` and
            ``"engine-answer-refused"``; ``"question-cut"`` for one that was too long.
        calls: the tools that were used.
        note: what a reader should know of ``flags``; empty where there are none.
    """

    text: str
    language: str
    seen: bool = True
    evidence: tuple[str, ...] = ()
    by: str = "rules"
    flags: tuple[str, ...] = ()
    calls: tuple[Given, ...] = field(default=(), repr=False)
    note: str = ""

    def as_document(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "answer": self.text,
            "seen": self.seen,
            "evidence": list(self.evidence),
            "by": self.by,
            "flags": list(self.flags),
            "note": self.note,
            "language": self.language,
            "calls": [
                {"tool": one.tool, "arguments": dict(one.arguments), "gave": dict(one.values)}
                for one in self.calls
            ],
        }


def cannot(why_en: str, why_zh: str, language: str) -> Answer:
    """The answer that it cannot be seen, and why."""
    if language == "zh":
        return Answer(bounded(f"我看不到：{why_zh}。", most=MOST_SAID), "zh", seen=False)
    return Answer(bounded(f"I cannot see that: {why_en}.", most=MOST_SAID), "en", seen=False)
