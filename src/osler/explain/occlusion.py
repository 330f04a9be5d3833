r"""Occlusion: what the answer loses when a part of the picture is taken away.

For the windows :math:`W` of a regular grid, with :math:`x_W` the image in which the window shows
what `osler.explain.absent` puts there [1]_,

.. math:: h(p) = \frac{1}{|\{W \ni p\}|} \sum_{W \ni p} \bigl( f(x) - f(x_W) \bigr)

in the units of the score: above 0 where the picture speaks for the answer, below 0 where it speaks
against it. It asks the model nothing but answers, so that any model can be explained: an ONNX
graph, a network, or a chain of both.

References:
    .. [1] Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014,
       section 4.2.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError

Score = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""``(N, C, [D,] H, W)`` to the ``(N,)`` scores of the answer that is explained."""

Window = tuple[slice, ...]


def occlusion(
    score: Score,
    image: ArrayLike,
    *,
    absent: ArrayLike,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    within: ArrayLike | None = None,
    batch: int = 8,
) -> NDArray[np.float32]:
    """Slide a window over an image and see what the score loses.

    Only ``batch`` copies of the image exist at a time.

    Args:
        score: the model and what is asked of it.
        image: ``(C, H, W)`` or ``(C, D, H, W)``, as the model takes it.
        absent: the same shape, what an occluded pixel shows.
        window: its sides, pixels; one number for all axes.
        stride: steps from window to window, pixels, at most the window; None takes half of it.
        within: ``([D,] H, W)``, pixels that may matter; a window that holds none is passed over.
        batch: images that the model takes at once.

    Returns:
        ``([D,] H, W)`` in units of the score; 0 where no window was.

    Raises:
        InputError: shapes differ, or a window or step does not fit.
    """
    array, gone = np.asarray(image, np.float32), np.asarray(absent, np.float32)
    if gone.shape != array.shape:
        raise InputError(f"absent has shape {gone.shape} and the image {array.shape}")
    shape = array.shape[1:]
    inside = np.ones(shape, bool) if within is None else np.asarray(within, bool)
    if inside.shape != shape:
        raise InputError(f"within has shape {inside.shape} and the image's pixels {shape}")
    size = sides(window, shape, "window")
    step = tuple(max(1, side // 2) for side in size) if stride is None else None
    step = step or sides(stride if stride is not None else 1, shape, "stride")
    if any(s > w for s, w in zip(step, size, strict=True)):
        raise InputError(f"stride {step} is wider than the window {size} and leaves pixels out")
    whole = float(score(array[None])[0])
    total, count = np.zeros(shape), np.zeros(shape)
    for places in _batches((p for p in windows(shape, size, step) if inside[p].any()), batch):
        stack = np.repeat(array[None], len(places), axis=0)
        for one, place in zip(stack, places, strict=True):
            one[(slice(None), *place)] = gone[(slice(None), *place)]
        for place, answer in zip(places, score(stack), strict=True):
            total[place] += whole - float(answer)
            count[place] += 1
    return np.asarray(np.where(inside, total / np.maximum(count, 1), 0.0), np.float32)


def windows(shape: Sequence[int], size: Sequence[int], step: Sequence[int]) -> Iterator[Window]:
    """The windows of a grid; the last of each axis ends with the axis, so every pixel is in one."""
    starts = []
    for n, w, s in zip(shape, size, step, strict=True):
        at = list(range(0, n - w + 1, s))
        if at[-1] + w < n:
            at.append(n - w)
        starts.append(at)
    for corner in product(*starts):
        yield tuple(slice(at, at + w) for at, w in zip(corner, size, strict=True))


def sides(given: int | Sequence[int], shape: Sequence[int], name: str) -> tuple[int, ...]:
    """One number an axis, cut to the image.

    Raises:
        InputError: there are not as many as axes, or one is below 1.
    """
    each = (given,) * len(shape) if isinstance(given, int) else tuple(given)
    if len(each) != len(shape) or any(one < 1 for one in each):
        raise InputError(f"{name} {given} does not fit {len(shape)} axes; give pixels from 1")
    return tuple(min(one, n) for one, n in zip(each, shape, strict=True))


def _batches(places: Iterator[Window], size: int) -> Iterator[list[Window]]:
    held: list[Window] = []
    for place in places:
        held.append(place)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held
