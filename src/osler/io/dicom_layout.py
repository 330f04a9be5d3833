"""How a DICOM data set says that its samples are stored, checked as far as a header can be."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.errors import UnreadableError, UnsupportedError
from osler.io import dicom_header as header
from osler.io.input_file import InputFile, check_size

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
RLE = "1.2.840.10008.1.2.5"
UNCOMPRESSED = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
JPEG = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
JPEG_LS = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (80, 81))
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 92, 93))
HTJ2K = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203))

TRANSFER_SYNTAXES = (
    *UNCOMPRESSED,
    *(RLE, DEFLATED_FRAMES),
    *(*JPEG, *JPEG_LS, *JPEG_2000, *HTJ2K),
)
"""What is decoded: all still pictures; the video codecs (MPEG-2, H.264, H.265) are not."""

_VIDEO = tuple(f"1.2.840.10008.1.2.4.10{n}" for n in range(10))
"""MPEG-2, H.264 and H.265, with their fragmentable forms (PS3.5 8.2.5 to 8.2.9)."""

GREY = ("MONOCHROME1", "MONOCHROME2")
SHARED_CHROMA = ("YBR_FULL_422", "YBR_PARTIAL_422")
_SAMPLES: dict[str, int] = {
    **dict.fromkeys((*GREY, "PALETTE COLOR"), 1),
    **dict.fromkeys(("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "RGB", "YBR_PARTIAL_422"), 3),
}
_WITH_CODESTREAM: dict[str, int] = _SAMPLES | dict.fromkeys(("YBR_RCT", "YBR_PARTIAL_420"), 3)
_NOT_READ = ("HSV", "ARGB", "CMYK", "XYB", "YBR_RCT", "YBR_PARTIAL_420")

COMPRESSED_MOST = 1000
"""Above ``max_pixels`` in all, this many voxels a byte of file are a bomb, not a compression."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the header says the samples are stored.

    Attributes:
        rows: height in pixels.
        columns: width in pixels.
        samples: 1 or 3 a pixel.
        allocated: bits a sample takes: 1, 8, 16 or 32, and 64 for floating point.
        stored: bits of these that hold the value.
        high: number of the highest of these.
        signed: whether the value is a two's complement.
        photometric: PhotometricInterpretation.
        planar: whether the three samples lie in planes (PlanarConfiguration 1).
        syntax: UID of the transfer syntax.
        frames: how many.
        real: whether the samples are floating point.
        shared: whether unused bits hold overlays, in compressed samples too.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: bool
    syntax: str
    frames: int
    real: bool = False
    shared: bool = False

    @property
    def encapsulated(self) -> bool:
        """Whether each frame is a compressed stream of its own."""
        return self.syntax not in UNCOMPRESSED

    @property
    def grey(self) -> bool:
        """Whether the result has one channel."""
        return self.photometric in GREY

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored samples in native byte order."""
        if self.real:
            return np.dtype(f"f{self.allocated // 8}")
        size = max(8, self.allocated) // 8
        return np.dtype(f"{'i' if self.signed else 'u'}{size}")

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest value that the stored bits can hold."""
        if self.signed:
            return -(1 << (self.stored - 1)), (1 << (self.stored - 1)) - 1
        return 0, (1 << self.stored) - 1

    @property
    def frame_bits(self) -> int:
        """Bits of an uncompressed frame."""
        bits = self.rows * self.columns * self.samples * self.allocated
        return bits * 2 // 3 if self.photometric in SHARED_CHROMA else bits


def layout_of(
    file: InputFile, dataset: "Dataset", *, syntax: str, real: bool, max_pixels: int
) -> Layout:
    """The layout that a header states.

    Args:
        file: the opened file.
        dataset: the header.
        syntax: UID of the transfer syntax.
        real: whether the pixels are FloatPixelData or DoubleFloatPixelData.
        max_pixels: refuse a frame of more pixels.

    Raises:
        UnreadableError: it contradicts itself or lacks what it must say.
        UnsupportedError: a transfer syntax, depth or colour model that is not read.
        TooLargeError: a frame has more than ``max_pixels`` pixels.
    """
    if syntax not in TRANSFER_SYNTAXES:
        raise syntax_not_read(file, syntax)

    def number(keyword: str, default: int | None = None) -> int:
        return header.integer(file, dataset, keyword, default=default)

    allocated = number("BitsAllocated")
    stored = number("BitsStored", allocated)
    layout = Layout(
        rows=number("Rows"),
        columns=number("Columns"),
        samples=number("SamplesPerPixel", 1),
        allocated=allocated,
        stored=stored,
        high=number("HighBit", stored - 1),
        signed=number("PixelRepresentation", 0) == 1,
        photometric=header.text(dataset, "PhotometricInterpretation"),
        planar=number("PlanarConfiguration", 0) == 1,
        syntax=syntax,
        frames=max(1, number("NumberOfFrames", 1)),
        real=real,
    )
    _check_depth(file, layout)
    _check_photometric(file, layout)
    check_size(file, width=layout.columns, height=layout.rows, max_pixels=max_pixels)
    _check_total(file, layout, max_pixels=max_pixels)
    return layout


