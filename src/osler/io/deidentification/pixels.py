"""Pixel Data without what hides beside the pixels: words in compressed frames, bytes after them."""

from collections import Counter
from typing import Final

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from osler.errors import UnsupportedError
from osler.io.deidentification import codestreams
from osler.io.deidentification.frames import NATIVE

_PIXEL_DATA: Final = Tag(0x7FE00010)
_OFFSETS: Final = (Tag(0x7FE00001), Tag(0x7FE00002))


def tidy(dataset: Dataset, syntax: str, counts: Counter[tuple[str, str]]) -> None:
    """Remove what is in Pixel Data and is no pixel; a value that has nothing such is not touched.

    Args:
        dataset: is changed in place.
        syntax: the transfer syntax of its pixels.
        counts: what was done, how often.

    Raises:
        UnsupportedError: its pixels are no row of frames.
    """
    native = syntax in NATIVE
    if native or not _fit(dataset):
        for tag in _OFFSETS:
            if tag in dataset:
                del dataset[tag]
    if _PIXEL_DATA not in dataset:
        return
    if native:
        _cut(dataset, counts)
        return
    element = dataset[_PIXEL_DATA]
    frames = max(int(dataset.get("NumberOfFrames") or 1), 1)
    try:
        new = codestreams.without_words(element.value, frames)
    except ValueError as error:
        raise UnsupportedError(str(error)) from None
    if new != element.value:
        element.value = new
        counts["words in compressed frames", "removed"] += 1


def _fit(dataset: Dataset) -> bool:
    """Whether offsets and lengths are those of frames: they rise, by the length and no gap."""
    both = []
    for tag in _OFFSETS:
        value = dataset[tag].value if tag in dataset else b""
        if not (isinstance(value, bytes) and value and len(value) % 8 == 0):
            return False
        both.append([int.from_bytes(value[i : i + 8], "little") for i in range(0, len(value), 8)])
    starts, lengths = both
    frames = max(int(dataset.get("NumberOfFrames") or 1), 1)
    if len(starts) != frames or len(lengths) != frames or starts[0] != 0:
        return False
    ends = [a + n + n % 2 + 8 for a, n in zip(starts, lengths, strict=True)]
    return all(a == b for a, b in zip(ends, starts[1:], strict=False))


def _cut(dataset: Dataset, counts: Counter[tuple[str, str]]) -> None:
    """Cut off what follows the last pixel, but for the byte that makes the length even."""
    numbers = [dataset.get(k) for k in ("Rows", "Columns", "BitsAllocated")]
    if not all(numbers) or "422" in str(dataset.get("PhotometricInterpretation", "")):
        return
    rows, columns, bits = (int(n) for n in numbers if n)
    pixels = rows * columns * int(dataset.get("SamplesPerPixel") or 1)
    pixels *= max(int(dataset.get("NumberOfFrames") or 1), 1)
    length = (pixels * bits + 7) // 8
    length += length % 2
    raw = dataset.get_item(_PIXEL_DATA)
    held = getattr(raw, "length", None) if raw is not None else None
    if held is not None and held <= length:
        return
    element = dataset[_PIXEL_DATA]
    if len(element.value) > length:
        element.value = bytes(element.value[:length])
        counts["bytes after the last pixel", "removed"] += 1
