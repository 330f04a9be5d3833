"""Points and single lines of findings as regions of an image in a structured report [1].

1. DICOM PS3.16, TID 1410 (row for the image region), and PS3.3, C.18.6 (Spatial Coordinates).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.io.contour_fill import OFF_PLANE
from osler.io.dicom_context import frame_number
from osler.record import Contour, Image, Point

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def can_be_region(contour: Contour, image: Image) -> bool:
    """Whether a group of the report has a place for it: one line in one plane of the image."""
    if contour.frame or contour.item not in (image.name, None) or len(contour.rings) != 1:
        return False
    ring = contour.rings[0]
    if len(ring) < 2 or ring.shape[1] != len(image.shape) or not np.isfinite(ring).all():
        return False
    if ring.shape[1] == 2:
        return True
    plane = round(float(ring[:, 0].mean()))
    near = np.abs(ring[:, 0] - plane).max() <= OFF_PLANE
    return bool(near) and 0 <= plane < image.shape[0]


def region_of(
    subject: Point | Contour, image: Image, source: "Dataset", slices: "Sequence[Dataset]"
) -> Any:
    """The image region of a point or a line.

    Args:
        subject: a point, or a contour of which ``can_be_region`` holds.
        image: what it lies in.
        source: the data set that stands for the image.
        slices: the instances of a volume in the order of its planes; empty for a photograph.
    """
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
