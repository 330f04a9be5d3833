"""The photograph with what the path of evidence stands on: lesions, quadrants, and distances."""

from typing import Final

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from osler.explain.signs import Frame, frame_of
from osler.io.layers import LAYERS, rgb
from osler.io.masks import as_rgb
from osler.record import Case, Mask

_WIDEST: Final = 1100
_LESIONS: Final = ("soft-exudates", "hard-exudates", "haemorrhages", "microaneurysms")
_LINE: Final = (255, 255, 255)
_DASH: Final = 9


def evidence_picture(case: Case, *, item: str = "photo") -> Picture.Image:
    """Outlines of the marked lesions, the quadrants round the disc, one disc diameter of the fovea.

    Args:
        case: one that was read.
        item: the photograph.

    Returns:
        At most 1100 pixels wide, in colour.
    """
    photo = case.image(item)
    base = Picture.fromarray(as_rgb(photo))
    scale = min(1.0, _WIDEST / base.width)
    size = max(1, round(base.width * scale)), max(1, round(base.height * scale))
    array = np.asarray(base.resize(size, Picture.Resampling.BOX)).copy()
    colours = {layer.id: rgb(layer.colour) for layer in LAYERS}
    for id in _LESIONS:
        found = case.get(id, Mask)
        if found is not None and found.mask.shape == photo.shape and found.mask.any():
            array[_outline(found, size)] = colours[id]
    drawn = Picture.fromarray(array)
    frame = frame_of(case)
    if not isinstance(frame, str):
        _lines(drawn, frame, scale)
    return drawn


def _outline(
    found: Mask, size: tuple[int, int]
) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
    from scipy import ndimage

    small = np.asarray(
        Picture.fromarray(found.mask).convert("L").resize(size, Picture.Resampling.BOX)
    )
    mask = small > 24  # a lesion smaller than a pixel of the page stays visible
    return np.asarray(ndimage.binary_dilation(mask, iterations=2) & ~mask)


def _lines(drawn: Picture.Image, frame: Frame, scale: float) -> None:
    """The two lines that part the quadrants, and the circle round the fovea."""
    pen = ImageDraw.Draw(drawn)
    centre = (np.array(frame.disc) + 0.5) * scale
    fovea = (np.array(frame.fovea) + 0.5) * scale
    along = (fovea - centre) / np.hypot(*(fovea - centre))
    across = np.array([along[1], -along[0]])
    reach = float(np.hypot(*drawn.size))
    for way in (along, across):
        for start in np.arange(-reach, reach, 2 * _DASH):
            a, b = centre + start * way, centre + (start + _DASH) * way
            pen.line([(a[1], a[0]), (b[1], b[0])], fill=_LINE, width=1)
    radius = frame.diameter * scale
    angles = np.arange(0, 360, 12)
    box = [fovea[1] - radius, fovea[0] - radius, fovea[1] + radius, fovea[0] + radius]
    for start in angles:
        pen.arc([float(v) for v in box], int(start), int(start) + 6, fill=_LINE, width=1)
    pen.line([(fovea[1] - 5, fovea[0]), (fovea[1] + 5, fovea[0])], fill=_LINE, width=1)
    pen.line([(fovea[1], fovea[0] - 5), (fovea[1], fovea[0] + 5)], fill=_LINE, width=1)
