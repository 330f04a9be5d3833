"""The canvas: the field of view at a fixed diameter, and the way back to the photograph.

Models see canvases; findings live in the photograph's own grid. Both directions are here, and
nowhere else, so that training, reading and export cannot drift apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.record import Image
from osler.tasks.field import Field

_MULTIPLE = 32  # networks halve the canvas up to five times


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where a canvas lies in its photograph.

    Attributes:
        field: the field of view that it shows.
        scale: canvas pixels a photograph pixel.
        size: ``(H, W)`` of the canvas, multiples of 32; what lies beyond the field is zero.
        content: ``(h, w)`` of the part that shows the photograph; the rest is padding.
    """

    field: Field
    scale: float
    size: tuple[int, int]
    content: tuple[int, int]

    def to_photo(self, position: tuple[float, float]) -> tuple[float, float]:
        """Photograph index ``(h, w)`` of a canvas index; pixel centres at whole numbers."""
        h0, w0, h1, w1 = self.field.box
        step_h, step_w = (h1 - h0) / self.content[0], (w1 - w0) / self.content[1]
        return (
            h0 + (position[0] + 0.5) * step_h - 0.5,
            w0 + (position[1] + 0.5) * step_w - 0.5,
        )

    def to_canvas(self, position: tuple[float, float]) -> tuple[float, float]:
        """Canvas index ``(h, w)`` of a photograph index; the inverse of ``to_photo``."""
        h0, w0, h1, w1 = self.field.box
        step_h, step_w = (h1 - h0) / self.content[0], (w1 - w0) / self.content[1]
        return (
            (position[0] + 0.5 - h0) / step_h - 0.5,
            (position[1] + 0.5 - w0) / step_w - 0.5,
        )


def plan(field: Field, *, diameter: int) -> Canvas:
    """Lay out the canvas on which the field has this diameter (pixels)."""
    scale = diameter / (2 * field.radius)
    h0, w0, h1, w1 = field.box
    # the box of a whole circle is a pixel or two wider than its diameter; the canvas is not
    content = tuple(min(max(1, round(side * scale)), diameter) for side in (h1 - h0, w1 - w0))
    size = (_round_up(content[0]), _round_up(content[1]))
    return Canvas(field, scale, size, (content[0], content[1]))


def _round_up(side: int) -> int:
    return -(-side // _MULTIPLE) * _MULTIPLE


def draw(image: NDArray[np.uint8], canvas: Canvas) -> NDArray[np.uint8]:
    """Draw a photograph on its canvas.

    Args:
        image: ``(C, H, W)`` with 1 or 3 channels, 8 bit.
        canvas: from ``plan``.

    Returns:
        ``(4, h, w)``: red, green, blue, and the field (255 inside, 0 outside). Reduced with an
        antialiasing filter; zero outside the field.
    """
    from PIL import Image as Pillow

    if image.shape[0] == 1:
        image = np.repeat(image, 3, axis=0)
    h0, w0, h1, w1 = canvas.field.box
    crop = np.ascontiguousarray(image[:, h0:h1, w0:w1].transpose(1, 2, 0))
    field = canvas.field.mask(canvas.field.box).astype(np.uint8) * 255
    h, w = canvas.content
    out = np.zeros((4, *canvas.size), np.uint8)
    drawn = Pillow.fromarray(crop).resize((w, h), Pillow.Resampling.BICUBIC)
    inside = Pillow.fromarray(field).resize((w, h), Pillow.Resampling.NEAREST)
    out[:3, :h, :w] = np.asarray(drawn).transpose(2, 0, 1)
    out[3, :h, :w] = np.asarray(inside)
    out[:3] *= out[3:] > 0
    return out


def draw_mask(mask: NDArray[np.bool_], canvas: Canvas) -> NDArray[np.uint8]:
    """Share of each canvas pixel that a mask covers, 0 to 255; ``(H, W)`` to ``(h, w)``."""
    from PIL import Image as Pillow

    h0, w0, h1, w1 = canvas.field.box
    crop = np.ascontiguousarray(mask[h0:h1, w0:w1]).astype(np.uint8) * 255
    h, w = canvas.content
    out = np.zeros(canvas.size, np.uint8)
    out[:h, :w] = np.asarray(Pillow.fromarray(crop).resize((w, h), Pillow.Resampling.BILINEAR))
    return out


def undraw(values: NDArray[np.float32], canvas: Canvas) -> NDArray[np.float32]:
    """Bring maps from the canvas home to the photograph.

    Args:
        values: ``(L, h, w)`` on the canvas.
        canvas: the canvas that they were made on.

    Returns:
        ``(L, H, W)`` in the photograph's grid, bilinear, zero outside the field.
    """
    from PIL import Image as Pillow

    h0, w0, h1, w1 = canvas.field.box
    h, w = canvas.content
    out = np.zeros((len(values), *canvas.field.shape), np.float32)
    inside = canvas.field.mask(canvas.field.box)
    for channel, target in zip(values, out, strict=True):
        content = Pillow.fromarray(np.ascontiguousarray(channel[:h, :w], dtype=np.float32))
        home = content.resize((w1 - w0, h1 - h0), Pillow.Resampling.BILINEAR)
        np.multiply(np.asarray(home), inside, out=target[h0:h1, w0:w1])
    return out


def undraw_thin(values: NDArray[np.float32], canvas: Canvas) -> NDArray[np.float32]:
    """Bring maps of thin structures home to a photograph that is coarser than its canvas.

    A vessel of half a pixel is drawn by hand as a line of whole pixels: what it passes through
    belongs to it. The average over a pixel (``undraw``) says otherwise and loses such vessels. So
    where a pixel of the photograph covers two pixels of the canvas or more (to the nearest whole
    number), it takes the greatest of those whose centres lie in it. Finer photographs are treated
    as by ``undraw``.

    Args:
        values: ``(L, h, w)`` on the canvas.
        canvas: the canvas that they were made on.

    Returns:
        ``(L, H, W)`` in the photograph's grid, zero outside the field.
    """
    h0, w0, h1, w1 = canvas.field.box
    h, w = canvas.content
    if round(min(h / (h1 - h0), w / (w1 - w0))) < 2:
        return undraw(values, canvas)
    out = np.zeros((len(values), *canvas.field.shape), np.float32)
    rows = np.maximum.reduceat(values[:, :h, :w], _first_centres(h, h1 - h0), axis=1)
    home = np.maximum.reduceat(rows, _first_centres(w, w1 - w0), axis=2)
    out[:, h0:h1, w0:w1] = home * canvas.field.mask(canvas.field.box)
    return out


def _first_centres(fine: int, coarse: int) -> NDArray[np.intp]:
    """For each of ``coarse`` equal intervals the first of ``fine`` centres that lies in it."""
    return np.asarray(np.ceil(np.arange(coarse) * (fine / coarse) - 0.5), np.intp)


def rgb(image: Image) -> NDArray[np.uint8]:
    """An image as the networks take it: ``(3, H, W)``, 8 bit.

    Grey is repeated. More than 8 bits are scaled so that all but the brightest and darkest
    thousandth of the pixels fit.

    Raises:
        InputError: the image is a volume, or has neither one nor three channels.
    """
    array = image.array
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise InputError(
            f"image '{image.name}' has shape {array.shape}; a photograph is (1, H, W) or (3, H, W)"
        )
    if array.dtype != np.uint8:
        low, high = np.percentile(array[:, ::4, ::4], [0.1, 99.9])
        scaled = (array.astype(np.float32) - low) * (255 / max(float(high - low), 1e-6))
        array = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.repeat(array, 3, axis=0) if array.shape[0] == 1 else array
