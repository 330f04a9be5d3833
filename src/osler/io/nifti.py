"""NIfTI-1 and NIfTI-2 volumes: ``.nii``, ``.nii.gz`` and pairs of ``.hdr`` and ``.img`` [1].

The stored order ``(i, j, k)``, fastest first, becomes ``(w, h, d)``: the array is the file's own
bytes, never transposed, and ``affine`` maps ``(d, h, w)`` to LPS millimetres.

[1] NIfTI-1.1 (nifti1.h, 2007) and NIfTI-2 (nifti2.h, 2011), https://nifti.nimh.nih.gov.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import GeometryError, InputError, UnreadableError, UnsupportedError
from osler.io import volume_grid as grid
from osler.io.input_file import InputFile, decoding
from osler.io.siblings import sibling
from osler.io.volume_data import GZIP_MAGIC, Change, Piece, Voxels
from osler.io.volume_note import KEY, Note, read_note
from osler.record import Image, Origin

Prefer = Literal["sform", "qform", "none"]

MILLIMETRES: Final = {1: 1e3, 2: 1.0, 3: 1e-3}
"""xyzt_units & 7 to millimetres: metre, millimetre, micrometre."""

SECONDS: Final = {8: 1.0, 16: 1e-3, 24: 1e-6}
"""xyzt_units & 56 to seconds."""

RGB, RGBA = 128, 2304
COMMENT: Final = 6  # NIFTI_ECODE_COMMENT
OURS: Final = f"{KEY} ".encode()
_VECTORS: Final = {1005, 1006, 1007}  # symmetric matrices, displacements, vectors

_TYPES: Final = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8",
    1280: "u8", RGB: "u1", RGBA: "u1",
}  # fmt: skip
_NOT_READ: Final = {1: "one bit a voxel", 32: "complex", 1536: "float128", 1792: "complex",
                    2048: "complex"}  # fmt: skip

_MOST_HEADER: Final = 64 << 20  # extensions beyond this are no header
_ROUNDED: Final = 3.5e-7  # the square of a quaternion of single precision may be so much too long
_AGREE: Final = 0.01  # of the smallest voxel: the quaternion is kept in single precision
_NEARLY: Final = 0.5  # of the smallest voxel: said, and the sform believed

PREFER_WAY_OUT: Final = (
    'pass prefer="sform" or prefer="qform" to load() to believe one, or prefer="none" to open it '
    "without a place in the patient"
)


def stored_type(datatype: int) -> str | None:
    """Numpy's word for a ``datatype``, or None for one that is not read."""
    return _TYPES.get(datatype)


