"""JPEG, PNG, TIFF and BMP photographs.

Colour comes out as sRGB ``uint8``, grey in its stored units; orientation is resolved. Dots per inch
describe paper, not the retina, so they are a spacing only where a person says so. TIFF files that
are no photographs (stacks, deep grey, microscopes' and very large ones) have a reader of their own.
"""

import math
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from PIL import Image as Pillow

from osler.errors import TooLargeError, UnsupportedError
from osler.io.colour import Flags, to_srgb, without_alpha
from osler.io.input_file import (
    MOST_PIXELS_A_JPEG_BYTE,
    InputFile,
    check_length,
    check_size,
    decoding,
)
from osler.io.raster_resolution import spacing_of
from osler.io.tiff import read_special
from osler.io.volume_data import Piece, unchanged
from osler.record import Deferred, Image, Origin

_ORIENTATION, _EXIF_IFD = 0x0112, 0x8769
_TAKEN, _TAKEN_OFFSET = 0x9003, 0x9011
_NEW_SUBFILE_TYPE = 254
# what Pillow says about a sound header whose samples it has no mode for
_UNSUPPORTED_WORDS = ("unknown pixel mode", "Unsupported BMP", "cannot handle", "not yet supported")

_PNG_BYTES_A_PIXEL = {"L": 0.25, "I;16": 2, "LA": 2, "RGB": 3, "RGBA": 4}

# modes that become one thing whatever their pixels are
_OF_HEADER = {
    "jpeg": ("L", "RGB", "CMYK", "YCbCr"),
    "png": ("1", "L", "P", "RGB", "I;16"),
    "tiff": ("1", "L", "P", "RGB", "CMYK", "YCbCr", "I;16"),
    "bmp": ("1", "L", "P", "RGB"),
}
_PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")

