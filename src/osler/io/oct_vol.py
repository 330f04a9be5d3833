"""Heidelberg ``.vol`` files: an OCT volume and its infrared en-face image [1].

The values are reflectivity as stored, linear, 0 to 1; HEYEX shows their fourth root. What the
device could not measure is NaN.

[1] Heidelberg Engineering, Special Function: Exporting Raw Data, 2008.
"""

import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import GeometryError, UnreadableError
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.io.oct_layers import MOST, Boundary, contours, name_of
from osler.io.oct_places import Line, Scan, laterality_of, scan_of, transform_of
from osler.io.volume_data import Piece, Voxels
from osler.record import Finding, Image, Item, Origin

_HEADER: Final = struct.Struct("<12sIIIdddIIddId4sQiI16s16sI24sdI24sd")
_HEADER_BYTES: Final = 2048
_PLACE: Final = struct.Struct("<12sIddddIIfI")
_INVALID: Final = 3e38  # the greatest single-precision number stands for "not measured"
_CIRCLE, _RADIAL = 2, 5
_PATTERNS: Final = {1: "line", 2: "circle", 3: "volume", 4: "fast volume", 5: "radial"}
_LONGEST_SIDE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class _Header:
    """What the file says of itself."""

    version: str
    width: int
    count: int
    height: int
    scale_x: float
    distance: float
    scale_y: float
    slo_width: int
    slo_height: int
    slo_scale_x: float
    slo_scale_y: float
    field: int
    focus: float
    eye: str
    taken: int
    pattern: int
    bscan_header: int
    patient_id: str


def read_vol(file: InputFile, format: str, *, max_pixels: int) -> Content:
    """Read the headers; the pixels are read when they are asked for.

    Gives ``"oct"`` (a plane where there is one B-scan), ``"slo"``, and for parallel B-scans the
    transform between them.

    Raises:
        UnreadableError: damaged or incomplete.
        GeometryError: it states a size of a pixel that is no length.
    """
    with decoding(file, format):
        header = _read_header(file)
        lines, quality, boundaries, doubts = _bscans(file, header)
        eye, flags = laterality_of(header.eye)
        scan = _scan(header, lines)
        pixels = np.array([header.slo_scale_y, header.slo_scale_x] * 2)
        places: list[Line] = [tuple(line) for line in (lines / pixels).tolist()]
        single = header.count == 1
        voxels = _voxels(file, format, header)
        spacing: tuple[float, ...] | None = (header.scale_y, header.scale_x)
        if not single:
            spacing = None if scan.step is None else (scan.step, header.scale_y, header.scale_x)
        origin = Origin(path=file.name, sha256="", format=format)
        oct = Image(
            name="oct",
            array=voxels.deferred(max_pixels=max_pixels),
            modality="OPT",
            spacing=spacing,
            laterality=eye,
            acquired=_moment(header.taken),
            origin=origin,
            flags=(*file.extension_flags(format), *flags, *scan.flags, *doubts),
            header=_drawn(header, places)
            | {
                "quality": quality,
                "depth_spacing_mm": header.scale_y,
                "pattern": _PATTERNS.get(header.pattern, "unknown"),
                "version": header.version,
                "scan_focus_dpt": header.focus,
                "field_size_deg": header.field,
            },
        )
        slo = Image(
            name="slo",
            array=_slo(file, format, header).deferred(max_pixels=max_pixels),
            modality="OP",
            spacing=(header.slo_scale_y, header.slo_scale_x),
            laterality=eye,
            acquired=oct.acquired,
            origin=origin,
            flags=flags,
        )
    items: list[Item] = [oct, slo]
    findings: list[Finding] = []
    if scan.step is not None:
        transform = transform_of(places, header.width, item="oct", target="slo")
        findings += [transform] if transform else []
    findings += contours(boundaries, item="oct", flat=single, version=header.version)
    return Content(items, findings, patient_id=header.patient_id or None)


