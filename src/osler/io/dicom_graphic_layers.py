"""Layers of a presentation state: one for each who drew, so that a program stays known [1].

1. DICOM PS3.3, C.10.7 (Graphic Layer).
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from osler.io import dicom_header as header
from osler.record import Finding, Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LAYER: Final = "OSLER"
_LONGEST_DESCRIPTION: Final = 64  # characters of a long string (LO)

SOMEBODY: Final = Source("person", "author of the annotation")
_BY: Final = re.compile(r"(bundle|algorithm) (\S.*?)(?: (\S*\d\S*))?")


def layers_of(findings: Sequence[Finding]) -> dict[str, str]:
    """What each source is called in a layer's description, to the layer's name.

    A program is named with its version; of a person, no more than that it was one.
    """
    said = dict.fromkeys(said_by(finding) for finding in findings)
    return {by: _LAYER if n == 1 else f"{_LAYER}{n}" for n, by in enumerate(said, 1)}


def said_by(finding: Finding) -> str:
    """Who said something, as a layer's description has it."""
    source = finding.source
    if source.kind == "person":
        return "person"
    return f"{source.kind} {source.name} {source.version}".strip()[:_LONGEST_DESCRIPTION]


def layer(order: int, by: str) -> "Dataset":
    """The item that describes a layer, of the order 1 and more."""
    from pydicom.dataset import Dataset

    out = Dataset()
    out.GraphicLayer = _LAYER if order == 1 else f"{_LAYER}{order}"
    out.GraphicLayerOrder, out.GraphicLayerDescription = order, by
    return out


def sources_of(dataset: "Dataset") -> dict[str, Source]:
    """Who drew on a layer, for the layers that ``dicom_presentation_out`` describes so."""
    out: dict[str, Source] = {}
    for layer in dataset.get("GraphicLayerSequence") or ():
        name = header.text(layer, "GraphicLayer")
        said = _BY.fullmatch(header.text(layer, "GraphicLayerDescription"))
        if said is not None and name.startswith(_LAYER):
            kind: Literal["bundle", "algorithm"] = "bundle" if said[1] == "bundle" else "algorithm"
            out[name] = Source(kind, said[2], said[3] or "")
    return out
