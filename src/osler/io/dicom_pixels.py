"""The samples of a DICOM frame, as colour ``(3, H, W)`` or grey ``(1, H, W)``.

Source: DICOM PS3.3 C.7.6.3 (image pixel), PS3.5 8.1.1 and 8.2.1 (encodings, JPEG).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import JpegImagePlugin

from osler.errors import UnreadableError, UnsupportedError
from osler.io.colour import Flags, to_bytes, to_srgb, ybr_to_rgb
from osler.io.input_file import MOST_PIXELS_A_JPEG_BYTE, InputFile, check_length

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

_GREY = ("MONOCHROME1", "MONOCHROME2")
_NOT_READ = (
    *("HSV", "ARGB", "CMYK", "XYB", "PALETTE COLOR"),
    *("YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422"),
)
_FULL_RANGE_YBR = ("YBR_FULL", "YBR_FULL_422", "YBR_ICT")


@dataclass(frozen=True, slots=True)
class Layout:
    """How the header says the samples are stored.

    Attributes:
        rows: height in pixels.
        columns: width in pixels.
        samples: 1 or 3 a pixel.
        allocated: bits a sample takes, 8 or 16.
        stored: bits of these that hold the value.
        photometric: PhotometricInterpretation.
        jpeg: whether the frame is a JPEG baseline stream.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    photometric: str
    jpeg: bool


def read_pixels(
    file: InputFile, dataset: "FileDataset", layout: Layout
) -> tuple[NDArray[Any], Flags]:
    """Decode the one frame.

    Returns:
        ``uint8`` sRGB of shape ``(3, H, W)``, or grey of shape ``(1, H, W)`` in stored units
        (MONOCHROME1 turned round), and the flags that say what was done.

    Raises:
        UnreadableError: the pixels are damaged, incomplete, or not as the header says.
        UnsupportedError: a photometric interpretation that is not read.
    """
    _check_photometric(file, layout)
    decode = _jpeg if layout.jpeg else _uncompressed
    samples, colour, flags = decode(file, dataset, layout)
    if colour in _GREY:
        grey, more = _grey(samples, layout)
        return grey[None], (*flags, *more)
    if colour == "PALETTE COLOR":
        samples, more = _through_palette(file, dataset, samples)
        flags = (*flags, *more)
    elif layout.allocated == 16:
        samples, flags = to_bytes(samples, bits=layout.stored), (*flags, "16-bit-scaled")
    if colour in _FULL_RANGE_YBR:
        samples = ybr_to_rgb(samples)
    samples, more = _managed(dataset, samples)
    return samples.transpose(2, 0, 1), (*flags, *more)


def _check_photometric(file: InputFile, layout: Layout) -> None:
    known: dict[str, int] = dict.fromkeys((*_GREY, "PALETTE COLOR"), 1)
    known |= dict.fromkeys((*_FULL_RANGE_YBR, "RGB"), 3)
    if layout.photometric not in known or (layout.jpeg and layout.photometric == "PALETTE COLOR"):
        # a damaged header may hold anything here: only the standard's own words are repeated
        stated = layout.photometric if layout.photometric in _NOT_READ else "unknown"
        raise UnsupportedError(
            f"'{file.name}' has photometric interpretation {stated}, which is not read; "
            f"{', '.join(known)} are: export it as RGB"
        )
    if known[layout.photometric] != layout.samples:
        raise UnreadableError(
            f"'{file.name}' has {layout.samples} samples a pixel, but {layout.photometric} has "
            f"{known[layout.photometric]}; export it again"
        )


def _uncompressed(
    file: InputFile, dataset: "FileDataset", layout: Layout
) -> tuple[NDArray[Any], str, Flags]:
    """Samples ``(H, W)`` or ``(H, W, 3)`` and the colour model they are in."""
    flags: Flags = ()
    length = len(dataset.PixelData)
    whole = layout.rows * layout.columns * layout.samples * layout.allocated // 8
    colour = layout.photometric
    if colour == "YBR_FULL_422" and length >= whole:
        # decompressed by a program that left the name of the JPEG's colour model behind
        colour, flags = "YBR_FULL", ("photometric-mismatch",)
    if colour == "YBR_FULL_422" and (layout.columns % 2 or layout.allocated != 8):
        raise UnreadableError(
            f"'{file.name}' shares chroma between pairs of 8-bit pixels (YBR_FULL_422), but has "
            f"{layout.columns} columns of {layout.allocated} bits; export it again"
        )
    expected = whole * 2 // 3 if colour == "YBR_FULL_422" else whole
    if length < expected:
        raise UnreadableError(
            f"'{file.name}' has {length} bytes of pixels where its header needs {expected}; it is "
            "incomplete: copy it again from its source"
        )
    return _unpacked(dataset, replace(layout, photometric=colour)), colour, flags


