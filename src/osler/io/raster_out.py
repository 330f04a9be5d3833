"""Images to PNG (a plane) and TIFF (a plane or a stack of them), 8 and 16 bits and beyond.

Neither has a place for where the image lies in the patient; TIFF keeps spacing, times and channels
in the OME header [1] where there are any.

[1] The OME-TIFF specification, https://ome-model.readthedocs.io/en/stable/ome-tiff/.
"""

import struct
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import OutputError
from osler.io.atomic_file import replacing
from osler.io.volume_note import SYNTHETIC
from osler.io.volume_values import even_step, is_colour, plain_values
from osler.record import Image

_PNG_CHANNELS: Final = (1, 3, 4)
_HEADER_END: Final = 33  # the signature and IHDR, which comes first and is of one size


def write_png(image: Image, path: str | Path) -> Path:
    """Write a plane of 8 or 16 bits, grey or in colour; spacing is lost.

    Returns:
        The path.

    Raises:
        OutputError: it is a volume, or its values are no unsigned integers of 8 or 16 bits.
    """
    import imagecodecs

    path = Path(path)
    array = plain_values(image)
    flat = len(image.shape) == 2 or image.shape[0] == 1
    if not flat or array.dtype not in (np.uint8, np.uint16) or len(array) not in _PNG_CHANNELS:
        raise OutputError(
            f"image '{image.name}' is {image.channel_count} x {image.shape} of {image.dtype}; a "
            "PNG holds one plane of uint8 or uint16 with 1, 3 or 4 channels: write it as .tif"
        )
    plane = array.reshape(len(array), *image.shape[-2:])
    encode: Any = imagecodecs.png_encode
    with replacing(path) as part:
        packed = bytes(encode(_last(plane)))
        part.write_bytes(_commented(packed, SYNTHETIC) if SYNTHETIC in image.flags else packed)
    return path


def write_tiff(image: Image, path: str | Path) -> Path:
    """Write a plane, or a volume as a stack of pages, deflated; BigTIFF where it must be.

    Returns:
        The path.

    Raises:
        OutputError: its values or times do not fit the format, or the file cannot be written.
    """
    import tifffile

    path = Path(path)
    array = plain_values(image)
    colour = is_colour(image)
    if colour:
        array = np.moveaxis(array, 0, -1)
    elif image.channel_count == 1:
        array = array[0]
    with replacing(path) as part:
        tifffile.imwrite(
            part,
            np.ascontiguousarray(array),
            bigtiff=array.nbytes > 2**31,
            photometric="rgb" if colour else "minisblack",
            compression="zlib",
            ome=True,
            metadata=_ome(image, colour=colour),
        )
    return path


def _commented(png: bytes, words: str) -> bytes:
    """A PNG with a comment (tEXt, PNG specification 11.3.3.2) behind its header."""
    body = b"tEXt" + b"Comment\0" + words.encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_HEADER_END] + chunk + png[_HEADER_END:]


def _last(plane: NDArray[Any]) -> NDArray[Any]:
    """``(C, H, W)`` as ``(H, W)`` or ``(H, W, C)``."""
    return np.ascontiguousarray(plane[0] if len(plane) == 1 else np.moveaxis(plane, 0, -1))


def _ome(image: Image, *, colour: bool) -> dict[str, Any]:
    """What the OME header says: axes, and what of spacing and time is known."""
    axes = "ZYX" if len(image.shape) == 3 else "YX"
    if colour:
        axes += "S"
    elif image.channel_count > 1:
        axes = ("T" if image.times else "C") + axes
    out: dict[str, Any] = {"axes": axes}
    if SYNTHETIC in image.flags:
        out["Description"] = SYNTHETIC
    for name, step in zip("XYZ", reversed(image.spacing or ()), strict=False):
        out[f"PhysicalSize{name}"] = repr(float(step))
        out[f"PhysicalSize{name}Unit"] = "mm"
    if image.times:
        out["TimeIncrement"], out["TimeIncrementUnit"] = even_step(image, "TIFF"), "s"
    return out
