"""What a transform does: it carries images, labels and points, has an inverse, and may fold.

A `Transform` leads from the grid of its ``item`` (the fixed image) to that of its ``target`` (the
moving one): to see the moving image in the fixed grid, each fixed voxel is looked up where the
transform puts it. Points of the moving image go the other way, through `inverted`.

Places are LPS millimetres for volumes. A flat image has a plane of its own, millimetres
``(x, y)`` from the centre of its first pixel (pixels, where it states no scale); where that plane
lies in the patient is not used.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import GeometryError, InputError
from osler.metrics.registration import folding, jacobian_determinant
from osler.record import Image, Mask, Transform
from osler.tasks.grid import grid_of

Scale = Literal["millimetres", "pixels"]

_SLAB = 1_000_000  # voxels that are looked up at a time
_ROUNDS = 60  # of the iteration that inverts a displacement
_INVERTED = 0.01  # moving voxels: what may be left of it


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where the pixels of an image lie.

    Attributes:
        shape: ``(H, W)`` or ``(D, H, W)``.
        affine: ``(n+1, n+1)``, maps the index of a pixel's centre to ``(x, y)`` or ``(x, y, z)``.
        unit: UCUM unit of the places, ``"mm"`` or ``"[pix_i]"``.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    unit: str = "mm"

    @property
    def spacing(self) -> NDArray[np.float64]:
        """``(n,)`` from centre to centre along the axes of the array."""
        n = len(self.shape)
        return np.asarray(np.linalg.norm(self.affine[:n, :n], axis=0))

    @property
    def directions(self) -> NDArray[np.float64]:
        """``(n, n)``: column ``a`` is the unit vector along axis ``a`` of the array."""
        n = len(self.shape)
        return np.asarray(self.affine[:n, :n] / self.spacing)

    def places(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places ``(n, ...)`` of indices ``(n, ...)``."""
        return _applied(self.affine, index)


def frame_of(image: Image, *, scale: Scale = "millimetres") -> Frame:
    """Where the pixels of an image lie; loads none.

    Args:
        image: flat or a volume.
        scale: ``"pixels"`` counts in pixels and asks for no spacing.

    Raises:
        GeometryError: millimetres are wanted and the image states none.
    """
    n = len(image.shape)
    unit = "mm" if scale == "millimetres" else "[pix_i]"
    if n == 3 and scale == "millimetres":
        return Frame(image.shape, grid_of(image).affine, unit)
    if scale == "millimetres" and image.spacing is None:
        raise GeometryError(
            f"image '{image.name}' states no spacing, so nothing can be said of it in "
            "millimetres; give it one if you know it, or register in pixels (scale='pixels')"
        )
    steps = image.spacing if scale == "millimetres" and image.spacing else (1.0,) * n
    affine = np.eye(n + 1)
    affine[:n, :n] = np.diag(steps)[:, ::-1].T  # the last axis of the array runs along x
    return Frame(image.shape, affine, unit)


def frames_of(transform: Transform, fixed: Image, moving: Image) -> tuple[Frame, Frame]:
    """The frames that a transform stands between, in its own unit.

    Raises:
        InputError: the transform does not fit the images.
    """
    n = len(fixed.shape)
    sound = transform.matrix.shape == (n + 1, n + 1) and len(moving.shape) == n
    field = transform.displacement
    if not sound or (field is not None and field.shape != (n, *fixed.shape)):
        raise InputError(
            f"transform '{transform.id}' has a matrix of {transform.matrix.shape}"
            + (f" and a displacement of {field.shape}" if field is not None else "")
            + f", which does not lead from an image of {fixed.shape} to one of {moving.shape}"
        )
    if field is None:  # only the matrix counts, so no scale is needed
        return frame_of(fixed, scale="pixels"), frame_of(moving, scale="pixels")
    scale: Scale = "millimetres" if transform.unit == "mm" else "pixels"
    return frame_of(fixed, scale=scale), frame_of(moving, scale=scale)


