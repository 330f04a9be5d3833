"""What two photographs of one retina have in common: corners with a description, and vessel lines.

Everything is found on a canvas on which the field of view has one diameter (`osler.tasks.canvas`),
so that cameras of other resolutions give marks of one size, and is returned in canvas pixels.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.record import Image
from osler.tasks.canvas import Canvas, draw, plan
from osler.tasks.field import find_field

DIAMETER: Final = 640  # canvas pixels
_RIM: Final = 14  # canvas pixels inside the field that are left out: its edge is no vessel
_WIDTHS: Final = (1.6, 2.4, 3.4)  # standard deviations of the vessel filter
_STRONG: Final = 95.0  # percentile of the filter at which a line begins
_WEAK: Final = 89.0  # and until which it goes on
_SHORTEST: Final = 14  # canvas pixels of a line


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """The marks of one photograph, in canvas pixels ``(h, w)``.

    Attributes:
        canvas: where the canvas lies in the photograph.
        inside: ``(H, W)`` of the canvas: the field of view without its rim.
        corners: ``(K, 2)``.
        descriptions: ``(K, 128)``, of the corners, by SIFT [1]_.
        lines: ``(L, 2)`` places on vessel centre lines, to a part of a pixel.
        normals: ``(L, 2)`` unit vectors across the lines.

    References:
        .. [1] Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60:91-110,
           2004.
    """

    canvas: Canvas
    inside: NDArray[np.bool_]
    corners: NDArray[np.float64]
    descriptions: NDArray[np.uint8]
    lines: NDArray[np.float64]
    normals: NDArray[np.float64]


def marks_of(photo: Image) -> Marks:
    """The marks of a photograph of the retina.

    Raises:
        InputError: it is no colour photograph of 8 bits.
    """
    if len(photo.shape) != 2 or photo.channel_count != 3 or photo.dtype != np.uint8:
        raise InputError(
            f"image '{photo.name}' is {photo.channel_count} x {photo.shape} of {photo.dtype}; "
            "photographs of the retina are colour (three channels) in 8 bits"
        )
    canvas = plan(find_field(photo.array), diameter=DIAMETER)
    drawn = draw(photo.array, canvas)
    inside = _inside(canvas)
    even = _evened(drawn[1].astype(np.float32), inside)
    corners, descriptions = _corners(even, inside)
    lines, normals = _lines(even, inside)
    return Marks(canvas, inside, corners, descriptions, lines, normals)


def _inside(canvas: Canvas) -> NDArray[np.bool_]:
    """The field on the canvas, without its rim."""
    field = canvas.field
    h, w = np.indices(canvas.size, sparse=True)
    inside = (h >= _RIM) & (h < canvas.content[0] - _RIM)
    inside = inside & (w >= _RIM) & (w < canvas.content[1] - _RIM)
    if field.circular:
        ch, cw = canvas.to_canvas(field.centre)
        inside = inside & ((h - ch) ** 2 + (w - cw) ** 2 <= (DIAMETER / 2 - _RIM) ** 2)
    return np.asarray(inside)


def _evened(green: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Green without its slow changes, in local standard deviations; 0 outside the field."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(inside.astype(np.float32), 20.0) + 1e-6
    mean = ndimage.gaussian_filter(np.where(inside, green, 0.0), 20.0) / weight
    rest = np.where(inside, green - mean, 0.0)
    spread = np.sqrt(ndimage.gaussian_filter(rest**2, 40.0) / (weight + 1e-6)) + 1.0
    return np.asarray(np.clip(rest / spread, -4.0, 4.0), np.float32)


def _corners(
    even: NDArray[np.float32], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    from skimage.feature import SIFT

    finder: Any = SIFT  # which tells no types
    finder = finder(upsampling=1, c_dog=0.012, c_edge=12)
    try:
        finder.detect_and_extract((even + 4.0) / 8.0)
    except RuntimeError:  # it found none
        return np.zeros((0, 2)), np.zeros((0, 128), np.uint8)
    at = np.rint(finder.keypoints).astype(int)
    kept = inside[at[:, 0], at[:, 1]]
    return np.asarray(finder.keypoints[kept], np.float64), np.asarray(finder.descriptors[kept])


def _lines(
    even: NDArray[np.float32], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Crests of the greatest second derivative: dark lines, over three widths."""
    from scipy import ndimage

    best = np.zeros(even.shape, np.float32)
    normal = np.zeros((2, *even.shape), np.float32)
    for width in _WIDTHS:
        hh = ndimage.gaussian_filter(even, width, order=(2, 0))
        ww = ndimage.gaussian_filter(even, width, order=(0, 2))
        hw = ndimage.gaussian_filter(even, width, order=(1, 1))
        gap = np.sqrt((hh - ww) ** 2 / 4 + hw**2)
        least = (hh + ww) / 2 - gap
        # across a vessel it is dark between bright, along it hardly anything changes
        response = width**2 * ((hh + ww) / 2 + gap - np.abs(least))
        angle = 0.5 * np.arctan2(2 * hw, hh - ww)
        better = response > best
        best[better] = response[better]
        normal[0][better], normal[1][better] = np.cos(angle)[better], np.sin(angle)[better]
    if not inside.any():
        return np.zeros((0, 2)), np.zeros((0, 2))
    strong, weak = np.percentile(best[inside], (_STRONG, _WEAK))
    at = np.stack(np.nonzero(inside & (best > max(weak, 1e-6))))
    across = normal[:, at[0], at[1]].astype(np.float64)
    here = best[at[0], at[1]].astype(np.float64)
    after, before = (
        ndimage.map_coordinates(best, at + side * across, order=1, output=np.float64)
        for side in (1, -1)
    )
    crest = (here >= after) & (here >= before)
    # the top of the parabola through the three
    bow = np.minimum(after + before - 2 * here, -1e-9)
    shift = np.clip((before - after) / (2 * bow), -0.5, 0.5)
    pixels = np.zeros(even.shape, bool)
    pixels[at[0][crest], at[1][crest]] = True
    joined, count = ndimage.label(pixels, np.ones((3, 3)))
    number = np.arange(1, count + 1)
    long = ndimage.sum_labels(pixels, joined, number) >= _SHORTEST
    sure = ndimage.maximum(best, joined, number) >= strong if count else np.zeros(0)
    kept = np.concatenate([[False], long & (sure > 0)])[joined[at[0], at[1]]] & crest
    return (at + shift * across).T[kept], across.T[kept]
