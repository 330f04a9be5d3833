"""Codes as DICOM has them: code sequences to ``Code``, and sides to laterality."""

import re
from typing import TYPE_CHECKING

from osler.io import dicom_header as header
from osler.record import Code, Laterality, Source, vocab

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_RIGHT = {("24028007", "SCT"), ("G-A100", "SRT"), ("R", "99OSLER"), ("18944008", "SCT")}
_LEFT = {("7771000", "SCT"), ("G-A101", "SRT"), ("L", "99OSLER"), ("8966001", "SCT")}


def code_of(dataset: "Dataset", keyword: str) -> Code | None:
    """The first code of a code sequence, or None where there is none that is whole."""
    items = dataset.get(keyword)
    return code(items[0]) if items else None


def code(item: "Dataset") -> Code | None:
    """A code sequence item, or None where it has no value."""
    value = (
        header.text(item, "CodeValue")
        or header.text(item, "LongCodeValue")
        or header.text(item, "URNCodeValue")
    )
    meaning = header.text(item, "CodeMeaning")
    if not value:
        return None
    return Code(value, header.text(item, "CodingSchemeDesignator"), meaning)


def side_of(dataset: "Dataset | None", keyword: str) -> Laterality | None:
    """The side that a sequence of modifiers names, or None."""
    items = dataset.get(keyword) or () if dataset is not None else ()
    sides = {side(found) for item in items if (found := code(item))}
    sides.discard(None)
    return sides.pop() if len(sides) == 1 else None


def side(code: Code) -> Laterality | None:
    """Right or left, where the code is one of them."""
    key = (code.value, code.scheme)
    return "R" if key in _RIGHT else "L" if key in _LEFT else None


def slug(text: str) -> str:
    """Words as an id: letters, digits, dots and dashes."""
    return re.sub(r"[^\w.]+", "-", text.strip().lower()).strip("-") or "unnamed"


_LEARNT = "123110"  # DCM, Artificial Intelligence


def algorithm_of(item: "Dataset", name: str = "") -> Source:
    """Who an Algorithm Identification (PS3.3 10.16) names; only our own networks are bundles.

    Args:
        item: of the sequence.
        name: where the item names none.
    """
    family = code_of(item, "AlgorithmFamilyCodeSequence")
    ours = header.text(item, "AlgorithmSource") == "Osler"
    learnt = ours and family is not None and family.value == _LEARNT
    stated = header.text(item, "AlgorithmName") or name
    return Source(
        "bundle" if learnt else "algorithm", stated, header.text(item, "AlgorithmVersion")
    )


_UNITS = {code.value: unit for unit, code in vocab.UNITS.items()}


def unit_of(code: Code | None) -> str:
    """The unit of a measurement by its UCUM code; annotations of ours become what they were."""
    if code is None:
        return "1"
    if code.scheme != "UCUM":
        return code.value
    return _UNITS.get(code.value, code.value)
