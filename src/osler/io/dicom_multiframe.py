"""Frames of one file: a volume where the file gives them places, a cine where it does not.

Source: DICOM PS3.3 C.7.6.5 (cine), C.7.6.6 (multi-frame), C.7.6.16 (functional groups), C.8.8.3.2
(RT dose grid), C.8.24.3 (planes of an ultrasound volume).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.errors import GeometryError
from osler.io import dicom_header as header
from osler.io.dicom_geometry import Allowed, Grid, Pose, grid_of, numbers, plane_affine, pose_of
from osler.io.dicom_nm import poses_of_slices, reconstructed

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Where each frame goes.

    Attributes:
        places: for each frame, channel and depth.
        channels: how many.
        grid: the geometry; its affine is None where the frames have no place in the patient.
        times: seconds, one for each depth of a cine or each channel of a volume over time.
        names: of the channels, where there are several.
    """

    places: tuple[tuple[int, int], ...]
    channels: int
    grid: Grid
    times: tuple[float, ...] = ()
    names: tuple[str, ...] = ()


def groups(dataset: "Dataset", keyword: str, frames: int) -> Iterator["Dataset | None"]:
    """The first item of a functional group for each frame: its own, else the shared one."""
    shared = _first(_first(dataset, "SharedFunctionalGroupsSequence"), keyword)
    own = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    for index in range(frames):
        item = own[index] if index < len(own) else None
        found = _first(item, keyword)
        yield shared if found is None else found


def _first(dataset: "Dataset | None", keyword: str) -> "Dataset | None":
    items = dataset.get(keyword) if dataset is not None else None
    return items[0] if items else None


def _value(dataset: "Dataset | None", keyword: str) -> Any:
    return None if dataset is None else dataset.get(keyword)


def arrange(name: str, dataset: "Dataset", *, frames: int, allowed: Allowed) -> Arrangement:
    """Arrange the frames of a file.

    Raises:
        GeometryError: the frames have places, and these make no regular grid.
    """
    if frames > 1 and "PerFrameFunctionalGroupsSequence" in dataset:
        own = len(dataset.PerFrameFunctionalGroupsSequence)
        if own != frames:
            raise GeometryError(
                f"'{name}' has {frames} frames (NumberOfFrames) but {own} items in "
                "PerFrameFunctionalGroupsSequence; export it again"
            )
    what = f"'{name}'"
    if frames > 1 and reconstructed(dataset):
        poses, keys, flags = poses_of_slices(f"frame {{}} of '{name}'", dataset, frames)
        if poses is not None:
            return _loosely(dataset, poses, keys, what=what, allowed=allowed, flags=flags)
    else:
        poses, flags = _poses(name, dataset, frames)
        loose = _volume_poses(name, dataset, frames) if flags == (_OF_TRANSDUCER,) else None
        if loose is not None:
            keys = _volumes(dataset, loose)
            return _loosely(dataset, loose, keys, what=what, allowed=allowed, flags=flags)
    if frames == 1 and poses is not None and poses[0].known:
        pose = poses[0]
        assert pose.spacing is not None
        spacing = (1.0, *pose.spacing)
        grid = Grid((0,), plane_affine(pose), spacing, flags)  # type: ignore[arg-type]
        return Arrangement(((0, 0),), 1, grid)
    if frames == 1 or poses is None:
        line = tuple((0, index) for index in range(frames))
        none = Grid(tuple(range(frames)), None, None, flags)
        return Arrangement(line, 1, none, times=_cine_times(dataset, frames))
    keys = _volumes(dataset, poses)
    return _stacked(dataset, poses, keys, what=what, allowed=allowed, flags=flags)


def _stacked(
    dataset: "Dataset",
    poses: Sequence[Pose],
    keys: Sequence[tuple[int, ...]],
    *,
    what: str,
    allowed: Allowed,
    flags: tuple[str, ...],
) -> Arrangement:
    """One volume, or one channel for each of several at the same places."""
    if len(set(keys)) == 1:
        grid = grid_of(poses, what=what, allowed=allowed)
        depths = {frame: depth for depth, frame in enumerate(grid.order)}
        places = tuple((0, depths[i]) for i in range(len(poses)))
        return Arrangement(places, 1, _with(grid, flags))
    return _over_time(dataset, poses, keys, what=what, allowed=allowed, flags=flags)


