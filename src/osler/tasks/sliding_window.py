"""Sliding-window inference: a network that sees patches answers for a whole image or volume.

Windows overlap and their scores are averaged with weights that fall towards a window's edges,
where a network sees least. Windows are visited in one order and added into the result itself, so
that nothing is held beside it but one batch; slices that no later window reaches are divided by
their weights and, where the result lies in a file, written out.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError

Predict = Callable[[NDArray[np.float32]], NDArray[Any]]
Padding = Literal["edge", "zero"]
_LEAST_WEIGHT = 1e-3  # a corner that only one window sees still gets that window's answer


@dataclass(frozen=True, slots=True)
class Windows:
    """Where the windows lie.

    Attributes:
        shape: ``([D,] H, W)`` of the image.
        patch: ``([d,] h, w)`` of a window.
        starts: for each axis the first index of each window; negative where the image is smaller
            than the window, which then has a margin on both sides.
    """

    shape: tuple[int, ...]
    patch: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return math.prod(len(axis) for axis in self.starts)


def windows(shape: Sequence[int], patch: Sequence[int], *, overlap: float = 0.5) -> Windows:
    """Lay windows over an image; the last of an axis is shifted back to end with the image.

    Args:
        shape: ``([D,] H, W)``.
        patch: the same number of axes.
        overlap: share of a window that the next one covers too, 0 up to below 1.

    Raises:
        InputError: axes that do not fit, or an overlap that cannot be one.
    """
    if len(shape) != len(patch) or not shape or min(*shape, *patch) < 1:
        raise InputError(
            f"a patch {tuple(patch)} for an image {tuple(shape)}; expected one size of at least 1 "
            "for each axis of the image"
        )
    if not 0 <= overlap < 1:
        raise InputError(f"an overlap of {overlap}; expected a share from 0 to below 1")
    starts = tuple(_starts(size, side, overlap) for size, side in zip(shape, patch, strict=True))
    return Windows(tuple(shape), tuple(patch), starts)


def _starts(size: int, side: int, overlap: float) -> tuple[int, ...]:
    if size <= side:
        return (-((side - size) // 2),)
    step = max(1, int(side * (1 - overlap)))
    count = -(-(size - side) // step) + 1
    return tuple(min(n * step, size - side) for n in range(count))


def gaussian_weights(patch: Sequence[int], *, sigma: float = 0.125) -> NDArray[np.float32]:
    """The weight of each place in a window: a Gaussian around its centre, at least 0.001.

    Source: Isensee et al. 2021, "nnU-Net", Nature Methods 18, 203-211; values as MONAI's
    ``compute_importance_map``.

    Args:
        patch: ``([d,] h, w)``.
        sigma: standard deviation as a share of the window's side.
    """
    out = np.ones((), np.float32)
    for side in patch:
        away = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
        out = out[..., None] * np.exp(away**2 / np.float32(-2 * (sigma * side) ** 2))
    return np.asarray(np.maximum(out, max(float(out.min()), _LEAST_WEIGHT)), np.float32)


def sliding_window(
    image: Any,
    predict: Predict,
    *,
    patch: Sequence[int],
    overlap: float = 0.5,
    weights: Literal["gaussian", "even"] | NDArray[np.float32] = "gaussian",
    padding: Padding = "edge",
    batch: int = 1,
    slab: int = 16,
    spill: str | PathLike[str] | None = None,
) -> NDArray[np.float32]:
    """Predict an image window by window.

    Held in memory above the image and the result are one batch of windows with its scores, and
    the weights of ``slab`` slices. The result is the same to the bit for every ``slab``, in memory
    or spilled; and for every ``batch``, if ``predict`` treats the windows of a batch alike.

    Args:
        image: ``(C, [D,] H, W)``, an array or anything that gives arrays when it is cut with
            slices, such as a mapped file.
        predict: ``(N, C, *patch)`` float32 to scores ``(N, L, *patch)``; such as
            ``lambda x: bundle.run({"image": x})["scores"]``, or for a torch network
            ``lambda x: network(torch.from_numpy(x)).numpy()``.
        patch: ``([d,] h, w)``; where the image is smaller, it lies in the middle of its window.
        overlap: share of a window that the next one covers too.
        weights: of the places in a window: falling towards the edge, even, or an array of the
            shape of ``patch`` with positive values.
        padding: what stands beyond an image that is smaller than a window: its edge, or zero.
        batch: windows a call of ``predict``.
        slab: slices that are divided by their weights at a time.
        spill: a file to hold the scores in (``.npy``, overwritten): the result is mapped from it.

    Returns:
        ``(L, [D,] H, W)`` float32 scores; a ``numpy.memmap`` where they were spilled.

    Raises:
        InputError: sizes or weights that do not fit, or scores of another shape than promised.
    """
    if batch < 1 or slab < 1:
        raise InputError(f"batch {batch} and slab {slab}; expected whole numbers from 1")
    laid = windows(tuple(image.shape)[1:], patch, overlap=overlap)
    weigh = _weights(weights, laid.patch)
    total: NDArray[np.float32] | None = None
    done = 0
    for first, places in _rows(laid):
        for begin in range(0, len(places), batch):
            chosen = places[begin : begin + batch]
            taken = np.stack([_cut(image, place, laid, padding) for place in chosen])
            scores = _checked(predict(taken), taken)
            if total is None:
                total = _result((scores.shape[1], *laid.shape), spill)
            if scores.shape[1] != len(total):
                raise InputError(
                    f"scores of {scores.shape[1]} labels after {len(total)} in a window before"
                )
            for place, score in zip(chosen, scores, strict=True):
                _add(total, score, weigh, place, laid)
        assert total is not None
        later = [start for start in laid.starts[0] if start > first]
        end = min(later[0] if later else laid.shape[0], laid.shape[0])
        _finish(total, weigh, laid, done, end, slab)
        done = end
    assert total is not None
    return total


def _rows(laid: Windows) -> Iterator[tuple[int, list[tuple[int, ...]]]]:
    """The windows that start at the same slice, slice by slice."""
    for first in laid.starts[0]:
        yield first, [(first, *rest) for rest in product(*laid.starts[1:])]


def _weights(
    weights: Literal["gaussian", "even"] | NDArray[np.float32], patch: tuple[int, ...]
) -> NDArray[np.float32]:
    if isinstance(weights, str):
        if weights not in ("gaussian", "even"):
            raise InputError(f"weights {weights!r}; expected 'gaussian', 'even' or an array")
        return gaussian_weights(patch) if weights == "gaussian" else np.ones(patch, np.float32)
    given = np.asarray(weights, np.float32)
    if given.shape != patch or not (np.isfinite(given) & (given > 0)).all():
        raise InputError(f"weights of shape {given.shape}; expected positive numbers {patch}")
    return given


def _result(shape: tuple[int, ...], spill: str | PathLike[str] | None) -> NDArray[np.float32]:
    if spill is None:
        return np.zeros(shape, np.float32)
    # a new file reads as zero where nothing was written yet
    return np.lib.format.open_memmap(spill, mode="w+", dtype=np.float32, shape=shape)


def _overlap(place: Sequence[int], laid: Windows) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of the image under a window, and the part of the window over the image."""
    there, here = [], []
    for start, side, size in zip(place, laid.patch, laid.shape, strict=True):
        low, high = max(start, 0), min(start + side, size)
        there.append(slice(low, high))
        here.append(slice(low - start, high - start))
    return tuple(there), tuple(here)


