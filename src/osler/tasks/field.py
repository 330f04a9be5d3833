"""The field of view of a fundus photograph: the lit circle, often clipped by the frame.

Every model of the retina works on a canvas in which this circle has a fixed diameter, so that a
vessel has about the same width whatever the camera's resolution was.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORKING_SIDE = 512  # the circle is fitted on a reduced image of this longest side, pixels
_MIN_ARC = 0.12  # a fit needs boundary points for at least this share of the circle


@dataclass(frozen=True, slots=True)
class Field:
    """The field of view, in pixels of the photograph.

    Attributes:
        centre: ``(h, w)`` of the circle's centre, 0 at the centre of the first pixel.
        radius: radius of the circle.
        box: ``(h0, w0, h1, w1)``, the part of the frame that holds the field, ends exclusive.
        shape: ``(H, W)`` of the photograph.
        circular: False where no circle was seen and the whole frame (or the lit part of it) is
            taken for the field; the radius is then half the longer side.
    """

    centre: tuple[float, float]
    radius: float
    box: tuple[int, int, int, int]
    shape: tuple[int, int]
    circular: bool

    def mask(self, box: tuple[int, int, int, int] | None = None) -> NDArray[np.bool_]:
        """Pixels inside the field, ``(H, W)`` or the shape of ``box``."""
        h0, w0, h1, w1 = box or (0, 0, *self.shape)
        hh = np.arange(h0, h1, dtype=np.float32)[:, None]
        ww = np.arange(w0, w1, dtype=np.float32)[None, :]
        inside = (hh >= self.box[0]) & (hh < self.box[2])
        inside = inside & (ww >= self.box[1]) & (ww < self.box[3])
        if self.circular:
            distance = (hh - self.centre[0]) ** 2 + (ww - self.centre[1]) ** 2
            inside = inside & (distance <= self.radius**2)
        return inside


def find_field(image: NDArray[np.uint8]) -> Field:
    """Find the field of view.

    The image is reduced, thresholded against its own dark level, and a circle is fitted to the
    boundary of the largest lit part, leaving out what runs along the frame. Text in a corner is
    another part and does not disturb; a crop without a dark border has no boundary inside the
    frame and is taken whole.

    Args:
        image: ``(C, H, W)``, 8 bit.

    Returns:
        The field, in pixels of ``image``.
    """
    height, width = image.shape[1:]
    step = max(1, int(np.ceil(max(height, width) / _WORKING_SIDE)))
    small = _reduce(image, step)
    lit = _lit_part(small)
    if lit is None:
        return _whole(height, width)
    points = _inner_boundary(lit)
    circle = _fit_circle(points, lit)
    if circle is None:
        h0, w0, h1, w1 = _bounds(lit)
        box = (h0 * step, w0 * step, min(h1 * step, height), min(w1 * step, width))
        centre = ((box[0] + box[2] - 1) / 2, (box[1] + box[3] - 1) / 2)
        radius = max(box[2] - box[0], box[3] - box[1]) / 2
        return Field(centre, radius, box, (height, width), circular=False)
    ch, cw, radius = circle
    # centre of a reduced pixel k lies at k * step + (step - 1) / 2 of the full image
    centre = (ch * step + (step - 1) / 2, cw * step + (step - 1) / 2)
    radius = (radius - 0.5) * step
    box = (
        max(0, int(np.floor(centre[0] - radius))),
        max(0, int(np.floor(centre[1] - radius))),
        min(height, int(np.ceil(centre[0] + radius)) + 1),
        min(width, int(np.ceil(centre[1] + radius)) + 1),
    )
    return Field(centre, radius, box, (height, width), circular=True)


def _whole(height: int, width: int) -> Field:
    centre = ((height - 1) / 2, (width - 1) / 2)
    box = (0, 0, height, width)
    return Field(centre, max(height, width) / 2, box, (height, width), circular=False)


def _reduce(image: NDArray[np.uint8], step: int) -> NDArray[np.float32]:
    """Brightest channel, mean over blocks of ``step`` pixels; ``(h, w)``."""
    bright = image.max(axis=0)
    height, width = bright.shape
    h, w = max(1, height // step), max(1, width // step)
    if height < step or width < step:
        return np.asarray(bright, np.float32)
    cut = bright[: h * step, : w * step].reshape(h, step, w, step)
    return np.asarray(cut.mean(axis=(1, 3), dtype=np.float32))


def _lit_part(small: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    from scipy import ndimage

    border = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    dark = float(np.percentile(border, 10))
    light = float(np.percentile(small, 90))
    if light - dark < 8:  # nothing stands out: a black, white or even frame
        return None
    threshold = dark + max(6.0, 0.10 * (light - dark))
    lit = ndimage.median_filter(small, size=3) > threshold
    lit = ndimage.binary_opening(lit, iterations=2)
    labels, count = ndimage.label(lit)
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    part = labels == 1 + int(np.argmax(sizes))
    if part.mean() < 0.05:
        return None
    return np.asarray(ndimage.binary_fill_holes(part))


def _bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _inner_boundary(lit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Outermost lit pixels a row and a column, without those on the frame; ``(N, 2)``.

    Taking only the first and last lit pixel leaves out the notches and holes that a dim edge or
    a hair on the lens makes inside the circle.
    """
    height, width = lit.shape
    points = []
    rows = np.flatnonzero(lit.any(axis=1))
    first = lit[rows].argmax(axis=1)
    last = width - 1 - lit[rows][:, ::-1].argmax(axis=1)
    points += [np.stack([rows, first], 1)[first > 1], np.stack([rows, last], 1)[last < width - 2]]
    columns = np.flatnonzero(lit.any(axis=0))
    top = lit[:, columns].argmax(axis=0)
    bottom = height - 1 - lit[::-1][:, columns].argmax(axis=0)
    points += [
        np.stack([top, columns], 1)[top > 1],
        np.stack([bottom, columns], 1)[bottom < height - 2],
    ]
    return np.concatenate(points).astype(np.float64)


