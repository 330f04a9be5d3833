"""The resolution tags of a picture as millimetres a pixel, for those who know that they mean it.

Cameras and programs write dots per inch for a printer; a scanner or a microscope writes them for
the thing itself, and no tag says which of the two it is. Sources: JFIF 1.02, EXIF 2.32 4.6.4 A,
PNG 3rd ed. 11.3.4.3 (pHYs), TIFF 6.0 (ResolutionUnit), BITMAPINFOHEADER.
"""

from typing import Any, Final

from PIL import Image as Pillow

from osler.errors import InputError
from osler.io.input_file import InputFile

_X, _Y, _UNIT, _ORIENTATION = 282, 283, 296, 274
_MILLIMETRES: Final = {2: 25.4, 3: 10.0}
"""ResolutionUnit of TIFF and EXIF; 1 is no unit of length."""


def spacing_of(file: InputFile, picture: Pillow.Image) -> tuple[float, float]:
    """Millimetres along ``(H, W)`` of the picture as it is seen.

    Args:
        file: for messages.
        picture: its header, opened by Pillow.

    Raises:
        InputError: it states no resolution in a unit of length.
    """
    steps = _steps(picture)
    if steps is None or not all(1e-7 < step < 1e4 for step in steps):
        raise InputError(
            f"'{file.name}' states no resolution in a unit of length; leave out the option "
            "'resolution'"
        )
    across, down = steps
    turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (across, down) if turned else (down, across)


def _steps(picture: Pillow.Image) -> tuple[float, float] | None:
    """Millimetres along the stored ``(W, H)``."""
    if picture.format in ("PNG", "BMP") or picture.info.get("jfif_unit") in (1, 2):
        return _inverse(picture.info.get("dpi"), 25.4)
    # not Pillow's "dpi": that is 72 where EXIF says nothing
    tags: Any = getattr(picture, "tag_v2", None) or picture.getexif()
    return _inverse((tags.get(_X), tags.get(_Y)), _MILLIMETRES.get(tags.get(_UNIT, 2)))


def _inverse(dots: Any, millimetres: float | None) -> tuple[float, float] | None:
    try:
        across, down = (float(number) for number in dots)
        return None if millimetres is None else (millimetres / across, millimetres / down)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