def warped(
    image: Image,
    transform: Transform,
    *,
    onto: Image,
    outside: float = 0.0,
    name: str | None = None,
) -> Image:
    """The moving image in the grid of the fixed one, linear between voxels.

    Args:
        image: the moving image.
        transform: from ``onto`` to ``image``.
        onto: the fixed image; only its grid counts.
        outside: the value of what the moving image does not show.
        name: of the result; by default that of ``image``.

    Returns:
        An image with the values and kind of ``image``, the grid of ``onto`` and the flag
        ``"warped"``. Whole numbers are rounded.

    Raises:
        InputError: the transform does not fit the images.
        GeometryError: it is in millimetres, and an image states none.
    """
    array = image.array
    out = np.empty((array.shape[0], *onto.shape), array.dtype)
    whole = np.issubdtype(array.dtype, np.integer)
    for rows, places in _lookups(transform, onto, image):
        for channel in range(array.shape[0]):
            values = _interpolated(array[channel], places, outside=outside)
            out[channel, rows] = np.rint(values) if whole else values
    return replace(
        _without_place(image, out, name or image.name),
        spacing=onto.spacing,
        affine=onto.affine,
        flags=(*image.flags, "warped"),
    )


def _without_place(image: Image, array: NDArray[Any], name: str) -> Image:
    """The image with other pixels, before it gets the place that is theirs."""
    return Image(
        name=name, array=array, modality=image.modality, laterality=image.laterality,
        acquired=image.acquired, flags=image.flags, units=image.units, channels=image.channels,
        window=image.window,
    )  # fmt: skip


def warped_labels(
    labels: NDArray[Any], transform: Transform, *, onto: Image, moving: Image
) -> NDArray[Any]:
    """Labels or a mask of the moving image in the grid of the fixed one, by the nearest voxel.

    Args:
        labels: ``([D,] H, W)`` of whole numbers or truths, in the grid of ``moving``; 0 is
            background, and what lies outside.
        transform: from ``onto`` to ``moving``.
        onto: the fixed image; only its grid counts.
        moving: the moving image; only its grid counts.

    Raises:
        InputError: the transform or the labels do not fit the images.
    """
    if labels.shape != moving.shape:
        raise InputError(
            f"the labels have the shape {labels.shape} and image '{moving.name}' {moving.shape}"
        )
    out = np.zeros(onto.shape, labels.dtype)
    for rows, places in _lookups(transform, onto, moving):
        near = np.rint(places).astype(np.int64)
        sides = np.array(moving.shape).reshape(-1, *(1,) * (near.ndim - 1))
        inside = ((near >= 0) & (near < sides)).all(axis=0)
        part = np.zeros(inside.shape, labels.dtype)
        part[inside] = labels[tuple(near[:, inside])]
        out[rows] = part
    return out


def warped_mask(mask: Mask, transform: Transform, *, onto: Image, moving: Image) -> Mask:
    """A mask of the moving image as a finding about the fixed one; see `warped_labels`."""
    return _with_pixels(
        mask,
        warped_labels(mask.mask, transform, onto=onto, moving=moving),
        item=onto.name,
        evidence=transform.id,
    )


def _with_pixels(mask: Mask, pixels: NDArray[np.bool_], *, item: str, evidence: str) -> Mask:
    """The same statement with other pixels, about another item."""
    return Mask(
        id=f"{mask.id}.{item}", name=mask.name, source=mask.source, code=mask.code, item=item,
        site=mask.site, laterality=mask.laterality, evidence=(evidence,), status=mask.status,
        flags=(*mask.flags, "warped"), note=mask.note, mask=pixels, category=mask.category,
    )  # fmt: skip


def moved_points(
    points: ArrayLike, transform: Transform, *, fixed: Image, moving: Image
) -> NDArray[np.float64]:
    """Where places of the fixed image lie in the moving one.

    Args:
        points: ``(N, n)`` indices ``([d,] h, w)`` in ``fixed``, 0 at the first voxel's centre.
        transform: from ``fixed`` to ``moving``.
        fixed: the fixed image; only its grid counts.
        moving: the moving image; only its grid counts.

    Returns:
        ``(N, n)`` indices in ``moving``, which may lie outside it.

    Raises:
        InputError: shapes do not fit.
    """
    index = np.asarray(points, np.float64)
    if index.ndim != 2 or index.shape[1] != len(fixed.shape):
        raise InputError(f"points of shape {index.shape}; expected (N, {len(fixed.shape)})")
    one, other = frames_of(transform, fixed, moving)
    return _moved(index.T, transform, one, other).T


