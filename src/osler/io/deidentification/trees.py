"""What stands in a tree of names (JSON, XML) → the same without people.

A key or an element is read as the name of a column is (``cells.py``); what lies below a name, an
address, a birth or a date is of its kind too, however deep.
"""

import re
from collections.abc import Iterator
from typing import Final

from osler.io.deidentification import columns
from osler.io.deidentification.cells import CLEANED, Cells, Row, is_gone, kind_of_name
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_MORE: Final = (
    ("contact", re.compile(r"^(telecom|addr|photo|contact)s?$", re.I)),
    ("name", re.compile(r"^(given|family|prefix|suffix|surname|forename)s?$", re.I)),
    ("number", re.compile(r"^identifiers?$", re.I)),
    ("file", re.compile(r"(^|\W)(url|uri|href|src)s?$", re.I)),
)
_ALL_BELOW: Final = frozenset(("name", "contact", "birth"))
"""Kinds that hold for everything below, whatever it is called: a birth has a year."""

_BELOW: Final = frozenset(("date", "file", "place"))
"""Kinds that hold for what is below and says nothing else of itself."""

_OF_A_PERSON: Final = re.compile(r"(first|last|middle|second|display|nick|label|text)s?\Z", re.I)
_OF_A_MOMENT: Final = re.compile(
    r"(year|month|day|hour|minute|second|[ymd])s?\Z|[年月日时分秒]\Z", re.I
)

LONGEST: Final = 100
"""Characters without a space that a text may have; more is content of another kind, unsearched."""

_OPAQUE: Final = re.compile(rf"(?<!\S)\S{{{LONGEST},}}")
REMOVED: Final = "[REMOVED]"


def kind_of_key(key: str, above: str = "") -> str:
    """What stands under a key, in a tree whose nearest name above is of the kind ``above``."""
    if above in _ALL_BELOW:
        return above
    if above == "patient" and _OF_A_PERSON.match(key):
        return "name"
    if above == "date" and _OF_A_MOMENT.match(key):
        return "moment"
    words = _HUMP.sub(" ", key)
    own = next((kind for kind, pattern in _MORE if pattern.search(words)), "")
    if not own and columns.PEOPLE.search(key):
        return "person"
    own = own or kind_of_name(words) or (above if above in _BELOW else "")
    return own or ("remark" if columns.REMARK.search(words) else "")


class Leaves:
    """Cleans the values of a tree, and remembers what it met.

    Args:
        cells: cleans a value.
    """

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.changed: list[tuple[str, str]] = []  # kind, and the value before

    def clean(self, text: str, kind: str, row: Row) -> str:
        """A value without people."""
        free = kind in ("", "remark")
        if free and columns.is_somebody(text.strip()) and " " in text.strip():
            kind = "person"
        new = self.cells.cell(text, kind, row)
        if free:
            new = _OPAQUE.sub(REMOVED, new)
        if new != text:
            self.changed.append((kind, text))
        return new

    def key(self, key: str) -> str:
        """A key without people: some files have persons or numbers for keys."""
        new = self.cells.scrubber.clean(key)
        if new != key:
            self.changed.append(("key", key))
        return new

    def unclean(self, options: Options) -> Iterator[str]:
        """Kinds of what was met that no cleaned file would have."""
        for kind, text in self.changed:
            if kind in ("date", "place") and not is_gone(kind, options):
                continue
            if kind not in CLEANED or not CLEANED[kind].fullmatch(text):
                yield (
                    f"something of somebody under a name of {kind}"
                    if kind
                    else ("something of somebody in its text")
                )


def learn(known: Known, kind: str, text: str) -> None:
    """Add whom a value names, for the texts around it."""
    if kind == "name" or (kind == "patient" and not any(c.isdigit() for c in text)):
        known.add_name(text)
    elif kind == "patient":
        known.add_id(text)
