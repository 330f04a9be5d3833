"""What stands where a part of an input is taken away.

No choice is neutral: a black square on a retina looks like a haemorrhage, a grey one like nothing
that a network ever saw. So the choice is named with every map [1]_.

References:
    .. [1] Sturmfels, Lundberg & Lee, "Visualizing the impact of feature attribution baselines",
       Distill 2020.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import RecipeError

Absent = Literal["blur", "mean", "zero"]

_WIDTH = 1 / 12  # of the blur, over the shortest side
_CUT = 3.0  # standard deviations at which the Gaussian ends


def absent(
    image: ArrayLike, kind: Absent = "blur", *, within: ArrayLike | None = None
) -> NDArray[np.float32]:
    """An image from which everything that could be evidence is gone.

    Args:
        image: ``(C, H, W)`` or ``(C, D, H, W)``.
        kind: ``"blur"`` is a Gaussian of a twelfth of the shortest side, which keeps the colour of
            each region and no structure; ``"mean"`` is each channel's mean; ``"zero"`` is 0.
        within: ``([D,] H, W)``, the pixels that hold the picture, such as a field of view. The
            others neither bleed into it nor change.

    Returns:
        The same shape.

    Raises:
        RecipeError: there is no such kind.
    """
    array = np.asarray(image, np.float32)
    if kind not in get_args(Absent):
        raise RecipeError(f"absent is one of {', '.join(get_args(Absent))}, not '{kind}'")
    inside = np.ones(array.shape[1:], bool) if within is None else np.asarray(within, bool)
    if kind == "zero":
        gone = np.zeros_like(array)
    elif kind == "mean":
        shown = array[:, inside]
        means = shown.mean(axis=1) if shown.size else np.zeros(len(array), np.float32)
        gone = np.broadcast_to(means.reshape(-1, *[1] * inside.ndim), array.shape)
    else:
        gone = _blurred(array, inside)
    return np.where(inside, gone, array).astype(np.float32)


def _blurred(array: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A Gaussian over the pixels inside, each weighed by how much of the window they fill."""
    from scipy import ndimage

    sigma = max(1.0, min(inside.shape) * _WIDTH)
    # a wide Gaussian of a reduced image costs a hundredth and differs by less than a grey level
    step = max(1, int(sigma // 6))
    reduced = tuple(slice(step // 2, None, step) for _ in inside.shape)
    weight = inside[reduced].astype(np.float32)
    total = ndimage.gaussian_filter(weight, sigma / step, truncate=_CUT, mode="nearest")
    out = np.empty_like(array)
    for channel, target in zip(array, out, strict=True):
        small = channel[reduced] * weight
        if step > 1:
            small = ndimage.uniform_filter(channel, step, mode="nearest")[reduced] * weight
        smooth = ndimage.gaussian_filter(small, sigma / step, truncate=_CUT, mode="nearest")
        smooth = np.asarray(smooth / np.maximum(total, 1e-6), np.float32)
        target[...] = _enlarged(smooth, step, inside.shape)
    return out


def _enlarged(small: NDArray[np.float32], step: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if step == 1:
        return small
    from scipy import ndimage

    axes = [(np.arange(size) - step // 2) / step for size in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    return np.asarray(ndimage.map_coordinates(small, grid, order=1, mode="nearest"), np.float32)
