"""Keep the largest connected part of each class, a few slices at a time.

Labelling connected parts takes four bytes a voxel, for every class. Here each slab of slices is
labelled alone, its parts are joined with those of the slab before where they touch, and only the
sizes are kept; a second pass removes what belongs to smaller parts.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError

_SLAB_VOXELS = 4_000_000  # four bytes each while they are labelled


def keep_largest(
    labels: NDArray[Any],
    classes: Iterable[int],
    *,
    connectivity: int = 3,
    slab: int | None = None,
) -> dict[int, int]:
    """Set all but the largest connected part of each class to 0, in place.

    Of parts of equal size the one whose first voxel comes first (slices, rows, columns) stays.
    Memory above the labels is that of one slab. The result does not depend on ``slab``.

    Args:
        labels: ``(D, H, W)`` whole numbers; may be mapped from a file.
        classes: which classes have only one part; 0 is the background and cannot be one.
        connectivity: 1 joins voxels that share a face, 2 an edge, 3 a corner.
        slab: slices at a time; None takes as many as 4 million voxels hold, at least one.

    Returns:
        Class to the number of voxels that were removed.

    Raises:
        InputError: a class or a connectivity that cannot be one, or labels that are no volume.
    """
    wanted = tuple(classes)
    if labels.ndim != 3 or labels.dtype.kind not in "iub":
        raise InputError(f"labels {labels.shape} of {labels.dtype}; expected (D, H, W) integers")
    if 0 in wanted or connectivity not in (1, 2, 3) or (slab is not None and slab < 1):
        raise InputError(
            f"classes {wanted}, connectivity {connectivity}, slab {slab}; classes and slabs are "
            "counted from 1, and connectivity is 1, 2 or 3"
        )
    planes = slab or max(1, _SLAB_VOXELS // (labels.shape[1] * labels.shape[2]))
    boxes = _boxes(labels, wanted)
    removed = {}
    for one in wanted:
        box = boxes.get(one)
        removed[one] = 0 if box is None else _keep(labels[box], one, connectivity, planes)
    return removed


def _boxes(labels: NDArray[Any], classes: tuple[int, ...]) -> dict[int, tuple[slice, ...]]:
    """The box of each class that occurs, found slice by slice."""
    bounds: dict[int, list[int]] = {}
    for d, plane in enumerate(labels):
        present = set(np.unique(plane).tolist())
        for one in classes:
            if one not in present:
                continue
            mask = plane == one
            rows = np.flatnonzero(mask.any(axis=1))
            columns = np.flatnonzero(mask.any(axis=0))
            h0, h1, w0, w1 = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
            held = bounds.setdefault(one, [d, d, h0, h1, w0, w1])
            held[1] = d
            held[2], held[3] = min(held[2], h0), max(held[3], h1)
            held[4], held[5] = min(held[4], w0), max(held[5], w1)
    return {
        one: (slice(b[0], b[1] + 1), slice(b[2], b[3] + 1), slice(b[4], b[5] + 1))
        for one, b in bounds.items()
    }


def _keep(part: NDArray[Any], one: int, connectivity: int, planes: int) -> int:
    from scipy import ndimage

    structure = ndimage.generate_binary_structure(3, connectivity)
    above = structure[0]
    parents: list[int] = []
    sizes: list[int] = []
    offsets: list[int] = []
    last: NDArray[np.int32] | None = None
    for start in range(0, len(part), planes):
        found, count = ndimage.label(part[start : start + planes] == one, structure)
        offset = len(parents)
        offsets.append(offset)
        parents.extend(range(offset, offset + count))
        sizes.extend(np.bincount(found.ravel(), minlength=count + 1)[1:].tolist())
        if last is not None:
            for a, b in _touching(last, found[0], above):
                _join(parents, a + offsets[-2] - 1, b + offset - 1)
        last = found[-1].copy()
    roots = np.array([_root(parents, number) for number in range(len(parents))])
    if len(np.unique(roots)) < 2:
        return 0
    whole = np.bincount(roots, weights=sizes, minlength=len(roots))
    kept = roots == int(whole.argmax())  # a root is the first of its part: ties go to the first
    for start, offset in zip(range(0, len(part), planes), offsets, strict=True):
        block = part[start : start + planes]
        found, count = ndimage.label(block == one, structure)
        unwanted = np.zeros(count + 1, bool)
        unwanted[1:] = ~kept[offset : offset + count]
        block[unwanted[found]] = 0
    return int(sum(sizes) - whole.max())


def _touching(
    last: NDArray[np.int32], first: NDArray[np.int32], above: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Pairs of parts of two neighbouring slices that touch."""
    shifts = [(int(h) - 1, int(w) - 1) for h, w in np.argwhere(above)]
    height, width = last.shape
    pairs: set[tuple[int, int]] = set()
    for h, w in shifts:
        a = last[max(h, 0) : height + min(h, 0), max(w, 0) : width + min(w, 0)]
        b = first[max(-h, 0) : height + min(-h, 0), max(-w, 0) : width + min(-w, 0)]
        both = (a > 0) & (b > 0)
        found = np.unique(np.stack([a[both], b[both]]), axis=1)
        pairs.update((int(x), int(y)) for x, y in found.T)
    return sorted(pairs)


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


def _join(parents: list[int], a: int, b: int) -> None:
    first, second = sorted((_root(parents, a), _root(parents, b)))
    parents[second] = first
