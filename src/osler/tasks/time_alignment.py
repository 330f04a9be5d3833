"""Series over time: frame brought onto frame in space, and two series brought together in time.

In space every frame is registered to one of them (rigid by default: a table that shifts, a breath),
and what remains is the motion of interest or the passage of contrast. In time two series of one
organ, such as two cines of a heart at different rates, are laid beside each other by dynamic time
warping [1]_ of a curve that each gives: every moment of the one gets a moment of the other, in
order. The warping itself is dtaidistance's (the extra ``registration``).

References:
    .. [1] Sakoe & Chiba, "Dynamic programming algorithm optimization for spoken word recognition",
       IEEE TASSP 26:43-49, 1978.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError, MissingExtraError
from osler.metrics.arguments import finite
from osler.record import Image
from osler.tasks.registration import Method, Registration, Similarity, register
from osler.tasks.registration_warp import Scale, warped

Curve = Literal["mean", "change", "blocks"]

_FEWEST: Final = 4  # moments of a curve
_BLOCKS: Final = 8  # along each side of a frame


@dataclass(frozen=True, slots=True, eq=False)
class Steadied:
    """A series whose frames lie on each other.

    Attributes:
        series: frame by frame in the grid of the reference.
        registrations: of each frame, None for the reference itself. A frame that could not be
            registered stays as it was, and its registration says why.
        left: share of the frames that could not be registered.
    """

    series: Image
    registrations: tuple[Registration | None, ...]
    left: float


@dataclass(frozen=True, slots=True, eq=False)
class TimeAlignment:
    """Which moment of one series belongs to which of another.

    Attributes:
        path: ``(K, 2)`` whole numbers: moments of the first and of the second, neither of which
            ever goes back.
        cost: the root of the summed squares of the differences along the path.
        cost_in_step: the same without warping, each moment of the longer series with its share of
            the way through the shorter one.
    """

    path: NDArray[np.int64]
    cost: float
    cost_in_step: float

    def partners(self) -> NDArray[np.float64]:
        """``(T,)``: for each moment of the first series the mean of its partners' numbers."""
        first, second = self.path.T
        total = np.bincount(first, second)
        return np.asarray(total / np.bincount(first))


