"""A change of place: flips, turns, scale, shift and bending of one image, as one map.

Indices are of pixel centres, in the order of the axes. A warp says for each pixel of the new image
where in the old one its value is found,

    old(x) = c + M (x + u(x) - c - t)

with the image's centre c, a matrix M, a shift t, and a displacement u of cubic B-splines. A spline
reproduces linear functions, so the whole map is one spline, whose control points are the map of
their own places (Rueckert et al. 1999, doi:10.1109/42.796284).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.learn.augmenting_settings import Augmentation, Axis

Floats = NDArray[np.float64]
_NEWTON_STEPS: Final = 20
_CLOSE: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Bend:
    """A displacement by cubic B-splines.

    Attributes:
        control: ``(n, *K)`` displacement of each control point, pixels of each axis.
        steps: distance between control points along each axis, pixels.
        offsets: place of the first pixel among the control points of each axis.
    """

    control: Floats
    steps: tuple[float, ...]
    offsets: tuple[float, ...]

    def bases(self, places: Sequence[Floats], *, slope: int | None = None) -> list[Floats]:
        """Weights ``(N, K)`` of the control points at indices ``(N,)``, an array an axis.

        Args:
            places: indices.
            slope: the axis along which the derivative is taken.
        """
        out = []
        for axis, (place, step, offset) in enumerate(
            zip(places, self.steps, self.offsets, strict=True)
        ):
            own, count = place / step + offset, self.control.shape[axis + 1]
            out.append(
                _spline_slope(own[:, None] - np.arange(count)) / step
                if axis == slope
                else spline_basis(own, count)
            )
        return out

    def at(self, points: Floats) -> tuple[Floats, Floats]:
        """Displacement ``(P, n)`` and its derivatives ``(P, n, n)`` at indices ``(P, n)``."""
        places = list(points.T)
        moved = _weighted(self.control, self.bases(places))
        slopes = [_weighted(self.control, self.bases(places, slope=a)) for a in range(len(places))]
        return moved, np.stack(slopes, axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """Where each pixel of a new image is found in the old one.

    Attributes:
        shape: ``(H, W)`` or ``(D, H, W)``, of both.
        matrix: ``(n, n)`` from new to old indices, about the centre.
        shift: ``(n,)`` by which the image moves, pixels.
        bend: the displacement; None for none.
    """

    shape: tuple[int, ...]
    matrix: Floats
    shift: Floats
    bend: Bend | None = None

    @property
    def centre(self) -> Floats:
        """Index of the centre."""
        return (np.array(self.shape, float) - 1) / 2

    def turn(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """The order of axes and those then mirrored, where that is all there is; else None."""
        whole = np.rint(self.matrix)
        if self.bend is not None or np.any(np.abs(self.shift) > _CLOSE):
            return None
        if np.abs(self.matrix - whole).max() > _CLOSE or np.any(np.abs(whole).sum(0) != 1):
            return None
        # new axis j runs along the old axis order[j]
        order = tuple(int(np.flatnonzero(whole[:, j])[0]) for j in range(len(self.shape)))
        if tuple(self.shape[a] for a in order) != self.shape:
            return None
        return order, tuple(j for j, a in enumerate(order) if whole[a, j] < 0)

    def spline(self) -> tuple[Floats, list[Floats]]:
        """The whole map: control points ``(n, *K)`` and weights ``(N, K)`` of each axis."""
        lines = [np.arange(n, dtype=float) for n in self.shape]
        if self.bend is None:  # corners, joined linearly, say it all
            own = [np.array([0.0, n - 1.0])[: min(n, 2)] for n in self.shape]
            bases = [_linear(n) for n in self.shape]
            moved = np.stack(np.meshgrid(*own, indexing="ij"))
        else:
            bend = self.bend
            own = [
                (np.arange(count) - offset) * step
                for count, offset, step in zip(
                    bend.control.shape[1:], bend.offsets, bend.steps, strict=True
                )
            ]
            bases = bend.bases(lines)
            moved = np.stack(np.meshgrid(*own, indexing="ij")) + bend.control
        column = (-1,) + (1,) * len(self.shape)
        moved = moved - (self.centre + self.shift).reshape(column)
        return np.einsum("ij,j...->i...", self.matrix, moved) + self.centre.reshape(column), bases

    def old(self, points: ArrayLike) -> Floats:
        """Where points ``(P, n)`` of the new image are in the old one."""
        new = np.asarray(points, float)
        bent = new if self.bend is None else new + self.bend.at(new)[0]
        return (bent - self.centre - self.shift) @ self.matrix.T + self.centre

    def new(self, points: ArrayLike) -> Floats:
        """Where points ``(P, n)`` of the old image are in the new one; NaN stays NaN.

        Bending is undone by Newton's method, to a millionth of a pixel.
        """
        old = np.asarray(points, float)
        goal = (old - self.centre) @ np.linalg.inv(self.matrix).T + self.centre + self.shift
        if self.bend is None:
            return goal
        known = np.isfinite(goal).all(axis=1)
        place = goal[known].copy()
        for _ in range(_NEWTON_STEPS):
            moved, slopes = self.bend.at(place)
            wrong = place + moved - goal[known]
            if not wrong.size or np.abs(wrong).max() < 1e-6:
                break
            place -= np.linalg.solve(np.eye(len(self.shape)) + slopes, wrong[..., None])[..., 0]
        goal[known] = place
        return goal

    def new_boxes(self, boxes: ArrayLike) -> Floats:
        """The boxes ``(K, 2 n)``, start before stop, of what lay in those of the old image.

        Each is taken as full of an ellipse (ellipsoid), and the new box encloses the ellipse as
        the warp turns and stretches it at its centre. This is exact for flips, quarter turns,
        scale and shifts, and does not let a round lesion's box grow with the angle, as enclosing
        the turned corners does (Kalra et al., ICCV 2021, pages 3530-3540).
        The boxes may reach beyond the image.
        """
        old = np.asarray(boxes, float)
        n = len(self.shape)
        # a pixel's box reaches half a pixel to either side of its centre
        middle, half = (old[:, :n] + old[:, n:] - 1) / 2, (old[:, n:] - old[:, :n]) / 2
        centre = self.new(middle)
        into = np.broadcast_to(self.matrix, (len(old), n, n))
        known = np.isfinite(centre).all(axis=1)
        if self.bend is not None:
            into = into.copy()
            into[known] = self.matrix @ (np.eye(n) + self.bend.at(centre[known])[1])
        onto = np.linalg.inv(into)
        reach = np.sqrt(((onto * half[:, None, :]) ** 2).sum(axis=-1))
        return np.concatenate([centre - reach + 0.5, centre + reach + 0.5], axis=1)


def draw_warp(
    settings: Augmentation,
    shape: tuple[int, ...],
    spacing: tuple[float, ...] | None,
    rngs: Sequence[np.random.Generator],
) -> Warp:
    """Draw a warp.

    Args:
        settings: what may happen.
        shape: ``(H, W)`` or ``(D, H, W)``.
        spacing: of the axes, any unit; None for pixels that are squares or cubes.
        rngs: one for each of the six changes, so that leaving one out leaves the others alone.
    """
    n = len(shape)
    size = np.ones(n) if spacing is None else np.array(spacing, float) / min(spacing)
    fixed = _fixed_axis(settings, size)
    matrix = np.eye(n)  # from old to new, in pixels of the finest axis
    if settings.scale and _happens(rngs[0], settings.scale.probability):
        low, high = np.log(settings.scale.factor)
        factors = np.exp(rngs[0].uniform(low, high, n if settings.scale.apart else 1))
        factors = np.broadcast_to(factors, n).copy()
        if fixed is not None:
            factors[fixed] = 1
        matrix = np.diag(factors) @ matrix
    if settings.rotate and _happens(rngs[1], settings.rotate.probability):
        limits = [settings.rotate.in_plane, *[settings.rotate.through_plane] * 2]
        angles = np.radians(rngs[1].uniform(-1, 1, 3) * limits)
        matrix = _rotation(angles, n, fixed) @ matrix
    if settings.quarter and _happens(rngs[2], settings.quarter.probability):
        first, second = (a for a in range(n) if a != (0 if fixed is None else fixed) or n == 2)
        square = shape[first] == shape[second] and math.isclose(size[first], size[second])
        matrix = _quarters(n, first, second, int(rngs[2].integers(1, 4)) if square else 2) @ matrix
    if settings.flip:
        signs = np.ones(n)
        allowed = axes_of(settings.flip.axes, n)
        signs[allowed] = np.where(rngs[3].random(n)[allowed] < settings.flip.probability, -1, 1)
        matrix = np.diag(signs) @ matrix
    shift = np.zeros(n)
    if settings.translate and _happens(rngs[4], settings.translate.probability):
        shift = rngs[4].uniform(-1, 1, n) * settings.translate.share * np.array(shape)
        if fixed is not None:
            shift[fixed] = 0
    bend = None
    if settings.elastic and _happens(rngs[5], settings.elastic.probability):
        bend = _draw_bend(settings, shape, size, fixed, rngs[5])
    into = np.linalg.inv(matrix * size / size[:, None]).astype(float)
    return Warp(shape, into, shift, bend)


def spline_basis(places: Floats, count: int) -> Floats:
    """Weights ``(N, count)`` of cubic B-splines at places ``(N,)`` among control points."""
    return _spline(places[:, None] - np.arange(count))


def axes_of(names: Sequence[Axis], n: int) -> list[int]:
    """The numbers of named axes in an image of ``n``."""
    every: tuple[Axis, ...] = ("depth", "height", "width")
    return [a for a, name in enumerate(every[-n:]) if name in names]


def _draw_bend(
    settings: Augmentation,
    shape: tuple[int, ...],
    size: Floats,
    fixed: int | None,
    rng: np.random.Generator,
) -> Bend | None:
    elastic = settings.elastic
    if elastic is None or elastic.displacement == 0:
        return None
    steps = elastic.spacing / size
    spans = (np.array(shape) - 1) / steps
    counts = np.ceil(spans).astype(int) + 3
    offsets = (counts - 1 - spans) / 2  # the control points lie evenly about the centre
    control = rng.uniform(-1, 1, (len(shape), *counts)) * elastic.displacement
    if fixed is not None:
        control[fixed] = 0
    control /= size.reshape((-1,) + (1,) * len(shape))
    return Bend(control, tuple(map(float, steps)), tuple(map(float, offsets)))


def _fixed_axis(settings: Augmentation, size: Floats) -> int | None:
    """The axis across thick slices, along which nothing moves."""
    if len(size) < 3 or settings.planar_above is None:
        return None
    second, first = np.sort(size)[-2:]
    return int(size.argmax()) if first > settings.planar_above * second else None


def _rotation(angles: Floats, n: int, fixed: int | None) -> Floats:
    if n == 2:
        return _plane(2, 0, 1, angles[0])
    if fixed is not None:
        first, second = (a for a in range(3) if a != fixed)
        return _plane(3, first, second, angles[0])
    return _plane(3, 1, 2, angles[0]) @ _plane(3, 0, 2, angles[1]) @ _plane(3, 0, 1, angles[2])


def _plane(n: int, first: int, second: int, angle: float) -> Floats:
    out = np.eye(n)
    out[first, first] = out[second, second] = math.cos(angle)
    out[first, second], out[second, first] = -math.sin(angle), math.sin(angle)
    return out


def _quarters(n: int, first: int, second: int, turns: int) -> Floats:
    return np.rint(_plane(n, first, second, turns * math.pi / 2))


def _happens(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _linear(n: int) -> Floats:
    if n == 1:
        return np.ones((1, 1))
    far = np.arange(n) / (n - 1)
    return np.stack([1 - far, far], axis=1)


def _weighted(control: Floats, bases: Sequence[Floats]) -> Floats:
    """``(P, n)``: the control points, weighted at each of P places."""
    out = np.tensordot(bases[0], control, axes=(1, 1))  # (P, n, ...)
    for weights in bases[1:]:
        out = np.einsum("pnk...,pk->pn...", out, weights)
    return out


def _spline(away: Floats) -> Floats:
    """The cubic B-spline."""
    far = np.abs(away)
    near = 2 / 3 - far**2 + far**3 / 2
    return np.where(far < 1, near, np.clip(2 - far, 0, None) ** 3 / 6)


def _spline_slope(away: Floats) -> Floats:
    far = np.abs(away)
    near = -2 * far + 1.5 * far**2
    return np.sign(away) * np.where(far < 1, near, -(np.clip(2 - far, 0, None) ** 2) / 2)