def inverted(transform: Transform, *, fixed: Image, moving: Image) -> Transform:
    """The way back: a transform from the moving image to the fixed one.

    A matrix is inverted. A displacement is inverted at each moving voxel by iteration [1]_; where
    that does not end within a hundredth of a moving voxel (which is so where the map folds) the
    best that was found stands there and the flag ``"not-invertible"`` says so.

    Raises:
        InputError: the transform does not fit the images, or its matrix has no inverse.

    References:
        .. [1] Chen et al., "A simple fixed-point approach to invert a deformation field",
           Medical Physics 35:81-88, 2008.
    """
    one, other = frames_of(transform, fixed, moving)
    if abs(np.linalg.det(transform.matrix)) < 1e-12:
        raise InputError(f"transform '{transform.id}' has no inverse: its matrix is singular")
    back = np.asarray(np.linalg.inv(transform.matrix), np.float64)
    flags = transform.flags
    displacement = None
    if transform.displacement is not None:
        displacement = np.empty((len(moving.shape), *moving.shape), np.float32)
        left = 0
        turn = other.directions.T @ one.affine[: len(one.shape), : len(one.shape)]
        for rows, index in _slabs(moving.shape):
            found, wrong = _sources(index, transform, back, one, other)
            left += wrong
            away = found - _applied(back, index)
            displacement[:, rows] = np.tensordot(turn, away, axes=1)
        if left and "not-invertible" not in flags:
            flags = (*flags, "not-invertible")
    return Transform(
        id=f"{transform.id}.inverse", name=transform.name, source=transform.source,
        item=transform.target, target=transform.item or fixed.name, matrix=back,
        displacement=displacement, unit=transform.unit, evidence=(transform.id,), flags=flags,
        note=transform.note,
    )  # fmt: skip


def _sources(
    index: NDArray[np.float64],
    transform: Transform,
    back: NDArray[np.float64],
    one: Frame,
    other: Frame,
) -> tuple[NDArray[np.float64], int]:
    """Fixed indices whose way leads to these moving ones, and at how many that failed."""
    shape, wanted = index.shape, index.reshape(len(index), -1)
    found = _applied(back, wanted)
    best = found.copy()
    least = np.full(found.shape[1], np.inf)
    linear = back[:-1, :-1]
    open_ = np.arange(found.shape[1])
    for _ in range(_ROUNDS):
        error = wanted[:, open_] - _moved(found[:, open_], transform, one, other)
        size = np.abs(error).max(axis=0)
        better = size < least[open_]
        best[:, open_[better]] = found[:, open_[better]]
        least[open_[better]] = size[better]
        step = linear @ error
        going = size > _INVERTED / 10
        found[:, open_] += step
        open_ = open_[going]
        if not len(open_):
            break
    # beyond the fixed grid the nearest vector is held, where nothing is promised
    inside = ((best >= 0) & (best <= np.array(one.shape)[:, None] - 1)).all(axis=0)
    return best.reshape(shape), int((inside & (least > _INVERTED)).sum())


def displacement_of(transform: Transform, *, fixed: Image, moving: Image) -> NDArray[np.float64]:
    """The whole way of each fixed voxel, matrix and displacement together.

    Returns:
        ``(2, H, W)`` or ``(3, D, H, W)``: components along the axes of the fixed grid, as
        `osler.metrics.registration` takes them; mm, or pixels for a transform in pixels.

    Raises:
        InputError: the transform does not fit the images.
        GeometryError: it is in millimetres, and an image states none.
    """
    frames_of(transform, fixed, moving)
    scale: Scale = "millimetres" if transform.unit == "mm" else "pixels"
    one, other = frame_of(fixed, scale=scale), frame_of(moving, scale=scale)
    out = np.empty((len(fixed.shape), *fixed.shape))
    for rows, index in _slabs(fixed.shape):
        led = other.places(_applied(transform.matrix, index))
        part = np.tensordot(one.directions.T, led - one.places(index), axes=1)
        if transform.displacement is not None:
            part = part + transform.displacement[:, rows]
        out[:, rows] = part
    return out


def field_of(transform: Transform, *, fixed: Image, moving: Image) -> NDArray[np.float32]:
    """The whole way of each voxel of a volume as other programs take it.

    Returns:
        ``(3, D, H, W)`` mm along L, P and S, from the place of a fixed voxel's centre to the place
        in the moving image that it leads to.

    Raises:
        InputError: the transform does not fit the images, or leads between flat ones.
        GeometryError: an image states no place.
    """
    if len(fixed.shape) != 3 or transform.unit != "mm":
        raise InputError(f"transform '{transform.id}' does not lead between volumes in millimetres")
    along = displacement_of(transform, fixed=fixed, moving=moving)
    out = np.tensordot(frame_of(fixed).directions, along, axes=1)
    return np.asarray(out, np.float32)


