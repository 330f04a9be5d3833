"""The return to the native grid: scores of a resampled volume become labels of the native one.

A network answers on its own grid, with one volume a class. Interpolating all of them before the
greatest is chosen takes memory for every class at the native size, which is where tools die; the
greatest of the interpolated scores needs no more than a few slices of one class at a time. The
labels are the same, for each slice is computed as it would be in the whole.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.tasks.sampling import Sampling, Slices

Activation = Literal["softmax", "sigmoid", "none"]
MEMORY = 120_000_000  # bytes of working memory, results apart
_MOST_SLICES = 8  # more at a time are no faster: they leave the cache of the processor
_MOST_THREADS = 4
_DOUBTFUL = 50_000  # voxels that are decided at a time


def native_labels(
    scores: NDArray[Any],
    sampling: Sampling,
    *,
    outside: int = 0,
    memory: int = MEMORY,
    threads: int | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The class of the greatest interpolated score at each voxel of the native grid.

    Equal to interpolating all scores and taking ``argmax``: of equal scores the lowest class wins.
    Scores that differ by no more than a rounding are told apart as torch does on processors with
    fused multiplication and addition (AVX2, AVX-512). The result does not depend on ``memory`` or
    ``threads``.

    Args:
        scores: ``(L, D, H, W)`` logits or probabilities of exclusive classes, float16 to float64,
            computed in float32; may be mapped from a file.
        sampling: from the grid of the scores to the native one (`osler.tasks.sampling`).
        outside: the label of voxels whose centre lies outside the grid of the scores.
        memory: bytes of working memory to stay within; one slice a thread is the least.
        threads: slices under way at a time; None takes the cores that may be used, four at most.
        out: ``(D, H, W)`` of an unsigned integer type to write into, such as a mapped file.

    Returns:
        ``(D, H, W)`` labels, ``uint8`` up to 256 classes, else ``uint16``.

    Raises:
        InputError: fewer than two classes, shapes that do not fit, or NaN or infinite scores.
    """
    _check(scores, sampling)
    kind: type[Any] = np.uint8 if len(scores) <= 256 else np.uint16
    if not 2 <= len(scores) <= 65536:
        raise InputError(
            f"{len(scores)} classes; labels need 2 to 65536 (one score a voxel is cut at a "
            "threshold: native_masks)"
        )
    labels = np.empty(sampling.target, kind) if out is None else out
    if labels.shape != sampling.target or np.iinfo(labels.dtype).max < len(scores) - 1:
        raise InputError(
            f"the labels go into an array {labels.shape} of {labels.dtype}; expected "
            f"{sampling.target} of {np.dtype(kind)}"
        )

    def fill(start: int, stop: int) -> None:
        slices = sampling.slices(start, stop)
        found = _greatest(scores, slices, kind)
        if slices.inside is not None:
            found[~slices.inside] = outside
        labels[start:stop] = found

    row = sampling.target[1] * sampling.target[2]
    _stream(fill, sampling, memory=memory, threads=threads, extra=row * 16)
    return labels


def _greatest(scores: NDArray[Any], slices: Slices, kind: type[Any]) -> NDArray[Any]:
    best = slices.of(scores[0]).copy()
    second = np.full_like(best, -np.inf)
    label = np.zeros(best.shape, kind)
    better = np.empty(best.shape, bool)
    step = np.empty(best.shape, kind)
    for number in range(1, len(scores)):
        value = slices.of(scores[number])
        np.greater(value, best, out=better)
        # classes rise: the greatest number that was ever better is the last one
        np.multiply(better, kind(number), out=step)
        np.maximum(label, step, out=label)
        lesser = np.minimum(best, value)
        np.maximum(second, lesser, out=second)
        np.maximum(best, value, out=best)
    _check_finite(best)
    if slices.doubt:
        np.subtract(best, second, out=second)
        _decide(scores, slices, label, np.flatnonzero(second <= slices.doubt))
    return label


def _decide(
    scores: NDArray[Any], slices: Slices, label: NDArray[Any], places: NDArray[np.intp]
) -> None:
    """Label anew the places where two scores differ by no more than their roundings."""
    flat = label.reshape(-1)
    for start in range(0, len(places), _DOUBTFUL):
        chosen = places[start : start + _DOUBTFUL]
        best = slices.exactly(scores[0], chosen)
        found = np.zeros(len(chosen), label.dtype)
        for number in range(1, len(scores)):
            value = slices.exactly(scores[number], chosen)
            found[value > best] = number
            np.maximum(best, value, out=best)
        flat[chosen] = found


