"""Where on the retina: the optic disc as a ruler, the zones round it, and the quadrants.

Lengths are given in pixels or in disc diameters (DD); one disc diameter is twice ``Disc.radius``.

Sources:
    1. Knudtson et al., "Revised formulas for summarizing retinal vessel diameters", Current Eye
       Research 27, 2003: zone B, 0.5 to 1 disc diameter from the disc margin.
    2. Zhou et al., "AutoMorph", Translational Vision Science & Technology 11, 2022: zone C, 0.5 to
       2 disc diameters from the margin; disc-centred against macula-centred photographs.
    3. ETDRS report 10, Ophthalmology 98, 1991: fields 4 to 7, the quadrants round the disc.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

# inner and outer edge from the disc's centre, in disc radii
ZONES: dict[str, tuple[float, float]] = {"zone-b": (2.0, 3.0), "zone-c": (2.0, 5.0)}
QUADRANTS = ("superior-temporal", "inferior-temporal", "superior-nasal", "inferior-nasal")


@dataclass(frozen=True, slots=True)
class Disc:
    """The optic disc.

    Attributes:
        centre: centroid ``(h, w)``, pixels.
        radius: radius of the circle of equal area, pixels.
        height: vertical extent, pixels.
        width: horizontal extent, pixels.
        axes: full major and minor axis of the ellipse with the same second moments, pixels.
        tilt: angle of the major axis from the vertical towards increasing ``w``, degrees in
            [0, 180).
    """

    centre: tuple[float, float]
    radius: float
    height: float
    width: float
    axes: tuple[float, float]
    tilt: float

    @property
    def diameter(self) -> float:
        """One disc diameter (DD), pixels."""
        return 2.0 * self.radius


def box_of(mask: BoolArray) -> tuple[slice, slice] | None:
    """The smallest box that holds every true pixel of an ``(H, W)`` mask, or None if it is empty.

    Raises:
        InputError: the mask is not two-dimensional.
    """
    if mask.ndim != 2:
        raise InputError(f"mask has shape {mask.shape}; expected (H, W)")
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def disc_geometry(mask: BoolArray) -> Disc | None:
    """Measure the largest connected piece of a disc (or cup) mask.

    Args:
        mask: ``(H, W)``.

    Returns:
        Its geometry, or None where the mask is empty.
    """
    from scipy import ndimage

    box = box_of(mask)
    if box is None:
        return None
    labels, count = ndimage.label(mask[box], structure=np.ones((3, 3)))
    piece = (
        labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])) if count > 1 else labels > 0
    )
    h, w = np.nonzero(piece)
    points = np.stack([h, w]).astype(np.float64)
    centre = points.mean(axis=1)
    # a pixel is a unit square, whose own second moment is 1/12
    moments = np.cov(points, bias=True) + np.eye(2) / 12.0
    values, vectors = np.linalg.eigh(moments)
    major = vectors[:, 1]
    return Disc(
        centre=(float(centre[0] + box[0].start), float(centre[1] + box[1].start)),
        radius=float(np.sqrt(h.size / np.pi)),
        height=float(h.max() - h.min() + 1),
        width=float(w.max() - w.min() + 1),
        axes=(float(4.0 * np.sqrt(values[1])), float(4.0 * np.sqrt(values[0]))),
        tilt=float(np.degrees(np.arctan2(major[1], major[0])) % 180.0),
    )


def annulus(
    shape: tuple[int, ...], *, centre: tuple[float, float], inner: float, outer: float
) -> BoolArray:
    """The ring ``inner <= distance < outer`` round a point.

    Args:
        shape: ``(H, W)`` of the grid.
        centre: ``(h, w)``, pixels.
        inner: pixels.
        outer: pixels.

    Returns:
        ``(H, W)``.
    """
    out = np.zeros(shape, dtype=bool)
    spans = [
        slice(max(0, int(np.floor(c - outer))), max(0, min(n, int(np.ceil(c + outer)) + 1)))
        for c, n in zip(centre, shape, strict=True)
    ]
    h = np.arange(spans[0].start, spans[0].stop, dtype=np.float32)[:, None] - centre[0]
    w = np.arange(spans[1].start, spans[1].stop, dtype=np.float32)[None, :] - centre[1]
    squared = h * h + w * w
    out[spans[0], spans[1]] = (squared >= inner * inner) & (squared < outer * outer)
    return out


def zone(shape: tuple[int, ...], disc: Disc, name: str) -> BoolArray:
    """``(H, W)`` zone ``"zone-b"`` or ``"zone-c"``, cut only by the image's border."""
    inner, outer = ZONES[name]
    return annulus(shape, centre=disc.centre, inner=inner * disc.radius, outer=outer * disc.radius)


