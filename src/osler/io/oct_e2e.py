"""Heidelberg ``.e2e`` files: the OCT volumes and en-face images of a visit [1].

The file states the positions of B-scans in degrees and no width of a pixel, so a volume has no
spacing; what is stated is kept in the header. The samples are floats of 6 bits of exponent and 10
of mantissa, as [1] has them: OCT-Converter 0.7 and eyepy 0.21 read the mantissa backwards.

[1] UOCTE, TU Chemnitz, 2015: load_heidelberg.cpp.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import UnreadableError, UnsupportedError
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.io.oct_layers import MOST, Boundary, contours, name_of
from osler.io.oct_places import laterality_of
from osler.io.volume_data import Piece, Voxels
from osler.record import Image, Item, Origin

_SEVERAL: Final = b"E2EMultipleVolumeFile"
_DIRECTORY: Final = struct.Struct("<12s24xIIII")
_ENTRY: Final = struct.Struct("<IIIIiiiiHHII")
_CONTAINER_BYTES: Final = 60
_IMAGE: Final = struct.Struct("<IIIII")
_PLACE: Final = struct.Struct("<III4fIffI")
_IMAGES, _EYE, _BSCAN, _LAYER = 0x40000000, 11, 10004, 10019
_LINE: Final = struct.Struct("<IIIII")
_ENFACE, _SLICE = 33620481, 35652097
_MOST_ENTRIES: Final = 1_000_000
_LONGEST_SIDE: Final = 1 << 15
_PATTERNS: Final = {1: "line", 2: "circle", 3: "volume", 4: "fast volume", 5: "radial"}

Key = tuple[int, int, int]


@dataclass(slots=True)
class _Picture:
    """Where the samples of an image lie."""

    start: int
    height: int
    width: int


@dataclass(slots=True)
class _Series:
    """What belongs to one series; slices by their number.

    ``layers`` has the offset, the width and whether a person drew it, of each boundary by its
    number and that of its slice.
    """

    slices: dict[int, _Picture] = field(default_factory=dict)
    enface: _Picture | None = None
    eyes: set[str] = field(default_factory=set)
    places: dict[int, tuple[float, ...]] = field(default_factory=dict)
    depth_mm: float | None = None
    stated: int = 0
    pattern: int = 0
    layers: dict[tuple[int, int], tuple[int, int, bool]] = field(default_factory=dict)


def read_e2e(file: InputFile, format: str, *, max_pixels: int) -> Content:
    """Index the file; the pixels are read when they are asked for.

    Gives ``"oct"`` and ``"slo"`` for the first series, ``"oct-2"`` and ``"slo-2"`` for the second,
    and so on; a series without B-scans gives its en-face image only.

    Raises:
        UnreadableError: damaged or incomplete, or a series lacks a B-scan.
        UnsupportedError: it holds no image.
    """
    with decoding(file, format):
        series = _indexed(file)
        items: list[Item] = []
        drawn: list[tuple[Item, list[Boundary]]] = []
        for key in sorted(series):
            some = _items(file, format, series[key], len(items), max_pixels)
            items += some
            drawn += [(one, _boundaries(file, series[key])) for one in some if one.name == "oct"]
    if not items:
        raise UnsupportedError(f"'{file.name}' holds no image that is read; export it as .vol")
    items = _named(items)
    findings = [
        contour
        for oct, boundaries in drawn
        if isinstance(oct, Image)
        for contour in contours(boundaries, item=oct.name, flat=len(oct.shape) == 2)
    ]
    return Content(items, findings)


def _boundaries(file: InputFile, series: _Series) -> list[Boundary]:
    """What is drawn in the B-scans of a series."""
    numbers = sorted(series.slices)
    first = series.slices[numbers[0]]
    found: dict[int, Boundary] = {}
    for (layer, number), (at, width, by_hand) in sorted(series.layers.items()):
        # as many boundaries as rows, and no more: they would take more memory than the picture
        if width != first.width or number not in series.slices:
            continue
        if layer not in found and len(found) >= first.height:
            break
        file.stream.seek(at)
        row = np.frombuffer(file.stream.read(width * 4), "<f4")
        one = found.get(layer) or Boundary(
            name_of(layer), np.full((len(numbers), width), np.nan), by_hand
        )
        one.heights[numbers.index(number)] = row
        found[layer] = replace(one, by_hand=one.by_hand or by_hand)
    return list(found.values())


def _named(items: Sequence[Item]) -> list[Item]:
    """The second of a name gets a number."""
    counts: dict[str, int] = {}
    for item in items:
        counts[item.name] = counts.get(item.name, 0) + 1
        if counts[item.name] > 1:
            item.name = f"{item.name}-{counts[item.name]}"
    return list(items)


def _indexed(file: InputFile) -> dict[Key, _Series]:
    """All series, from the chain of directories; a chain that comes back is refused."""
    base = 64 if file.head.startswith(_SEVERAL) else 0
    _, _, at, _, _ = _directory(file, base + 36)
    series: dict[Key, _Series] = {}
    seen, entries = set[int](), 0
    while at != 0:
        if at in seen:
            raise UnreadableError(f"'{file.name}' has directories that lead in a circle")
        seen.add(at)
        _, count, _, before, _ = _directory(file, base + at)
        entries += count
        if entries > _MOST_ENTRIES or count * _ENTRY.size > file.size:
            raise UnreadableError(f"'{file.name}' states more entries than it can hold")
        table = file.stream.read(count * _ENTRY.size)
        if len(table) < count * _ENTRY.size:
            raise _incomplete(file)
        for i in range(count):
            pos, start, size, _, patient, study, serial, number, index, _, kind, _ = (
                _ENTRY.unpack_from(table, i * _ENTRY.size)
            )
            if start > pos and serial >= 0 and kind in (_IMAGES, _EYE, _BSCAN, _LAYER):
                one = series.setdefault((patient, study, serial), _Series())
                _take(file, one, kind, number, index, base + start, size)
        at = before
    return series


def _directory(file: InputFile, at: int) -> tuple[bytes, int, int, int, int]:
    file.stream.seek(at)
    data = file.stream.read(_DIRECTORY.size)
    if len(data) < _DIRECTORY.size:
        raise _incomplete(file)
    magic, count, current, before, last = _DIRECTORY.unpack(data)
    if not magic.startswith((b"MDbMDir", b"MDbDir")):
        raise UnreadableError(f"'{file.name}' has no directory where it states one; it is damaged")
    return magic, count, current, before, last


def _incomplete(file: InputFile) -> UnreadableError:
    return UnreadableError(
        f"'{file.name}' ends before what it states; it is incomplete: copy it again from its source"
    )


def _take(
    file: InputFile, series: _Series, kind: int, number: int, index: int, start: int, size: int
) -> None:
    """Note what one container says."""
    if start + _CONTAINER_BYTES + size > file.size:
        raise _incomplete(file)
    here = file.stream.tell()
    file.stream.seek(start + _CONTAINER_BYTES)
    data = file.stream.read(min(size, 128))
    file.stream.seek(here)
    if kind == _EYE and len(data) > 14:
        series.eyes.add(chr(data[14]))
    elif kind == _BSCAN and len(data) >= 80:
        _, _, _, x0, y0, x1, y1, _, _, depth, _ = _PLACE.unpack_from(data)
        series.places[number] = (y0, x0, y1, x1)
        series.depth_mm = depth
        series.stated, series.pattern = struct.unpack_from("<I4xI", data, 64)
    elif kind == _LAYER and len(data) >= _LINE.size:
        _, layer, _, width, by_hand = _LINE.unpack_from(data)
        if 0 < width <= _LONGEST_SIDE and _LINE.size + width * 4 <= size and layer < MOST:
            at = start + _CONTAINER_BYTES + size - width * 4
            series.layers[layer, number] = (at, width, bool(by_hand))
    elif kind == _IMAGES and len(data) >= _IMAGE.size:
        _, layout, _, height, width = _IMAGE.unpack_from(data)
        bytes_each = {_ENFACE: 1, _SLICE: 2}.get(layout)
        if bytes_each is None:
            return
        if not (0 < height <= _LONGEST_SIDE and 0 < width <= _LONGEST_SIDE):
            raise UnreadableError(f"'{file.name}' states an image size that no device makes")
        if _IMAGE.size + height * width * bytes_each > size:
            raise _incomplete(file)
        picture = _Picture(start + _CONTAINER_BYTES + _IMAGE.size, height, width)
        if layout == _SLICE:
            series.slices[number] = picture
        elif series.enface is None:
            series.enface = picture


def _items(
    file: InputFile, format: str, series: _Series, before: int, max_pixels: int
) -> list[Item]:
    eye, flags = None, tuple[str, ...]()
    if len(series.eyes) > 1:
        flags = ("laterality-conflict",)
    else:
        eye, flags = laterality_of(next(iter(series.eyes), ""))
    origin = Origin(path=file.name, sha256="", format=format)
    warned = file.extension_flags(format) if not before else ()
    items: list[Item] = []
    if series.slices:
        items.append(
            Image(
                name="oct",
                array=_volume(file, format, series).deferred(max_pixels=max_pixels),
                modality="OPT",
                laterality=eye,
                origin=origin,
                flags=(*warned, *flags, "no-lateral-scale", "bscan-places-in-degrees"),
                header=_header(series),
            )
        )
    if series.enface is not None:
        picture = series.enface
        stored = np.dtype("u1")
        piece = Piece(file.path, file.size, picture.start)
        voxels = Voxels(
            file.name, format, (piece,), stored, (picture.height, picture.width), None, stored
        )
        items.append(
            Image(
                name="slo", array=voxels.deferred(max_pixels=max_pixels), modality="OP",
                laterality=eye, origin=origin, flags=(*flags, "no-scale"),
            )
        )  # fmt: skip
    return items


def _header(series: _Series) -> dict[str, Any]:
    """What the file states and no spacing or line can be made of."""
    return {
        "bscans_deg": tuple(series.places[n] for n in sorted(series.slices) if n in series.places),
        "depth_spacing_mm": series.depth_mm,
        "pattern": _PATTERNS.get(series.pattern, "unknown"),
    }


def _volume(file: InputFile, format: str, series: _Series) -> Voxels:
    """The B-scans in order.

    Raises:
        UnreadableError: one is missing, or of another size.
    """
    numbers = sorted(series.slices)
    gaps = [a for a, b in pairwise(numbers) if b - a != 2]
    short = 1 < series.stated != len(numbers)
    if gaps or short:
        missing = f"B-scan {gaps[0] // 2 + 2}" if gaps else "B-scans"
        raise UnreadableError(
            f"'{file.name}' lacks {missing} of a series of {max(series.stated, len(numbers))}; "
            "export it again from HEYEX"
        )
    first = series.slices[numbers[0]]
    if any((p.height, p.width) != (first.height, first.width) for p in series.slices.values()):
        raise UnreadableError(f"'{file.name}' has B-scans of different sizes in one series")
    pieces = tuple(Piece(file.path, file.size, series.slices[n].start) for n in numbers)
    shape: tuple[int, ...] = (first.height, first.width)
    if len(numbers) > 1:
        shape = (len(numbers), *shape)
    return Voxels(file.name, format, pieces, np.dtype("<u2"), shape, None, np.dtype("f4"), _floats)


def _floats(array: NDArray[Any]) -> NDArray[Any]:
    values: NDArray[Any] = _table()[array]
    return values


@cache
def _table() -> NDArray[np.float32]:
    """The value of each of the 65,536 codes [1]: exponents 0 and 63 stand for small and none."""
    codes = np.arange(1 << 16)
    mantissa, exponent = (codes & 1023) / 1024.0, codes >> 10
    values = np.ldexp(1.0 + mantissa, exponent - 63)
    values = np.where(exponent == 0, np.ldexp(mantissa, -62), values)
    return np.where(exponent == 63, 0.0, values).astype(np.float32)
