r"""How well structures agree in volume and at their surface, every label of a case in one pass.

The surface of a structure is its voxels that have a face-neighbour outside it; beyond the image is
outside. Distances are between centres of surface voxels, in millimetres, to the nearest surface
voxel of the other. They are exact: near ones are found by trying offsets in the order of their
length, the few that are left by a k-d tree, all inside the box that holds the structure, so that
neither time nor memory grows with the image.

====================  =====================  =====================  ==========================
figure                in both                in one only (a miss)   in neither
====================  =====================  =====================  ==========================
Dice, Jaccard, NSD    0 to 1                 0                      None, left out and counted
HD, HD95, ASSD        mm                     ``missed``             None, left out and counted
volume error, mm³     prediction less truth  prediction less truth  0
relative              the same over truth    -1; None for invented  None
====================  =====================  =====================  ==========================

``missed`` is the diagonal of the image in mm unless another is given: no distance inside the image
is greater, so missing a structure is never better than finding it badly. A mean that drops the
misses improves as a model misses more.

References:
    .. [1] Maier-Hein et al., "Metrics reloaded", Nature Methods 21:195-212, 2024.
    .. [2] Reinke et al., "Understanding metric-related pitfalls in image analysis validation",
       Nature Methods 21:182-194, 2024.
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osler.errors import InputError
from osler.metrics.arguments import binary, same_shape

# a distance that equals the tolerance up to rounding (three steps of 0.1 mm) is within it
_SLACK = 1e-6
_REACH = 4
_FEW = 64
_PAUSE = 32


@dataclass(frozen=True, slots=True)
class StructureScores:
    """The figures of one structure in one case; see the table at the head of the module.

    Attributes:
        dice: overlap, 0 to 1.
        jaccard: intersection over union, 0 to 1.
        nsd: share of both surfaces within the tolerance of the other.
        hd95: the greater of the two directed percentiles (95 unless asked otherwise), mm.
        hd: the greatest distance, mm.
        assd: mean distance over all surface voxels of both, mm.
        truth_volume: mm³ (mm² in 2-D).
        predicted_volume: mm³ (mm² in 2-D).
        volume_error: predicted less true, mm³ (mm² in 2-D).
        relative_volume_error: that over the true volume; None where the truth is empty.
        missed: whether only one of truth and prediction has it.
    """

    dice: float | None
    jaccard: float | None
    nsd: float | None
    hd95: float | None
    hd: float | None
    assd: float | None
    truth_volume: float
    predicted_volume: float
    volume_error: float
    relative_volume_error: float | None
    missed: bool


def label_scores(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    spacing: Sequence[float],
    labels: Sequence[int] | None = None,
    tolerance: float | Mapping[int, float] = 1.0,
    percentile: float = 95.0,
    missed: float | None = None,
) -> dict[int, StructureScores]:
    r"""Dice, Jaccard, NSD, HD95, HD, ASSD and volume error of every label of two label maps.

    * Dice :math:`2|T \cap P| / (|T| + |P|)` [1]_, Jaccard :math:`|T \cap P| / |T \cup P|`.
    * NSD at tolerance :math:`\tau` [2]_: surface voxels of either within :math:`\tau` mm of the
      other's surface, over all surface voxels. Each voxel counts as one; the ``surface-distance``
      package weighs by the area of a triangulated surface and gives other values. A distance equal
      to :math:`\tau` is within.
    * HD95: the 95th percentile from T to P and from P to T, the greater of the two [3]_;
      between two order statistics linearly interpolated (type 7 of Hyndman & Fan). MONAI's values.
      medpy pools both directions before the percentile and gives others.
    * ASSD: the distances of both directions in one mean. The mean of the two directed means
      (MASD, and medpy's ``assd``) is another figure.

    Args:
        truth: integer labels, ``(H, W)`` or ``(D, H, W)``; 0 is background.
        prediction: integer labels, the same shape.
        spacing: mm between voxel centres along each axis; give 1 for each to get pixels.
        labels: the labels to score; None for all above 0 in either map. A label in neither has
            None: name the labels, so that a case without one is counted.
        tolerance: mm, or mm by label.
        percentile: of HD95, above 0 and up to 100.
        missed: mm that HD, HD95 and ASSD cost where only one has the structure; None for the
            diagonal of the image.

    Raises:
        InputError: shapes differ, a map is not of integers, or an option is out of its range.

    References:
        .. [1] Dice, "Measures of the amount of ecologic association between species", Ecology
           26:297-302, 1945.
        .. [2] Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for
           radiotherapy", J Med Internet Res 23:e26151, 2021 (here per voxel, as Seidlitz et al.,
           Medical Image Analysis 80:102488, 2022).
        .. [3] Huttenlocher et al., "Comparing images using the Hausdorff distance", IEEE TPAMI
           15:850-863, 1993.
    """
    from scipy.ndimage import find_objects

    one, other = _label_map(truth, "truth"), _label_map(prediction, "prediction")
    same_shape(truth=one, prediction=other)
    steps, cost = _options(one.shape, spacing, percentile, missed)
    boxes, other_boxes = find_objects(one), find_objects(other)
    if labels is None:
        there = {n for found in (boxes, other_boxes) for n, box in enumerate(found, 1) if box}
        labels = sorted(there)
    if any(label < 1 for label in labels):
        raise InputError(f"'labels' are {tuple(labels)}; expected 1 and above (0 is background)")
    out = {}
    for label in labels:
        box = _union(_at(boxes, label), _at(other_boxes, label))
        within = tolerance[label] if isinstance(tolerance, Mapping) else tolerance
        if box is None:
            out[int(label)] = _empty()
            continue
        out[int(label)] = _scores(
            one[box] == label, other[box] == label, steps, _tolerance(within), percentile, cost
        )
    return out


def structure_scores(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    spacing: Sequence[float],
    tolerance: float = 1.0,
    percentile: float = 95.0,
    missed: float | None = None,
) -> StructureScores:
    """`label_scores` of one structure, given as two masks: for structures that overlap others.

    Args:
        truth: 0 or 1, ``(H, W)`` or ``(D, H, W)``.
        prediction: 0 or 1, the same shape.
        spacing: as for `label_scores`.
        tolerance: mm.
        percentile: as for `label_scores`.
        missed: as for `label_scores`.

    Raises:
        InputError: shapes differ, a value is neither 0 nor 1, or an option is out of its range.
    """
    one, other = binary(truth, name="truth"), binary(prediction, name="prediction")
    found = label_scores(
        one.view(np.uint8), other.view(np.uint8), spacing=spacing, labels=(1,),
        tolerance=tolerance, percentile=percentile, missed=missed,
    )  # fmt: skip
    return found[1]


def surface(mask: ArrayLike) -> NDArray[np.bool_]:
    """The voxels of a mask that have a face-neighbour outside it; beyond the image is outside.

    Args:
        mask: 0 or 1, of any number of axes.

    Raises:
        InputError: a value is neither 0 nor 1.
    """
    inside = binary(mask, name="mask")
    inner = inside.copy()
    for axis in range(inside.ndim):
        ahead, behind = _shifted(inside.ndim, axis)
        inner[ahead] &= inside[behind]
        inner[behind] &= inside[ahead]
        along = inner.swapaxes(0, axis)
        along[0] = along[-1] = False
    np.logical_xor(inner, inside, out=inner)
    return inner


def surface_distances(
    of: NDArray[np.bool_], to: NDArray[np.bool_], *, spacing: Sequence[float]
) -> NDArray[np.float64]:
    """The distance from each voxel of one surface to the nearest of another, exact.

    Args:
        of: a surface, N voxels.
        to: a surface of the same shape, at least one voxel.
        spacing: mm between voxel centres along each axis.

    Returns:
        ``(N,)`` mm, in no particular order.

    Raises:
        InputError: ``to`` is empty.
    """
    if not to.any():
        raise InputError("'to' is empty; nothing can be near it")
    steps = np.asarray(spacing, dtype=np.float64)
    # what lies on both is at 0; a margin lets an offset point beyond the crop
    left = np.flatnonzero(np.pad(of & ~to, _REACH))
    target = np.pad(to, _REACH)
    flat, strides = target.ravel(), np.array(target.strides)
    found = [np.zeros(int(np.count_nonzero(of)) - left.size)]
    before = left.size
    for n, (offset, length) in enumerate(_offsets(tuple(steps.tolist())), 1):
        # where hardly any is near, the tree is faster
        if left.size <= _FEW or (n % _PAUSE == 0 and left.size > 0.9 * before):
            break
        before = left.size if n % _PAUSE == 0 else before
        near = flat[left + int(np.dot(offset, strides))]
        hits = int(np.count_nonzero(near))
        if hits:
            found.append(np.full(hits, length))
            left = left[~near]
    if left.size:
        found.append(_by_tree(left, target, steps))
    return np.concatenate(found)


def _by_tree(
    left: NDArray[np.intp], target: NDArray[np.bool_], steps: NDArray[np.float64]
) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    places, others = (
        np.stack(np.unravel_index(flat, target.shape), axis=1) * steps
        for flat in (left, np.flatnonzero(target))
    )
    tree = cKDTree(others, leafsize=32, balanced_tree=False, compact_nodes=False)
    return np.asarray(tree.query(places)[0], dtype=np.float64)


@functools.lru_cache(maxsize=8)
def _offsets(steps: tuple[float, ...]) -> list[tuple[tuple[int, ...], float]]:
    """Offsets and their lengths in mm, shortest first, as far as the cube surely holds them all."""
    cube = itertools.product(range(-_REACH, _REACH + 1), repeat=len(steps))
    # whatever lies outside the cube is at least this far away
    limit = (_REACH + 1) * min(steps)
    lengths = [(one, math.hypot(*(n * s for n, s in zip(one, steps, strict=True)))) for one in cube]
    return sorted((pair for pair in lengths if 0 < pair[1] < limit), key=lambda pair: pair[1])


def _scores(
    one: NDArray[np.bool_],
    other: NDArray[np.bool_],
    steps: tuple[float, ...],
    tolerance: float,
    percentile: float,
    missed: float,
) -> StructureScores:
    voxel = math.prod(steps)
    size, other_size = int(np.count_nonzero(one)), int(np.count_nonzero(other))
    both = int(np.count_nonzero(one & other))
    error = (other_size - size) * voxel
    relative = (other_size - size) / size if size else None
    volumes = (size * voxel, other_size * voxel, error, relative)
    if not size or not other_size:
        return StructureScores(0.0, 0.0, 0.0, missed, missed, missed, *volumes, True)
    edge, other_edge = surface(one), surface(other)
    there = surface_distances(edge, other_edge, spacing=steps)
    back = surface_distances(other_edge, edge, spacing=steps)
    count = there.size + back.size
    limit = tolerance * (1 + _SLACK)
    near = np.count_nonzero(there <= limit) + np.count_nonzero(back <= limit)
    return StructureScores(
        2 * both / (size + other_size),
        both / (size + other_size - both),
        int(near) / count,
        max(float(np.percentile(there, percentile)), float(np.percentile(back, percentile))),
        max(float(there.max()), float(back.max())),
        float(there.sum() + back.sum()) / count,
        *volumes,
        False,
    )


def _empty() -> StructureScores:
    return StructureScores(None, None, None, None, None, None, 0.0, 0.0, 0.0, None, False)


def _options(
    shape: tuple[int, ...], spacing: Sequence[float], percentile: float, missed: float | None
) -> tuple[tuple[float, ...], float]:
    steps = tuple(float(step) for step in spacing)
    if len(shape) not in (2, 3) or len(steps) != len(shape):
        raise InputError(
            f"'truth' has shape {shape} and 'spacing' {len(steps)} values; expected (H, W) or "
            "(D, H, W) and one value an axis"
        )
    if not all(0 < step < math.inf for step in steps):
        raise InputError(f"'spacing' is {steps}; expected millimetres above 0")
    if not 0 < percentile <= 100:
        raise InputError(f"'percentile' is {percentile}; expected above 0 and up to 100")
    if missed is None:
        missed = math.hypot(*(n * step for n, step in zip(shape, steps, strict=True)))
    if not 0 <= missed < math.inf:
        raise InputError(f"'missed' is {missed}; expected millimetres, 0 or more")
    return steps, float(missed)


def _tolerance(value: float) -> float:
    if not 0 <= value < math.inf:
        raise InputError(f"'tolerance' is {value}; expected millimetres, 0 or more")
    return float(value)


def _label_map(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise InputError(f"'{name}' has {array.dtype} values; give integer labels")
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        raise InputError(f"'{name}' has labels below 0")
    return array


def _at(boxes: list[Any], label: int) -> tuple[slice, ...] | None:
    return boxes[label - 1] if label <= len(boxes) else None


def _union(
    one: tuple[slice, ...] | None, other: tuple[slice, ...] | None
) -> tuple[slice, ...] | None:
    if one is None or other is None:
        return one or other
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )


def _shifted(ndim: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    ahead = [slice(None)] * ndim
    behind = [slice(None)] * ndim
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    return tuple(ahead), tuple(behind)
