"""Colour of decoded pictures: to sRGB without alpha, 8 bits a channel.

Each function gives back the new picture and the flags that say what was done.
"""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

Flags = tuple[str, ...]


def to_srgb(picture: Pillow.Image, profile: bytes | None) -> tuple[Pillow.Image, Flags]:
    """An RGB or CMYK picture in sRGB, by its embedded ICC profile where it has another one.

    Relative colorimetric with black point compensation, as viewers do (ICC.1:2022 6.2.2). Without
    a profile, RGB is taken as sRGB, and CMYK is converted without colour management.

    Args:
        picture: of mode RGB or CMYK.
        profile: the embedded profile's bytes.
    """
    converted, flags = _by_profile(picture, profile) if profile else (None, ())
    if converted is None:
        converted = picture if picture.mode == "RGB" else picture.convert("RGB")
    return converted, flags


def _by_profile(picture: Pillow.Image, profile: bytes) -> tuple[Pillow.Image | None, Flags]:
    try:
        embedded = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(embedded).lower():
            return None, ()
        converted = ImageCms.profileToProfile(
            picture,
            embedded,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        # damaged, or a profile of another colour model
        return None, ("icc-unusable",)
    return converted, ("icc-converted",)


def without_alpha(picture: Pillow.Image) -> tuple[Pillow.Image, Flags]:
    """A picture of mode LA or RGBA as L or RGB, on black: the surround of a fundus photograph."""
    alpha = picture.getchannel("A")
    opaque = picture.convert(picture.mode[:-1])
    if alpha.getextrema()[0] == 255:
        return opaque, ("alpha-dropped",)
    black = Pillow.new(opaque.mode, opaque.size)
    return Pillow.composite(opaque, black, alpha), ("alpha-flattened",)


def ybr_to_rgb(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Full-range YCbCr ``(H, W, 3)`` as RGB of the same shape.

    ITU-R BT.601 luma with the range 0 to 255: the equation of DICOM PS3.3 C.7.6.3.1.2 for
    YBR_FULL and YBR_ICT, and of JFIF 1.02, which Pillow computes.
    """
    height, width, _ = array.shape
    picture = Pillow.frombytes("YCbCr", (width, height), np.ascontiguousarray(array).tobytes())
    return np.asarray(picture.convert("RGB"))


def partial_ybr_to_rgb(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """YCbCr ``(H, W, 3)`` of the range 16 to 235 as RGB of the same shape.

    ITU-R BT.601: the equation of DICOM PS3.3 C.7.6.3.1.2 for YBR_PARTIAL_422.
    """
    luma = 1.1644 * (array[..., 0].astype(np.float32) - 16)
    blue, red = (array[..., i].astype(np.float32) - 128 for i in (1, 2))
    rgb = [luma + 1.596 * red, luma - 0.3917 * blue - 0.813 * red, luma + 2.0173 * blue]
    return np.asarray(np.clip(np.rint(np.stack(rgb, axis=-1)), 0, 255), np.uint8)


def to_bytes(array: NDArray[Any], *, bits: int) -> NDArray[np.uint8]:
    """Unsigned values of ``bits`` bits as 8 bits: the highest 8, or all where there are fewer."""
    shifted = array >> (bits - 8) if bits > 8 else array
    return shifted.astype(np.uint8)