def growth(transform: Transform, *, fixed: Image, moving: Image) -> NDArray[np.float64]:
    """How much the map grows space at each fixed voxel: the determinant of its Jacobian.

    See `osler.metrics.registration.jacobian_determinant`; 0 or below folds.
    """
    scale: Scale = "millimetres" if transform.unit == "mm" else "pixels"
    way = displacement_of(transform, fixed=fixed, moving=moving)
    return jacobian_determinant(way, spacing=tuple(frame_of(fixed, scale=scale).spacing))


def folded_share(
    transform: Transform, *, fixed: Image, moving: Image, within: ArrayLike | None = None
) -> float | None:
    """The share of fixed voxels where the map folds; see `osler.metrics.registration.folding`."""
    scale: Scale = "millimetres" if transform.unit == "mm" else "pixels"
    way = displacement_of(transform, fixed=fixed, moving=moving)
    spacing = tuple(frame_of(fixed, scale=scale).spacing)
    return folding(way, spacing=spacing, within=within)


def overlap_of(
    transform: Transform, *, fixed: Image, moving: Image, within: NDArray[np.bool_] | None = None
) -> float:
    """The share of fixed voxels (those ``within``) that the map leads into the moving image."""
    hit = total = 0
    sides = np.array(moving.shape)
    for rows, places in _lookups(transform, fixed, moving):
        limit = sides.reshape(-1, *(1,) * (places.ndim - 1)) - 0.5
        inside = ((places >= -0.5) & (places <= limit)).all(axis=0)
        kept = np.ones(inside.shape, bool) if within is None else within[rows]
        hit += int((inside & kept).sum())
        total += int(kept.sum())
    return hit / total if total else 0.0


def _slabs(shape: tuple[int, ...]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Rows along the first axis with the indices ``(n, ...)`` of their voxels."""
    step = max(1, _SLAB // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        stop = min(start + step, shape[0])
        axes = [np.arange(start, stop), *(np.arange(side) for side in shape[1:])]
        yield (
            slice(start, stop),
            np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float64),
        )


def _lookups(
    transform: Transform, fixed: Image, moving: Image
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Rows of the fixed grid with the moving indices ``(n, ...)`` of their voxels."""
    one, other = frames_of(transform, fixed, moving)
    linear = _to_index(one, other)
    for rows, index in _slabs(fixed.shape):
        places = _applied(transform.matrix, index)
        if transform.displacement is not None:
            places += np.tensordot(linear, transform.displacement[:, rows], axes=1)
        yield rows, places


def _to_index(one: Frame, other: Frame) -> NDArray[np.float64]:
    """``(n, n)`` from a vector along the fixed axes to one in moving indices."""
    n = len(one.shape)
    return np.asarray(np.linalg.solve(other.affine[:n, :n], one.directions))


def _moved(
    index: NDArray[np.float64], transform: Transform, one: Frame, other: Frame
) -> NDArray[np.float64]:
    """Moving indices ``(n, N)`` of fixed ones, whole or not."""
    from scipy import ndimage

    places = _applied(transform.matrix, index)
    if transform.displacement is None:
        return places
    vector = np.stack(
        [
            ndimage.map_coordinates(component, index, order=1, mode="nearest", output=np.float64)
            for component in transform.displacement
        ]
    )
    return np.asarray(places + _to_index(one, other) @ vector)


def _applied(matrix: NDArray[np.float64], index: NDArray[np.float64]) -> NDArray[np.float64]:
    """A homogeneous matrix on points ``(n, ...)``."""
    n = len(index)
    moved = np.tensordot(matrix[:n, :n], index, axes=1)
    return np.asarray(moved + matrix[:n, n].reshape(-1, *(1,) * (index.ndim - 1)))


def _interpolated(
    array: NDArray[Any], places: NDArray[np.float64], *, outside: float
) -> NDArray[np.float64]:
    """Values at places up to half a voxel beyond the outermost centres; there, the nearest."""
    from scipy import ndimage

    values = np.empty(places.shape[1:])
    ndimage.map_coordinates(array, places, order=1, mode="nearest", output=values)
    limit = np.array(array.shape).reshape(-1, *(1,) * (places.ndim - 1)) - 0.5
    inside = ((places >= -0.5) & (places <= limit)).all(axis=0)
    return np.asarray(np.where(inside, values, outside))
