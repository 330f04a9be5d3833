"""Whether the planes of one DICOM object are voxels of an image that is at hand.

Nothing is resampled: a grid is placed into another only where each of its voxels is one of the
other's, so that what was written comes back exactly. Anything else keeps its own grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osler.io import dicom_header as header
from osler.io.dicom_seg_frames import Grid
from osler.record import Image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_TOLERANCE = 0.02
"""How far a voxel's centre may lie from the other grid's, in voxels: rounded decimal strings."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a grid lies in an image: along which axes, which way round, and how far in.

    Attributes:
        item: the image's name.
        shape: the image's ``(D, H, W)`` or ``(H, W)``.
        axes: for each axis of the image, the axis of the grid.
        flips: whether the grid's axis runs the other way, for each axis of the image.
        starts: index in the image of the grid's first voxel, on each axis of the image.
    """

    item: str
    shape: tuple[int, ...]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    starts: tuple[int, int, int]

    def __call__(self, found: NDArray[Any]) -> NDArray[Any]:
        """``(D, H, W)`` of the grid to ``(D, H, W)`` of the image; what lies outside is lost."""
        turned = found.transpose(self.axes)
        turned = turned[tuple(slice(None, None, -1 if f else 1) for f in self.flips)]
        whole = (1,) * (3 - len(self.shape)) + self.shape
        if turned.shape == whole and not any(self.starts):
            return turned
        out = np.zeros(whole, found.dtype)
        into, of = [], []
        for start, size, room in zip(self.starts, turned.shape, whole, strict=True):
            low, high = max(start, 0), min(start + size, room)
            into.append(slice(low, max(high, low)))
            of.append(slice(low - start, max(high, low) - start))
        out[tuple(into)] = turned[tuple(of)]
        return out


def placement(dataset: "Dataset", grid: Grid, images: Sequence[Image]) -> Placement | None:
    """The first image that the object refers to and whose voxels its grid is made of."""
    series, instances = referred(dataset)
    frame = header.text(dataset, "FrameOfReferenceUID")

    def rank(image: Image) -> int:
        if said(image, "SOPInstanceUID") in instances:
            return 0
        if said(image, "SeriesInstanceUID") in series:
            return 1
        return 2 if frame and said(image, "FrameOfReferenceUID") == frame else 3

    for image in sorted(images, key=rank):
        if rank(image) == 3:
            break
        found = _placed(grid, image)
        if found is not None:
            return found
    return None


def said(image: Image, keyword: str) -> str:
    """A value of the header of the file that an image came from; empty where it says none."""
    return said_in(image.origin.dicom if image.origin else {}, keyword)


def said_in(document: Mapping[str, Any], keyword: str) -> str:
    """The first value of a header in the DICOM JSON model; empty where there is none."""
    from pydicom.datadict import tag_for_keyword

    value = (document.get(f"{tag_for_keyword(keyword):08X}") or {}).get("Value") or [""]
    return str(value[0]).strip()


def referred(dataset: "Dataset") -> tuple[set[str], set[str]]:
    """The series and the instances that an object names anywhere in its general references."""
    series: set[str] = set()
    instances: set[str] = set()
    others = [
        s
        for study in dataset.get("StudiesContainingOtherReferencedInstancesSequence") or ()
        for s in study.get("ReferencedSeriesSequence") or ()
    ]
    for item in [*(dataset.get("ReferencedSeriesSequence") or ()), *others]:
        series.add(header.text(item, "SeriesInstanceUID"))
        for keyword in ("ReferencedInstanceSequence", "ReferencedImageSequence"):
            for instance in item.get(keyword) or ():
                instances.add(header.text(instance, "ReferencedSOPInstanceUID"))
    for item in dataset.get("SourceImageSequence") or ():
        instances.add(header.text(item, "ReferencedSOPInstanceUID"))
    series.discard("")
    instances.discard("")
    return series, instances


def _placed(grid: Grid, image: Image) -> Placement | None:
    shape = image.shape
    if grid.affine is None or image.affine is None:
        if grid.shape == (1,) * (3 - len(shape)) + shape:
            return Placement(image.name, shape, (0, 1, 2), (False,) * 3, (0, 0, 0))
        return None
    to_image = np.linalg.inv(image.affine) @ grid.affine
    if grid.shape[0] == 1 or len(shape) == 2:
        # the step from plane to plane is of no account for a single plane
        to_image[:3, 0] = np.round(to_image[:3, 0] / (np.linalg.norm(to_image[:3, 0]) or 1), 3)
    turn = np.rint(to_image[:3, :3])
    if not (np.abs(turn).sum(0) == 1).all() or not (np.abs(turn).sum(1) == 1).all():
        return None
    drift = np.abs(to_image[:3, :3] - turn) @ np.maximum(np.array(grid.shape) - 1, 1)
    offset = np.rint(to_image[:3, 3])
    if drift.max() > 0.1 or np.abs(to_image[:3, 3] - offset).max() > max(_TOLERANCE, 0.1):
        return None
    axes = tuple(int(np.flatnonzero(turn[axis])[0]) for axis in range(3))
    flips = tuple(bool(turn[axis].sum() < 0) for axis in range(3))
    starts = tuple(
        int(offset[n]) - (grid.shape[axis] - 1 if flip else 0)
        for n, (axis, flip) in enumerate(zip(axes, flips, strict=True))
    )
    whole = (1,) * (3 - len(shape)) + shape
    sizes = [grid.shape[axis] for axis in axes]
    if any(s < 0 or s + n > room for s, n, room in zip(starts, sizes, whole, strict=True)):
        return None  # part of it would be lost
    a, b, c = axes
    x, y, z = starts
    return Placement(image.name, shape, (a, b, c), (flips[0], flips[1], flips[2]), (x, y, z))
