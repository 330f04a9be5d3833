"""Reconstructed slices of nuclear medicine in one file, placed by its first slice and a step.

Source: DICOM PS3.3 C.8.4.8 (NM Multi-frame: frames by their vectors), C.8.4.11 (NM Detector: place
and directions of the first slice), C.8.4.15 (NM Reconstruction: the step along the normal; positive
behind the first slice, negative in front of it).
"""

from typing import TYPE_CHECKING

import numpy as np

from osler.io import dicom_header as header
from osler.io.dicom_geometry import Pose, numbers, pose_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STORAGE = "1.2.840.10008.5.1.4.1.1.20"
_RECONSTRUCTED = ("RECON TOMO", "RECON GATED TOMO")
_OTHERS = ("EnergyWindowVector", "DetectorVector", "RRIntervalVector", "TimeSlotVector")
"""What may differ between frames of one slice; rotations and angles are those of projections."""

Key = tuple[int, ...]


def reconstructed(dataset: "Dataset") -> bool:
    """Whether the frames are slices; projections and pictures over time are none."""
    kind = dataset.get("ImageType")
    named = isinstance(kind, str) or kind is None or len(kind) < 3
    return (
        header.text(dataset, "SOPClassUID") == STORAGE
        and not named
        and str(kind[2]).strip() in _RECONSTRUCTED
    )


def poses_of_slices(
    label: str, dataset: "Dataset", frames: int
) -> tuple[list[Pose] | None, list[Key], tuple[str, ...]]:
    """A pose for each frame, and the volume that it belongs to.

    Args:
        label: the file, for messages, with ``{}`` for the frame's number.
        dataset: the header.
        frames: how many.

    Returns:
        The poses, None where the header does not say all that they take; for each of them the
        numbers of its energy window, detector, R-R interval and time slot; and
        ``"slices-without-place"`` where there are no poses, ``"slices-placed-loosely"`` where
        only their distances are known.
    """
    slices = numbers(dataset.get("SliceVector"), frames)
    step = header.decimal(dataset, "SpacingBetweenSlices")
    spacing = numbers(dataset.get("PixelSpacing"), 2)
    if slices is None or step is None or step == 0 or spacing is None:
        return None, [], ("slices-without-place",)
    if any(number != int(number) for number in slices):
        return None, [], ("slices-without-place",)
    keys = _keys(dataset, frames)
    base = _first(label, dataset)
    flags: tuple[str, ...] = ()
    if base is None:
        # how far the slices are apart is known, but not where they lie
        base = pose_of(label, (0, 0, 0), (1, 0, 0, 0, 1, 0), spacing)
        flags = ("slices-placed-loosely",)
    assert base.position is not None
    origin, normal = np.array(base.position), base.normal()
    poses = [
        Pose(
            label.format(index + 1),
            tuple(float(v) for v in origin + (number - 1) * step * normal),
            base.orientation,
            base.spacing,
        )
        for index, number in enumerate(slices)
    ]
    return poses, keys, flags


def _keys(dataset: "Dataset", frames: int) -> list[Key]:
    vectors = [numbers(dataset.get(keyword), frames) for keyword in _OTHERS]
    known = [vector for vector in vectors if vector is not None and len(set(vector)) > 1]
    return [tuple(int(vector[frame]) for vector in known) for frame in range(frames)]


def _first(label: str, dataset: "Dataset") -> Pose | None:
    """The pose of the first slice, where all detectors that name one agree."""
    spacing = dataset.get("PixelSpacing")
    found = [
        pose_of(
            label,
            detector.get("ImagePositionPatient"),
            detector.get("ImageOrientationPatient"),
            spacing,
        )
        for detector in dataset.get("DetectorInformationSequence") or ()
    ]
    known = [pose for pose in found if pose.known]
    agree = len({(pose.position, pose.orientation) for pose in known}) == 1
    return known[0] if agree else None