def native_probabilities(
    scores: NDArray[Any],
    sampling: Sampling,
    classes: Sequence[int],
    *,
    activation: Activation = "softmax",
    memory: int = MEMORY,
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Probabilities of some classes on the native grid.

    Scores are interpolated first and become probabilities after that, as labels do; so the
    likeliest class is that of `native_labels`.

    Args:
        scores: ``(L, D, H, W)``, of all classes.
        sampling: from the grid of the scores to the native one.
        classes: which of the L are wanted.
        activation: what makes probabilities of scores: over all classes, each alone, or nothing.
        memory: bytes of working memory to stay within; one slice a thread is the least.
        threads: slices under way at a time; None takes the cores that may be used, four at most.
        out: ``(len(classes), D, H, W)`` float32 to write into, such as a mapped file.

    Returns:
        ``(len(classes), D, H, W)``; 0 outside the grid of the scores.

    Raises:
        InputError: an unknown class, shapes that do not fit, or NaN or infinite scores.
    """
    _check(scores, sampling)
    unknown = [one for one in classes if not 0 <= one < len(scores)]
    if unknown or not classes:
        raise InputError(f"classes {unknown or 'none'} asked for; there are 0 to {len(scores) - 1}")
    shape = (len(classes), *sampling.target)
    if out is not None and (out.shape != shape or out.dtype != np.float32):
        raise InputError(f"out is {out.shape} of {out.dtype}; expected {shape} of float32")
    home = np.empty(shape, np.float32) if out is None else out

    def fill(start: int, stop: int) -> None:
        slices = sampling.slices(start, stop)
        part = home[:, start:stop]
        if activation == "softmax":
            _softmax(scores, slices, classes, part)
        else:
            for target, one in zip(part, classes, strict=True):
                value = slices.of(scores[one])
                _check_finite(value)
                target[...] = _sigmoid(value) if activation == "sigmoid" else value
        if slices.inside is not None:
            part[:, ~slices.inside] = 0

    row = sampling.target[1] * sampling.target[2]
    _stream(fill, sampling, memory=memory, threads=threads, extra=row * 20)
    return home


def _softmax(
    scores: NDArray[Any], slices: Slices, classes: Sequence[int], out: NDArray[np.float32]
) -> None:
    """Softmax of some classes; its sum is kept relative to the greatest score so far.

    Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax",
    arXiv:1805.02867.
    """
    greatest = slices.of(scores[0]).copy()
    total = np.zeros(greatest.shape, np.float32)
    for number in range(len(scores)):
        value = slices.of(scores[number])
        for target, one in zip(out, classes, strict=True):
            if one == number:
                target[...] = value
        new = np.maximum(greatest, value)
        total *= np.exp(greatest - new)
        total += np.exp(value - new)
        greatest = new
    _check_finite(greatest)
    for target in out:
        np.exp(target - greatest, out=target)
        np.divide(target, total, out=target)


def _sigmoid(value: NDArray[np.float32]) -> NDArray[np.float32]:
    small = np.exp(-np.abs(value))  # at most 1: never overflows
    return np.asarray(np.where(value >= 0, 1, small) / (1 + small), np.float32)


def native_masks(
    scores: NDArray[Any],
    sampling: Sampling,
    thresholds: Sequence[float],
    *,
    activation: Literal["sigmoid", "none"] = "sigmoid",
    memory: int = MEMORY,
    threads: int | None = None,
) -> Iterator[NDArray[np.bool_]]:
    """Masks of labels that do not exclude each other, one after the other.

    A voxel belongs to a label whose interpolated score reaches the threshold, or, for
    ``"sigmoid"``, the logit of the threshold.

    Args:
        scores: ``(L, D, H, W)``.
        sampling: from the grid of the scores to the native one.
        thresholds: one a label; between 0 and 1 for ``"sigmoid"``.
        activation: ``"sigmoid"`` where scores are logits and thresholds probabilities.
        memory: bytes of working memory to stay within; one slice a thread is the least.
        threads: slices under way at a time; None takes the cores that may be used, four at most.

    Yields:
        ``(D, H, W)``, L of them, False outside the grid of the scores.

    Raises:
        InputError: a threshold that cannot be one, shapes that do not fit, or NaN or infinite
            scores.
    """
    _check(scores, sampling)
    if len(thresholds) != len(scores):
        raise InputError(f"{len(thresholds)} thresholds for {len(scores)} labels; give one each")
    cuts = np.asarray(thresholds, np.float64)
    if activation == "sigmoid":
        if not ((cuts > 0) & (cuts < 1)).all():
            raise InputError(
                f"thresholds {list(thresholds)}; expected probabilities between 0 and 1"
            )
        cuts = np.log(cuts / (1 - cuts))
    return (
        _mask(volume, sampling, np.float32(cut), memory, threads)
        for volume, cut in zip(scores, cuts, strict=True)
    )


def _mask(
    volume: NDArray[Any],
    sampling: Sampling,
    cut: np.float32,
    memory: int,
    threads: int | None,
) -> NDArray[np.bool_]:
    mask = np.empty(sampling.target, bool)

    def fill(start: int, stop: int) -> None:
        slices = sampling.slices(start, stop)
        value = slices.of(volume)
        _check_finite(value)
        np.greater_equal(value, cut, out=mask[start:stop])
        if slices.inside is not None:
            mask[start:stop] &= slices.inside

    row = sampling.target[1] * sampling.target[2]
    _stream(fill, sampling, memory=memory, threads=threads, extra=row)
    return mask


def resample(
    array: NDArray[Any],
    sampling: Sampling,
    *,
    outside: float = 0.0,
    memory: int = MEMORY,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Interpolate a volume on another grid: the way there.

    Nothing is smoothed before a coarser grid is sampled.

    Args:
        array: ``(C, D, H, W)``.
        sampling: from its grid to the wanted one.
        outside: the value of voxels whose centre lies outside its grid.
        memory: bytes of working memory to stay within; one slice a thread is the least.
        threads: slices under way at a time; None takes the cores that may be used, four at most.

    Returns:
        ``(C, D, H, W)`` float32.

    Raises:
        InputError: shapes that do not fit.
    """
    _check(array, sampling)
    home = np.empty((len(array), *sampling.target), np.float32)

    def fill(start: int, stop: int) -> None:
        slices = sampling.slices(start, stop)
        for target, volume in zip(home, array, strict=True):
            target[start:stop] = slices.of(volume)
            if slices.inside is not None:
                target[start:stop][~slices.inside] = outside

    _stream(fill, sampling, memory=memory, threads=threads, extra=0)
    return home


def _check(scores: NDArray[Any], sampling: Sampling) -> None:
    if scores.ndim != 4 or scores.shape[1:] != sampling.source or len(scores) == 0:
        raise InputError(
            f"an array {scores.shape} for a way from a grid {sampling.source}; expected "
            f"(L, D, H, W) with that grid"
        )
    if scores.dtype.kind not in "fiub":
        raise InputError(f"an array of {scores.dtype}; expected real numbers")


def _check_finite(value: NDArray[np.float32]) -> None:
    if not np.isfinite(value).all():
        raise InputError(
            "there are NaN or infinite scores, which have no greatest; look for an overflow in the "
            "network, and write -1e4 instead of minus infinity where a class is ruled out"
        )


def _stream(
    fill: Callable[[int, int], None],
    sampling: Sampling,
    *,
    memory: int,
    threads: int | None,
    extra: int,
) -> None:
    """Call ``fill`` for every range of slices, a few at a time."""
    depth = sampling.target[0]
    slice_bytes = max(1, sampling.bytes_a_slice() + extra)
    affordable = max(1, memory // slice_bytes)
    workers = threads or min(_MOST_THREADS, _cores())
    # two slices of the source overlap between ranges: rather fewer threads than thin ranges
    workers = max(1, min(workers, affordable // 4))
    count = max(1, min(_MOST_SLICES, affordable // workers - 2))
    ranges = [(start, min(start + count, depth)) for start in range(0, depth, count)]

    def quietly(start: int, stop: int) -> None:
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is told apart
            fill(start, stop)

    if workers == 1 or len(ranges) == 1:
        for start, stop in ranges:
            quietly(start, stop)
        return
    with ThreadPoolExecutor(workers) as pool:
        under_way = [pool.submit(quietly, start, stop) for start, stop in ranges]
        try:
            for one in under_way:
                one.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
