"""Trilinear sampling of one grid at the centres of another, a few slices at a time.

Where the axes of the two grids run alike (turned over or exchanged, if need be), interpolation
is three products with thin banded matrices, which BLAS does; otherwise the eight neighbours are
gathered. Both give any range of slices without computing the others.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.tasks.grid import Grid, Shape, index_map

# Products this small are left to one thread by OpenBLAS. Its threads wait for each other in a
# busy loop, which on a machine with other work takes up to ten times as long as doing without.
_SERIAL = 250_000  # rows times columns times terms
_BANDS = (32, 16, 8)  # outputs a product: wider ones multiply more zeros
_ROUNDING = 16 * 2.0**-24  # of float32, for the difference of two values
_SAME = 1e-6  # voxels; below that two positions are the same

Volume = NDArray[Any]
Values = NDArray[np.float32]


class Slices(Protocol):
    """A range of slices of the target grid, ready to be filled from many volumes."""

    inside: NDArray[np.bool_] | None
    doubt: float

    def of(self, volume: Volume) -> Values:
        """``(n, H, W)`` float32 values; overwritten by the next call."""

    def exactly(self, volume: Volume, places: NDArray[np.intp]) -> Values:
        """The values at flat indices of the slices, rounded in one defined way."""


class Sampling(Protocol):
    """The way from a source grid to a target grid."""

    @property
    def source(self) -> Shape:
        """``(D, H, W)`` of the volumes that are sampled."""

    @property
    def target(self) -> Shape:
        """``(D, H, W)`` of what comes out."""

    def slices(self, start: int, stop: int) -> Slices:
        """Prepare the slices from ``start`` up to ``stop`` of the target."""

    def bytes_a_slice(self) -> int:
        """Working memory that one more prepared slice takes, bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Linear interpolation along one axis: output ``i`` is ``a * v[low[i]] + b * v[high[i]]``.

    Attributes:
        size: of the source axis.
        low: the lower neighbour of each output.
        high: the upper neighbour; ``size``, one too many, stands for the last voxel once more.
        weight: of the upper neighbour, 0 to 1.
        inside: whether the output's centre lies in the source's extent; beyond its outermost
            centres values are those of the edge.
    """

    size: int
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: NDArray[np.float32]
    inside: NDArray[np.bool_]

    def matrix(self, start: int, stop: int) -> tuple[NDArray[np.float32], int, int]:
        """The banded matrix of some outputs, its columns reversed, and the range they weigh.

        Reversed, because a product of matrices then adds ``b * v[high]`` first and ``a * v[low]``
        to it, which is the order of torch's ``interpolate``: the results are the same to the bit
        where both fuse multiplication and addition.
        """
        first, last = int(self.low[start:stop].min()), int(self.high[start:stop].max()) + 1
        out = np.zeros((stop - start, last - first), np.float32)
        rows = np.arange(stop - start)
        np.add.at(
            out, (rows, self.low[start:stop] - first), np.float32(1) - self.weight[start:stop]
        )
        np.add.at(out, (rows, self.high[start:stop] - first), self.weight[start:stop])
        return np.ascontiguousarray(out[:, ::-1]), first, last

    def bands(self, others: int) -> list[tuple[slice, NDArray[np.float32], slice]]:
        """For each band of outputs: which, their matrix, and the columns of a reversed source.

        The last band overlaps the one before it, so that all are equally wide: BLAS treats a rest
        in another way, with other roundings.

        Args:
            others: rows (or columns) that a product has beside those of the band.
        """
        target = len(self.low)
        ratio = self.size / target
        fitting = [n for n in _BANDS if others * n * (n * ratio + 2) <= _SERIAL]
        width = min(fitting[0] if fitting else _BANDS[-1], target)
        out = []
        for begin in range(0, target, width):
            start = min(begin, target - width)
            matrix, first, last = self.matrix(start, start + width)
            end = self.size + 1  # the last voxel stands in the source twice
            out.append((slice(start, start + width), matrix, slice(end - last, end - first)))
        return out


def axis_of_same_extent(source: int, target: int) -> Axis:
    """The axis on which both grids have the same outer faces.

    Positions are computed as torch computes them for ``align_corners=False``: in float32, with
    one rounding after multiplication and subtraction.
    """
    step = np.float32(source) / np.float32(target)
    centre = np.arange(target, dtype=np.float64) + 0.5
    place = np.maximum((np.float64(step) * centre - 0.5).astype(np.float32), np.float32(0))
    low = np.minimum(place.astype(np.intp), source - 1)
    weight = np.minimum(place - low.astype(np.float32), np.float32(1))
    return Axis(source, low, low + 1, weight, np.ones(target, bool))


def axis_at(source: int, places: NDArray[np.float64]) -> Axis:
    """The axis whose outputs lie at these indices of the source; the edge goes on outside."""
    inside = (places >= -0.5 - _SAME) & (places <= source - 0.5 + _SAME)
    held = np.clip(places, 0, source - 1)
    low = np.minimum(np.floor(held).astype(np.intp), max(source - 2, 0))
    weight = (held - low).astype(np.float32)
    return Axis(source, low, np.minimum(low + 1, source - 1), weight, inside)


@dataclass(frozen=True, slots=True, eq=False)
class Separable:
    """Sampling where the axes of both grids run alike.

    Attributes:
        axes: one for each axis of the target.
        order: which axis of the source each axis of the target runs along.
    """

    axes: tuple[Axis, Axis, Axis]
    order: tuple[int, int, int] = (0, 1, 2)

    @property
    def source(self) -> Shape:
        """``(D, H, W)`` of the volumes that are sampled."""
        sizes = {along: axis.size for along, axis in zip(self.order, self.axes, strict=True)}
        return sizes[0], sizes[1], sizes[2]

    @property
    def target(self) -> Shape:
        """``(D, H, W)`` of what comes out."""
        d, h, w = (len(axis.low) for axis in self.axes)
        return d, h, w

    def slices(self, start: int, stop: int) -> "SeparableSlices":
        """Prepare the slices from ``start`` up to ``stop`` of the target."""
        return SeparableSlices(self, start, stop)

    def bytes_a_slice(self) -> int:
        """Working memory that one more prepared slice takes, bytes."""
        d, h, w = (axis.size for axis in self.axes)
        _, height, width = self.target
        share = min(d, max(1.0, d / self.target[0]))
        return int(4 * (height * width + share * (h * w + h * width + height * width)))


class SeparableSlices:
    """A range of slices of `Separable`, with the memory to compute them in."""

    def __init__(self, sampling: Separable, start: int, stop: int) -> None:
        along_d, along_h, along_w = sampling.axes
        self._order = sampling.order
        # two rows at least: for one alone BLAS adds in another order
        self._matrix, self._first, self._last = along_d.matrix(start, stop)
        self._single = stop - start == 1
        if self._single:
            self._matrix = np.repeat(self._matrix, 2, axis=0)
        self._twice = int(self._last > along_d.size)  # the last slice stands there once more
        planes = self._last - self._first
        height, width = len(along_h.low), len(along_w.low)
        self._bands_h, self._bands_w = along_h.bands(width), along_w.bands(along_h.size + 1)
        self._taken = np.empty((planes, along_h.size + 1, along_w.size + 1), np.float32)
        self._wide = np.empty((planes, along_h.size + 1, width), np.float32)
        self._tall = np.empty((planes, height, width), np.float32)
        self._out = np.empty((len(self._matrix), height, width), np.float32)
        self.inside = _inside(sampling.axes, start, stop)
        self._axes, self._start = sampling.axes, start
        # by how much two values of the volumes so far may have been moved against each other by
        # the way in which BLAS rounds: each passes three sums of two products
        self.doubt = 0.0

    def of(self, volume: Volume) -> Values:
        """``(n, H, W)`` values of a volume of the source grid; overwritten by the next call."""
        part = volume.transpose(self._order)[self._first : self._last]
        taken = self._taken
        taken[self._twice :, 1:, 1:] = part[::-1, ::-1, ::-1]
        if self._twice:
            taken[0, 1:, 1:] = taken[1, 1:, 1:]
        inner = taken[:, 1:, 1:]
        self.doubt = max(self.doubt, _ROUNDING * max(float(inner.max()), -float(inner.min())))
        taken[:, 0, 1:] = taken[:, 1, 1:]
        taken[:, :, 0] = taken[:, :, 1]
        for outputs, matrix, columns in self._bands_w:
            _product(taken[:, :, columns], matrix.T, self._wide[:, :, outputs])
        for outputs, matrix, rows in self._bands_h:
            _product(matrix, self._wide[:, rows], self._tall[:, outputs])
        # row by row: small products, see _SERIAL
        np.matmul(self._matrix, self._tall.transpose(1, 0, 2), out=self._out.transpose(1, 0, 2))
        return self._out[:1] if self._single else self._out

    def exactly(self, volume: Volume, places: NDArray[np.intp]) -> Values:
        """The values at flat indices of the slices, rounded as torch does on recent processors.

        Along W, then H, then D, each time one product is rounded and the other is fused with the
        sum.
        """
        shape = (len(self._out), *self._out.shape[1:])
        d, h, w = np.unravel_index(places, shape)
        view = volume.transpose(self._order)
        low, high, weight = zip(
            *(
                (axis.low[i], np.minimum(axis.high[i], axis.size - 1), axis.weight[i])
                for axis, i in zip(self._axes, (d + self._start, h, w), strict=True)
            ),
            strict=True,
        )

        def along(axis: int, index: tuple[NDArray[np.intp], ...]) -> Values:
            if axis == 3:
                return np.asarray(view[index], np.float32)
            a = along(axis + 1, (*index, low[axis]))
            b = along(axis + 1, (*index, high[axis]))
            rest = (np.float32(1) - weight[axis]).astype(np.float64)
            # products of two float32 are exact in float64
            return np.asarray(a * rest + (b * weight[axis]), np.float32)

        return along(0, ())


def _product(a: Values, b: Values, out: Values) -> None:
    """``a @ b`` as a product of matrices even where one of them is a vector."""
    if a.shape[-2] > 1 and b.shape[-1] > 1:
        np.matmul(a, b, out=out)
        return
    rows = np.repeat(a, 2, axis=-2) if a.shape[-2] == 1 else a
    columns = np.repeat(b, 2, axis=-1) if b.shape[-1] == 1 else b
    out[...] = np.matmul(rows, columns)[..., : a.shape[-2], : b.shape[-1]]


def _inside(axes: tuple[Axis, Axis, Axis], start: int, stop: int) -> NDArray[np.bool_] | None:
    d, h, w = axes[0].inside[start:stop], axes[1].inside, axes[2].inside
    if d.all() and h.all() and w.all():
        return None
    return np.asarray(d[:, None, None] & h[:, None] & w)


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """Sampling between grids at any angle.

    Attributes:
        matrix: ``(4, 4)``, maps an index of the target to an index of the source.
        source: ``(D, H, W)`` of the volumes that are sampled.
        target: ``(D, H, W)`` of what comes out.
    """

    matrix: NDArray[np.float64]
    source: Shape
    target: Shape

    def slices(self, start: int, stop: int) -> "GatheredSlices":
        """Prepare the slices from ``start`` up to ``stop`` of the target."""
        return GatheredSlices(self, start, stop)

    def bytes_a_slice(self) -> int:
        """Working memory that one more prepared slice takes, bytes."""
        return 64 * self.target[1] * self.target[2]


class GatheredSlices:
    """A range of slices of `Gathered`: the neighbours of each voxel and their weights."""

    def __init__(self, sampling: Gathered, start: int, stop: int) -> None:
        _, height, width = sampling.target
        d = np.arange(start, stop, dtype=np.float64)[:, None, None]
        h = np.arange(height, dtype=np.float64)[:, None]
        w = np.arange(width, dtype=np.float64)
        inside = np.ones((stop - start, height, width), bool)
        lows, self._weights = [], []
        for row, size in zip(sampling.matrix[:3], sampling.source, strict=True):
            place = row[0] * d + row[1] * h + (row[2] * w + row[3])
            inside &= (place >= -0.5 - _SAME) & (place <= size - 0.5 + _SAME)
            np.clip(place, 0, size - 1, out=place)
            low = np.minimum(place.astype(np.int32), max(size - 2, 0))
            lows.append(low)
            self._weights.append((place - low).astype(np.float32))
        self.inside = None if inside.all() else inside
        self.doubt = 0.0  # every value is rounded in the same way
        _, rows, columns = sampling.source
        self._first = int(lows[0].min())
        self._last = min(int(lows[0].max()) + 2, sampling.source[0])
        self._index = (lows[0].astype(np.intp) - self._first) * (rows * columns)
        self._index += lows[1] * columns + lows[2]
        # the way to the upper neighbour; an axis of one voxel has none
        sizes = (rows * columns, columns, 1)
        self._steps = [s if n > 1 else 0 for s, n in zip(sizes, sampling.source, strict=True)]
        self._work = [np.empty(self._index.shape, np.float32) for _ in range(4)]

    def of(self, volume: Volume) -> Values:
        """``(n, H, W)`` values of a volume of the source grid; overwritten by the next call."""
        flat = np.ascontiguousarray(volume[self._first : self._last], np.float32).reshape(-1)
        return self._along(flat, 0, 0)

    def exactly(self, volume: Volume, places: NDArray[np.intp]) -> Values:
        """The values at flat indices of the slices."""
        return self.of(volume).reshape(-1)[places]

    def _along(self, flat: Values, axis: int, offset: int) -> Values:
        """Between the lower and the upper neighbours along this axis and those after it."""
        low, high = self._work[axis], self._work[axis + 1]
        step = self._steps[axis]
        if axis == 2:
            # indices are below the end by construction; "clip" spares a copy that checks them
            np.take(flat[offset:], self._index, out=low, mode="clip")
            np.take(flat[offset + step :], self._index, out=high, mode="clip")
        else:
            low[...] = self._along(flat, axis + 1, offset)
            self._along(flat, axis + 1, offset + step)
        np.subtract(high, low, out=high)
        np.multiply(high, self._weights[axis], out=high)
        np.add(low, high, out=low)
        return low


def same_extent(source: Shape, target: Shape) -> Separable:
    """The way between grids of the same outer faces, as torch interpolates without corners.

    The values are those of ``torch.nn.functional.interpolate(mode="trilinear",
    align_corners=False)``.

    Args:
        source: ``(D, H, W)`` of the volumes that are sampled.
        target: ``(D, H, W)`` wanted.
    """
    for shape in (source, target):
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"a grid of shape {shape}; expected (D, H, W), each at least 1")
    d, h, w = (axis_of_same_extent(a, b) for a, b in zip(source, target, strict=True))
    return Separable((d, h, w))


def between(source: Grid, target: Grid) -> Separable | Gathered:
    """The way from a source grid to a target grid, through the patient.

    Args:
        source: of the volumes that are sampled.
        target: wanted.

    Returns:
        A `Separable` where each axis of the target runs along one axis of the source (to a
        millionth of a voxel over the volume), else a `Gathered`.
    """
    matrix = index_map(target, source)
    turn = matrix[:3, :3]
    order = np.abs(turn).argmax(axis=0)
    reach = np.abs(turn) * np.asarray(target.shape)
    reach[order, np.arange(3)] = 0
    if sorted(order) != [0, 1, 2] or reach.max() > _SAME:
        return Gathered(matrix, source.shape, target.shape)
    axes = []
    for axis, along in enumerate(order):
        from_size, to_size = source.shape[along], target.shape[axis]
        places = turn[along, axis] * np.arange(to_size) + matrix[along, 3]
        alike = (np.arange(to_size) + 0.5) * (from_size / to_size) - 0.5
        if np.abs(places - alike).max() <= _SAME:
            axes.append(axis_of_same_extent(from_size, to_size))
        else:
            axes.append(axis_at(from_size, places))
    d, h, w = (int(along) for along in order)
    return Separable((axes[0], axes[1], axes[2]), (d, h, w))