_OF_TRANSDUCER = "position-of-transducer"
_LOOSE = (_OF_TRANSDUCER, "slices-placed-loosely")


def _loosely(
    dataset: "Dataset",
    poses: Sequence[Pose],
    keys: Sequence[tuple[int, ...]],
    *,
    what: str,
    allowed: Allowed,
    flags: tuple[str, ...],
) -> Arrangement:
    """As ``_stacked``; where the poses are not in the patient, they give order and distances only.

    Frames that make no regular grid of their own then stay as they are, since nothing is said of
    where they lie.
    """
    if not set(_LOOSE) & set(flags):
        return _stacked(dataset, poses, keys, what=what, allowed=allowed, flags=flags)
    try:
        found = _stacked(dataset, poses, keys, what=what, allowed=allowed, flags=flags)
    except GeometryError:
        line = tuple((0, index) for index in range(len(poses)))
        grid = Grid(tuple(range(len(poses))), None, None, (*flags, "slices-irregular"))
        return Arrangement(line, 1, grid)
    grid = found.grid
    return replace(found, grid=Grid(grid.order, None, grid.spacing, grid.flags))


def _volume_poses(name: str, dataset: "Dataset", frames: int) -> list[Pose] | None:
    """Poses in the frame of reference of an ultrasound volume; None where one is missing."""
    positions = groups(dataset, "PlanePositionVolumeSequence", frames)
    orientations = groups(dataset, "PlaneOrientationVolumeSequence", frames)
    measures = groups(dataset, "PixelMeasuresSequence", frames)
    poses = [
        pose_of(
            f"frame {index + 1} of '{name}'",
            _value(position, "ImagePositionVolume"),
            _value(orientation, "ImageOrientationVolume"),
            _value(measure, "PixelSpacing"),
        )
        for index, (position, orientation, measure) in enumerate(
            zip(positions, orientations, measures, strict=True)
        )
    ]
    return poses if frames > 1 and all(pose.known for pose in poses) else None


def _with(grid: Grid, flags: tuple[str, ...]) -> Grid:
    return Grid(grid.order, grid.affine, grid.spacing, (*grid.flags, *flags))


def _poses(name: str, dataset: "Dataset", frames: int) -> tuple[list[Pose] | None, tuple[str, ...]]:
    """A pose for each frame, or None where the frames have no places in the patient."""
    label = f"'{name}'" if frames == 1 else "frame {} of '{}'"
    offsets = numbers(dataset.get("GridFrameOffsetVector"), frames)
    if offsets is not None and "ImagePositionPatient" in dataset:
        return _dose_poses(name, dataset, offsets), ()
    positions = list(groups(dataset, "PlanePositionSequence", frames))
    if all(position is None for position in positions):
        if frames == 1 and "ImagePositionPatient" in dataset:
            return [
                pose_of(
                    label,
                    dataset.get("ImagePositionPatient"),
                    dataset.get("ImageOrientationPatient"),
                    dataset.get("PixelSpacing"),
                )
            ], ()
        if any(p is not None for p in groups(dataset, "PlanePositionVolumeSequence", frames)):
            # a place in the transducer's own frame of reference is none in the patient
            return None, (_OF_TRANSDUCER,)
        return None, ()
    orientations = groups(dataset, "PlaneOrientationSequence", frames)
    measures = groups(dataset, "PixelMeasuresSequence", frames)
    return [
        pose_of(
            label.format(index + 1, name),
            _value(position, "ImagePositionPatient"),
            _value(orientation, "ImageOrientationPatient"),
            _value(measure, "PixelSpacing"),
        )
        for index, (position, orientation, measure) in enumerate(
            zip(positions, orientations, measures, strict=True)
        )
    ], ()


def _dose_poses(name: str, dataset: "Dataset", offsets: Sequence[float]) -> list[Pose] | None:
    base = pose_of(
        f"'{name}'",
        dataset.get("ImagePositionPatient"),
        dataset.get("ImageOrientationPatient"),
        dataset.get("PixelSpacing"),
    )
    if not base.known or offsets[0] != 0.0:
        return None  # absolute offsets: along which axis is not said for every direction
    assert base.position is not None
    normal = base.normal()
    return [
        Pose(
            f"frame {index + 1} of '{name}'",
            tuple(float(v) for v in np.array(base.position) + offset * normal),
            base.orientation,
            base.spacing,
        )
        for index, offset in enumerate(offsets)
    ]


