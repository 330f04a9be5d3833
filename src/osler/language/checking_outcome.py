"""What came of holding a sentence against the findings."""

from dataclasses import dataclass, field

from osler.language.facts import Fact


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a sentence does not stand.

    Attributes:
        kind: ``"uncited"``, ``"unknown-id"``, ``"citation"`` (what it says is not in what it
            cites), ``"number"``, ``"unit"``, ``"side"``, ``"grade"``, ``"severity"``,
            ``"negation"``, ``"quality"``, ``"certainty"`` (other values are not
            excluded), ``"language"`` (a draft in another than was asked for), ``"unsupported"``
            (no finding tells it) or ``"unchecked"`` (nothing in it was understood).
        said: the words.
        found: what the findings say instead.
    """

    kind: str
    said: str
    found: str


@dataclass(slots=True)
class Outcome:
    """What came of comparing.

    Attributes:
        problems: what is wrong.
        supports: ids of findings that confirm a claim.
        claims: how many claims there were.
    """

    problems: list[Problem] = field(default_factory=list)
    supports: dict[str, None] = field(default_factory=dict)
    claims: int = 0

    def confirm(self, *facts: Fact) -> None:
        """A claim that the findings bear out."""
        self.claims += 1
        self.supports.update((f.id, None) for f in facts)

    def deny(self, kind: str, said: str, found: str = "") -> None:
        """A claim that they do not."""
        self.claims += 1
        self.problems.append(Problem(kind, said[:120], found[:200]))