# EXIF 2.32 4.6.4 A: how the stored rows and columns become the picture, on (H, W, ...) arrays
_TURNS: dict[int, tuple[bool, bool, bool]] = {
    # value: (transpose, then flip rows, then flip columns)
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def read_raster(
    file: InputFile,
    format: str,
    *,
    max_pixels: int,
    at_once: bool = True,
    resolution: bool = False,
) -> tuple[Image, None]:
    """Read a photograph; no raster format says whose it is, so there is no patient.

    Args:
        file: the opened file.
        format: ``"jpeg"``, ``"png"``, ``"tiff"`` or ``"bmp"``.
        max_pixels: refuse more pixels than this.
        at_once: decode it now, so that damage is told now; else it waits where its header tells
            all about it.
        resolution: take the resolution tags for the size of a pixel, where nothing better is
            stated; flagged ``spacing-by-resolution``.

    Raises:
        InputError: ``resolution`` is asked for, and there is none in a unit of length.
        UnreadableError: damaged or incomplete.
        UnsupportedError: its samples are neither 8-bit colour, 16-bit colour nor 8/16-bit grey.
        TooLargeError: more than ``max_pixels`` pixels; the header alone is read.
    """
    image = _read(file, format, max_pixels=max_pixels, at_once=at_once)
    if resolution and image.spacing is None and len(image.shape) == 2:
        with decoding(file, format):
            image.spacing = spacing_of(file, _open(file, format))
        kept = tuple(flag for flag in image.flags if flag != "no-scale")
        image.flags = (*kept, "spacing-by-resolution")
    return image, None


def _read(file: InputFile, format: str, *, max_pixels: int, at_once: bool) -> Image:
    with decoding(file, format):
        if format == "tiff" and (special := read_special(file, format, max_pixels=max_pixels)):
            return special
        file.whole()  # some decoders read by the file's number
        picture = _open(file, format)
        check_size(file, width=picture.width, height=picture.height, max_pixels=max_pixels)
        check_length(
            file,
            pixels=picture.width * picture.height,
            length=file.size,
            most=_most_pixels_a_byte(picture, format),
        )
        flags = (*_page_flags(picture), *_end_flags(file, format))
        if not at_once and _tells_all(file, format, picture):
            return _waiting(file, format, picture, flags, max_pixels=max_pixels)
        turned_by_decoder = _tiff_orientation(picture)
        array, pixel_flags = _decode(file, picture)
        # only now: to find the EXIF of a PNG, Pillow decodes it
        orientation, acquired, exif_flags = _exif(picture)
        if format != "tiff":
            array = turned(array, orientation)
        if orientation in _TURNS or turned_by_decoder in _TURNS:
            exif_flags = (*exif_flags, "exif-orientation-applied")
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return Image(
        name="photo",
        array=np.require(array, requirements=["C_CONTIGUOUS", "WRITEABLE"]),
        # a raster file states no modality: photographs of the fundus are what is read here
        modality="OP",
        acquired=acquired,
        origin=file.origin(format),
        flags=(*file.extension_flags(format), *flags, *exif_flags, *pixel_flags),
    )


def _tells_all(file: InputFile, format: str, picture: ImageFile.ImageFile) -> bool:
    """Whether the header says what the decoded picture will be, with all that is to be flagged."""
    if picture.mode not in _OF_HEADER.get(format, ()) or "transparency" in picture.info:
        return False
    return format != "png" or "exif" in picture.info or not _late_exif(file)


def _late_exif(file: InputFile) -> bool:
    """Whether a PNG has EXIF after its pixels, or as text: the decoder alone finds that."""
    at = 8
    file.stream.seek(at)
    while len(head := file.stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf" or (kind in _PNG_TEXT and b"exif" in file.stream.read(80)[:80]):
            return True
        at += 12 + length
        file.stream.seek(at)
    return False


def _waiting(
    file: InputFile, format: str, picture: ImageFile.ImageFile, flags: Flags, *, max_pixels: int
) -> Image:
    """The picture by its header; its pixels stay in the file."""
    one = Pillow.new(picture.mode, (1, 1))
    one.info = picture.info
    pixel, pixel_flags = _finished(file, one, _rawmode(picture))
    stated = format in ("jpeg", "tiff") or "exif" in picture.info
    orientation, acquired, exif_flags = _exif(picture) if stated else (1, None, ())
    if orientation in _TURNS:
        exif_flags = (*exif_flags, "exif-orientation-applied")
    size = (picture.height, picture.width)
    if format != "tiff" and _TURNS.get(orientation, (False,))[0]:
        size = size[::-1]  # the decoder of TIFF states it turned
    shape = (1 if pixel.ndim == 2 else 3, *size)
    later = _Later(file.path, file.size, format, max_pixels)
    return Image(
        name="photo",
        array=Deferred(shape, pixel.dtype, later),
        modality="OP",
        acquired=acquired,
        origin=Origin(path=file.name, sha256="", format=format),
        flags=(*file.extension_flags(format), *flags, *exif_flags, *pixel_flags),
    )


@dataclass(frozen=True, slots=True)
class _Later:
    """The pixels of a photograph, decoded when they are asked for."""

    path: Path
    size: int
    format: str
    max_pixels: int

    def __call__(self) -> NDArray[Any]:
        with unchanged(Piece(self.path, self.size), self.format) as file:
            image, _ = read_raster(file, self.format, max_pixels=self.max_pixels)
            return image.array


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """An array ``(H, W)`` or ``(H, W, C)`` as the EXIF orientation 1 to 8 wants it seen."""
    transpose, flip_rows, flip_columns = _TURNS.get(orientation, (False, False, False))
    array = array.swapaxes(0, 1) if transpose else array
    array = array[::-1] if flip_rows else array
    return array[:, ::-1] if flip_columns else array


def _open(file: InputFile, format: str) -> ImageFile.ImageFile:
    """The header alone. By plugin, not ``Image.open``: its own limit only warns, or is not ours."""
    file.stream.seek(0)
    stream = cast(BinaryIO, file.stream)
    try:
        if format == "jpeg":
            return JpegImagePlugin.jpeg_factory(stream)
        if format == "png":
            return PngImagePlugin.PngImageFile(stream)
        if format == "tiff":
            return TiffImagePlugin.TiffImageFile(stream)
        return BmpImagePlugin.BmpImageFile(stream)
    except (SyntaxError, OSError) as error:
        if any(words in str(error) for words in _UNSUPPORTED_WORDS):
            raise UnsupportedError(
                f"'{file.name}' is a {format} whose samples are stored in a way that is not read; "
                "export it as 8-bit colour, or as 8- or 16-bit grey"
            ) from None
        raise


def _page_flags(picture: ImageFile.ImageFile) -> Flags:
    flags: list[str] = []
    if getattr(picture, "is_animated", False):
        flags.append("first-page-only")
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        kind = picture.tag_v2.get(_NEW_SUBFILE_TYPE, 0)
        if isinstance(kind, int) and kind & 1:
            flags.append("reduced-resolution-page")
    return tuple(flags)


def _most_pixels_a_byte(picture: ImageFile.ImageFile, format: str) -> float:
    """How many pixels a byte can hold: by the limits of the compression, not by experience."""
    if format == "jpeg":
        return MOST_PIXELS_A_JPEG_BYTE
    if format == "png":
        # deflate makes at most 1032 bytes of one (zlib's technical details)
        return 1032 / _PNG_BYTES_A_PIXEL.get(picture.mode, 0.125)
    # a TIFF or BMP that is too short fails at once, without decoding what is not there
    return math.inf


def _end_flags(file: InputFile, format: str) -> Flags:
    """``"no-end-marker"`` for a JPEG whose scan has none: its end may be lost or overwritten.

    A decoder makes a picture of the zeros that an interrupted copy leaves.
    """
    if format != "jpeg":
        return ()
    file.stream.seek(0)
    data = file.stream.read()
    return ("no-end-marker",) if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda") else ()


def _tiff_orientation(picture: ImageFile.ImageFile) -> object:
    """The orientation that Pillow resolves, and then forgets, while it decodes a TIFF."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return picture.tag_v2.get(_ORIENTATION)
    return None


def _exif(picture: ImageFile.ImageFile) -> tuple[int, datetime | None, Flags]:
    """Orientation (1 where unknown), when the photograph was taken, and flags."""
    try:
        exif = picture.getexif()
        orientation = exif.get(_ORIENTATION, 1)
        details = exif.get_ifd(_EXIF_IFD)
        taken, offset = details.get(_TAKEN), details.get(_TAKEN_OFFSET)
    except Exception:  # noqa: BLE001 - damaged EXIF raises anything, and the pixels are still good
        return 1, None, ("exif-unreadable",)
    return orientation if isinstance(orientation, int) else 1, _moment(taken, offset), ()


def _moment(taken: object, offset: object) -> datetime | None:
    """``DateTimeOriginal`` with ``OffsetTimeOriginal``, or None where it is not a date."""
    if not isinstance(taken, str):
        return None
    text = taken.strip("\0 ")
    if isinstance(offset, str) and offset.strip("\0 "):
        try:
            return datetime.strptime(text + offset.strip("\0 "), "%Y:%m:%d %H:%M:%S%z")
        except ValueError:
            pass
    try:
        return datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None


def _decode(file: InputFile, picture: ImageFile.ImageFile) -> tuple[NDArray[Any], Flags]:
    """The pixels as ``(H, W)`` grey or ``(H, W, 3)`` sRGB."""
    rawmode = _rawmode(picture)
    try:
        picture.load()
    except Pillow.DecompressionBombError:
        raise TooLargeError(
            f"'{file.name}' has {picture.width} x {picture.height} pixels, more than its decoder "
            "takes; export it smaller"
        ) from None
    return _finished(file, picture, rawmode)


def _finished(file: InputFile, picture: Pillow.Image, rawmode: str) -> tuple[NDArray[Any], Flags]:
    """A decoded picture as grey or sRGB."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _deep_grey(file, picture)
    plain, flags = _plain(file, picture)
    if rawmode.startswith("LA;16"):
        # Pillow widens this one to colour
        plain = plain.convert("LA")
    if ";16" in rawmode:
        flags = (*flags, "16-bit-scaled")
    if plain.mode in ("LA", "RGBA"):
        plain, more = without_alpha(plain)
        flags = (*flags, *more)
    if plain.mode != "L":
        plain, more = to_srgb(plain, picture.info.get("icc_profile"))
        flags = (*flags, *more)
    return np.asarray(plain), flags


def _rawmode(picture: ImageFile.ImageFile) -> str:
    """How the samples lie in the file, in Pillow's words, such as ``"RGB;16B"``."""
    if not picture.tile:
        return ""
    args = picture.tile[0].args
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _plain(file: InputFile, picture: Pillow.Image) -> tuple[Pillow.Image, Flags]:
    """Any 8-bit picture as L, LA, RGB, RGBA or CMYK."""
    mode = picture.mode
    if mode == "1":
        return picture.convert("L"), ("bilevel-converted",)
    if mode in ("P", "PA"):
        alpha = mode == "PA" or "transparency" in picture.info
        return picture.convert("RGBA" if alpha else "RGB"), ("palette-converted",)
    if mode == "CMYK":
        return picture, ("cmyk-converted",)
    if mode in ("L", "RGB") and "transparency" in picture.info:
        return picture.convert("LA" if mode == "L" else "RGBA"), ()
    if mode in ("L", "LA", "RGB", "RGBA"):
        return picture, ()
    if mode in ("YCbCr", "RGBX", "RGBa", "La"):
        return picture.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")), ()
    raise UnsupportedError(
        f"'{file.name}' is in colour space {mode}, which is not read; export it as RGB"
    )


def _deep_grey(file: InputFile, picture: Pillow.Image) -> tuple[NDArray[Any], Flags]:
    """A grey picture of more than 8 bits, in stored units."""
    values = np.asarray(picture)
    flags = ("alpha-dropped",) if "transparency" in picture.info else ()
    if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise UnsupportedError(
            f"'{file.name}' has grey values beyond 16 unsigned bits; export it as 8- or 16-bit grey"
        )
    return values.astype(np.uint16), flags