@dataclass(frozen=True, slots=True)
class Header:
    """A header as it lies in the file, and what nibabel makes of it.

    Attributes:
        fields: nibabel's header.
        version: 1 or 2.
        single: whether the voxels are in the same file.
        start: offset of the first voxel.
        extensions: ``(code, content)`` of each.
    """

    fields: Any
    version: int
    single: bool
    start: int
    extensions: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the header says the volume lies, ``affine`` by ``(d, h, w)`` in LPS millimetres."""

    affine: grid.Affine | None
    spacing: tuple[float, float, float] | None
    flags: tuple[str, ...] = ()


def read_nifti(
    file: InputFile, format: str, *, max_pixels: int, prefer: Prefer | None = None
) -> Image:
    """Read the header; the voxels are read when they are asked for.

    Args:
        file: a ``.nii``, ``.nii.gz``, ``.hdr`` or ``.hdr.gz``.
        format: ``"nifti"``.
        max_pixels: what loads into more memory than so many pixels of 4 bytes is refused then.
        prefer: which of two conflicting matrices to believe; ``"none"`` believes neither.

    Raises:
        UnreadableError: damaged, incomplete, or its ``.img`` is missing.
        UnsupportedError: its values are complex, of 128 bits or of 1 bit.
        GeometryError: sform and qform disagree, or a matrix places no box.
    """
    if prefer not in (None, "sform", "qform", "none"):
        raise InputError(f'prefer is {prefer!r}; give "sform", "qform" or "none"')
    with decoding(file, format):
        header = read_header(file)
        shape = _shape(file, header)
        place = place_of(header, name=file.name, prefer=prefer)
        voxels, flags = _voxels(file, format, header, shape)
        note = note_in(header.extensions)
        flat = int(header.fields["dim"][0]) <= 2 or (note.plane and shape[2] == 1)
        if flat:
            voxels = voxels.without(1 if voxels.channel_axis == 0 else 0)
        held = voxels.deferred(max_pixels=max_pixels)
        channels, times, more = _channels(header, held.shape[0])
        channels = note.channels if len(note.channels) == held.shape[0] else channels
    return Image(
        name="volume",
        array=held,
        spacing=place.spacing[1:] if flat and place.spacing else place.spacing,
        affine=place.affine,
        origin=Origin(
            path=file.name, sha256="", format=format,
            files=tuple(str(piece.path) for piece in voxels.pieces if not header.single),
        ),
        flags=(*file.extension_flags(format), *place.flags, *flags, *more, *note.flags),
        channels=channels,
        times=times,
        header={"nifti": kept(header)},
    )  # fmt: skip


def read_header(file: InputFile) -> Header:
    """The header and its extensions, from a plain or a gzip file."""
    packed = file.head.startswith(GZIP_MAGIC)
    data = _start(file, 544, packed=packed)
    order = next((o for o in "<>" if struct.unpack_from(f"{o}i", data)[0] in (348, 540)), "")
    if not order:
        raise UnreadableError(f"'{file.name}' starts as NIfTI but states no known header size")
    version = 1 if struct.unpack_from(f"{order}i", data)[0] == 348 else 2
    size = 348 if version == 1 else 540
    magic = data[344:348] if version == 1 else data[4:8]
    if magic[:2] not in (b"n+", b"ni"):
        raise UnsupportedError(
            f"'{file.name}' is an Analyze 7.5 header, which does not say left from right; convert "
            "it to NIfTI with the program that knows its scanner"
        )
    fields = _nibabel_header(version, data[:size], order)
    single = magic[:2] == b"n+"
    stated = float(fields["vox_offset"])
    if not math.isfinite(stated) or not 0 <= stated < 2**62 or stated % 1:
        raise UnreadableError(f"'{file.name}' states vox_offset {stated}; export it again")
    start = max(int(stated), size + 4) if single else int(stated)
    end = start if single else None if packed else file.size
    data = _start(file, min(end or _MOST_HEADER, _MOST_HEADER), packed=packed)
    return Header(fields, version, single, start, _extensions(data[size:], order))


def _nibabel_header(version: int, block: bytes, order: str) -> Any:
    import nibabel

    kind: Any = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    return kind(block, endianness=order, check=False)


def _start(file: InputFile, size: int, *, packed: bool) -> bytes:
    """Up to ``size`` bytes from the start, inflated; never more."""
    file.stream.seek(0)
    if not packed:
        return file.stream.read(size).ljust(4, b"\0")
    inflater, out = zlib.decompressobj(wbits=31), b""
    while len(out) < size and not inflater.eof:
        block = inflater.unconsumed_tail or file.stream.read(1 << 16)
        if not block:
            break
        out += inflater.decompress(block, size - len(out))
    if len(out) < min(size, 348):
        raise UnreadableError(f"'{file.name}' ends within its header; copy it again")
    return out


def _extensions(data: bytes, order: str) -> tuple[tuple[int, bytes], ...]:
    """What follows the header: 4 bytes, then size, code and content of each extension."""
    found: list[tuple[int, bytes]] = []
    at = 4
    while data[:1] not in (b"", b"\0") and at + 8 <= len(data):
        size, code = struct.unpack_from(f"{order}ii", data, at)
        if size < 8 or at + size > len(data):
            break
        found.append((code, data[at + 8 : at + size]))
        at += size
    return tuple(found)


def note_in(extensions: tuple[tuple[int, bytes], ...]) -> Note:
    """Our own remark among the extensions of a header."""
    found = (
        content for code, content in extensions if code == COMMENT and content.startswith(OURS)
    )
    text = next(found, b"").removeprefix(OURS).rstrip(b"\0")
    return read_note(text.decode("utf-8", "replace"))


def _shape(file: InputFile, header: Header) -> tuple[int, ...]:
    """``dim[1:8]``, ones where an axis is not used."""
    dim = [int(n) for n in header.fields["dim"]]
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]):
        raise UnreadableError(
            f"'{file.name}' states the dimensions {dim} in 'dim'; the first must be 1 to 7 and as "
            "many after it at least 1: export it again"
        )
    return tuple(dim[1 : dim[0] + 1] + [1] * (7 - dim[0]))


def place_of(header: Header, *, name: str, prefer: Prefer | None = None) -> Place:
    """Where the volume lies, by the matrix that the header gives or the user prefers."""
    fields, flags = header.fields, list[str]()
    unit = MILLIMETRES.get(int(fields["xyzt_units"]) & 7)
    sform = _sform(fields)
    spared = sform is not None and prefer != "qform"
    forms = {"sform": sform, "qform": _qform(fields, flags, name, spared=spared, prefer=prefer)}
    given: dict[str, grid.Affine] = {
        key: matrix for key, matrix in forms.items() if matrix is not None
    }
    if prefer == "none" or not given:
        flags.append("prefers-none" if given else "no-orientation")
        steps = [abs(float(step)) for step in fields["pixdim"][1:4]]
        sound = unit is not None and all(0 < step < math.inf for step in steps)
        if not sound:
            return Place(None, None, (*flags, "no-scale"))
        depth, height, width = (step * (unit or 1.0) for step in reversed(steps))
        return Place(None, (depth, height, width), tuple(flags))
    if prefer is not None and prefer not in given:
        raise GeometryError(
            f"'{name}' has no {prefer} (its {prefer}_code is 0), only a {', '.join(given)}; "
            "leave out prefer"
        )
    if unit is None:
        # the header states no unit; no scanner or program that writes a matrix means another one
        flags.append("millimetres-assumed")
        unit = 1.0
    chosen: str = prefer or next(iter(given))
    if prefer is not None and len(given) == 2:
        flags.append(f"prefers-{prefer}")
    affine = given[chosen]
    flags.extend(grid.check_affine(affine, name=name, what=chosen, way_out=PREFER_WAY_OUT))
    if prefer is None and len(given) == 2:
        flags.extend(_compared(given, fields, name))
    scaled = np.diag([unit, unit, unit, 1.0]) @ affine
    lps = grid.reversed_axes(grid.RAS_TO_LPS @ scaled)
    depth, height, width = grid.spacing_of(lps)
    return Place(lps + 0.0, (depth, height, width), tuple(flags))


def _sform(fields: Any) -> grid.Affine | None:
    """The matrix of the sform in stored units and RAS, or None where its code is 0."""
    if int(fields["sform_code"]) <= 0:
        return None
    rows = [fields["srow_x"], fields["srow_y"], fields["srow_z"]]
    return np.vstack([np.array(rows, float), [0.0, 0.0, 0.0, 1.0]])


def _qform(
    fields: Any, flags: list[str], name: str, *, spared: bool, prefer: Prefer | None
) -> grid.Affine | None:
    """The matrix of the qform, or None; nifti1.h takes a ``pixdim[0]`` of 0 for 1.

    Raises:
        GeometryError: it is none that can be, and nothing else places the volume (``spared``).
    """
    if int(fields["qform_code"]) <= 0:
        return None
    fields = fields.copy()
    if fields["pixdim"][0] not in (-1, 1):
        fields["pixdim"][0] = -1 if fields["pixdim"][0] < 0 else 1
    if int(fields["dim"][0]) < 3 and not fields["pixdim"][3] > 0:
        fields["pixdim"][3] = 1
        flags.append("no-slice-thickness")
    steps = [float(step) for step in fields["pixdim"][1:4]]
    turn = [float(fields[f"quatern_{letter}"]) for letter in "bcd"]
    if all(0 < step < math.inf for step in steps) and sum(part**2 for part in turn) <= 1 + _ROUNDED:
        matrix: grid.Affine = np.asarray(fields.get_qform(), float)
        return matrix
    if spared:
        flags.append("qform-unusable")
    elif prefer != "none":
        raise GeometryError(
            f"'{name}' is placed by a qform with steps of {steps} (pixdim) and a quaternion of "
            f'{turn}, which is none that can be; mend it, or pass prefer="none" to load() to open '
            "it without a place in the patient"
        )
    return None


def _compared(given: dict[str, grid.Affine], fields: Any, name: str) -> tuple[str, ...]:
    """Flags for a sform and a qform that nearly agree.

    Raises:
        GeometryError: they place a corner of the volume more than half a voxel apart.
    """
    dim = fields["dim"]
    shape = tuple(int(dim[i]) if i <= dim[0] else 1 for i in (1, 2, 3))
    apart = grid.farthest(given["sform"], given["qform"], shape)
    voxel = min(grid.spacing_of(given["sform"]))
    if apart <= _AGREE * voxel:
        return ()
    if apart <= _NEARLY * voxel:
        return ("qform-sform-differ",)
    raise GeometryError(
        f"'{name}' has a sform (code {int(fields['sform_code'])}) and a qform (code "
        f"{int(fields['qform_code'])}) that place its corners up to {apart:.3g} apart, with voxels "
        f"of {voxel:.3g}; {PREFER_WAY_OUT}"
    )


def _voxels(
    file: InputFile, format: str, header: Header, shape: tuple[int, ...]
) -> tuple[Voxels, tuple[str, ...]]:
    """Where the voxels lie, and flags of their values."""
    fields = header.fields
    code = int(fields["datatype"])
    if code not in _TYPES:
        raise UnsupportedError(
            f"'{file.name}' has values of datatype {code} ({_NOT_READ.get(code, 'not known')}), "
            "which are not read; convert it to a real type of 8 to 64 bits"
        )
    stored = np.dtype(_TYPES[code]).newbyteorder(fields.endianness)
    width, height, depth, *others = shape
    axes: tuple[int, ...] = (math.prod(others), depth, height, width)
    channel_axis, flags = 0, list[str]()
    if code in (RGB, RGBA):
        if axes[0] != 1:
            raise UnsupportedError(
                f"'{file.name}' has colour and {axes[0]} volumes; split it into one file a volume"
            )
        axes, channel_axis = (depth, height, width, 3 if code == RGB else 4), 3
    if int(fields["intent_code"]) in _VECTORS:
        flags.append("vectors-as-stored")  # their components are not turned to LPS
    change, dtype = _scaling(file, fields, stored)
    piece = _piece(file, header)
    return (
        Voxels(file.name, format, (piece,), stored, axes, channel_axis, dtype, change),
        tuple(flags),
    )


def _piece(file: InputFile, header: Header) -> Piece:
    if header.single:
        packed = file.head.startswith(GZIP_MAGIC)
        path, size = file.path, file.size
    else:
        path, size, packed = _image_file(file)
    return Piece(path, size, header.start, "gzip" if packed else "raw", whole=packed)


def _image_file(file: InputFile) -> tuple[Any, int, bool]:
    """The ``.img`` that belongs to a ``.hdr``: its path, length, and whether it is packed."""
    name = file.path.name
    for end, other in ((".hdr.gz", ".img.gz"), (".hdr", ".img"), (".hdr", ".img.gz")):
        for old, new in ((end, other), (end.upper(), other.upper())):
            if name.endswith(old):
                found = sibling(file, name[: -len(old)] + new, missing_ok=True)
                if found is not None:
                    return found[0], found[1], new.lower().endswith(".gz")
    raise UnreadableError(
        f"'{file.name}' is the header of a pair, and the file with its voxels (.img) is not beside "
        "it; put both into one folder"
    )


def _scaling(
    file: InputFile, fields: Any, stored: np.dtype[Any]
) -> tuple[Change | None, np.dtype[Any]]:
    """What ``scl_slope`` and ``scl_inter`` make of the stored values; integers stay integers."""
    native = stored.newbyteorder("=")
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if int(fields["datatype"]) in (RGB, RGBA) or slope == 0 or not math.isfinite(slope):
        return None, native
    inter = inter if math.isfinite(inter) else 0.0
    if (slope, inter) == (1.0, 0.0):
        return None, native
    dtype = scaled_type(native, slope, inter)
    return partial(_rescaled, slope=slope, inter=inter, dtype=dtype), dtype


def _rescaled(
    array: NDArray[Any], *, slope: float, inter: float, dtype: np.dtype[Any]
) -> NDArray[Any]:
    out = np.empty(array.shape, dtype)
    work = np.dtype(np.int64) if dtype.kind == "i" else np.dtype(np.float64)
    for part, target in zip(_slabs(array), _slabs(out), strict=True):
        target[...] = part.astype(work) * work.type(slope) + work.type(inter)
    return out


def _slabs(array: NDArray[Any]) -> list[NDArray[Any]]:
    """Views one plane thick, so that no whole volume is held in double precision."""
    return [plane for channel in array for plane in channel] if array.ndim > 3 else list(array)


def scaled_type(stored: np.dtype[Any], slope: float, inter: float) -> np.dtype[Any]:
    """The type of rescaled values: an integer where nothing but integers can come of it."""
    if stored.kind in "iu" and stored.itemsize <= 4 and slope % 1 == 0 and inter % 1 == 0:
        limits = np.iinfo(stored)
        ends = [limits.min * slope + inter, limits.max * slope + inter]
        for kind in (np.int16, np.int32, np.int64):
            if min(ends) >= np.iinfo(kind).min and max(ends) < np.iinfo(kind).max:
                return np.dtype(kind)
    small = stored.itemsize <= 2 or stored == np.float32
    return np.dtype(np.float32 if small else np.float64)


def _channels(
    header: Header, count: int
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[str, ...]]:
    """Names of the channels, times in seconds, and flags."""
    fields = header.fields
    if int(fields["datatype"]) == RGBA:
        return ("red", "green", "blue", "alpha"), (), ()
    dim = [int(n) for n in fields["dim"]]
    if dim[0] < 4 or count == 1 or dim[4] != count:
        return (), (), ()
    unit = SECONDS.get(int(fields["xyzt_units"]) & 56)
    step = float(fields["pixdim"][4])
    if unit is None or not 0 < step < math.inf:
        return (), (), ("time-step-unknown",)
    return (), tuple(i * step * unit for i in range(count)), ()


def kept(header: Header) -> dict[str, Any]:
    """Every field and extension, as plain values, so that the file can be written again."""
    block = header.fields.structarr
    out: dict[str, Any] = {}
    for name in block.dtype.names:
        value = block[name].tolist()
        out[name] = value.decode("latin-1") if isinstance(value, bytes) else value
    out["extensions"] = header.extensions
    out["byte_order"] = header.fields.endianness
    return out
