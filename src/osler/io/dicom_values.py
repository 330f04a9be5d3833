"""From stored values to physical ones: rescale, modality LUT, units, and the window for display.

Source: DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.6.16.2.9 (per frame).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import UnreadableError
from osler.io import dicom_header as header
from osler.io.dicom_layout import EXPLICIT_BIG, Layout

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

UNITS = {
    "HU": "[hnsf'U]",
    "BQML": "Bq/mL",
    "GML": "g/mL",
    "CM2ML": "cm2/mL",
    "CNTS": "{counts}",
    "CPS": "{counts}/s",
    "MLMINML": "mL/min/mL",
    "MLMING": "mL/min/g",
    "PCNT": "%",
    "GY": "Gy",
}
"""Terms of RescaleType, Units (PET) and DoseUnits to UCUM."""

_FLOAT32_HOLDS = 24


@dataclass(frozen=True, slots=True)
class Rescale:
    """How stored values become physical ones.

    Attributes:
        slope: factor.
        intercept: added after it.
        units: UCUM unit of the result; empty where it is unknown.
        table: the modality LUT instead of slope and intercept, ``(first value, entries)``.
    """

    slope: float = 1.0
    intercept: float = 0.0
    units: str = ""
    table: "Table | None" = None

    @property
    def neutral(self) -> bool:
        """Whether it changes nothing."""
        return self.table is None and self.slope == 1.0 and self.intercept == 0.0


@dataclass(frozen=True, slots=True)
class Table:
    """A modality LUT.

    Attributes:
        first: the stored value of the first entry; lower ones take it too.
        entries: packed, little-endian.
        bits: of an entry, 8 or 16.
    """

    first: int
    entries: bytes
    bits: int

    def values(self) -> NDArray[Any]:
        """The entries as an array."""
        return np.frombuffer(self.entries, np.uint8 if self.bits == 8 else np.uint16)


def rescale_of(
    name: str, dataset: "Dataset", layout: Layout, *, item: "Dataset | None" = None
) -> Rescale:
    """The rescale that a header, or one frame's functional group, states.

    Args:
        name: the file, for messages.
        dataset: the header.
        layout: how the samples are stored.
        item: the frame's item of PixelValueTransformationSequence, where there is one.

    Raises:
        UnreadableError: a slope of 0, a slope, intercept or dose grid scaling that is no number,
            or a modality LUT without entries.
    """
    if not layout.grey:
        return Rescale()
    stated = dataset if item is None else item
    tables = stated.get("ModalityLUTSequence")
    if tables:
        return Rescale(table=_table(name, tables[0], layout), units=_units(dataset, tables[0]))
    slope = _number(name, stated, "RescaleSlope")
    intercept = _number(name, stated, "RescaleIntercept")
    if slope is None:
        slope = _number(name, dataset, "DoseGridScaling")
    if slope == 0.0:
        raise UnreadableError(_unusable(name, "RescaleSlope"))
    return Rescale(
        1.0 if slope is None else slope,
        0.0 if intercept is None else intercept,
        _units(dataset, stated),
    )


def _number(name: str, dataset: "Dataset", keyword: str) -> float | None:
    """A number, or None where nothing is stated: text that is no number must not pass for that."""
    value = header.decimal(dataset, keyword)
    if value is None and header.text(dataset, keyword):
        raise UnreadableError(_unusable(name, keyword))
    return value


def _unusable(name: str, keyword: str) -> str:
    return f"'{name}' has an unusable {keyword}, so its values are lost; export it again"


def _units(dataset: "Dataset", item: "Dataset") -> str:
    stated = header.text(item, "RescaleType") or header.text(item, "ModalityLUTType")
    if stated and stated != "US":
        return UNITS.get(stated.upper(), "")
    if "DoseGridScaling" in dataset:
        return UNITS.get(header.text(dataset, "DoseUnits").upper(), "")
    if header.text(dataset, "Modality") == "PT":
        return UNITS.get(header.text(dataset, "Units").upper(), "")
    kinds = dataset.get("ImageType") or ()
    localizer = "LOCALIZER" in ([kinds] if isinstance(kinds, str) else list(kinds))
    # CT images need no RescaleType: they are in Hounsfield units (PS3.3 C.8.2.1.1.2)
    plain_ct = header.text(dataset, "Modality") == "CT" and "RescaleIntercept" in item
    return UNITS["HU"] if plain_ct and not stated and not localizer else ""


def _table(name: str, item: "Dataset", layout: Layout) -> Table:
    try:
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        raw = item.get("LUTData")
        if isinstance(raw, bytes):
            word = ">u2" if layout.syntax == EXPLICIT_BIG else "<u2"
            values = np.frombuffer(raw[: len(raw) // 2 * 2], word).astype(np.uint16)
        else:
            values = np.asarray(raw, np.int64).astype(np.uint16).ravel()
    except (TypeError, ValueError, AttributeError, OverflowError):
        values, count, first, bits = np.zeros(0, np.uint16), 1, 0, 16
    count = count % 65536 or 65536
    if layout.signed and first > 32767:
        first -= 65536
    if bits <= 8 and values.size * 2 == count + count % 2 and values.size < count:
        values = np.frombuffer(values.tobytes(), np.uint8)
    if values.size < count:
        raise UnreadableError(
            f"'{name}' has a ModalityLUTSequence without its {count} entries; export it again"
        )
    kind = np.uint8 if bits <= 8 else np.uint16
    return Table(first, values[:count].astype(kind).tobytes(), 8 if bits <= 8 else 16)


def result_type(layout: Layout, rescales: tuple[Rescale, ...]) -> np.dtype[Any]:
    """The smallest type that holds every value exactly, or floating point for a broken slope."""
    if not layout.grey:
        return np.dtype(np.uint8)
    if layout.real or all(rescale.neutral for rescale in rescales):
        return layout.dtype
    if any(rescale.table for rescale in rescales):
        # plain where both occur: a table is never wider than 16 bits
        mixed = not all(rescale.table for rescale in rescales)
        deep = mixed or any(rescale.table and rescale.table.bits > 8 for rescale in rescales)
        return np.dtype(np.float32) if mixed else np.dtype(np.uint16 if deep else np.uint8)
    numbers = [(r.slope, r.intercept) for r in rescales]
    if all(float(n).is_integer() and abs(n) < 2**31 for pair in numbers for n in pair):
        ends = [s * limit + i for s, i in numbers for limit in layout.limits]
        for kind in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32):
            if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
                # unsigned only where the stored values were: a signed grid stays signed
                if layout.signed and np.dtype(kind).kind == "u":
                    continue
                return np.dtype(kind)
    exact = layout.stored <= _FLOAT32_HOLDS
    return np.dtype(np.float32 if exact else np.float64)


def apply(stored: NDArray[Any], rescale: Rescale, out: NDArray[Any]) -> None:
    """Write physical values of ``stored`` into ``out`` of the same shape."""
    if rescale.neutral:
        np.copyto(out, stored, casting="unsafe")
    elif rescale.table is not None:
        entries = rescale.table.values()
        indices = stored.astype(np.int64) - rescale.table.first
        np.copyto(out, entries[np.clip(indices, 0, len(entries) - 1)], casting="unsafe")
    elif out.dtype.kind in "iu":
        slope, intercept = int(rescale.slope), int(rescale.intercept)
        # the result fits, so steps between may wrap round
        np.copyto(out, stored, casting="unsafe")
        with np.errstate(over="ignore"):
            if slope != 1:
                np.multiply(out, _wrapped(slope, out.dtype), out=out)
            if intercept:
                np.add(out, _wrapped(intercept, out.dtype), out=out)
    else:
        scaled: NDArray[np.float64] = stored.astype(np.float64)
        scaled *= rescale.slope
        scaled += rescale.intercept
        out[...] = scaled


def _wrapped(number: int, kind: np.dtype[Any]) -> NDArray[Any]:
    size = 8 * kind.itemsize
    as_unsigned = np.array(number % (1 << size), np.dtype(f"u{kind.itemsize}"))
    return as_unsigned.view(kind)


def window_of(dataset: "Dataset") -> tuple[float, float] | None:
    """The first ``(centre, width)`` that the header proposes, or None."""
    try:
        centre, width = (
            float(value[0]) if _several(value) else float(value)
            for value in (dataset.get("WindowCenter"), dataset.get("WindowWidth"))
        )
    except (TypeError, ValueError, IndexError):
        return None
    finite = math.isfinite(centre) and math.isfinite(width) and width > 0
    return (centre, width) if finite else None


def _several(value: object) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)
