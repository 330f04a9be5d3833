"""Where planes lie in the patient, and whether they make one regular grid.

Source: DICOM PS3.3 C.7.6.2.1.1 (image plane), C.7.6.16.2 (per frame). Positions are those of
pixel centres, so they are the columns of an affine as they stand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from osler.errors import GeometryError
from osler.io import dicom_header as header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SAME_DIRECTION = 1e-3
"""Direction cosines that differ by less are the same: devices write them with 4 to 7 digits."""

SAME_SPACING = 1e-3
"""Pixel spacings that differ by less (relative) are the same."""

EVEN, UNEVEN = 0.01, 0.10
"""Steps between slices that differ from the mean by less than the first (relative) are equal;
beyond the second they are refused, and between the two the image is flagged."""

TILT = 0.02
"""Slices may move sideways by this share of their distance (about 1.1 degrees)."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Place, direction and pixel size of one plane.

    Attributes:
        label: the file, or the frame and its file, for messages.
        position: LPS millimetres of the first pixel's centre, or None.
        orientation: direction cosines along a row, then along a column, or None.
        spacing: millimetres between rows, then between columns, or None.
    """

    label: str
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, ...] | None = None

    @property
    def known(self) -> bool:
        """Whether all three are there."""
        return None not in (self.position, self.orientation, self.spacing)

    def directions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Unit vectors along a row (with the columns) and along a column (with the rows)."""
        assert self.orientation is not None
        along = np.array(self.orientation, np.float64)
        return along[:3], along[3:]

    def normal(self) -> NDArray[np.float64]:
        """The unit vector that stands on the plane."""
        row, column = self.directions()
        return np.cross(row, column)