def _volumes(dataset: "Dataset", poses: Sequence[Pose]) -> list[tuple[int, ...]]:
    """For each frame the key of its volume: what differs between frames at the same place."""
    frames = len(poses)
    contents = list(groups(dataset, "FrameContentSequence", frames))
    indices: list[tuple[int, ...]] = []
    for content in contents:
        value = _value(content, "DimensionIndexValues")
        several = hasattr(value, "__iter__")
        indices.append(tuple(int(v) for v in value) if several else ())
    temporal = [_value(content, "TemporalPositionIndex") for content in contents]
    places: dict[tuple[float, ...], list[int]] = {}
    for index, pose in enumerate(poses):
        place = tuple(round(v, 3) for v in pose.position or ())
        places.setdefault((*place, *(round(v, 3) for v in pose.orientation or ())), []).append(
            index
        )
    if all(len(frames) == 1 for frames in places.values()):
        return [()] * frames
    if all(isinstance(value, int) for value in temporal):
        keys: list[tuple[int, ...]] = [(int(v),) for v in temporal if v is not None]
        if _complete(keys, places):
            return keys
    if len({len(index) for index in indices}) == 1 and indices[0]:
        varying = [
            d
            for d in range(len(indices[0]))
            if any(len({indices[f][d] for f in frames}) > 1 for frames in places.values())
        ]
        keys = [tuple(index[d] for d in varying) for index in indices]
        if _complete(keys, places):
            return keys
    return [()] * frames


def _complete(keys: Sequence[tuple[int, ...]], places: dict[tuple[float, ...], list[int]]) -> bool:
    """Whether every place has one frame of every volume."""
    every = set(keys)
    return len(every) > 1 and all(
        len(frames) == len(every) and {keys[f] for f in frames} == every
        for frames in places.values()
    )


def _over_time(
    dataset: "Dataset",
    poses: Sequence[Pose],
    keys: Sequence[tuple[int, ...]],
    *,
    what: str,
    allowed: Allowed,
    flags: tuple[str, ...],
) -> Arrangement:
    """Several volumes at the same places: one channel each."""
    volumes = sorted(set(keys))
    first = [index for index, key in enumerate(keys) if key == volumes[0]]
    grid = grid_of([poses[i] for i in first], what=what, allowed=allowed)
    ordered = [poses[first[i]] for i in grid.order]
    depths = {tuple(round(v, 3) for v in p.position or ()): d for d, p in enumerate(ordered)}
    places = tuple(
        (volumes.index(key), depths[tuple(round(v, 3) for v in pose.position or ())])
        for key, pose in zip(keys, poses, strict=True)
    )
    times = _volume_times(dataset, keys, volumes)
    names = tuple("-".join(str(part) for part in key) for key in volumes)
    return Arrangement(places, len(volumes), _with(grid, flags), times=times, names=names)


def _volume_times(
    dataset: "Dataset", keys: Sequence[tuple[int, ...]], volumes: Sequence[tuple[int, ...]]
) -> tuple[float, ...]:
    """Seconds since the first volume by TemporalPositionTimeOffset, where every frame has it."""
    offsets: dict[tuple[int, ...], float] = {}
    items = groups(dataset, "TemporalPositionSequence", len(keys))
    for key, item in zip(keys, items, strict=True):
        value = None if item is None else header.decimal(item, "TemporalPositionTimeOffset")
        if value is None:
            return ()
        offsets.setdefault(key, value)
    start = offsets[volumes[0]]
    return tuple(offsets[key] - start for key in volumes)


def _cine_times(dataset: "Dataset", frames: int) -> tuple[float, ...]:
    """Seconds since the first frame by FrameTimeVector, FrameTime or CineRate."""
    if frames == 1:
        return ()
    vector = numbers(dataset.get("FrameTimeVector"), frames)
    if vector is not None and min(vector) >= 0:
        # the first is the time before the first frame, which is 0 by definition
        return tuple(value / 1000 for value in accumulate((0.0, *vector[1:])))
    step = header.decimal(dataset, "FrameTime")
    rate = header.decimal(dataset, "CineRate")
    if step is None and rate is not None and rate > 0:
        step = 1000 / rate
    if step is None or step <= 0:
        return ()
    return tuple(index * step / 1000 for index in range(frames))
