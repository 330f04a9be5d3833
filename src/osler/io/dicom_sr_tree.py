"""The content tree of a DICOM Structured Report as plain nodes [1].

1. DICOM PS3.3, C.17.3 (SR Document Content Module).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osler.io import dicom_header as header
from osler.io.dicom_codes import code, code_of
from osler.record import Code

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MOST_NODES = 100_000
"""A report of more content items than this is cut off, with a flag."""

_TEXTS = {
    "TEXT": "TextValue",
    "DATE": "Date",
    "TIME": "Time",
    "DATETIME": "DateTime",
    "UIDREF": "UID",
    "PNAME": "PersonName",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One content item.

    Attributes:
        kind: its value type, such as ``"NUM"``.
        name: its concept name; None where it has none.
        dataset: the item itself, for what is not taken out here.
        children: the items under it.
    """

    kind: str
    name: Code | None
    dataset: "Dataset"
    children: tuple["Node", ...]

    @property
    def concept(self) -> str:
        """The concept name's code value; empty where it has none."""
        return self.name.value if self.name else ""

    @property
    def text(self) -> str:
        """The value in words; empty for a kind without words."""
        if self.kind in _TEXTS:
            return str(self.dataset.get(_TEXTS[self.kind], "") or "").strip()
        if self.kind == "CODE":
            said = self.code
            return (said.meaning or said.value) if said else ""
        if self.kind == "NUM":
            value, unit = self.number
            shown = unit.meaning if unit and unit.value != "1" else ""
            return "" if value is None else f"{value:.7g} {shown}".strip()
        return ""

    @property
    def code(self) -> Code | None:
        """The value of a CODE item."""
        return code_of(self.dataset, "ConceptCodeSequence")

    @property
    def number(self) -> tuple[float | None, Code | None]:
        """The value and the unit of a NUM item; no value where it has none or it is not finite."""
        measured = self.dataset.get("MeasuredValueSequence")
        if not measured:
            return None, None
        exact = header.decimal(measured[0], "FloatingPointValue")
        value = exact if exact is not None else _decimal(measured[0])
        return value, code_of(measured[0], "MeasurementUnitsCodeSequence")

    def all(self, concept: str) -> Iterator["Node"]:
        """The children of this concept."""
        return (child for child in self.children if child.concept == concept)

    def one(self, concept: str) -> "Node | None":
        """The first child of this concept."""
        return next(self.all(concept), None)

    def walk(self) -> Iterator[tuple[int, "Node"]]:
        """Every item under this one with its depth, in the order of the document."""
        stack = [(0, child) for child in reversed(self.children)]
        while stack:
            depth, node = stack.pop()
            yield depth, node
            stack += [(depth + 1, child) for child in reversed(node.children)]


def _decimal(measured: "Dataset") -> float | None:
    try:
        value = float(str(measured.get("NumericValue")))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def tree(dataset: "Dataset") -> Node:
    """The document as a node. Recursion ends with Python's own limit."""
    return _node(dataset, [MOST_NODES])


def _node(item: "Dataset", left: list[int]) -> Node:
    left[0] -= 1
    inner: Sequence[Dataset] = item.get("ContentSequence") or ()
    children = tuple(_node(child, left) for child in inner if left[0] > 0)
    named = item.get("ConceptNameCodeSequence")
    return Node(header.text(item, "ValueType"), code(named[0]) if named else None, item, children)