def _fit_circle(
    points: NDArray[np.float64], lit: NDArray[np.bool_]
) -> tuple[float, float, float] | None:
    """Least-squares circle (Kasa 1976), refitted thrice on the points that lie near it."""
    kept = points
    circle: tuple[float, float, float] | None = None
    for tolerance in (None, 0.08, 0.03, 0.015):
        if circle is not None and tolerance is not None:
            distance = np.hypot(points[:, 0] - circle[0], points[:, 1] - circle[1])
            kept = points[np.abs(distance - circle[2]) < max(1.5, tolerance * circle[2])]
        if len(kept) < 24:
            return None
        system = np.column_stack([kept, np.ones(len(kept))])
        solution, *_ = np.linalg.lstsq(system, (kept**2).sum(axis=1), rcond=None)
        ch, cw = solution[0] / 2, solution[1] / 2
        square = solution[2] + ch**2 + cw**2
        if not np.isfinite(square) or square <= 0:
            return None
        circle = (float(ch), float(cw), float(np.sqrt(square)))
    assert circle is not None
    return circle if _plausible(circle, kept, lit) else None


def _plausible(
    circle: tuple[float, float, float], kept: NDArray[np.float64], lit: NDArray[np.bool_]
) -> bool:
    ch, cw, radius = circle
    height, width = lit.shape
    if not 0.2 * min(height, width) < radius < 1.2 * max(height, width):
        return False
    angle = np.arctan2(kept[:, 0] - ch, kept[:, 1] - cw)
    seen = np.unique(np.floor((angle + np.pi) / (2 * np.pi) * 72)).size / 72
    if seen < _MIN_ARC:
        return False
    hh, ww = np.ogrid[:height, :width]
    disc = (hh - ch) ** 2 + (ww - cw) ** 2 <= radius**2
    union = float((disc | lit).sum())
    return bool((disc & lit).sum() / union > 0.80)
