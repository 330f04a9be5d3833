"""Text burnt into pixels: found by device rules and by reading the picture, blacked out everywhere.

What is found in one frame is blacked out in all of them. Films are not read frame by frame: text
that stays shows in the darkest and the brightest value of each pixel over time, and text that comes
and goes in the largest departure from its mean.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from osler.errors import UnsupportedError
from osler.io.deidentification.device_rules import Box
from osler.io.deidentification.dicom_file import PIXELS, Cleaned
from osler.io.deidentification.frames import Frame, Frames
from osler.io.deidentification.options import Options
from osler.io.input_file import InputFile, decoding

_EACH: Final = 8  # so many frames are read one by one
_SAMPLED: Final = 5  # of more frames than that, so many are
_SEGMENTATIONS: Final = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_SLICES: Final = frozenset(("CT", "MR", "PT"))


def clean(cleaned: Cleaned, file: InputFile, options: Options) -> None:
    """Black out text in the pixels of a data set whose header is clean already.

    Raises:
        UnsupportedError: its pixels cannot be decoded, and so not be searched.
        UnreadableError: they are damaged.
        MissingExtraError: what reads text is not installed.
    """
    dataset = cleaned.dataset
    if not has_picture(dataset):
        return
    look = options.pixels == "all" or (options.pixels == "likely" and likely(dataset))
    if not (look or cleaned.boxes or cleaned.hidden_bits):
        return
    with decoding(file, "DICOM pixels"):
        try:
            frames = Frames(dataset, str(dataset.file_meta.TransferSyntaxUID))
        except UnsupportedError as error:
            raise UnsupportedError(f"'{file.name}': {error}") from None
        boxes = list(cleaned.boxes)
        if look:
            boxes += text_in(frames, markers=options.markers)
            dataset.BurnedInAnnotation = "NO"
        mask = cleaned.hidden_bits and frames.native and frames.stored < frames.bits
        if boxes or mask:
            new = (_spoilt(frames, i, boxes, mask=mask) for i in range(len(frames)))
            cleaned.notes += frames.write(new)
    if boxes:
        cleaned.counts["burnt-in text", "blacked out"] += len(boxes)
        cleaned.notes.append(f"{len(boxes)} rectangles were blacked out in every frame")
    if mask:
        cleaned.counts["overlay in unused bits of the pixels", "removed"] += 1


def has_picture(dataset: Dataset) -> bool:
    """Whether a data set has pixels that could show text; masks have none."""
    if str(dataset.get("SOPClassUID", "")) in _SEGMENTATIONS:
        return False
    return any(k in dataset for k in PIXELS) and dataset.get("BitsAllocated") != 1


def likely(dataset: Dataset) -> bool:
    """Whether text is likely: in all but the original slices of scanners."""
    image_type = [str(v) for v in dataset.get("ImageType") or ()]
    original = image_type[:2] == ["ORIGINAL", "PRIMARY"] and dataset.get("Modality") in _SLICES
    return not original or str(dataset.get("BurnedInAnnotation", "")) == "YES"


def text_in(frames: Frames, *, markers: bool) -> list[Box]:
    """Rectangles around text in any frame, each once."""
    from osler.io.deidentification import text_boxes

    found: list[Box] = []
    for picture in _pictures(frames):
        found += [b for b in text_boxes.find(picture, markers=markers) if b not in found]
    return found


def _pictures(frames: Frames) -> Iterator[NDArray[np.uint8]]:
    """Grey pictures that together show all text of all frames."""
    count = len(frames)
    chosen = range(count) if count <= _EACH else _spread(count)
    for index in chosen:
        yield _as_bytes(_grey(frames[index], frames))
    if count > _EACH:
        yield from _over_time(frames)


def _spread(count: int) -> list[int]:
    return sorted({round(i * (count - 1) / (_SAMPLED - 1)) for i in range(_SAMPLED)})


def _over_time(frames: Frames) -> Iterator[NDArray[np.uint8]]:
    first = _grey(frames[0], frames).astype(np.float32)
    low, high, total = first.copy(), first.copy(), np.zeros(first.shape, np.float64)
    for index in range(len(frames)):
        grey = _grey(frames[index], frames)
        np.minimum(low, grey, out=low)
        np.maximum(high, grey, out=high)
        total += grey
    mean = (total / len(frames)).astype(np.float32)
    departure = np.zeros_like(mean)
    for index in range(len(frames)):
        np.maximum(departure, np.abs(_grey(frames[index], frames) - mean), out=departure)
    for picture in (low, high, departure):
        if picture.max() > picture.min():
            yield _as_bytes(picture)


def _grey(frame: Frame, frames: Frames) -> Frame:
    """One channel: brightness of a colour frame."""
    if frame.ndim == 2:
        return frame
    if frames.photometric.startswith("YBR") and frames.syntax_keeps_ybr:
        return frame[..., 0]
    return np.asarray(frame.mean(axis=2))


def _as_bytes(grey: Frame) -> NDArray[np.uint8]:
    if grey.dtype == np.uint8:
        return np.ascontiguousarray(grey)
    values = np.nan_to_num(grey.astype(np.float32))
    low, high = np.percentile(values, (0.5, 99.9))
    if high - low < 1e-6:
        low, high = values.min(), max(values.max(), values.min() + 1)
    scaled = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(np.round(scaled * 255), np.uint8)


def _spoilt(frames: Frames, index: int, boxes: Sequence[Box], *, mask: bool) -> Frame:
    frame = np.array(frames[index])
    black = _black(frame, frames)
    if mask:
        frame = _without_hidden_bits(frame, frames)
    for box in boxes:
        frame[box.top : box.bottom, box.left : box.right] = black
    return frame


def _black(frame: Frame, frames: Frames) -> Any:
    if frame.ndim == 3:
        keeps = frames.photometric.startswith("YBR") and frames.syntax_keeps_ybr
        return np.array([0, 128, 128] if keeps else [0, 0, 0], frame.dtype)
    return frame.max() if frames.photometric == "MONOCHROME1" else frame.min()


def _without_hidden_bits(frame: Frame, frames: Frames) -> Frame:
    """The frame with nothing in the bits that no value uses, where old overlays lie."""
    spare = frames.bits - frames.stored
    unsigned = frame.astype(frame.dtype.newbyteorder("=")) << spare
    return np.asarray(unsigned >> spare, frame.dtype)
