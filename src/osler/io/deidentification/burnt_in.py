"""Text burnt into pixels: found by device rules and by reading the picture, blacked out everywhere.

What is found in one frame is blacked out in all of them. ``film_text.py`` says how every frame of a
film is searched.
"""

from collections.abc import Iterable, Iterator, Sequence
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
from osler.terminal import counted

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
            boxes += text_in(frames, markers=options.markers, boxes=boxes)
            dataset.BurnedInAnnotation = "NO"
        mask = cleaned.hidden_bits and frames.native and frames.stored < frames.bits
        if boxes or mask:
            new = (_spoilt(frames, i, boxes, mask=mask) for i in range(len(frames)))
            cleaned.notes += frames.write(new)
    if boxes:
        cleaned.counts["burnt-in text", "blacked out"] += len(boxes)
        cleaned.notes.append(f"{counted(len(boxes), 'rectangle')} blacked out in every frame")
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


def text_in(frames: Frames, *, markers: bool, boxes: Iterable[Box] = ()) -> list[Box]:
    """Rectangles around text in any frame, each once.

    Args:
        frames: every one of them is searched.
        markers: leave side and view markers out.
        boxes: rectangles that go anyway, in every frame.
    """
    from osler.io.deidentification import film_text

    return film_text.search(_pictures(frames), markers=markers, boxes=boxes).boxes


def _pictures(frames: Frames) -> Iterator[tuple[NDArray[np.uint8], bool]]:
    """Each frame in 8 bits, and whether its grey values are in another scale than those before."""
    scale: tuple[float, float] | None = None
    for index in range(len(frames)):
        frame = _visible(frames[index], frames)
        if frame.dtype == np.uint8:
            yield frame, False
            continue
        values = np.nan_to_num(frame.astype(np.float32))
        own = _range(values)
        anew = scale is None or _differ(scale, own)
        if scale is None or anew:
            scale = own
        low, high = scale
        scaled = np.clip((values - low) / (high - low), 0, 1)
        yield np.asarray(np.round(scaled * 255), np.uint8), anew


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.9)))
    if high - low < 1e-6:
        low, high = float(values.min()), float(max(values.max(), values.min() + 1))
    return low, high


def _differ(scale: tuple[float, float], own: tuple[float, float]) -> bool:
    """Whether grey values would be another tenth darker or brighter in the other scale."""
    most = 0.1 * (scale[1] - scale[0])
    return max(abs(a - b) for a, b in zip(scale, own, strict=True)) > most


def _visible(frame: Frame, frames: Frames) -> Frame:
    """A frame as a person sees it: grey, or red, green and blue in 8 bits."""
    if frames.photometric == "PALETTE COLOR" and "RedPaletteColorLookupTableData" in frames.dataset:
        from pydicom.pixels.processing import apply_color_lut

        frame = apply_color_lut(frame, frames.dataset)[..., :3]
    elif frame.ndim == 2 or frame.shape[2] < 3:
        return frame if frame.ndim == 2 else frame[..., 0]
    elif frames.photometric.startswith("YBR") and frames.syntax_keeps_ybr:
        from pydicom.pixels.processing import convert_color_space

        frame = convert_color_space(frame, "YBR_FULL", "RGB")
    if frame.dtype.itemsize > 1:
        frame = frame >> max(int(frame.max()).bit_length() - 8, 0)
    return np.ascontiguousarray(frame[..., :3], np.uint8)


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
