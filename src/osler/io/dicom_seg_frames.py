"""The header of a segmentation, and where each of its frames lies, without its pixels [1].

1. DICOM PS3.3, C.7.6.16 (Multi-frame Functional Groups).
"""

import math
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from osler.errors import GeometryError, UnreadableError
from osler.io.dicom_elements import UNDEFINED, Buffer, Leaves, Walker
from osler.io.dicom_layout import DEFLATED
from osler.io.dicom_whole import MOST_BYTES, bomb, inflated, meta_of, read_until
from osler.io.input_file import InputFile

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

PER_FRAME = 0x52009230
PIXELS = 0x7FE00010
_GROUPS_MOST = 64 << 20
"""Elements before the pixels that take more inflated bytes than this are a bomb."""

_SEGMENT = (0x0062000A, 0x0062000B)
_POSITION = (0x00209113, 0x00200032)
_ORIENTATION = (0x00209116, 0x00200037)
_SPACING = (0x00289110, 0x00280030)
_SOURCE_FRAME = (0x00082112, 0x00081160)

_STRAY_MM = 0.01
"""How far a plane may lie from where its neighbours say it lies, in millimetres: positions are
decimal strings, and stated spacings are rounded."""

_MOST_PLANES = 100_000


@dataclass(frozen=True, slots=True)
class SegFrames:
    """What each frame says of itself; ``N`` frames.

    Attributes:
        segments: ``(N,)`` segment numbers; 0 where a frame names none.
        positions: ``(N, 3)`` LPS millimetres of the first pixel's centre; None where not stated.
        orientations: ``(N, 6)`` directions along a row and along a column; None where not stated.
        spacing: millimetres between rows and between columns, or None.
        source_frames: the number of the frame that each was made from, or 0.
    """

    segments: NDArray[np.int64]
    positions: NDArray[np.float64] | None
    orientations: NDArray[np.float64] | None
    spacing: tuple[float, float] | None
    source_frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """The planes of a stack of frames.

    Attributes:
        planes: ``(N,)`` index ``d`` of each frame.
        shape: ``(D, H, W)``.
        affine: index ``(d, h, w)`` to LPS millimetres, or None where the frames say no place.
        spacing: millimetres along ``(D, H, W)``, or None.
    """

    planes: NDArray[np.int64]
    shape: tuple[int, int, int]
    affine: NDArray[np.float64] | None
    spacing: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the pixel data lies.

    Attributes:
        start: its first byte, in the file or in ``held``.
        length: how many bytes there are.
        words: whether it is of VR OW (implicit ones are).
        little: whether numbers are in little-endian order.
        held: the inflated pixel data of a deflated object; None where it lies in the file.
    """

    start: int
    length: int
    words: bool
    little: bool
    held: bytes | None = None


@contextmanager
def parts(file: InputFile) -> Iterator[tuple["FileDataset", SegFrames, Stored]]:
    """The header, the frames, and where the pixel data lies.

    Raises:
        UnreadableError: the object ends before its pixels, or contradicts itself.
        TooLargeError: it is deflated, and inflates to more than it states.
    """
    with _content(file) as (dataset, begin, content):
        at = begin
        implicit, little = (bool(part) for part in dataset.original_encoding)
        walker = Walker(content, implicit=implicit, little=little)
        found: list[Leaves] = []
        pixels: Stored | None = None
        while at < len(content) and pixels is None:
            tag, start, length, sequence = walker.header(at)
            if tag == PER_FRAME:
                found = list(walker.items(start, length))
                at = walker.after
            elif tag == PIXELS:
                left = len(content) - start
                size = left if length == UNDEFINED else length
                words = implicit or content[at + 4 : at + 6] == b"OW"
                held = content[start : start + size] if isinstance(content, bytes) else None
                pixels = Stored(0 if held is not None else start, size, words, little, held)
            elif sequence:
                for _ in walker.items(start, length):
                    pass
                at = walker.after
            else:
                at = start + length
        if pixels is None:
            raise UnreadableError(
                f"'{file.name}' ends before its pixels; it is incomplete: copy it again from its "
                "source"
            )
        yield dataset, _frames(file, dataset, found, content, little=little), pixels


@contextmanager
def _content(file: InputFile) -> Iterator[tuple["FileDataset", int, Buffer]]:
    """The header up to the functional groups, where it ends, and the bytes that this counts in."""
    from pydicom.filereader import read_partial

    if meta_of(file)[0].get("TransferSyntaxUID") == DEFLATED:
        yield _inflated(file)
        return
    stream = cast(BinaryIO, file.stream)
    stream.seek(0)
    dataset = read_partial(stream, stop_when=lambda tag, _vr, _length: tag >= PER_FRAME, force=True)
    at = stream.tell()
    with mmap.mmap(file.stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield dataset, at, content


def _inflated(file: InputFile) -> tuple["FileDataset", int, bytes]:
    """A deflated object in memory: no more of it than its header asks for."""
    dataset, data, at, start = read_until(file, PER_FRAME, most=_GROUPS_MOST)
    bits = [dataset.get(k) or 1 for k in ("Rows", "Columns", "NumberOfFrames", "BitsAllocated")]
    needed = (math.prod(int(part) for part in bits) + 7) // 8
    if not 0 <= needed <= MOST_BYTES:
        raise bomb(file, MOST_BYTES)
    if len(data) >= 1 << 20:  # there may be more of it
        data = inflated(file, start, limit=at + _GROUPS_MOST + needed)
    return dataset, at, data


def _frames(
    file: InputFile, dataset: "Dataset", found: Sequence[Leaves], content: Any, *, little: bool
) -> SegFrames:
    count = int(dataset.get("NumberOfFrames") or 1)
    if count > len(content) * 8:
        raise UnreadableError(
            f"'{file.name}' states {count:,} frames (NumberOfFrames) in {len(content):,} bytes; it "
            "is damaged: export it again"
        )
    if found and len(found) != count:
        raise UnreadableError(
            f"'{file.name}' states {count} frames (NumberOfFrames) and describes {len(found)} "
            "(PerFrameFunctionalGroupsSequence); it is damaged: export it again"
        )

    def texts(leaf: tuple[int, int]) -> list[str]:
        out = []
        for leaves in found:
            start, length = leaves.get(leaf, (0, 0))
            out.append(content[start : start + length].decode("ascii", "replace").strip(" \0"))
        return out

    def numbers(leaf: tuple[int, int], size: int) -> NDArray[np.float64] | None:
        said = texts(leaf) if any(leaf in leaves for leaves in found) else []
        shared = _shared(dataset, leaf)
        if not said and shared is None:
            return None
        rows = [[float(v) for v in t.split("\\")] for t in said] or [shared or []] * count
        table = np.array(rows, np.float64)
        if table.shape != (count, size) or not np.isfinite(table).all():
            raise UnreadableError(
                f"'{file.name}' has frames with an unusable "
                f"({leaf[1] >> 16:04X},{leaf[1] & 0xFFFF:04X}); export it again"
            )
        return table

    segments = np.zeros(count, np.int64)
    order: Literal["little", "big"] = "little" if little else "big"
    for n, leaves in enumerate(found):
        start, length = leaves.get(_SEGMENT, (0, 0))
        segments[n] = int.from_bytes(content[start : start + min(length, 2)], order)
    shared_segment = _shared(dataset, _SEGMENT)
    if shared_segment and not segments.any():
        segments[:] = int(shared_segment[0])
    spacings = numbers(_SPACING, 2)
    if spacings is not None and not np.allclose(spacings, spacings[0], rtol=1e-4, atol=0):
        raise GeometryError(
            f"'{file.name}' has frames of different PixelSpacing (0028,0030); read them one by one"
        )
    return SegFrames(
        segments,
        numbers(_POSITION, 3),
        numbers(_ORIENTATION, 6),
        None if spacings is None else (float(spacings[0, 0]), float(spacings[0, 1])),
        tuple(int(t.split("\\")[0] or 0) for t in texts(_SOURCE_FRAME)),
    )


def _shared(dataset: "Dataset", leaf: tuple[int, int]) -> list[float] | None:
    groups = dataset.get("SharedFunctionalGroupsSequence")
    inner = groups[0].get(leaf[0]) if groups else None
    value = inner.value[0].get(leaf[1]) if inner is not None and inner.value else None
    if value is None or value.value in (None, ""):
        return None
    listed = value.value if value.VM > 1 else [value.value]
    return [float(v) for v in listed]


def grid(file: InputFile, dataset: "Dataset", frames: SegFrames) -> Grid:
    """The grid in which the frames lie; planes that no frame fills are part of it.

    Raises:
        GeometryError: the frames are not parallel, or not at multiples of one distance.
    """
    size = (int(dataset.Rows), int(dataset.Columns))
    count = len(frames.segments)
    if frames.positions is None or frames.orientations is None:
        numbered = frames.source_frames and all(frames.source_frames)
        planes = np.array(frames.source_frames if numbered else np.zeros(count), np.int64)
        planes -= 1 if numbered else 0
        most = int(planes.max(initial=0))
        if not 0 <= int(planes.min(initial=0)) <= most <= _MOST_PLANES:
            raise GeometryError(
                f"'{file.name}' refers to frame {most + 1} of its source (0008,1160), which is "
                "damaged: export it again"
            )
        return Grid(planes, (most + 1, *size), None, None)
    if not np.allclose(frames.orientations, frames.orientations[0], atol=1e-4):
        raise GeometryError(
            f"'{file.name}' has frames of different ImageOrientationPatient (0020,0037), which "
            "are no one volume; read them one by one"
        )
    across, down = frames.orientations[0, :3], frames.orientations[0, 3:]
    normal = np.cross(across, down)
    if abs(np.linalg.norm(normal) - 1) > 1e-3:
        raise GeometryError(
            f"'{file.name}' has an ImageOrientationPatient (0020,0037) whose directions are not "
            "at right angles and of length 1; export it again"
        )
    heights = frames.positions @ normal
    strays = frames.positions - heights[:, None] * normal
    if np.abs(strays - strays[0]).max() > 10 * _STRAY_MM:
        raise GeometryError(
            f"'{file.name}' has frames that lie beside one another, not above (0020,0032): a "
            "tilted stack is no volume of this grid; read them one by one"
        )
    step, planes = _planes(file, dataset, heights)
    shape = (int(planes.max()) + 1, *size)
    if frames.spacing is None:
        return Grid(planes, shape, None, None)
    rows, columns = frames.spacing
    if not (rows > 0 and columns > 0):
        raise GeometryError(
            f"'{file.name}' has PixelSpacing {rows:g} x {columns:g} mm (0028,0030); export it again"
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = normal * step, down * rows, across * columns
    affine[:3, 3] = frames.positions[int(np.argmin(heights))]
    return Grid(planes, shape, affine, (step, rows, columns))


def _fit(gaps: NDArray[np.float64], step: float) -> bool:
    """Whether all gaps are multiples of a step."""
    stray = np.abs(gaps / step - np.rint(gaps / step)) * step
    return bool((stray <= max(_STRAY_MM * 2, 0.02 * step)).all())


def _planes(
    file: InputFile, dataset: "Dataset", heights: NDArray[np.float64]
) -> tuple[float, NDArray[np.int64]]:
    """The distance from plane to plane in millimetres, and the number of each frame's plane."""
    measures = (0x00289110, 0x00180088), (0x00289110, 0x00180050)
    between, thickness = (_shared(dataset, leaf) for leaf in measures)
    levels = np.unique(np.round(heights / _STRAY_MM)) * _STRAY_MM
    gaps = np.diff(levels)
    gaps = gaps[gaps > 2 * _STRAY_MM]
    stated = (between or [0.0])[0]
    thick = (thickness or [1.0])[0]
    # of a single plane nothing depends on the step: its d is 0
    step = stated if stated > 0 else float(gaps.min()) if gaps.size else thick
    if not stated and thick > 0 and not _fit(gaps, step) and _fit(gaps, thick):
        step = thick  # planes far apart, no two of them neighbours
    step = step if step > 0 else 1.0
    exact = (heights - heights.min()) / step
    if gaps.size and not stated:  # the least gap of rounded levels, made exact by the whole range
        step = float(np.ptp(heights) / max(round(float(exact.max())), 1))
        exact = (heights - heights.min()) / step
    planes = np.rint(exact)
    if planes.max() > _MOST_PLANES:
        raise GeometryError(
            f"'{file.name}' has frames {np.ptp(heights):g} mm apart (0020,0032) at slices of "
            f"{step:g} mm; its positions are damaged: export it again"
        )
    if np.abs(exact - planes).max() * step > max(_STRAY_MM * 2, 0.02 * step):
        raise GeometryError(
            f"'{file.name}' has frames at irregular distances (0020,0032): slices are missing or "
            "of different thickness; export it in the grid of one series"
        )
    return step, planes.astype(np.int64)