def _cut(
    image: Any, place: tuple[int, ...], laid: Windows, padding: Padding
) -> NDArray[np.float32]:
    there, here = _overlap(place, laid)
    part = np.asarray(image[(slice(None), *there)], np.float32)
    margins = [(s.start, side - s.stop) for s, side in zip(here, laid.patch, strict=True)]
    if not any(map(any, margins)):
        return part
    mode: Literal["edge", "constant"] = "edge" if padding == "edge" else "constant"
    return np.pad(part, [(0, 0), *margins], mode=mode)


def _checked(scores: NDArray[Any], taken: NDArray[np.float32]) -> NDArray[Any]:
    scores = np.asarray(scores)
    fits = scores.ndim == taken.ndim and scores.shape[1] > 0
    if not fits or (len(scores), *scores.shape[2:]) != (len(taken), *taken.shape[2:]):
        raise InputError(
            f"windows {taken.shape} gave scores {scores.shape}; expected (N, L, ...) with as many "
            "windows of the same size"
        )
    return scores


def _add(
    total: NDArray[np.float32],
    score: NDArray[Any],
    weigh: NDArray[np.float32],
    place: tuple[int, ...],
    laid: Windows,
) -> None:
    there, here = _overlap(place, laid)
    weight = weigh[here]
    for label, one in zip(total, score, strict=True):
        label[there] += np.asarray(one[here], np.float32) * weight


def _finish(
    total: NDArray[np.float32],
    weigh: NDArray[np.float32],
    laid: Windows,
    begin: int,
    end: int,
    slab: int,
) -> None:
    """Divide slices that no later window reaches by the sum of their weights."""
    for start in range(begin, end, slab):
        stop = min(start + slab, end)
        whole = np.zeros((stop - start, *laid.shape[1:]), np.float32)
        for place in product(*laid.starts):
            there, here = _overlap(place, laid)
            low, high = max(there[0].start, start), min(there[0].stop, stop)
            if low < high:
                inner = slice(low - place[0], high - place[0])
                whole[(slice(low - start, high - start), *there[1:])] += weigh[(inner, *here[1:])]
        for label in total:
            label[start:stop] /= whole
    if isinstance(total, np.memmap):
        total.flush()