def steadied(
    series: Image,
    *,
    reference: int = 0,
    method: Method = "rigid",
    similarity: Similarity = "correlation",
    scale: Scale = "millimetres",
    mask: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> Steadied:
    """Register every frame of a series to one of its frames.

    Args:
        series: a cine ``(C, T, H, W)``, whose frames lie along ``D`` and have ``times``, or a
            volume over time ``(T, D, H, W)``, whose channels have.
        reference: number of the frame that stays.
        method: the freedom of the motion.
        similarity: ``"mutual-information"`` where contrast agent changes what tissue looks like.
        scale: ``"pixels"`` for a cine without a spacing.
        mask: the pixels of the reference that count, such as the chest wall without the heart.
        seed: of the samples.

    Raises:
        MissingExtraError: SimpleITK is not installed.
        InputError: the image has no time axis, or the reference is none of its frames.
        GeometryError: no scale is known.
    """
    frames = frames_of_series(series)
    if not -len(frames) <= reference < len(frames):
        raise InputError(
            f"reference is {reference}; image '{series.name}' has frames 0 to {len(frames) - 1}"
        )
    reference %= len(frames)
    fixed = frames[reference]
    found: list[Registration | None] = []
    arrays = []
    for number, frame in enumerate(frames):
        if number == reference:
            found.append(None)
            arrays.append(frame.array)
            continue
        one = _registered(fixed, frame, method, similarity, scale, mask, seed)
        found.append(one)
        moved = frame if one.transform is None else warped(frame, one.transform, onto=fixed)
        arrays.append(moved.array)
    array = np.concatenate(arrays) if _in_channels(series) else np.stack(arrays, axis=1)
    flags = (*series.flags, "frames-registered")
    failed = sum(one is not None and one.transform is None for one in found)
    return Steadied(
        replace(series, array=array, flags=flags), tuple(found), failed / max(len(frames) - 1, 1)
    )


def _registered(
    fixed: Image,
    frame: Image,
    method: Method,
    similarity: Similarity,
    scale: Scale,
    mask: NDArray[np.bool_] | None,
    seed: int,
) -> Registration:
    if frame.array.min() == frame.array.max():
        return Registration(None, f"frame '{frame.name}' is the same everywhere")
    return register(
        fixed, frame, method=method, similarity=similarity, scale=scale, fixed_mask=mask,
        seed=seed, start="auto",
    )  # fmt: skip


def _in_channels(series: Image) -> bool:
    return len(series.times) == series.channel_count != series.shape[0]


def frames_of_series(series: Image) -> list[Image]:
    """The frames of a cine as flat images, or those of a volume over time as volumes.

    Raises:
        InputError: the image has no time axis.
    """
    count = len(series.times)
    if len(series.shape) != 3 or count < 2 or count not in (series.shape[0], series.channel_count):
        raise InputError(
            f"image '{series.name}' of {series.channel_count} x {series.shape} states {count} "
            "times; a series has one for each frame (along D) or for each channel"
        )
    base = replace(series, times=(), channels=())
    if _in_channels(series):
        return [
            replace(base, name=f"{series.name}-{t}", array=series.array[t : t + 1])
            for t in range(count)
        ]
    spacing = None if series.spacing is None else tuple(series.spacing[1:])
    flat = Image(
        series.name, series.array[:, 0], modality=series.modality, spacing=spacing,
        laterality=series.laterality, acquired=series.acquired, units=series.units,
    )  # fmt: skip
    return [
        replace(flat, name=f"{series.name}-{t}", array=series.array[:, t]) for t in range(count)
    ]


def curve_of(
    series: Image, *, kind: Curve = "mean", within: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """One number a moment (or several), from which two series can be aligned in time.

    Args:
        series: with a time axis, as for `steadied`.
        kind: ``"mean"`` is the mean value (a time-intensity curve, or the size of a bright
            cavity); ``"change"`` is the mean absolute difference to the first frame, which follows
            motion without knowing where the organ is; ``"blocks"`` are the means of 8 x 8 parts
            of the frame, for two series of one view, where one number is the same at several
            moments.
        within: the pixels of a frame that count.

    Returns:
        ``(T,)``, or ``(T, 64)`` of blocks.

    Raises:
        InputError: there is no time axis, or ``within`` does not fit.
    """
    frames = frames_of_series(series)
    kept = np.ones(frames[0].shape, bool) if within is None else np.asarray(within, bool)
    if kept.shape != frames[0].shape or not kept.any():
        raise InputError(
            f"'within' has the shape {kept.shape} and {int(kept.sum())} pixels; expected "
            f"{frames[0].shape} and at least one"
        )
    if kind == "blocks":
        return np.stack([_blocks(frame.array.mean(axis=0), kept) for frame in frames])
    values = np.stack([frame.array.mean(axis=0, dtype=np.float64)[kept] for frame in frames])
    if kind == "mean":
        return np.asarray(values.mean(axis=1))
    return np.asarray(np.abs(values - values[0]).mean(axis=1))


def _blocks(frame: NDArray[np.floating], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean values of the parts of a frame along its last two axes, 0 where none counts."""
    h, w = frame.shape[-2:]
    part = (np.arange(h) * _BLOCKS // h)[:, None] * _BLOCKS + np.arange(w) * _BLOCKS // w
    part = np.broadcast_to(part, frame.shape)[kept]
    count = np.bincount(part, minlength=_BLOCKS**2)
    total = np.bincount(part, frame[kept], minlength=_BLOCKS**2)
    return np.asarray(total / np.maximum(count, 1), np.float64)


def aligned_in_time(
    one: ArrayLike,
    other: ArrayLike,
    *,
    window: float | None = 0.25,
    standardise: Literal["each", "none"] = "each",
) -> TimeAlignment:
    """Lay two curves beside each other by dynamic time warping.

    Both start together and end together: cut series to the same phase first (such as one heart
    beat, from R wave to R wave).

    Args:
        one: ``(T,)`` values of the first series, or ``(T, K)`` of several curves.
        other: ``(S,)`` or ``(S, K)`` of the second.
        window: how far a moment may be from its share of the way, as a part of the longer series
            (Sakoe and Chiba's band); None for no bound.
        standardise: ``"each"`` brings each curve to mean 0 and standard deviation 1 (several
            curves share the deviation), since two scanners have no common unit.

    Raises:
        MissingExtraError: dtaidistance is not installed.
        InputError: a curve is shorter than 4, is no curve, or the band is no share.
    """
    first, second = _curve(one, "one", standardise), _curve(other, "other", standardise)
    if first.shape[1] != second.shape[1]:
        raise InputError(f"'one' has {first.shape[1]} curves and 'other' {second.shape[1]}")
    if window is not None and not 0 < window <= 1:
        raise InputError(f"window is {window}; expected a share above 0 and up to 1, or None")
    sides = (len(first), len(second))
    # counted from the diagonal of a square, so the difference of the lengths comes on top
    band = None if window is None else round(window * max(sides)) + abs(sides[0] - sides[1]) + 1
    try:
        from dtaidistance import dtw_ndim  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            "dtaidistance", extra="registration", purpose="align series in time"
        ) from error
    path = np.array(dtw_ndim.warping_path(first, second, window=band), np.int64)
    in_step = _in_step(*sides)
    return TimeAlignment(path, _cost(first, second, path), _cost(first, second, in_step))


def _curve(values: ArrayLike, name: str, standardise: str) -> NDArray[np.float64]:
    curve = finite(values, name=name).astype(np.float64)
    if curve.ndim not in (1, 2) or len(curve) < _FEWEST or not curve.size:
        raise InputError(
            f"'{name}' has shape {curve.shape}; expected (T,) or (T, K) with T at least 4"
        )
    curve = curve.reshape(len(curve), -1)
    if standardise == "none":
        return curve
    curve = curve - curve.mean(axis=0)
    return np.asarray(curve / max(float(curve.std()), 1e-12))


def _cost(one: NDArray[np.float64], other: NDArray[np.float64], path: NDArray[np.int64]) -> float:
    return float(np.sqrt(((one[path[:, 0]] - other[path[:, 1]]) ** 2).sum()))


def _in_step(first: int, second: int) -> NDArray[np.int64]:
    share = np.linspace(0, 1, max(first, second))
    return np.rint(np.stack([share * (first - 1), share * (second - 1)], axis=1)).astype(np.int64)


def retimed(series: Image, alignment: TimeAlignment, *, times: tuple[float, ...]) -> Image:
    """The second series at the moments of the first, linear between its frames.

    Args:
        series: the second series.
        alignment: of the first to the second.
        times: of the first series, seconds.

    Raises:
        InputError: the alignment is not of this series.
    """
    frames = frames_of_series(series)
    partners = alignment.partners()
    if len(partners) != len(times) or alignment.path[:, 1].max() != len(frames) - 1:
        raise InputError(
            f"the alignment is of {len(partners)} moments to {alignment.path[:, 1].max() + 1}; "
            f"there are {len(times)} times and {len(frames)} frames"
        )
    low = np.floor(partners).astype(int)
    high = np.minimum(low + 1, len(frames) - 1)
    arrays = []
    for first, second, share in zip(low, high, partners - low, strict=True):
        mixed = (1 - share) * frames[first].array + share * frames[second].array
        arrays.append(np.rint(mixed) if np.issubdtype(series.dtype, np.integer) else mixed)
    stacked = np.concatenate(arrays) if _in_channels(series) else np.stack(arrays, axis=1)
    return replace(
        series, array=stacked.astype(series.dtype), times=times, channels=(),
        flags=(*series.flags, "retimed"),
    )  # fmt: skip
