"""MetaImage volumes: ``.mha``, and ``.mhd`` with its voxels in other files [1].

``TransformMatrix`` and ``Offset`` are in LPS millimetres, as ITK takes them.

[1] MetaIO documentation, https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import GeometryError, UnreadableError, UnsupportedError
from osler.io import volume_grid as grid
from osler.io.input_file import InputFile, decoding
from osler.io.siblings import numbered, sibling
from osler.io.volume_data import Encoding, Piece, Voxels
from osler.io.volume_note import KEY, read_note
from osler.record import Image

_MOST_HEADER: Final = 1 << 20
_MOST_FILES: Final = 100_000

TYPES: Final = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip

# The format's older names for the same field, in the order in which they are believed.
_MATRIX: Final = ("TransformMatrix", "Rotation", "Orientation")
_OFFSET: Final = ("Offset", "Position", "Origin")
_MSB: Final = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_UNITS: Final = {"mm": 1.0, "cm": 10.0, "um": 1e-3, "m": 1e3}

# What the axes of AnatomicalOrientation come from, by LPS direction: "RAI" is the identity.
_FROM: Final = (("R", "L"), ("A", "P"), ("I", "S"))

Fields = dict[str, str]


def read_metaimage(file: InputFile, format: str, *, max_pixels: int) -> Image:
    """Read the header; the voxels are read when they are asked for.

    Args:
        file: an ``.mha`` or ``.mhd``.
        format: ``"metaimage"``.
        max_pixels: what loads into more memory than so many pixels of 4 bytes is refused then.

    Raises:
        UnreadableError: damaged, incomplete, or a file with its voxels is missing.
        UnsupportedError: no image, or values or axes that are not read.
        GeometryError: its matrix places no box.
    """
    with decoding(file, format):
        fields, files, end = read_header(file)
        sizes = _sizes(file, fields)
        channels = _integer(file, fields, "ElementNumberOfChannels", 1)
        if len(sizes) == 4 and channels > 1:
            raise UnsupportedError(
                f"'{file.name}' has 4 axes and {channels} channels; split it into one file a volume"
            )
        affine, spacing, flags = _place(file, fields, len(sizes))
        voxels = _voxels(file, format, fields, files, end, sizes, channels)
        note = read_note(fields.get(KEY))
        if note.plane and len(sizes) == 3 and sizes[2] == 1:
            voxels, spacing = voxels.without(0), spacing and spacing[1:]
        held = voxels.deferred(max_pixels=max_pixels)
    return Image(
        name="volume",
        array=held,
        spacing=spacing,
        affine=affine,
        origin=voxels.origin(file),
        flags=(
            *file.extension_flags(format), *flags,
            *(("time-step-unknown",) if len(sizes) == 4 else ()), *note.flags,
        ),
        channels=note.channels if len(note.channels) == held.shape[0] else (),
        header={"metaimage": dict(fields)},
    )  # fmt: skip


def read_header(file: InputFile) -> tuple[Fields, tuple[str, ...], int]:
    """The fields, the names below ``ElementDataFile = LIST``, and where local voxels begin."""
    file.stream.seek(0)
    text = file.stream.read(_MOST_HEADER)
    fields: Fields = {}
    for line in re.finditer(rb"([^\r\n]*)(\r?\n|\Z)", text):
        words = line[1].decode("utf-8", "replace")
        if not words.strip():
            if line.end() == len(text):
                break
            continue
        name, equals, value = words.partition("=")
        if not equals or len(name) > 80:
            raise UnreadableError(f"'{file.name}' has a line in its header that is no field")
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            rest = text[line.end() :] if value.split()[:1] == ["LIST"] else b""
            names = rest.decode("utf-8", "replace").splitlines()
            return fields, tuple(n.strip() for n in names if n.strip()), line.end()
    raise UnreadableError(f"'{file.name}' does not say where its voxels are (ElementDataFile)")


def _numbers(file: InputFile, fields: Fields, name: str) -> NDArray[np.float64]:
    try:
        return np.array([float(word) for word in fields[name].split()])
    except ValueError:
        raise UnreadableError(f"'{file.name}' has a '{name}' that is no list of numbers") from None


def _integer(file: InputFile, fields: Fields, name: str, otherwise: int) -> int:
    value = fields.get(name, str(otherwise))
    if not re.fullmatch(r"-?\d{1,18}", value):
        raise UnreadableError(f"'{file.name}' has a '{name}' that is no whole number")
    return int(value)


def _true(fields: Fields, *names: str) -> bool:
    value = next((fields[name] for name in names if name in fields), "False")
    return value[:1].lower() in ("t", "1", "y")


def _sizes(file: InputFile, fields: Fields) -> tuple[int, ...]:
    """``DimSize``, the fastest axis first."""
    if fields.get("ObjectType", "Image") != "Image":
        raise UnsupportedError(f"'{file.name}' is a MetaIO object that is no image")
    count = _integer(file, fields, "NDims", 0)
    if "DimSize" not in fields or "ElementType" not in fields:
        raise UnreadableError(f"'{file.name}' lacks 'DimSize' or 'ElementType'; export it again")
    sizes = tuple(int(n) for n in _numbers(file, fields, "DimSize"))
    if len(sizes) != count or any(n < 1 for n in sizes):
        raise UnreadableError(f"'{file.name}' has a 'DimSize' that does not fit its 'NDims'")
    if count not in (2, 3, 4):
        raise UnsupportedError(f"'{file.name}' has {count} axes; 2, 3 or 4 are read")
    return sizes


def _place(
    file: InputFile, fields: Fields, count: int
) -> tuple[grid.Affine | None, tuple[float, ...] | None, tuple[str, ...]]:
    """Affine, spacing along ``([D,] H, W)``, and flags."""
    name = next((n for n in ("ElementSpacing", "ElementSize") if n in fields), "")
    if not name:
        return None, None, ("no-scale",)
    unit = _UNITS.get(fields.get("DistanceUnits", "mm").lower())
    steps = np.abs(_numbers(file, fields, name)) * (unit or math.nan)
    if len(steps) != count or not np.isfinite(steps).all() or not (steps > 0).all():
        raise GeometryError(
            f"'{file.name}' has an '{name}' (or 'DistanceUnits') that gives no length for each of "
            f"{count} axes; mend it in the header"
        )
    spatial = min(count, 3)
    spacing = tuple(float(step) for step in reversed(steps[:spatial]))
    matrix = next((n for n in _MATRIX if n in fields), "")
    offset = next((n for n in _OFFSET if n in fields), "")
    if spatial < 3 or not matrix:
        return None, spacing, ("no-orientation",)
    if not offset:
        return None, spacing, ("no-origin",)
    turn = _numbers(file, fields, matrix)
    origin = _numbers(file, fields, offset) * (unit or 1.0)
    if len(turn) != count**2 or len(origin) != count:
        raise GeometryError(f"'{file.name}' has a '{matrix}' or '{offset}' of another size")
    square = turn.reshape(count, count)
    if count == 4 and (square[3, :3].any() or square[:3, 3].any()):
        raise GeometryError(f"'{file.name}' has a '{matrix}' that turns time into space")
    # the file lists the direction of one axis after another: rows are axes
    affine = grid.affine_of(square[:3, :3].T * steps[:3], origin[:3])
    flags = grid.check_affine(
        affine, name=file.name, what=f"'{matrix}'", way_out="mend it in the header"
    )
    stated = fields.get("AnatomicalOrientation", "").upper()
    if re.fullmatch("[RLAPIS]{3}", stated) and stated != letters_of(affine):
        flags = (*flags, "anatomical-orientation-differs")
    return grid.reversed_axes(affine) + 0.0, spacing, flags


def letters_of(affine: grid.Affine) -> str:
    """``AnatomicalOrientation`` as ITK writes it: from where each axis comes, ``"RAI"`` for LPS."""
    letters = ""
    for step in affine[:3, :3].T:
        axis = int(np.argmax(np.abs(step)))
        letters += _FROM[axis][0 if step[axis] > 0 else 1]
    return letters


def _voxels(
    file: InputFile,
    format: str,
    fields: Fields,
    files: Sequence[str],
    end: int,
    sizes: tuple[int, ...],
    channels: int,
) -> Voxels:
    kind = TYPES.get(fields["ElementType"].removesuffix("_ARRAY"))
    if kind is None or channels < 1 or not _true({"BinaryData": "True"} | fields, "BinaryData"):
        raise UnsupportedError(
            f"'{file.name}' has an 'ElementType', 'ElementNumberOfChannels' or 'BinaryData' that "
            "is not read; write it as binary numbers of 8 to 64 bits"
        )
    stored = np.dtype(kind).newbyteorder(">" if _true(fields, *_MSB) else "<")
    shape = tuple(reversed(sizes))
    axis: int | None = 0 if len(sizes) == 4 else None
    if channels > 1:
        axis, shape = len(shape), (*shape, channels)
    encoding: Encoding = "gzip" if _true(fields, "CompressedData") else "raw"
    size = math.prod(shape) * stored.itemsize
    pieces = _pieces(file, fields, files, end, encoding, size)
    return Voxels(file.name, format, pieces, stored, shape, axis, stored.newbyteorder("="))


def _pieces(
    file: InputFile,
    fields: Fields,
    files: Sequence[str],
    end: int,
    encoding: Encoding,
    size: int,
) -> tuple[Piece, ...]:
    """The file itself, or those that ``ElementDataFile`` names."""
    words = fields["ElementDataFile"].split()
    if words[:1] in (["LOCAL"], ["Local"], ["local"]):
        where: list[tuple[Any, int, int]] = [(file.path, file.size, end)]
    else:
        names: Sequence[str] = [fields["ElementDataFile"]]
        if words[:1] == ["LIST"]:
            names = files
        elif len(words) == 4 and "%" in words[0]:
            names = numbered(file, words[0], *(int(word) for word in words[1:]), most=_MOST_FILES)
        if not 1 <= len(names) <= _MOST_FILES or not names[0] or size % len(names):
            raise UnreadableError(f"'{file.name}' names no sensible list of files for its voxels")
        found = [sibling(file, name) for name in names]
        where = [(*there, 0) for there in found if there is not None]
    skip = _integer(file, fields, "HeaderSize", 0)
    part = size // len(where)
    return tuple(
        Piece(path, length, max(0, length - part) if skip == -1 else start + max(0, skip), encoding)
        for path, length, start in where
    )
