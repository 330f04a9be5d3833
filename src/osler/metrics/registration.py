"""How well two images were brought together: landmarks, and whether the warp folds space."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import binary, finite, same_shape


def target_registration_error(truth: ArrayLike, moved: ArrayLike) -> NDArray[np.float64]:
    """The distance from each landmark to where the registration puts its partner [1]_.

    The landmarks must not have guided the registration. Average them per case before averaging
    over cases.

    Args:
        truth: ``(N, 2)`` or ``(N, 3)``, mm.
        moved: the same shape, mm.

    Returns:
        ``(N,)`` mm.

    Raises:
        InputError: shapes differ or do not fit, or a value is not finite.

    References:
        .. [1] Fitzpatrick, West & Maurer, "Predicting error in rigid-body point-based
           registration", IEEE TMI 17:694-702, 1998.
    """
    one = finite(truth, name="truth").astype(np.float64)
    other = finite(moved, name="moved").astype(np.float64)
    same_shape(truth=one, moved=other)
    if one.ndim != 2 or one.shape[1] not in (2, 3):
        raise InputError(f"'truth' has shape {one.shape}; expected (N, 2) or (N, 3)")
    return np.asarray(np.sqrt(((one - other) ** 2).sum(axis=1)), dtype=np.float64)


def jacobian_determinant(
    displacement: ArrayLike, *, spacing: Sequence[float]
) -> NDArray[np.float64]:
    r"""How much a warp :math:`x + u(x)` grows space at each voxel: :math:`\det(I + \nabla u)`.

    1 leaves it, 2 doubles, 0 and below folds. Derivatives are central differences, one-sided at
    the border (``numpy.gradient``).

    Args:
        displacement: ``(2, H, W)`` or ``(3, D, H, W)`` mm, its components in the order of the axes.
        spacing: mm between voxel centres along each axis.

    Returns:
        ``(H, W)`` or ``(D, H, W)``.

    Raises:
        InputError: shapes do not fit, an axis is shorter than 2, or a value is out of its range.
    """
    field = finite(displacement, name="displacement").astype(np.float64)
    axes = field.ndim - 1
    if axes not in (2, 3) or field.shape[0] != axes or min(field.shape[1:]) < 2:
        raise InputError(
            f"'displacement' has shape {field.shape}; expected (2, H, W), (3, D, H, W)"
        )
    steps = tuple(float(step) for step in spacing)
    if len(steps) != axes or not all(0 < step < np.inf for step in steps):
        raise InputError(f"'spacing' is {steps}; expected {axes} lengths in mm above 0")
    slopes = np.empty((*field.shape[1:], axes, axes))
    for component in range(axes):
        for axis in range(axes):
            slopes[..., component, axis] = np.gradient(field[component], steps[axis], axis=axis)
    return np.asarray(np.linalg.det(slopes + np.eye(axes)), dtype=np.float64)


def folding(
    displacement: ArrayLike, *, spacing: Sequence[float], within: ArrayLike | None = None
) -> float | None:
    """The share of voxels at which a warp folds space: Jacobian determinant 0 or below [1]_.

    Args:
        displacement: as for `jacobian_determinant`.
        spacing: as for `jacobian_determinant`.
        within: the voxels that count, ``(H, W)`` or ``(D, H, W)``; None for all.

    Returns:
        0 to 1, or None where ``within`` is empty.

    Raises:
        InputError: as for `jacobian_determinant`, or ``within`` does not fit.

    References:
        .. [1] Balakrishnan et al., "VoxelMorph: a learning framework for deformable medical image
           registration", IEEE TMI 38:1788-1800, 2019, section V.
    """
    growth = jacobian_determinant(displacement, spacing=spacing)
    if within is not None:
        kept = binary(within, name="within")
        same_shape(displacement=growth, within=kept)
        growth = growth[kept]
    return float((growth <= 0).mean()) if growth.size else None
