"""One entry of an index, and an entry that was found."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["image", "text"]
KINDS: Final[tuple[Kind, ...]] = ("image", "text")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says of one vector.

    Attributes:
        kind: ``image`` or ``text``.
        file: where it lies, from the index's folder on.
        sha256: of the file.
        item: its name in its case.
        place: where in the file, such as ``"line 12, keywords"`` of a table; empty for the whole.
        case, patient: only where the user asked for them.
        labels: of the cohort, by name, where the user asked for them.
    """

    kind: Kind
    file: str
    sha256: str
    item: str
    place: str = ""
    case: str = ""
    patient: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> bytes:
        """By which an entry is known: the same item of the same file content is taken once."""
        said = "\n".join((self.kind, self.sha256, self.item, self.place))
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that is like the query.

    Attributes:
        row: its number in the index.
        score: the cosine, -1 to 1.
        entry: what the index says of it.
    """

    row: int
    score: float
    entry: Entry