def _check_depth(file: InputFile, layout: Layout) -> None:
    if not 1 <= layout.stored <= layout.allocated:
        raise UnreadableError(
            f"'{file.name}' stores {layout.stored} bits in {layout.allocated} allocated "
            "(BitsStored, BitsAllocated); export it again"
        )
    if not layout.stored - 1 <= layout.high < layout.allocated:
        raise UnreadableError(
            f"'{file.name}' has its highest bit at {layout.high} of {layout.allocated} (HighBit); "
            "export it again"
        )
    depths = (32, 64) if layout.real else (1, 8, 16, 32)
    if layout.samples not in (1, 3) or layout.allocated not in depths:
        raise UnsupportedError(
            f"'{file.name}' has {layout.samples} samples a pixel of {layout.allocated} bits; 1 or "
            f"3 samples of {', '.join(map(str, depths))} bits are read: export it as a secondary "
            "capture"
        )
    if layout.allocated == 1 and (layout.samples != 1 or layout.signed):
        raise UnreadableError(
            f"'{file.name}' has single bits with {layout.samples} samples or a sign "
            "(BitsAllocated, PixelRepresentation); export it again"
        )


def _check_photometric(file: InputFile, layout: Layout) -> None:
    known = _WITH_CODESTREAM if layout.syntax in (*JPEG_2000, *HTJ2K) else _SAMPLES
    photometric, of_jpeg = layout.photometric, layout.syntax in JPEG[:2]
    if photometric not in known or (of_jpeg and photometric == "PALETTE COLOR"):
        # a damaged header may hold anything here: only the standard's own words are repeated
        stated = photometric if photometric in (*_NOT_READ, *known) else "unknown"
        raise UnsupportedError(
            f"'{file.name}' has photometric interpretation {stated}, which is not read; "
            f"{', '.join(known)} are: export it as RGB"
        )
    if known[photometric] != layout.samples:
        raise UnreadableError(
            f"'{file.name}' has {layout.samples} samples a pixel, but {photometric} has "
            f"{known[photometric]}; export it again"
        )
    if layout.samples == 3 and (layout.signed or layout.real):
        raise UnsupportedError(
            f"'{file.name}' has signed or floating-point colour (PixelRepresentation), which no "
            "device writes; export it as RGB"
        )


def _check_total(file: InputFile, layout: Layout, *, max_pixels: int) -> None:
    """Refuse so many frames that so few bytes cannot hold but as a bomb."""
    from osler.errors import TooLargeError

    total = layout.rows * layout.columns * layout.frames
    if total > max_pixels and total > COMPRESSED_MOST * file.size:
        raise TooLargeError(
            f"'{file.name}' states {layout.frames:,} frames, {total:,} pixels in all, in "
            f"{file.size:,} bytes, more than the limit of {max_pixels:,}; export it smaller, or "
            "raise max_pixels"
        )


def syntax_not_read(file: InputFile, syntax: str) -> UnsupportedError:
    """What to say about a transfer syntax that is not decoded."""
    if syntax.startswith(_VIDEO):
        return UnsupportedError(
            f"'{file.name}' is a film in transfer syntax {header.uid_name(syntax)}, a video codec, "
            "which is not read; have the device or archive export its frames as JPEG or "
            "uncompressed, or take the film out and write its frames as images: 'dcmdump +W DIR "
            "FILE', then 'ffmpeg -i DIR/FILE.1.raw frame-%05d.png'"
        )
    return UnsupportedError(
        f"'{file.name}' is in transfer syntax {header.uid_name(syntax)}; uncompressed, RLE, JPEG, "
        "JPEG-LS, JPEG 2000 and HTJ2K are read: convert it with 'gdcmconv --raw IN OUT'"
    )
