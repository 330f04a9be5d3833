"""Makes small volumes and headers, and asks SimpleITK where their voxels lie."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

with warnings.catch_warnings():
    # SWIG's own types warn on import
    warnings.simplefilter("ignore", DeprecationWarning)
    import SimpleITK as sitk

SHAPE = (4, 5, 6)
"""``(D, H, W)`` of the volumes here: no two axes alike."""


def volume(dtype: Any = np.int16, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    """Values that differ from voxel to voxel."""
    values = np.arange(np.prod(shape)).reshape(shape) * 7 - 300
    kind = np.dtype(dtype)
    if kind.kind == "u":
        values = values - values.min()
    if kind.itemsize == 1:
        values = values % 120
    return (values / (3 if kind.kind == "f" else 1)).astype(kind)


def oblique() -> NDArray[np.float64]:
    """A matrix of ``(i, j, k)`` without any symmetry: turned about two axes, three spacings."""
    a, b = np.deg2rad(20), np.deg2rad(-35)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([0.7, 0.9, 2.5])
    affine[:3, 3] = (-31.5, 12.25, 400.0)
    return affine


def oracle(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """What SimpleITK reads: ``(D, H, W[, C])`` and the LPS matrix of an index ``(d, h, w)``."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), matrix(image)


def matrix(image: Any) -> NDArray[np.float64]:
    """The LPS matrix of an index ``(d, h, w)`` of a SimpleITK image."""
    n = image.GetDimension()
    directions = np.reshape(image.GetDirection(), (n, n)) @ np.diag(image.GetSpacing())
    affine = np.eye(4)
    affine[:n, 2 - np.arange(n)] = directions
    if n == 2:
        affine[:3, 0] = (0, 0, 1)
    affine[:n, 3] = image.GetOrigin()
    return affine


def itk_image(
    array: NDArray[Any], affine: NDArray[np.float64] | None = None, *, vector: bool = False
) -> Any:
    """A SimpleITK image of ``(D, H, W[, C])`` with a matrix of ``(i, j, k)`` to LPS."""
    image = sitk.GetImageFromArray(array, isVector=vector)
    if affine is not None:
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(affine[:3, 3].tolist())
    return image
