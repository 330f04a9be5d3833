"""DICOM Segmentations read back: binary, fractional and label map, one mask a segment [1].

The masks stay in the file until they are asked for. Where the case holds the image that was
segmented, they come in its native grid; else in the grid of the segmentation itself, which then
is an image of the case: its voxels are segment numbers.

1. DICOM PS3.3, A.51, A.94 and C.8.20.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import TooLargeError, UnreadableError, UnsupportedError
from osler.io import dicom_header as header
from osler.io.dicom_codes import algorithm_of, code_of, side_of, slug
from osler.io.dicom_layout import IMPLICIT_LITTLE, UNCOMPRESSED
from osler.io.dicom_placing import placement
from osler.io.dicom_seg_frames import Grid, SegFrames, Stored, grid, parts
from osler.io.hushing import hushed
from osler.io.input_file import InputFile, decoding, unopenable
from osler.record import Deferred, Image, Mask, Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
ITEM = "segmentation"

Run = tuple[int, int, int]
"""Frames that lie one behind the other in file and grid: first frame, first plane, how many."""


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Where the pixels lie and how they are stored."""

    path: Path
    size: int
    stored: Stored
    shape: tuple[int, int]
    bits: int
    native: bool
    name: str

    def frames(self, first: int, count: int) -> NDArray[Any]:
        """``(count, H, W)`` of frames that lie one behind the other."""
        try:
            if os.stat(self.path).st_size != self.size:
                raise UnreadableError(
                    f"'{self.name}' has changed since it was opened; load it again"
                )
            return self._native(first, count) if self.native else self._decoded(first, count)
        except OSError as error:
            raise unopenable(self.name, error) from None

    def _native(self, first: int, count: int) -> NDArray[Any]:
        pixels = self.shape[0] * self.shape[1]
        start, end = first * pixels * self.bits, (first + count) * pixels * self.bits
        content = np.frombuffer(self._bytes(start // 8, (end + 7) // 8), np.uint8)
        if self.bits == 1:
            bits = np.unpackbits(content, bitorder="little")[start % 8 :][: end - start]
            return bits.reshape(count, *self.shape).view(np.bool_)
        wide = "<u2" if self.stored.little else ">u2"
        return content.view(wide if self.bits == 16 else np.uint8).reshape(count, *self.shape)

    def _bytes(self, first: int, last: int) -> bytes:
        """Bytes of the pixel data, in the order of a file that is little endian."""
        if self.stored.little or self.bits == 16 or not self.stored.words:
            return self._raw(first, last)
        # words the other way round hold pairs of bytes the other way round (PS3.5 7.3)
        even = first // 2 * 2
        pairs = self._raw(even, (last + 1) // 2 * 2)
        ordered = np.frombuffer(pairs, ">u2").astype("<u2").tobytes()
        return ordered[first - even : last - even]

    def _raw(self, first: int, last: int) -> bytes:
        first, last = first + self.stored.start, last + self.stored.start
        if self.stored.held is not None:
            return self.stored.held[first:last]
        with self.path.open("rb") as stream:
            stream.seek(first)
            return stream.read(last - first)

    def _decoded(self, first: int, count: int) -> NDArray[Any]:
        from pydicom.pixels.utils import iter_pixels

        try:
            with hushed():
                wanted = iter_pixels(self.path, indices=range(first, first + count), raw=True)
                return np.stack([frame.reshape(self.shape) for frame in wanted])
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged bytes
            raise UnreadableError(
                f"'{self.name}' has frames that cannot be decoded ({type(error).__name__}): it is "
                "damaged or in a syntax that is not read; convert it with 'gdcmconv --raw IN OUT'"
            ) from None


def read_seg(
    file: InputFile, format: str, *, max_pixels: int, images: Sequence[Image] = ()
) -> tuple[list[Image], list[Mask], str | None]:
    """Read the segments of a DICOM Segmentation.

    Args:
        file: the opened file.
        format: ``"dicom"``.
        max_pixels: refuse a grid of more voxels than this.
        images: images that the masks may be about.

    Returns:
        The segmentation's own grid as an image, if it is none of ``images``; the masks; and the
        patient's id.

    Raises:
        UnreadableError: damaged, incomplete, or contradicting itself.
        UnsupportedError: it stores its pixels in a way that is not read.
        GeometryError: its frames are no volume.
        TooLargeError: more than ``max_pixels`` voxels.
    """
    with decoding(file, format), parts(file) as (dataset, frames, stored):
        _refuse_tiles(file, dataset)
        pixels = _pixels(file, dataset, stored)
        own = grid(file, dataset, frames)
        voxels = own.shape[0] * own.shape[1] * own.shape[2]
        if voxels > max_pixels:
            raise TooLargeError(
                f"'{file.name}' has {' x '.join(map(str, own.shape))} voxels, more than the limit "
                f"of {max_pixels:,}; raise max_pixels"
            )
        frames_of = _by_segment(frames, labels=_holds_labels(dataset))
        reading = _Reading(file, dataset, own, pixels, frames_of)
        place = placement(dataset, own, images)
        if place is None:
            alone = reading.image(format)
            masks = reading.masks(alone.name, lambda found: found, alone.shape)
            return [alone], masks, header.patient_id(dataset)
        return [], reading.masks(place.item, place, place.shape), header.patient_id(dataset)


def _refuse_tiles(file: InputFile, dataset: "Dataset") -> None:
    whole = [
        header.integer(file, dataset, f"TotalPixelMatrix{side}", default=0)
        for side in ("Rows", "Columns")
    ]
    frame = [header.integer(file, dataset, side, default=0) for side in ("Rows", "Columns")]
    if any(all_of_it > part for all_of_it, part in zip(whole, frame, strict=True)):
        raise UnsupportedError(
            f"'{file.name}' segments a whole slide image, whose frames are tiles of one picture "
            "(TotalPixelMatrixRows); they are not read: export the region that you want"
        )


def _pixels(file: InputFile, dataset: "Dataset", stored: Stored) -> _Pixels:
    shape = (
        header.integer(file, dataset, "Rows", default=None),
        header.integer(file, dataset, "Columns", default=None),
    )
    bits = header.integer(file, dataset, "BitsAllocated", default=None)
    if bits not in (1, 8, 16) or header.integer(file, dataset, "SamplesPerPixel", default=1) != 1:
        raise UnsupportedError(
            f"'{file.name}' stores segments in {bits} bits (BitsAllocated); 1, 8 or 16 are read"
        )
    count = header.integer(file, dataset, "NumberOfFrames", default=1)
    native = str(dataset.file_meta.get("TransferSyntaxUID", IMPLICIT_LITTLE)) in UNCOMPRESSED
    needed = (shape[0] * shape[1] * count * bits + 7) // 8
    if min(*shape, count) < 1 or (native and stored.length < needed):
        raise UnreadableError(
            f"'{file.name}' states {count} frames of {shape[1]} x {shape[0]} pixels but has "
            f"{stored.length:,} of {needed:,} bytes; it is incomplete: copy it again"
        )
    return _Pixels(file.path, file.size, stored, shape, bits, native, file.name)


_NONE = np.zeros(0, np.int64)


def _holds_labels(dataset: "Dataset") -> bool:
    kind = header.text(dataset, "SegmentationType")
    return header.text(dataset, "SOPClassUID") == LABEL_MAP or kind == "LABELMAP"


def _by_segment(frames: SegFrames, *, labels: bool) -> dict[int, NDArray[np.int64]]:
    """The frames of each segment in the order of the file, sorted out once for all of them."""
    numbers = frames.segments * 0 if labels else frames.segments
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    parts = np.split(order, starts[1:])
    return {int(n): part for n, part in zip(found, parts, strict=True)}


@dataclass(frozen=True, slots=True)
class _Reading:
    file: InputFile
    dataset: "Dataset"
    grid: Grid
    pixels: _Pixels
    frames_of: dict[int, NDArray[np.int64]]
    """Segment number to its frames; 0 for those of a label map."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(H, W)`` for one plane, else ``(D, H, W)``."""
        return self.grid.shape if self.grid.shape[0] > 1 else self.grid.shape[1:]

    @property
    def fraction(self) -> int:
        """The stored value that stands for 1; 0 where segments are binary."""
        if header.text(self.dataset, "SegmentationType") != "FRACTIONAL":
            return 0
        most = header.integer(self.file, self.dataset, "MaximumFractionalValue", default=None)
        if not 1 <= most <= 255:
            raise UnreadableError(
                f"'{self.file.name}' has MaximumFractionalValue {most}; expected 1 to 255"
            )
        return most

    @property
    def labels(self) -> bool:
        """Whether the pixels are segment numbers."""
        return _holds_labels(self.dataset)

    def runs(self, number: int) -> tuple[Run, ...]:
        """The frames of a segment, joined where they follow one another.

        Raises:
            UnreadableError: two frames fill one plane.
        """
        frames = self.frames_of.get(0 if self.labels else number, _NONE)
        planes = self.grid.planes[frames]
        if len(np.unique(planes)) != len(planes):
            raise UnreadableError(
                f"'{self.file.name}' has two frames in one plane of segment {number} "
                "(0020,0032); which one counts is not said: export it again"
            )
        cuts = np.flatnonzero((np.diff(frames) != 1) | (np.diff(planes) != 1)) + 1
        firsts = [0, *cuts.tolist()] if len(frames) else []
        stops = [*cuts.tolist(), len(frames)]
        return tuple(
            (int(frames[a]), int(planes[a]), b - a) for a, b in zip(firsts, stops, strict=False)
        )

    def image(self, format: str) -> Image:
        """The grid as an image of segment numbers."""
        numbers = [int(s.SegmentNumber) for s in self.dataset.SegmentSequence]
        dtype = np.dtype(np.uint8 if max(numbers, default=0) < 256 else np.uint16)
        if self.labels and self.pixels.bits == 16:
            dtype = np.dtype(np.uint16)
        runs = {n: self.runs(n) for n in numbers}
        half = self.fraction / 2
        flags = (*self.file.extension_flags("dicom"),)
        if header.text(self.dataset, "SegmentsOverlap") == "YES":
            flags = (*flags, "segments-overlap")

        def load() -> NDArray[Any]:
            out = np.zeros(self.grid.shape, dtype)
            for number in numbers[:1] if self.labels else numbers:
                for first, plane, count in runs[number]:
                    stored = self.pixels.frames(first, count)
                    part = out[plane : plane + count]
                    if self.labels:
                        part[...] = stored
                    else:
                        part[stored >= half if half else stored] = number
            return out.reshape(1, *self.shape)

        spacing = self.grid.spacing
        return Image(
            name=ITEM,
            array=Deferred((1, *self.shape), dtype, load),
            modality="SEG",
            spacing=None if spacing is None else tuple(spacing[-len(self.shape) :]),
            affine=self.grid.affine,
            laterality=header.laterality(self.dataset)[0],
            acquired=header.acquired(self.dataset),
            origin=self.file.origin(format, header.as_json(self.dataset)),
            flags=flags,
        )

    def _filled(self, number: int, runs: Sequence[Run]) -> NDArray[np.bool_]:
        """``(D, H, W)`` of the segmentation's own grid."""
        out = np.zeros(self.grid.shape, np.bool_)
        half = self.fraction / 2
        for first, plane, count in runs:
            stored = self.pixels.frames(first, count)
            if self.labels:
                stored = stored == number
            elif half:
                stored = stored >= half
            out[plane : plane + count] = stored
        return out

    def _fractions(self, runs: Sequence[Run]) -> NDArray[np.float16]:
        out = np.zeros(self.grid.shape, np.float16)
        for first, plane, count in runs:
            stored = self.pixels.frames(first, count).astype(np.float32)
            # some writers forget that their pixels go beyond the stated whole
            out[plane : plane + count] = np.minimum(stored / self.fraction, 1)
        return out

    def masks(
        self,
        item: str,
        place: Callable[[NDArray[Any]], NDArray[Any]],
        shape: tuple[int, ...],
    ) -> list[Mask]:
        """A mask for each segment, in the grid that ``place`` leads to."""
        out: list[Mask] = []
        taken: set[str] = set()
        for segment in self.dataset.SegmentSequence:
            number = int(segment.SegmentNumber)
            if self.labels and number == 0:
                continue  # the background
            mask = self._mask(segment, number, item, place, shape, taken)
            taken.add(mask.id)
            out.append(mask)
        return out

    def _mask(
        self,
        segment: "Dataset",
        number: int,
        item: str,
        place: Callable[[NDArray[Any]], NDArray[Any]],
        shape: tuple[int, ...],
        taken: set[str],
    ) -> Mask:
        runs = self.runs(number)

        def filled() -> NDArray[np.bool_]:
            return place(self._filled(number, runs)).reshape(shape)

        def fractions() -> NDArray[np.float16]:
            return place(self._fractions(runs)).reshape(shape)

        name = header.text(segment, "SegmentLabel") or f"Segment {number}"
        id = unused(header.text(segment, "TrackingID") or slug(name), taken)
        region = next(iter(segment.get("AnatomicRegionSequence") or ()), None)
        kind = next(iter(segment.get("SegmentedPropertyTypeCodeSequence") or ()), None)
        source, flags = _source(segment)
        doubts, note = _doubts(header.text(segment, "SegmentDescription"))
        if header.text(self.dataset, "SegmentationFractionalType") == "OCCUPANCY":
            flags = (*flags, "fractions-are-occupancy")
        return Mask(
            id=id,
            name=name,
            source=source,
            item=item,
            mask=Deferred(shape, np.dtype(np.bool_), filled),
            probabilities=Deferred(shape, np.dtype(np.float16), fractions)
            if self.fraction
            else None,
            code=code_of(segment, "SegmentedPropertyTypeCodeSequence"),
            category=code_of(segment, "SegmentedPropertyCategoryCodeSequence"),
            site=code_of(segment, "AnatomicRegionSequence"),
            laterality=side_of(region, "AnatomicRegionModifierSequence")
            or side_of(kind, "SegmentedPropertyTypeModifierCodeSequence"),
            flags=(*flags, *doubts),
            note=note,
        )


def unused(wanted: str, taken: set[str]) -> str:
    """The id, with a number behind it where it is taken."""
    id, n = wanted, 1
    while id in taken:
        n += 1
        id = f"{wanted}-{n}"
    return id


_DOUBT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


def _doubts(description: str) -> tuple[tuple[str, ...], str]:
    """Flags and note, which our writer puts into the description of a segment."""
    parts = description.split("; ")
    flags = []
    while parts and _DOUBT.fullmatch(parts[0]):
        flags.append(parts.pop(0))
    return tuple(flags), "; ".join(parts)


def _source(segment: "Dataset") -> tuple[Source, tuple[str, ...]]:
    kind = header.text(segment, "SegmentAlgorithmType")
    named = next(iter(segment.get("SegmentationAlgorithmIdentificationSequence") or ()), None)
    name = header.text(segment, "SegmentAlgorithmName")
    source = Source("algorithm", name) if named is None else algorithm_of(named, name)
    if kind == "MANUAL" or not source.name:
        return Source("person", "author of the segmentation"), ()
    return source, (("semi-automatic",) if kind == "SEMIAUTOMATIC" else ())