def _unpacked(dataset: "FileDataset", layout: Layout) -> NDArray[Any]:
    """The samples without padding, planes, subsampling, and unused bits."""
    little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    kind: np.dtype[Any] = np.dtype(
        np.uint8 if layout.allocated == 8 else "<u2" if little else ">u2"
    )
    data = dataset.PixelData
    if not little and layout.allocated == 8 and dataset["PixelData"].VR == "OW":
        # big-endian words hold two bytes the other way round (PS3.5 7.3)
        data = np.frombuffer(data, ">u2", count=len(data) // 2).astype("<u2").tobytes()
    pixels = layout.rows * layout.columns
    if layout.photometric == "YBR_FULL_422":
        pairs = np.frombuffer(data, kind, count=pixels * 2)
        return _unsubsampled(pairs.reshape(layout.rows, layout.columns // 2, 4))
    values: NDArray[Any] = np.frombuffer(data, kind, count=pixels * layout.samples)
    values = values.astype(kind.newbyteorder("="))
    if layout.stored < layout.allocated:
        values &= kind.type(2**layout.stored - 1)
    if layout.samples == 1:
        return values.reshape(layout.rows, layout.columns)
    if dataset.get("PlanarConfiguration") == 1:
        return values.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    return values.reshape(layout.rows, layout.columns, 3)


def _unsubsampled(pairs: NDArray[Any]) -> NDArray[np.uint8]:
    """Pairs that share chroma, ``(H, W / 2, [Y1, Y2, Cb, Cr])``, as pixels ``(H, W, 3)``."""
    height, half, _ = pairs.shape
    whole = np.empty((height, half * 2, 3), np.uint8)
    whole[..., 0] = pairs[..., :2].reshape(height, half * 2)
    whole[..., 1] = pairs[..., 2].repeat(2, axis=1)
    whole[..., 2] = pairs[..., 3].repeat(2, axis=1)
    return whole


def _jpeg(
    file: InputFile, dataset: "FileDataset", layout: Layout
) -> tuple[NDArray[Any], str, Flags]:
    """Samples of a JPEG baseline frame and the colour model that they are in after decoding."""
    from pydicom.encaps import generate_frames

    frames: Iterator[bytes] = generate_frames(dataset.PixelData, number_of_frames=1)
    stream = next(frames)
    picture = JpegImagePlugin.JpegImageFile(BytesIO(stream))
    modes = {1: "L", 3: "RGB"}
    stated = (layout.columns, layout.rows, modes[layout.samples])
    if (*picture.size, picture.mode) != stated or layout.allocated != 8:
        raise UnreadableError(
            f"'{file.name}' holds a JPEG of {picture.width} x {picture.height} pixels "
            f"({picture.mode}, 8 bits), but its header says {stated[0]} x {stated[1]} ({stated[2]},"
            f" {layout.allocated} bits); export it again"
        )
    check_length(
        file,
        pixels=picture.width * picture.height,
        length=len(stream),
        most=MOST_PIXELS_A_JPEG_BYTE,
    )
    if layout.samples == 1:
        return np.asarray(picture), layout.photometric, ()
    stream_colour, certain = _jpeg_colour(picture)
    stated_colour = "RGB" if layout.photometric == "RGB" else "YBR"
    if not certain and stated_colour == "RGB":
        # nothing in the stream says so, and the decoder would take it for YCbCr: the header knows
        picture.draft("YCbCr", picture.size)
        return np.asarray(picture), "RGB", ()
    mismatch = stream_colour != stated_colour
    return np.asarray(picture), "RGB", (("photometric-mismatch",) if mismatch else ())


def _jpeg_colour(picture: JpegImagePlugin.JpegImageFile) -> tuple[str, bool]:
    """The colour model of a three-component stream as the decoder sees it, and whether it is sure.

    Adobe's and JFIF's markers say it, or component ids "R", "G", "B" (as libjpeg has it).
    """
    if "jfif" in picture.info:
        return "YBR", True
    if "adobe_transform" in picture.info:
        return ("RGB" if picture.info["adobe_transform"] == 0 else "YBR"), True
    ids = tuple(layer[0] for layer in picture.layer)
    return ("RGB", True) if ids == (82, 71, 66) else ("YBR", False)


def _grey(samples: NDArray[Any], layout: Layout) -> tuple[NDArray[Any], Flags]:
    """Stored values, 0 black; a depth between 8 and 16 bits is named, for it scales the values."""
    flags: Flags = ()
    if layout.stored not in (8, 16):
        flags = (f"bits-stored-{layout.stored}",)
    if layout.photometric == "MONOCHROME1":
        top = samples.dtype.type(2**layout.stored - 1)
        samples, flags = top - samples, (*flags, "monochrome1-inverted")
    return samples, flags


def _through_palette(
    file: InputFile, dataset: "FileDataset", samples: NDArray[Any]
) -> tuple[NDArray[np.uint8], Flags]:
    """Palette indices ``(H, W)`` as RGB."""
    from pydicom.pixels.processing import apply_color_lut

    if "RedPaletteColorLookupTableDescriptor" not in dataset:
        raise UnreadableError(f"'{file.name}' is PALETTE COLOR without a palette; export it again")
    colours = apply_color_lut(samples, dataset)
    if colours.dtype == np.uint8:
        return colours, ("palette-converted",)
    bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    # some writers say 16 bits and fill the lower 8 alone
    bits = 8 if bits <= 8 or colours.max() < 256 else bits
    return to_bytes(colours, bits=bits), ("palette-converted",)


def _managed(dataset: "FileDataset", samples: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Flags]:
    """RGB ``(H, W, 3)`` in sRGB by the object's own ICC profile, where it has another one."""
    profile = dataset.get("ICCProfile")
    if not isinstance(profile, bytes) or not profile:
        return samples, ()
    picture, flags = to_srgb(Pillow.fromarray(samples), profile)
    return np.asarray(picture), flags
