"""The grid of a volume in the patient, the grid that a network wants, and the way between them.

Every index is that of a voxel's centre, and every position is in LPS millimetres, so that a
volume of another spacing covers the same part of the patient: its outer faces stay, its centres
move.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.errors import GeometryError, InputError
from osler.record import Image

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where the voxels of a volume lie.

    Attributes:
        shape: ``(D, H, W)``.
        affine: ``(4, 4)``, maps the index ``(d, h, w)`` of a voxel's centre to LPS millimetres.
    """

    shape: Shape
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(f"a grid of shape {self.shape}; expected (D, H, W), each at least 1")
        sound = self.affine.shape == (4, 4) and bool(np.isfinite(self.affine).all())
        if not sound or abs(np.linalg.det(self.affine[:3, :3])) < 1e-12:
            raise GeometryError(
                "the affine of a grid is not an invertible (4, 4) matrix; take the grid from an "
                "image whose file states spacing and orientation"
            )

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres from centre to centre along ``(D, H, W)``."""
        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(d), float(h), float(w)

    def to_millimetres(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """LPS millimetres ``(N, 3)`` of indices ``(N, 3)``; whole numbers are voxel centres."""
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, millimetres: NDArray[np.float64]) -> NDArray[np.float64]:
        """Indices ``(N, 3)`` of LPS millimetres ``(N, 3)``; the inverse of `to_millimetres`."""
        away = millimetres - self.affine[:3, 3]
        return np.asarray(np.linalg.solve(self.affine[:3, :3], away.T).T)


def grid_of(image: Image) -> Grid:
    """The grid of a volume; loads no pixels.

    A volume with a spacing but no place in the patient gets a place of its own: its first voxel's
    centre at the origin, its axes along those of the patient.

    Raises:
        GeometryError: the image is no volume, or its file states no spacing.
    """
    if len(image.shape) != 3:
        raise GeometryError(
            f"image '{image.name}' has the shape {image.shape}; a grid needs (D, H, W)"
        )
    depth, height, width = image.shape
    if image.affine is not None:
        return Grid((depth, height, width), np.asarray(image.affine, np.float64))
    if image.spacing is None:
        raise GeometryError(
            f"image '{image.name}' states no spacing, so that it cannot be resampled to "
            "millimetres; give it a spacing or an affine if you know them"
        )
    return Grid((depth, height, width), np.diag([*image.spacing, 1.0]))


def resampled(grid: Grid, spacing: tuple[float, float, float]) -> Grid:
    """The grid of nearest to this spacing that covers the same part of the patient.

    The number of voxels is whole, so the spacing of the result is the extent divided by that
    number and differs a little from what was asked for: that keeps the outer faces together, and
    is what interpolation without aligned corners assumes. A half is rounded to the even number.

    Args:
        grid: of the volume.
        spacing: wanted, millimetres along ``(D, H, W)``.

    Raises:
        InputError: a spacing is not a positive number.
    """
    if len(spacing) != 3 or not all(np.isfinite(mm) and mm > 0 for mm in spacing):
        raise InputError(f"a spacing of {spacing}; expected three positive numbers of millimetres")
    depth, height, width = (
        max(1, round(count * now / wanted))
        for count, now, wanted in zip(grid.shape, grid.spacing, spacing, strict=True)
    )
    return reshaped(grid, (depth, height, width))


def reshaped(grid: Grid, shape: Shape) -> Grid:
    """The grid with this number of voxels ``(D, H, W)`` that has the same outer faces."""
    step = np.asarray(grid.shape, np.float64) / np.asarray(shape, np.float64)
    change = np.diag([*step, 1.0])
    change[:3, 3] = 0.5 * step - 0.5  # the first centre lies half a step behind the face
    return Grid(shape, grid.affine @ change)


def index_map(target: Grid, source: Grid) -> NDArray[np.float64]:
    """``(4, 4)`` that maps an index in ``target`` to the index of the same point in ``source``."""
    return np.asarray(np.linalg.solve(source.affine, target.affine))
