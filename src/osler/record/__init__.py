"""The nouns: a case, its items, and the findings about it."""

from osler.record.case import Case, Event
from osler.record.code import Code
from osler.record.finding import (
    Box,
    DerivedImage,
    Finding,
    Heatmap,
    Label,
    Mask,
    Measurement,
    Passage,
    Point,
    Risk,
    Source,
    Status,
    Transform,
    describe,
)
from osler.record.item import (
    Deferred,
    Image,
    Item,
    Laterality,
    Origin,
    Signal,
    Table,
    Text,
)

__all__ = (
    "Box",
    "Case",
    "Code",
    "Deferred",
    "DerivedImage",
    "Event",
    "Finding",
    "Heatmap",
    "Image",
    "Item",
    "Label",
    "Laterality",
    "Mask",
    "Measurement",
    "Origin",
    "Passage",
    "Point",
    "Risk",
    "Signal",
    "Source",
    "Status",
    "Table",
    "Text",
    "Transform",
    "describe",
)
