"""Where a volume's grid lies: matrices of files to LPS millimetres of ``(d, h, w)``.

Volume formats count the fastest axis first, ``(i, j, k)``; an ``Image`` counts it last, so
``(d, h, w)`` is ``(k, j, i)``. NIfTI and some NRRD files point to the patient's right, anterior
and superior (RAS); an ``Image`` to left, posterior and superior (LPS), as DICOM does.
"""

from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import GeometryError

Affine = NDArray[np.float64]

RAS_TO_LPS: Final[Affine] = np.diag([-1.0, -1.0, 1.0, 1.0])

# Axes whose cosine is above this are no axes of a box: scanners and resampling make far smaller.
_SKEW: Final = 1e-3


def reversed_axes(affine: Affine) -> Affine:
    """The matrix for an index ``(k, j, i)`` from the one for ``(i, j, k)``, or the other way."""
    return np.ascontiguousarray(affine[:, [2, 1, 0, 3]])


def affine_of(directions: NDArray[Any], origin: NDArray[Any]) -> Affine:
    """The matrix whose columns are the steps along each axis, ``(3, 3)``, from an origin."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions, origin
    return affine


def spacing_of(affine: Affine) -> tuple[float, ...]:
    """Millimetres from centre to centre along each axis of the index."""
    return tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))


def check_affine(affine: Affine, *, name: str, what: str, way_out: str) -> tuple[str, ...]:
    """Refuse a matrix that places no box; flag one whose box is skewed.

    Args:
        affine: of any order of axes.
        name: the file, for the message.
        what: the header's field, for the message.
        way_out: what the user can do, as it fits after a semicolon.

    Returns:
        ``("sheared-axes",)`` where the axes are not at right angles.

    Raises:
        GeometryError: it is not finite, or axes have no length or coincide.
    """
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (steps > 0).all():
        raise GeometryError(
            f"'{name}' places its voxels by a {what} that is not finite or has an axis of no "
            f"length; {way_out}"
        )
    units = affine[:3, :3] / steps
    if abs(np.linalg.det(units)) < 1e-6:
        raise GeometryError(
            f"'{name}' places its voxels by a {what} two of whose axes coincide; {way_out}"
        )
    skew = np.abs(units.T @ units - np.eye(3)).max()
    return ("sheared-axes",) if skew > _SKEW else ()


def farthest(a: Affine, b: Affine, shape: tuple[int, ...]) -> float:
    """The greatest distance in mm between the places that two matrices give a box's corners.

    Args:
        a: matrix of an index.
        b: matrix of the same index.
        shape: voxels along each axis of that index.
    """
    ends = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], float)
    return float(np.linalg.norm(ends @ (a - b).T, axis=1).max())
