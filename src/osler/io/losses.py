"""What a file format has no place for, said before it is lost."""

from typing import Any, Final

import numpy as np

from osler.io.converting import Writer
from osler.record import Image, Item, Signal, Table, Text

ASPECTS: Final = {
    "place": "the place in the patient",
    "spacing": "the spacing",
    "times": "the points in time",
    "laterality": "the eye or side",
    "acquired": "when it was made",
    "units": "the unit of the values",
    "window": "the display window",
    "modality": "the modality",
}
"""Name of what may be kept to its words."""

_UNKNOWN_MODALITY: Final = "OT"


def lost_of_image(image: Image, writer: Writer) -> list[str]:
    """What an image has that a writer's format does not keep, in words."""
    lost = [
        words
        for aspect, words in ASPECTS.items()
        if aspect not in writer.keeps and _has(image, aspect)
    ]
    if image.origin is not None and image.origin.dicom and writer.format != "dicom":
        lost.append("the DICOM header (patient, study, device)")
    elif image.header and not ("header" in writer.keeps and writer.format in image.header):
        lost.append("the other fields of the header")
    return lost


def _has(image: Image, aspect: str) -> bool:
    if aspect == "place":
        return image.affine is not None
    if aspect == "modality":
        return image.modality != _UNKNOWN_MODALITY
    return getattr(image, aspect) not in (None, "", ())


def lost_of_record(item: Signal | Table | Text, format: str) -> list[str]:
    """What a signal, table or text has that a format does not keep, in words."""
    lost = []
    source = item.origin.format if item.origin else format
    if format == "dicom" and isinstance(item, Signal):
        return []  # the file itself is copied
    if item.acquired is not None and format != "wfdb":
        lost.append("when it was made")
    if isinstance(item, Text):
        if item.sections and source != format:
            lost.append("marks of sections, but for headings in the text")
    elif item.header and source != format:
        lost.append("the other fields of the header")
    return lost


def displayed(image: Image) -> tuple[Image, str]:
    """An image as it is shown: 8 bits of grey through its window; and that in words."""
    from dataclasses import replace

    array: np.ndarray[Any, Any] = np.asarray(image.array, np.float64)
    if image.window is not None:
        centre, width = image.window
        low, high = centre - width / 2, centre + width / 2
    else:
        finite = array[np.isfinite(array)]
        low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(array, nan=low) - low) / max(high - low, 1e-12)
    grey = np.round(np.clip(scaled, 0.0, 1.0) * 255).astype(np.uint8)
    shown = replace(image, array=grey, units="", window=None, header={})
    return shown, f"the values: {low:g} to {high:g} became 0 to 255"


def kind_of(item: Item) -> str:
    """What an item is called: image, signal, table or text."""
    return type(item).__name__.lower()
