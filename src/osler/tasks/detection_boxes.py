"""Boxes on the way: from a case's findings to boxes, from maps to boxes, and which of two to keep.

Here a box is its first corner and the one opposite, ``(h, w, h, w)`` or ``(d, h, w, d, h, w)``, in
pixels, stop exclusive: pixel 0 reaches from 0 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.metrics.detection import box_iou
from osler.record import Box, Case, Mask
from osler.tasks.labels import unknown_without

Boxes = NDArray[np.float64]
_MOST_GROWN = 6.0  # e to this power: sides beyond that are of a network that is not trained


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a person marked in one image, in its native grid.

    Attributes:
        boxes: ``(K, 2 n)``.
        classes: ``(K,)`` index of each one's label.
        small: ``(J, 2 n)`` parts of masks that are too small to count.
        small_classes: ``(J,)`` index of each one's label.
        region: where nothing counts; None for nowhere.
        known: ``(L,)`` whether the case says anything of each label.
    """

    boxes: Boxes
    classes: NDArray[np.int64]
    small: Boxes
    small_classes: NDArray[np.int64]
    region: NDArray[np.bool_] | None
    known: NDArray[np.bool_]

    def excuses(self, label: int, boxes: Boxes) -> NDArray[np.bool_]:
        """Whether the centre of each box lies where a false alarm of a label does not count."""
        axes = boxes.shape[1] // 2
        centres = (boxes[:, :axes] + boxes[:, axes:]) / 2
        out = np.zeros(len(boxes), bool)
        for one in self.small[self.small_classes == label]:
            out |= ((centres >= one[:axes] - 1) & (centres <= one[axes:] + 1)).all(axis=1)
        if self.region is not None:
            last = np.array(self.region.shape) - 1
            index = np.clip(np.floor(centres).astype(int), 0, last)
            out |= self.region[tuple(index.T)]
        return out


def truth_of(
    case: Case,
    shape: Sequence[int],
    *,
    labels: Sequence[str],
    ignore: Sequence[str] = (),
    absent: str | None = None,
    merge: float = 0.0,
    smallest: int = 1,
    spacing: Sequence[float] | None = None,
) -> Truth:
    """The boxes that a person marked: box findings, and the connected parts of masks.

    Args:
        case: with findings by a person, named as the labels.
        shape: ``([D,] H, W)`` of the image.
        labels: what is sought.
        ignore: names of masks and boxes in which nothing counts.
        absent: what no finding of a label means: there is ``none``, or it is ``unknown``; None
            refuses a case without one.
        merge: parts of a mask that are nearer to each other are one; see `parts_of`.
        smallest: parts of a mask with fewer voxels do not count.
        spacing: of the axes, mm; None for pixels.

    Raises:
        InputError: a finding does not fit the image, or a label has none and nothing says what
            that means.
    """
    axes = len(shape)
    found: list[tuple[int, Boxes, NDArray[np.int64]]] = []
    known = np.zeros(len(labels), bool)
    region: NDArray[np.bool_] | None = None
    for one in case.findings.values():
        if one.source.kind != "person" or not isinstance(one, Box | Mask):
            continue
        if one.name in ignore:
            region = np.zeros(tuple(shape), bool) if region is None else region
            region |= _region(case, one, shape)
        if one.name not in labels:
            continue
        k = labels.index(one.name)
        known[k] = True
        if isinstance(one, Box):
            boxes, sizes = _corners(case, one, axes), np.array([smallest])
        else:
            _fits(case, one, shape)
            boxes, sizes = parts_of(np.asarray(one.mask), merge=merge, spacing=spacing)
        found.append((k, boxes, sizes))
    for k, label in enumerate(labels):
        if not known[k]:
            known[k] = not unknown_without(case, label, absent=absent, what="box or mask")
    classes = _joined([np.full(len(b), k) for k, b, _ in found]).astype(np.int64)
    sizes = _joined([s for *_, s in found])
    every = np.concatenate([np.empty((0, 2 * axes)), *(b for _, b, _ in found)])
    counts = sizes >= smallest
    return Truth(
        every[counts], classes[counts], every[~counts], classes[~counts], region, known
    )  # fmt: skip


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts])


def _corners(case: Case, box: Box, axes: int) -> Boxes:
    if len(box.start) != axes:
        raise InputError(
            f"case '{case.id}': the box '{box.id}' has {len(box.start)} axes, its image {axes}"
        )
    return np.array([[*box.start, *box.stop]], float)


def _fits(case: Case, mask: Mask, shape: Sequence[int]) -> None:
    if mask.shape != tuple(shape):
        raise InputError(
            f"case '{case.id}': the mask '{mask.name}' has shape {mask.shape}, its image "
            f"{tuple(shape)}"
        )


def _region(case: Case, one: Box | Mask, shape: Sequence[int]) -> NDArray[np.bool_]:
    if isinstance(one, Mask):
        _fits(case, one, shape)
        return np.asarray(one.mask, bool)
    return filled(_corners(case, one, len(shape)), shape)


