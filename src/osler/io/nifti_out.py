"""Images to NIfTI-1 and NIfTI-2: ``.nii`` and ``.nii.gz``.

What was read from NIfTI is written with the same header and extensions, stored values and scaling
included; anything else gets a header of its own.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from osler.io import nifti
from osler.io import volume_grid as grid
from osler.io.atomic_file import replacing
from osler.io.volume_note import note_of
from osler.io.volume_values import even_step, is_colour, plain_values
from osler.record import Image

_CODES: Final = {
    "u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024,
    "u8": 1280,
}  # fmt: skip
_MILLIMETRES, _MILLIMETRES_AND_SECONDS = 2, 10
_LABELS = 1002  # NIFTI_INTENT_LABEL
_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
Order = Literal["<", ">"]
_LONGEST_AXIS = 32767  # dim of NIfTI-1 is 16 bits
_SAME = 1e-6  # mm: an affine that moved no corner by more is the header's own
_GZIP_LEVEL = 4


def write_nifti(image: Image, path: str | Path) -> Path:
    """Write an image; the name decides whether it is compressed (``.nii.gz``) or not.

    Voxels, affine, times and, for what came from NIfTI, header fields and extensions are kept
    exactly. Values that were rescaled by the header go back to the stored ones where every value
    does; else they are stored as they are.

    Returns:
        The path.

    Raises:
        OutputError: the values are of a type that NIfTI lacks, or the file cannot be written.
    """
    path = Path(path)
    fields, extensions, order = _header_for(image)
    extensions = _with_note(image, extensions, plane=int(fields["dim"][0]) > 2)
    stored = _stored(image, fields)
    if stored is None:
        fields["scl_slope"], fields["scl_inter"] = np.nan, np.nan
        stored = plain_values(image)
        if int(fields["datatype"]) not in (nifti.RGB, nifti.RGBA):
            fields["datatype"] = _CODES[stored.dtype.str[1:]]
            fields["bitpix"] = stored.dtype.itemsize * 8
    if int(fields["datatype"]) in (nifti.RGB, nifti.RGBA):
        stored = np.moveaxis(stored, 0, -1)
    tail = b"".join(_packed(code, content, order) for code, content in extensions)
    data = np.ascontiguousarray(stored, stored.dtype.newbyteorder(order))
    with replacing(path) as part:
        written(fields, data, part, tail=tail, packed=path.name.lower().endswith(".gz"))
    return path


def written(
    fields: Any, data: NDArray[Any], path: Path, *, packed: bool, tail: bytes = b""
) -> None:
    """Write a header block, its extensions and the voxels as one file."""
    start = int(fields["sizeof_hdr"]) + 4 + len(tail)
    start += -start % 16
    fields["vox_offset"] = start
    fields["magic"] = b"n+1" if int(fields["sizeof_hdr"]) == 348 else b"n+2\0\r\n\x1a\n"
    head = fields.tobytes() + (b"\1\0\0\0" if tail else bytes(4)) + tail
    with path.open("wb") as out:
        _emit(out, head.ljust(start, b"\0"), data, packed=packed)


def _with_note(
    image: Image, extensions: tuple[tuple[int, bytes], ...], *, plane: bool
) -> tuple[tuple[int, bytes], ...]:
    """The extensions with our remark, where there is something to say, as the last."""
    kept = tuple(one for one in extensions if not one[1].startswith(nifti.OURS))
    note = note_of(image, plane=plane and len(image.shape) == 2)
    return (*kept, (nifti.COMMENT, nifti.OURS + note.encode())) if note else kept


def _emit(out: Any, head: bytes, data: NDArray[Any], *, packed: bool) -> None:
    if not packed:
        out.write(head)
        out.write(data.data.cast("B") if data.size else b"")
        return
    import imagecodecs

    encode: Any = imagecodecs.gzip_encode
    whole = np.empty(len(head) + data.nbytes, np.uint8)
    whole[: len(head)] = np.frombuffer(head, np.uint8)
    whole[len(head) :] = data.reshape(-1).view(np.uint8)
    out.write(encode(whole, level=_GZIP_LEVEL))


def _packed(code: int, content: bytes, order: str) -> bytes:
    size = 8 + len(content)
    padding = -size % 16
    return struct.pack(f"{order}ii", size + padding, code) + content + bytes(padding)


def _header_for(image: Image) -> tuple[Any, tuple[tuple[int, bytes], ...], Order]:
    """A writable header block for the image, its extensions and its byte order."""
    old = image.header.get("nifti")
    if isinstance(old, Mapping) and _fits(old, image):
        fields = restored(old)
        if not _same_place(old, fields, image):
            _place(fields, image)
        return fields, tuple(old["extensions"]), old["byte_order"]
    fields = placed_fields(image)
    if is_colour(image):
        fields["datatype"] = nifti.RGB if image.channel_count == 3 else nifti.RGBA
        fields["bitpix"] = 8 * image.channel_count
    if "labels" in image.header:
        fields["intent_code"] = _LABELS
    if len(image.times) > 1:
        fields["pixdim"][4] = even_step(image, "NIfTI")
    return fields, (), "<"


def placed_fields(image: Image) -> Any:
    """A new header block that says where an image lies."""
    import nibabel

    depth = image.shape if len(image.shape) == 3 else (1, *image.shape)
    long = max(*depth, image.channel_count) > _LONGEST_AXIS
    kind: Any = nibabel.Nifti2Header if long else nibabel.Nifti1Header
    fields = kind(endianness="<").structarr.copy()
    fields["dim"], fields["pixdim"] = _dim(image), 1
    _place(fields, image)
    return fields


def restored(old: Mapping[str, Any]) -> Any:
    """The header block of kept fields."""
    import nibabel

    one = int(old["sizeof_hdr"]) == 348
    kind: Any = nibabel.Nifti1Header if one else nibabel.Nifti2Header
    fields = kind(endianness=str(old["byte_order"])).structarr.copy()
    for name in fields.dtype.names:
        value = old[name]
        fields[name] = value.encode("latin-1") if isinstance(value, str) else value
    return fields


def _fits(old: Mapping[str, Any], image: Image) -> bool:
    """Whether the kept header describes an image of this shape."""
    dim = [int(n) for n in old["dim"]]
    sizes = [*dim[1 : dim[0] + 1], *[1] * 7][:7]
    width, height, depth, *others = sizes
    colour = {nifti.RGB: 3, nifti.RGBA: 4}.get(int(old["datatype"]), 1)
    plane = nifti.note_in(tuple(old["extensions"])).plane and depth == 1
    shape = (height, width) if dim[0] <= 2 or plane else (depth, height, width)
    count = int(np.prod(others)) * colour
    return tuple(shape) == image.shape and count == image.channel_count


def _same_place(old: Mapping[str, Any], fields: Any, image: Image) -> bool:
    """Whether the header, under one of its readings, places the image where it lies."""
    import nibabel

    one = int(old["sizeof_hdr"]) == 348
    kind: Any = nibabel.Nifti1Header if one else nibabel.Nifti2Header
    wrapped = kind(fields.tobytes(), endianness=str(old["byte_order"]), check=False)
    header = nifti.Header(wrapped, 1 if one else 2, True, 0, ())
    place = nifti.place_of(header, name=image.name, prefer=_believed(image))
    if image.affine is None or place.affine is None:
        spacing = place.spacing[1:] if place.spacing and len(image.shape) == 2 else place.spacing
        return image.affine is None and spacing == image.spacing
    shape = image.shape if len(image.shape) == 3 else (1, *image.shape)
    return grid.farthest(image.affine, place.affine, shape) <= _SAME


def _believed(image: Image) -> nifti.Prefer | None:
    """Which matrix was chosen when the image was read."""
    for flag in image.flags:
        if flag.startswith("prefers-"):
            return flag.removeprefix("prefers-")  # type: ignore[return-value]
    return None


def _dim(image: Image) -> list[int]:
    """``dim``: time on the fourth axis, other channels on the fifth, colour on none."""
    sizes = list(reversed(image.shape))
    if image.channel_count > 1 and not is_colour(image):
        sizes += [1] * (3 - len(sizes))
        sizes += [image.channel_count] if image.times else [1, image.channel_count]
    return [len(sizes), *sizes, *[1] * (7 - len(sizes))]


def _place(fields: Any, image: Image) -> None:
    """Set sform, qform and pixdim; both forms where the axes are at right angles."""
    import nibabel

    kind: Any = nibabel.Nifti1Header if int(fields["sizeof_hdr"]) == 348 else nibabel.Nifti2Header
    order = "<" if fields.dtype["dim"].base.newbyteorder("<") == fields.dtype["dim"].base else ">"
    header = kind(fields.tobytes(), endianness=order, check=False)
    block = header.structarr
    block["sform_code"] = block["qform_code"] = 0
    block["xyzt_units"] = _MILLIMETRES_AND_SECONDS if image.times else _MILLIMETRES
    if image.affine is not None:
        ras = grid.RAS_TO_LPS @ grid.reversed_axes(image.affine)
        header.set_sform(ras, code=_SCANNER)
        block["pixdim"][1:4] = grid.spacing_of(ras)
        if not grid.check_affine(ras, name=image.name, what="affine", way_out="mend it"):
            header.set_qform(ras, code=_SCANNER)
    elif image.spacing is not None:
        spacing = image.spacing if len(image.spacing) == 3 else (1.0, *image.spacing)
        block["pixdim"][1:4] = tuple(reversed(spacing))
    else:
        block["xyzt_units"] = int(block["xyzt_units"]) & 56  # no unit: the scale is not known
    fields[...] = block


def _stored(image: Image, fields: Any) -> NDArray[Any] | None:
    """The values as the kept header stores them, or None where it does not give them back."""
    code = int(fields["datatype"])
    name = nifti.stored_type(code)
    if name is None or "nifti" not in image.header:
        return None
    stored = np.dtype(name)
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if not np.isfinite(slope) or slope == 0 or code in (nifti.RGB, nifti.RGBA):
        slope, inter = 1.0, 0.0
    inter = inter if np.isfinite(inter) else 0.0
    if (slope, inter) == (1.0, 0.0):
        return image.array if image.dtype == stored else None
    if stored.kind not in "iu" or image.dtype != nifti.scaled_type(stored, slope, inter):
        return None
    back = np.rint((image.array.astype(np.float64) - inter) / slope)
    limits = np.iinfo(stored)
    if not np.isfinite(back).all() or back.min() < limits.min or back.max() > limits.max:
        return None
    again = (back * slope + inter).astype(image.dtype)
    return back.astype(stored) if np.array_equal(again, image.array) else None
