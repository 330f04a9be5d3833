"""NRRD volumes: ``.nrrd``, and ``.nhdr`` with its voxels in other files [1].

The fastest axis of space becomes ``w``. What stands in the patient's space (LPS, RAS or LAS) gets
an affine in LPS millimetres; other spaces give a spacing only.

[1] Nearly Raw Raster Data, format 5, https://teem.sourceforge.net/nrrd/format.html.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from osler.errors import GeometryError, UnreadableError, UnsupportedError
from osler.io import volume_grid as grid
from osler.io.input_file import InputFile, decoding
from osler.io.nrrd_header import MOST_HEADER, Header, is_none, kept, read_header
from osler.io.partial_file import need
from osler.io.siblings import numbered, sibling
from osler.io.volume_data import Encoding, Piece, Voxels
from osler.io.volume_note import KEY, read_note
from osler.record import Image

_MOST_FILES: Final = 100_000

_TYPES: Final = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
TYPES: Final = {word: kind for kind, words in _TYPES.items() for word in words.split("|")}

_ENCODINGS: Final[dict[str, Encoding]] = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
}  # fmt: skip

_TO_LPS: Final = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip

_UNITS: Final = {"mm": 1.0, "m": 1e3, "cm": 10.0, "um": 1e-3, "µm": 1e-3, "nm": 1e-6,
                 "millimeter": 1.0, "millimetre": 1.0}  # fmt: skip
_SECONDS: Final = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3,
                   "msec": 1e-3, "us": 1e-6}  # fmt: skip

_SPATIAL_KINDS: Final = {"space", "domain"}
_CHANNEL_NAMES: Final = {
    "rgba-color": ("red", "green", "blue", "alpha"), "hsv-color": ("H", "S", "V"),
    "xyz-color": ("X", "Y", "Z"), "complex": ("real", "imaginary"),
}  # fmt: skip


def read_nrrd(file: InputFile, format: str, *, max_pixels: int) -> Image:
    """Read the header; the voxels are read when they are asked for.

    Args:
        file: an ``.nrrd`` or ``.nhdr``.
        format: ``"nrrd"``.
        max_pixels: what loads into more memory than so many pixels of 4 bytes is refused then.

    Raises:
        UnreadableError: damaged, incomplete, or a file with its voxels is missing.
        UnsupportedError: an encoding, type or arrangement of axes that is not read.
        GeometryError: its directions place no box, or its units are not known.
    """
    with decoding(file, format):
        header = read_header(file)
        sizes = tuple(int(n) for n in header.values["sizes"])
        if len(sizes) != int(header.values["dimension"]) or not 1 <= len(sizes) <= 16:
            raise UnreadableError(
                f"'{file.name}' states {header.values['dimension']} dimensions and {len(sizes)} "
                "sizes; export it again"
            )
        space, channel = axes_of(header, len(sizes), file.name)
        affine, spacing, flags = place_of(header, space, file.name)
        voxels = _voxels(file, format, header, sizes, channel)
        note = read_note(header.pairs.get(KEY))
        if note.plane and len(space) == 3 and sizes[space[2]] == 1:
            voxels, spacing = voxels.without(len(sizes) - 1 - space[2]), spacing and spacing[1:]
        held = voxels.deferred(max_pixels=max_pixels)
        names, times, more = _channels(header, channel, held.shape[0])
        names = note.channels if len(note.channels) == held.shape[0] else names
    return Image(
        name="volume",
        array=held,
        spacing=spacing,
        affine=affine,
        origin=voxels.origin(file),
        flags=(*file.extension_flags(format), *flags, *more, *note.flags),
        units=header.fields.get("sample units", "").strip('"'),
        channels=names,
        times=times,
        header={"nrrd": kept(header)},
    )  # fmt: skip


def axes_of(header: Header, count: int, name: str) -> tuple[tuple[int, ...], int | None]:
    """Which axes, fastest first, are of space, and which one is of channels or time.

    Raises:
        UnsupportedError: not 2 or 3 axes of space, more than one other, or nothing says which.
    """
    kinds = [kind.lower() for kind in header.values.get("kinds", [])]
    directions = header.values.get("space directions")
    for what, given in (("kinds", kinds), ("space directions", directions)):
        if given is not None and len(given) not in (0, count):
            raise UnreadableError(f"'{name}' has {count} axes and {len(given)} '{what}'")
    if directions is not None:
        spatial = [not is_none(direction) for direction in directions]
    elif any(kind in _SPATIAL_KINDS for kind in kinds):
        spatial = [kind in _SPATIAL_KINDS for kind in kinds]
    elif count <= 3 and all(kind in ("", "none", "???") for kind in kinds):
        spatial = [True] * count
    else:
        raise UnsupportedError(
            f"'{name}' has {count} axes and does not say which are of space; add the fields "
            "'space directions' or 'kinds' to its header"
        )
    space = tuple(i for i, is_space in enumerate(spatial) if is_space)
    others = [i for i, is_space in enumerate(spatial) if not is_space]
    if len(space) not in (2, 3) or len(others) > 1:
        raise UnsupportedError(
            f"'{name}' has {len(space)} axes of space and {len(others)} others; 2 or 3 and at most "
            "one are read: split it into several files"
        )
    return space, others[0] if others else None


def place_of(
    header: Header, space: tuple[int, ...], name: str
) -> tuple[grid.Affine | None, tuple[float, ...] | None, tuple[str, ...]]:
    """Affine, spacing along ``([D,] H, W)``, and flags."""
    directions = header.values.get("space directions")
    if directions is None:
        return None, *_spacings(header, space, name)
    steps = np.array([np.asarray(directions[axis], float) for axis in space]).T
    scale = _unit(header, len(steps), name)
    steps = steps * scale
    lengths = np.linalg.norm(steps, axis=0)
    if not np.isfinite(steps).all() or not (lengths > 0).all():
        raise GeometryError(
            f"'{name}' has 'space directions' that are not finite or have no length; mend them in "
            "its header"
        )
    spacing = tuple(float(length) for length in reversed(lengths))
    turn = _TO_LPS.get(header.values["space"])
    if turn is None or len(steps) != 3:
        return None, spacing, ("no-orientation",)
    origin = header.values.get("space origin")
    if origin is None or len(origin) != 3:
        return None, spacing, ("no-origin",)
    if len(space) == 2:
        steps = np.column_stack([steps, np.cross(*(steps / lengths).T)])
    turned = np.diag(turn) @ np.column_stack([steps, np.asarray(origin, float) * scale])
    affine = grid.affine_of(turned[:, :3], turned[:, 3])
    flags = grid.check_affine(
        affine, name=name, what="'space directions'", way_out="mend it in the header"
    )
    return grid.reversed_axes(affine) + 0.0, spacing, flags


def _unit(header: Header, count: int, name: str) -> float:
    """Millimetres of one unit of space; a space of the patient without units is in millimetres."""
    units = [unit.strip().lower() for unit in header.values.get("space units", [])]
    known = {_UNITS.get(unit) for unit in units if unit} or {1.0}
    if len(known) != 1 or None in known or (units and len(units) != count):
        raise GeometryError(
            f"'{name}' has 'space units' that are not read; give one of {', '.join(_UNITS)} for "
            "each axis of space"
        )
    return float(known.pop() or 1.0)


def _spacings(
    header: Header, space: tuple[int, ...], name: str
) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    spacings = header.values.get("spacings")
    if spacings is None or len(spacings) <= max(space):
        return None, ("no-orientation", "no-scale")
    units = header.values.get("units", [])
    flags = ["no-orientation"]
    out: list[float] = []
    for axis in reversed(space):
        unit = units[axis].strip().lower() if len(units) > axis else ""
        if unit not in ("", *_UNITS) or not 0 < spacings[axis] < math.inf:
            return None, ("no-orientation", "no-scale")
        if not unit and "millimetres-assumed" not in flags:
            flags.append("millimetres-assumed")
        out.append(float(spacings[axis]) * _UNITS.get(unit, 1.0))
    return tuple(out), tuple(flags)


def _voxels(
    file: InputFile, format: str, header: Header, sizes: tuple[int, ...], channel: int | None
) -> Voxels:
    kind = TYPES.get(header.fields["type"].lower())
    encoding = _ENCODINGS.get(header.fields["encoding"].lower())
    if kind is None or encoding is None:
        what = "type" if kind is None else "encoding"
        raise UnsupportedError(
            f"'{file.name}' has an {what} that is not read; write it with numbers of 8 to 64 bits, "
            "raw, gzip or bzip2"
        )
    stored = np.dtype(kind)
    if stored.itemsize > 1:
        endian = header.fields.get("endian", "").lower()
        if endian not in ("little", "big"):
            raise UnreadableError(f"'{file.name}' does not state its 'endian'; add the field")
        stored = stored.newbyteorder("<" if endian == "little" else ">")
    size = math.prod(sizes) * stored.itemsize
    pieces = _pieces(file, header, encoding, size, sizes)
    shape = tuple(reversed(sizes))
    axis = None if channel is None else len(sizes) - 1 - channel
    return Voxels(file.name, format, pieces, stored, shape, axis, stored.newbyteorder("="))


def _pieces(
    file: InputFile, header: Header, encoding: Encoding, size: int, sizes: tuple[int, ...]
) -> tuple[Piece, ...]:
    """The file itself, or those that ``data file`` names."""
    stated = header.fields.get("data file")
    if stated is None:
        where = [(file.path, file.size, header.end)]
    else:
        names, sub = _names(file, header, stated, sizes)
        if sub < len(sizes) and len(names) != math.prod(sizes[sub:]):
            raise UnreadableError(
                f"'{file.name}' lists {len(names)} files for {math.prod(sizes[sub:])} parts"
            )
        if size % len(names):
            raise UnreadableError(f"'{file.name}' has voxels that its files cannot share alike")
        where = [(path, length, 0) for path, length in (_beside(file, name) for name in names)]
    part = size // len(where)
    return tuple(
        Piece(path, length, _skipped(file, header, path, length, start, encoding, part), encoding)
        for path, length, start in where
    )


def _beside(file: InputFile, name: str) -> tuple[Any, int]:
    found = sibling(file, name)
    assert found is not None  # a missing one raised
    return found


def _names(
    file: InputFile, header: Header, stated: str, sizes: tuple[int, ...]
) -> tuple[Sequence[str], int]:
    """The names of the data files, and how many axes each holds."""
    words = stated.split()
    whole = len(sizes)
    if words[:1] == ["LIST"]:
        names: Sequence[str] = header.files
        sub = int(words[1]) if len(words) > 1 else whole - 1
    elif len(words) in (4, 5) and "%" in words[0]:
        names = numbered(file, words[0], *(int(word) for word in words[1:4]), most=_MOST_FILES)
        sub = int(words[4]) if len(words) > 4 else whole - 1
    else:
        return [stated], whole
    if not 1 <= len(names) <= _MOST_FILES or not 1 <= sub <= whole:
        raise UnreadableError(f"'{file.name}' names no sensible list of files for its voxels")
    return names, sub


def _skipped(
    file: InputFile,
    header: Header,
    path: Any,
    length: int,
    start: int,
    encoding: Encoding,
    size: int,
) -> int:
    """Where the voxels begin, after ``line skip`` and ``byte skip``."""
    lines = int(header.values.get("line skip", 0))
    skip = int(header.values.get("byte skip", 0))
    if lines == 0 and skip == 0:
        return start
    if lines < 0 or lines > 10_000 or skip < -1 or (skip and encoding != "raw"):
        raise UnsupportedError(
            f"'{file.name}' has a 'line skip' or 'byte skip' that is not read; write it without"
        )
    if skip == -1:
        return max(0, length - size)
    need(path)
    with open(path, "rb") as stream:
        stream.seek(start)
        for _ in range(lines):
            stream.readline(MOST_HEADER)
        return stream.tell() + skip


def _channels(
    header: Header, channel: int | None, count: int
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[str, ...]]:
    """Names, times in seconds, and flags of the axis that is not of space."""
    if channel is None:
        return (), (), ()
    kinds = header.values.get("kinds", [])
    kind = kinds[channel].lower() if kinds else ""
    if kind in ("time", "list", ""):
        spacings, units = header.values.get("spacings", []), header.values.get("units", [])
        step = float(spacings[channel]) if len(spacings) > channel else math.nan
        unit = _SECONDS.get(units[channel].strip().lower()) if len(units) > channel else None
        if unit is not None and 0 < step < math.inf:
            return (), tuple(i * step * unit for i in range(count)), ()
        if kind == "time":
            return (), (), ("time-step-unknown",)
    names: tuple[str, ...] = _CHANNEL_NAMES.get(kind, ())
    if len(names) == count:
        return names, (), ()
    vectors = kind.endswith("vector") or kind.endswith("normal") or kind.endswith("gradient")
    return (), (), ("vectors-as-stored",) if vectors else ()