@dataclass(frozen=True, slots=True)
class Grid:
    """How planes stack up.

    Attributes:
        order: the planes' numbers from the lowest along the normal to the highest.
        affine: ``(4, 4)``, index ``(d, h, w)`` to LPS millimetres; None where there is none.
        spacing: millimetres along ``(D, H, W)``; None where there is no affine.
        flags: named doubts.
    """

    order: tuple[int, ...]
    affine: NDArray[np.float64] | None
    spacing: tuple[float, float, float] | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the user lets pass.

    Attributes:
        tilt: keep slices that move sideways: the affine has their shear.
        irregular: keep slices without a regular grid: the image has no affine and no spacing.
    """

    tilt: bool = False
    irregular: bool = False


def pose_of(
    label: str,
    position: object,
    orientation: object,
    spacing: object,
) -> Pose:
    """A pose from the values of ImagePositionPatient, ImageOrientationPatient and PixelSpacing.

    Raises:
        GeometryError: the directions are no two unit vectors at right angles, or the spacing is
            not positive.
    """
    place, along, size = numbers(position, 3), numbers(orientation, 6), numbers(spacing, 2)
    if along is not None:
        row, column = np.array(along[:3]), np.array(along[3:])
        lengths = np.linalg.norm(row), np.linalg.norm(column)
        if max(abs(length - 1) for length in lengths) > 0.01 or abs(row @ column) > 0.01:
            raise GeometryError(
                f"{label} has directions that are no unit vectors at right angles "
                "(ImageOrientationPatient); export it again"
            )
        along = tuple(float(v) for v in (*(row / lengths[0]), *(column / lengths[1])))
    if size is not None and min(size) <= 0:
        raise GeometryError(f"{label} has PixelSpacing {size}; it must be positive")
    return Pose(label, place, along, size)


def pose_of_header(label: str, dataset: "Dataset") -> Pose:
    """The pose of a single-frame header."""
    return pose_of(
        label,
        dataset.get("ImagePositionPatient"),
        dataset.get("ImageOrientationPatient"),
        dataset.get("PixelSpacing"),
    )


def numbers(value: object, count: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None."""
    try:
        parsed = tuple(float(v) for v in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    return parsed if len(parsed) == count and all(map(math.isfinite, parsed)) else None


def plane_affine(pose: Pose) -> NDArray[np.float64]:
    """The affine of a single plane; its first column is the unit normal, for there is no step."""
    assert pose.position is not None
    return _affine(pose, pose.normal(), np.array(pose.position))


def _affine(
    pose: Pose, step: NDArray[np.float64], origin: NDArray[np.float64]
) -> NDArray[np.float64]:
    assert pose.spacing is not None
    row, column = pose.directions()
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = column * pose.spacing[0]
    affine[:3, 2] = row * pose.spacing[1]
    affine[:3, 3] = origin
    return affine


def grid_of(poses: Sequence[Pose], *, what: str, allowed: Allowed) -> Grid:
    """Judge whether planes make one regular grid.

    Args:
        poses: two planes or more.
        what: the file or series, for messages.
        allowed: what the user lets pass.

    Raises:
        GeometryError: positions are missing, double or uneven, slices are missing or tilted, or
            directions or pixel sizes differ.
    """
    try:
        return _grid(poses, what=what, allow_tilt=allowed.tilt)
    except GeometryError:
        if not allowed.irregular:
            raise
    flags = ("slices-irregular",)
    if all(pose.known for pose in poses) and _same_directions(poses):
        along = [float(np.dot(poses[0].normal(), _place(pose))) for pose in poses]
        return Grid(tuple(sorted(range(len(poses)), key=along.__getitem__)), None, None, flags)
    return Grid(tuple(range(len(poses))), None, None, flags)


def _grid(poses: Sequence[Pose], *, what: str, allow_tilt: bool) -> Grid:
    _refuse_unlike(poses, what=what)
    first = poses[0]
    places = np.array([pose.position for pose in poses], np.float64)
    along = places @ first.normal()
    order = np.argsort(along, kind="stable")
    places, along = places[order], along[order]
    labels = [poses[i].label for i in order]
    steps = np.diff(along)
    total = (places[-1] - places[0]) / (len(poses) - 1)
    mean = float(along[-1] - along[0]) / (len(poses) - 1)
    _refuse_double(steps, labels, what=what, mean=mean)
    flags = _refuse_uneven(steps, labels, what=what)
    sideways = places - places[0] - np.outer(along - along[0], first.normal())
    shift = float(np.abs(sideways).max())
    tilt = float(np.linalg.norm(total - mean * first.normal())) / mean
    straight = np.abs(places - places[0] - np.outer(np.arange(len(poses)), total)).max()
    if straight > max(UNEVEN * mean, 0.01) and shift > max(TILT * mean, 0.01):
        raise GeometryError(
            f"the slices of {what} do not lie on one straight line (ImagePositionPatient); "
            f"{IRREGULAR}"
        )
    if tilt > TILT:
        if not allow_tilt:
            angle = math.degrees(math.atan(tilt))
            raise GeometryError(
                f"the slices of {what} are tilted by {angle:.1f} degrees against their stack "
                "(ImagePositionPatient: a tilted gantry), so its voxels are no right-angled boxes; "
                "pass allow_tilt=True to keep the sheared grid"
            )
        flags = (*flags, "tilted-gantry")
    assert first.spacing is not None
    spacing = (float(np.linalg.norm(total)), float(first.spacing[0]), float(first.spacing[1]))
    return Grid(tuple(int(i) for i in order), _affine(first, total, places[0]), spacing, flags)


IRREGULAR = (
    "pass allow_irregular=True to keep the slices in order without an affine and without a spacing"
)


def _refuse_unlike(poses: Sequence[Pose], *, what: str) -> None:
    for keyword, field in (
        ("ImagePositionPatient", "position"),
        ("ImageOrientationPatient", "orientation"),
        ("PixelSpacing", "spacing"),
    ):
        lacking = next((pose for pose in poses if getattr(pose, field) is None), None)
        if lacking is not None:
            raise GeometryError(
                f"{lacking.label} has no usable {keyword}, so its place in {what} is unknown; "
                f"{IRREGULAR}"
            )
    first = np.array(poses[0].orientation)
    size = np.array(poses[0].spacing)
    for pose in poses[1:]:
        if (pose.orientation, pose.spacing) == (poses[0].orientation, poses[0].spacing):
            continue
        if np.abs(np.array(pose.orientation) - first).max() > SAME_DIRECTION:
            raise GeometryError(
                f"{pose.label} has another direction (ImageOrientationPatient) than "
                f"{poses[0].label}, so they are no one volume; load them apart, or {IRREGULAR}"
            )
        if np.abs(np.array(pose.spacing) / size - 1).max() > SAME_SPACING:
            raise GeometryError(
                f"{pose.label} has another PixelSpacing than {poses[0].label}, so they are no one "
                f"volume; load them apart, or {IRREGULAR}"
            )


def _same_directions(poses: Sequence[Pose]) -> bool:
    first = np.array(poses[0].orientation)
    return all(np.abs(np.array(p.orientation) - first).max() <= SAME_DIRECTION for p in poses)


def _place(pose: Pose) -> NDArray[np.float64]:
    return np.array(pose.position, np.float64)


def _refuse_double(
    steps: NDArray[np.float64], labels: Sequence[str], *, what: str, mean: float
) -> None:
    double = np.flatnonzero(steps < max(0.01 * mean, 1e-4))
    if len(double):
        at = int(double[0])
        raise GeometryError(
            f"{labels[at]} and {labels[at + 1]} lie at the same place (ImagePositionPatient), as "
            f"do {len(double)} pairs of {what}: it holds several volumes, or a slice twice; load "
            f"them apart with split_by, such as split_by='AcquisitionNumber', or {IRREGULAR}"
        )


def _refuse_uneven(
    steps: NDArray[np.float64], labels: Sequence[str], *, what: str
) -> tuple[str, ...]:
    usual = float(np.median(steps))
    off = np.abs(steps / usual - 1)
    worst = int(off.argmax())
    if off[worst] <= EVEN:
        return ()
    if off[worst] <= UNEVEN:
        return ("slices-uneven",)
    times = steps[worst] / usual
    missing = times > 1.5 and abs(times - round(times)) < 0.2
    reason = f"{round(times) - 1} slices are missing" if missing else "the distance differs"
    raise GeometryError(
        f"between {labels[worst]} and {labels[worst + 1]} of {what} lie {steps[worst]:.3f} mm, but "
        f"{usual:.3f} mm elsewhere (ImagePositionPatient): {reason}; copy the whole series, or "
        f"{IRREGULAR}"
    )


def header_has_plane(dataset: "Dataset") -> bool:
    """Whether a header states a place in the patient."""
    return header.tag_present(dataset, "ImagePositionPatient", "ImageOrientationPatient")