def _read_header(file: InputFile) -> _Header:
    file.stream.seek(0)
    data = file.stream.read(_HEADER_BYTES)
    if len(data) < _HEADER_BYTES:
        raise UnreadableError(f"'{file.name}' ends within its header; copy it again")
    (version, width, count, height, scale_x, distance, scale_y, slo_width, slo_height, slo_x, slo_y,
     field, focus, eye, taken, pattern, bscan_header, _, _, _, patient, *_) = _HEADER.unpack_from(
        data
    )  # fmt: skip
    sides = (width, count, height, slo_width, slo_height)
    if not all(0 < side <= _LONGEST_SIDE for side in sides) or not 256 <= bscan_header < 1 << 26:
        raise UnreadableError(f"'{file.name}' states sizes that no scan has; export it again")
    scales = (scale_x, scale_y, slo_x, slo_y)
    if not all(0 < scale < 10 for scale in scales):
        raise GeometryError(
            f"'{file.name}' states sizes of a pixel ({', '.join(f'{s:.3g}' for s in scales)} mm) "
            "that are no lengths in an eye; export it again"
        )
    return _Header(
        _text(version), width, count, height, scale_x, distance, scale_y, slo_width, slo_height,
        slo_x, slo_y, field, focus, _text(eye), taken, pattern, bscan_header, _text(patient),
    )  # fmt: skip


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1").strip()


def _drawn(header: _Header, places: list[Line]) -> dict[str, Any]:
    """Where the B-scans lie on the en-face image: lines, or a circle by a point and its centre."""
    return {"circle" if header.pattern == _CIRCLE else "bscans": tuple(places)}


def _bscans(
    file: InputFile, header: _Header
) -> tuple[NDArray[np.float64], tuple[float, ...], list[Boundary], tuple[str, ...]]:
    """``(y0, x0, y1, x1)`` of each B-scan in mm, their quality, boundaries of layers, and flags."""
    step = header.bscan_header + header.width * header.height * 4
    start = _HEADER_BYTES + header.slo_width * header.slo_height
    if start + header.count * step > file.size:
        raise UnreadableError(
            f"'{file.name}' states {header.count} B-scans but ends before the last; it is "
            "incomplete: copy it again from its source"
        )
    lines, quality = np.empty((header.count, 4)), list[float]()
    layers: dict[int, NDArray[np.float64]] = {}
    doubts: tuple[str, ...] = ()
    for i in range(header.count):
        file.stream.seek(start + i * step)
        _, size, x0, y0, x1, y1, count, offset, grade, _ = _PLACE.unpack(
            file.stream.read(_PLACE.size)
        )
        if size != header.bscan_header:
            raise UnreadableError(f"'{file.name}' has B-scan {i + 1} where it should not be")
        lines[i] = y0, x0, y1, x1
        quality.append(float(grade) if grade < _INVALID else float("nan"))
        if count > MOST or (count and not 0 < offset <= size - count * header.width * 4):
            doubts = ("layers-left-out",)
            continue
        file.stream.seek(start + i * step + offset)
        data = np.frombuffer(file.stream.read(count * header.width * 4), "<f4")
        for number, row in enumerate(data.reshape(count, header.width)):
            empty = np.full((header.count, header.width), np.nan)
            layers.setdefault(number, empty)[i] = row
    boundaries = [Boundary(name_of(number), layers[number]) for number in sorted(layers)]
    return lines, tuple(quality), boundaries, doubts


def _scan(header: _Header, lines: NDArray[np.float64]) -> Scan:
    if header.pattern == _CIRCLE:
        return Scan(None, ("circular-scan",))
    if header.pattern == _RADIAL:
        return Scan(None, ("radial-scan",))
    return scan_of(lines, stated=header.distance)


def _voxels(file: InputFile, format: str, header: _Header) -> Voxels:
    """B-scans with the header before each as rows of its own, cut off in ``change``."""
    stored = np.dtype("<f4")
    start = _HEADER_BYTES + header.slo_width * header.slo_height
    step = header.bscan_header + header.width * header.height * 4
    pieces = tuple(
        Piece(file.path, file.size, start + i * step + header.bscan_header)
        for i in range(header.count)
    )
    shape: tuple[int, ...] = (header.height, header.width)
    if header.count > 1:
        shape = (header.count, *shape)
    return Voxels(file.name, format, pieces, stored, shape, None, np.dtype("f4"), _measured)


def _measured(array: NDArray[Any]) -> NDArray[Any]:
    array[array >= _INVALID] = np.nan
    return array


def _slo(file: InputFile, format: str, header: _Header) -> Voxels:
    stored = np.dtype("u1")
    piece = Piece(file.path, file.size, _HEADER_BYTES)
    return Voxels(
        file.name, format, (piece,), stored, (header.slo_height, header.slo_width), None, stored
    )


def _moment(ticks: int) -> datetime | None:
    """Steps of 100 ns since the beginning of 1601, in the clinic's time."""
    try:
        return datetime(1601, 1, 1) + timedelta(microseconds=ticks // 10) if ticks else None
    except OverflowError:
        return None
