"""Points, lines and boxes of findings as regions of an image in a structured report [1].

Lines of several parts are a region each of one group. A box is its rectangle, in each of the
planes of a volume that it is in; its geometric purpose says that it bounds the structure, so that
it is told from an outline.

1. DICOM PS3.16, TID 1410 and 1411 (rows for the image region); PS3.3, C.18.6 (Spatial Coordinates).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.io.contour_fill import OFF_PLANE
from osler.io.dicom_context import frame_number
from osler.io.dicom_seg import coded
from osler.record import Box, Code, Contour, Finding, Image, Point

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


BOUNDED_BY = Code("75958009", "SCT", "Bounded by")
"""Geometric purpose of a region (CID 219) that is a box."""

PURPOSE = "130400"
"""Concept of the geometric purpose of a region (DCM)."""

_NEAR = 1e-3  # of a pixel, as coordinates are written in single precision


def can_be_region(shape: Box | Contour, image: Image) -> bool:
    """Whether a group of the report has a place for it.

    It has for lines each of which lies in one plane of the image, and for a box that lies within
    the image. A closed line within another is a hole, which no report can say [1].
    """
    return _can_be_box(shape, image) if isinstance(shape, Box) else _can_be_line(shape, image)


def _can_be_line(contour: Contour, image: Image) -> bool:
    if contour.frame or contour.item not in (image.name, None) or not contour.rings:
        return False
    if not all(len(ring) > 1 and _in_a_plane(ring, image) for ring in contour.rings):
        return False
    return not (contour.closed and _has_hole(contour))


def _in_a_plane(ring: NDArray[np.float64], image: Image) -> bool:
    if ring.shape[1] != len(image.shape) or not np.isfinite(ring).all():
        return False
    if ring.shape[1] == 2:
        return True
    plane = round(float(ring[:, 0].mean()))
    near = np.abs(ring[:, 0] - plane).max() <= OFF_PLANE
    return bool(near) and 0 <= plane < image.shape[0]


def _has_hole(contour: Contour) -> bool:
    """Whether a closed line lies within another of its plane, so that the even-odd rule counts."""
    for ring in contour.rings:
        for other in contour.rings:
            same = other is not ring and _plane(other) == _plane(ring)
            if same and all(_inside(point, other[:, -2:]) for point in ring[:, -2:]):
                return True
    return False


def _plane(ring: NDArray[np.float64]) -> int:
    return round(float(ring[:, 0].mean())) if ring.shape[1] == 3 else 0


def _inside(point: NDArray[np.float64], ring: NDArray[np.float64]) -> bool:
    """Whether a point ``(h, w)`` lies within a closed line, by the crossings of a ray."""
    (h, w), (h0, w0), (h1, w1) = point, ring.T, np.roll(ring, -1, axis=0).T
    across = (h0 <= h) != (h1 <= h)
    at = w0[across] + (h - h0[across]) / (h1 - h0)[across] * (w1 - w0)[across]
    return int((at > w).sum()) % 2 == 1


def _can_be_box(box: Box, image: Image) -> bool:
    return (
        box.item in (image.name, None)
        and len(box.start) == len(image.shape)
        and all(
            0 <= first < beyond <= size
            for first, beyond, size in zip(box.start, box.stop, image.shape, strict=True)
        )
    )


def regions(
    subject: Point | Contour | Box, image: Image, source: "Dataset", slices: "Sequence[Dataset]"
) -> dict[str, Any]:
    """Where a finding lies, as arguments of a measurement group.

    Args:
        subject: a point, or what ``can_be_region`` holds of.
        image: what it lies in.
        source: the data set that stands for the image.
        slices: the instances of a volume in the order of its planes; empty for a photograph.
    """
    if isinstance(subject, Box):
        return _box_regions(subject, image, source, slices)
    if isinstance(subject, Contour):
        return _line_regions(subject, image, source, slices)
    return {"referenced_region": _region(subject, image, source, slices)}


def _box_regions(
    box: Box, image: Image, source: "Dataset", slices: "Sequence[Dataset]"
) -> dict[str, Any]:
    """The rectangle of a box in each of its planes."""
    (top, left), (bottom, right) = box.start[-2:], box.stop[-2:]
    corners = np.array([(top, left), (top, right), (bottom, right), (bottom, left)]) - 0.5
    if len(box.start) == 2:
        rings = [corners]
    else:
        planes = range(box.start[0], box.stop[0])
        rings = [np.column_stack([np.full(4, float(plane)), corners]) for plane in planes]
    found = [
        _region(
            Contour(id=box.id, name=box.name, source=box.source, rings=(ring,)),
            image, source, slices,
        )
        for ring in rings
    ]  # fmt: skip
    purpose = {"geometric_purpose": coded(BOUNDED_BY)}
    if len(found) == 1:
        return {"referenced_region": found[0], **purpose}
    return {"referenced_regions": found, **purpose}


def corners_of(outlines: Sequence[Contour]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """First corner and the one opposite of a box whose rectangles these are, plane by plane.

    None where they are anything else, such as rectangles between the pixels' edges.
    """
    planes, seen = [], set()
    for one in outlines:
        ring = one.rings[0]
        if one.frame or not one.closed or len(one.rings) != 1 or len(ring) != 4:
            return None
        low, high = ring[:, -2:].min(0) + 0.5, ring[:, -2:].max(0) + 0.5
        edges = np.rint(np.concatenate([low, high]))
        on_edges = np.isclose(ring[:, -2:, None] + 0.5, edges.reshape(2, 2).T, atol=_NEAR).any(2)
        if not on_edges.all() or len(np.unique(np.rint(ring[:, -2:] * 2), axis=0)) != 4:
            return None
        seen.add(tuple(edges.astype(int).tolist()))
        if ring.shape[1] == 3:
            planes.append(round(float(ring[:, 0].mean())))
    if len(seen) != 1 or (planes and sorted(planes) != list(range(min(planes), max(planes) + 1))):
        return None
    top, left, bottom, right = seen.pop()
    if not planes:
        return ((top, left), (bottom, right)) if len(outlines) == 1 else None
    return (min(planes), top, left), (max(planes) + 1, bottom, right)


def _line_regions(
    contour: Contour, image: Image, source: "Dataset", slices: "Sequence[Dataset]"
) -> dict[str, Any]:
    """Each line of a contour."""
    found = [
        _region(replace(contour, rings=(ring,)), image, source, slices) for ring in contour.rings
    ]
    return {"referenced_region": found[0]} if len(found) == 1 else {"referenced_regions": found}


def joined(shapes: Sequence[Finding]) -> Contour | None:
    """One contour of several parts, where the lines of a group are all alike; else None."""
    lines = [one for one in shapes if isinstance(one, Contour)]
    if len(lines) < 2 or len(lines) != len(shapes):
        return None
    kinds = {
        (one.closed, one.item, one.frame, one.flags, min(map(len, one.rings)) > 1) for one in lines
    }
    if len(kinds) > 1:
        return None
    return replace(lines[0], rings=tuple(ring for one in lines for ring in one.rings))


def _region(
    subject: Point | Contour, image: Image, source: "Dataset", slices: "Sequence[Dataset]"
) -> Any:
    """The image region of a point or of one line."""
    import highdicom.sr as hd

    indices = (
        np.array([subject.position], np.float64) if isinstance(subject, Point) else subject.rings[0]
    )
    if isinstance(subject, Contour) and subject.closed:
        indices = np.concatenate([indices, indices[:1]])
    kind = "POINT" if isinstance(subject, Point) else "POLYLINE"
    instance, frames = source.SOPInstanceUID, None
    if indices.shape[1] == 3:
        plane = round(float(indices[:, 0].mean()))
        if len(slices) > 1 and 0 <= plane < len(slices):
            instance = slices[plane].SOPInstanceUID
        elif len(slices) == 1 and 0 <= plane < image.shape[0]:
            frames = [frame_number(image, plane)]
    seen = hd.SourceImageForRegion(source.SOPClassUID, instance, frames)
    # DICOM counts (column, row) from the top left corner of the first pixel
    return hd.ImageRegion(kind, indices[:, :-3:-1] + 0.5, seen)