def filled(boxes: Boxes, shape: Sequence[int]) -> NDArray[np.bool_]:
    """The pixels ``shape`` that any of some boxes touches."""
    out = np.zeros(tuple(shape), bool)
    axes = len(shape)
    for one in boxes:
        low = np.maximum(np.floor(one[:axes]).astype(int), 0)
        high = np.maximum(np.ceil(one[axes:]).astype(int), low + 1)
        out[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return out


def parts_of(
    mask: NDArray[np.bool_], *, merge: float = 0.0, spacing: Sequence[float] | None = None
) -> tuple[Boxes, NDArray[np.int64]]:
    """The boxes of a mask's connected parts, and how many voxels each has.

    Voxels that touch by a corner are connected. Parts are also one where they touch when each
    grows by half of ``merge`` to all sides, so about where the gap is no wider than that.

    Args:
        mask: ``([D,] H, W)``.
        merge: mm, or pixels without a spacing.
        spacing: of the axes, mm.

    Returns:
        ``(K, 2 n)`` and ``(K,)``.
    """
    from scipy import ndimage

    axes = mask.ndim
    if not mask.any():
        return np.empty((0, 2 * axes)), np.empty(0, np.int64)
    span = ndimage.find_objects(np.asarray(mask, bool).astype(np.uint8))[0]
    cut = np.asarray(mask[span], bool)
    near = cut
    if merge > 0:
        near = ndimage.distance_transform_edt(~cut, sampling=spacing) <= merge / 2
    joined, _ = ndimage.label(near, np.ones((3,) * axes))
    joined[~cut] = 0
    first = np.array([one.start for one in span])
    boxes = [
        [*(first + [one.start for one in part]), *(first + [one.stop for one in part])]
        for part in ndimage.find_objects(joined)
    ]
    return np.array(boxes, float), np.bincount(joined.ravel())[1:].astype(np.int64)


def peaks(
    scores: NDArray[np.float32], *, least: float, most: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The cells that no neighbour exceeds, corners among the neighbours; the highest first.

    Args:
        scores: ``(L, [D,] H, W)``.
        least: the lowest that counts.
        most: how many are kept of each label.

    Returns:
        labels ``(K,)``, cells ``(K, n)`` and scores ``(K,)``.
    """
    from scipy import ndimage

    around = (1, *(3,) * (scores.ndim - 1))
    highest = ndimage.maximum_filter(scores, around, mode="nearest")
    index = np.stack(np.nonzero((scores >= highest) & (scores >= least)), axis=1)
    values = scores[tuple(index.T)]
    order = np.argsort(-values, kind="stable")
    order = order[first_of_each(index[order, 0], most)]
    return index[order, 0], index[order, 1:], values[order]


def first_of_each(labels: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Indices of the first so many of each label, in order: a common one does not crowd out others.

    Args:
        labels: ``(K,)``, the likeliest first.
        most: of each.
    """
    kept = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        kept[np.flatnonzero(labels == label)[:most]] = True
    return np.flatnonzero(kept)


def boxes_at(
    cells: NDArray[np.intp],
    size: NDArray[np.float32],
    offset: NDArray[np.float32],
    *,
    stride: int,
    unit: float,
) -> Boxes:
    """The boxes whose centres lie in some cells.

    Args:
        cells: ``(K, n)``.
        size: ``(n, [D,] H, W)`` logarithms of the sides in ``unit``.
        offset: ``(n, [D,] H, W)`` of the centre from the cell's own, cells.
        stride: pixels a cell.
        unit: pixels.
    """
    at = tuple(cells.T)
    centre = (cells + 0.5 + offset[(slice(None), *at)].T) * stride
    grown = np.clip(size[(slice(None), *at)].T.astype(np.float64), -_MOST_GROWN, _MOST_GROWN)
    half = np.exp(grown) * unit / 2
    return np.asarray(np.concatenate([centre - half, centre + half], axis=1), np.float64)


def suppressed(
    boxes: Boxes, scores: NDArray[np.float32], labels: NDArray[np.intp], *, iou: float
) -> NDArray[np.intp]:
    """Which boxes stay, the highest score first: none overlaps a higher one of its label by more.

    Args:
        boxes: ``(K, 2 n)``.
        scores: ``(K,)``; of equal ones the first in the list goes first.
        labels: ``(K,)``.
        iou: the overlap above which the lower of two goes.
    """
    kept: list[int] = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(-scores[own], kind="stable")]
        overlap = box_iou(boxes[own], boxes[own]) > iou
        gone = np.zeros(len(own), bool)
        for k in range(len(own)):
            if not gone[k]:
                kept.append(int(own[k]))
                gone |= overlap[k]
    order = sorted(kept, key=lambda k: (-scores[k], k))
    return np.array(order, np.intp)