def share_cut_off(disc: Disc, name: str, *, pixels: int) -> float:
    """The share of a zone that cannot be seen, 0 to 1.

    Args:
        disc: the disc.
        name: ``"zone-b"`` or ``"zone-c"``.
        pixels: pixels of the zone that lie inside the image and its field of view.
    """
    inner, outer = ZONES[name]
    whole = np.pi * disc.radius**2 * (outer**2 - inner**2)
    return float(np.clip(1.0 - pixels / whole, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Axis:
    """The line from the disc to the fovea, which says what is temporal and what is superior.

    The photograph is taken to be upright: of the two sides of the line, the upper one is superior.

    Attributes:
        centre: the disc's centre ``(h, w)``, pixels.
        temporal: unit vector ``(h, w)`` from disc to fovea.
        superior: unit vector ``(h, w)`` at a right angle to it, upwards.
        length: distance from disc to fovea, pixels.
    """

    centre: tuple[float, float]
    temporal: tuple[float, float]
    superior: tuple[float, float]
    length: float

    def along(self, points: FloatArray) -> FloatArray:
        """Coordinates ``(N, 2)`` (temporal, superior) of ``(N, 2)`` points ``(h, w)``, pixels."""
        out: FloatArray = (np.asarray(points) - self.centre) @ np.array(
            [self.temporal, self.superior]
        ).T
        return out


def axis_of(disc: Disc, fovea: tuple[float, ...]) -> Axis | None:
    """The axis from disc to fovea, or None where they coincide or lie one above the other.

    Args:
        disc: the disc.
        fovea: ``(h, w)``, pixels.
    """
    step = np.asarray(fovea, dtype=np.float64) - disc.centre
    length = float(np.hypot(*step))
    if length == 0.0 or step[1] == 0.0:
        return None
    h, w = (float(x) for x in step / length)
    superior = (-abs(w), h * np.sign(w))
    return Axis(disc.centre, (h, w), (float(superior[0]), float(superior[1])), length)


def quadrant_of(points: FloatArray, axis: Axis) -> NDArray[np.int64]:
    """``(N,)`` index into ``QUADRANTS`` of points; the quadrants meet at the disc's centre [3]."""
    at = axis.along(points)
    out: NDArray[np.int64] = (at[:, 1] < 0) + 2 * (at[:, 0] < 0).astype(np.int64)
    return out


def centring(disc: Disc, field: BoolArray) -> Literal["disc", "macula"] | None:
    """Whether a photograph is centred on the disc or on the macula [2].

    It is disc-centred where the disc lies within a tenth of the field's width from the field's
    centre.

    Args:
        disc: the disc.
        field: field of view, ``(H, W)``; None is returned where it is empty.
    """
    box = box_of(field)
    if box is None:
        return None
    middle = [(s.start + s.stop - 1) / 2 for s in box]
    extent = max(s.stop - s.start for s in box)
    away = np.hypot(disc.centre[0] - middle[0], disc.centre[1] - middle[1])
    return "disc" if away < 0.1 * extent else "macula"
