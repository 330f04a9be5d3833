"""Images to MetaImage: ``.mha`` in one file, ``.mhd`` with its voxels beside it."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from osler.errors import OutputError
from osler.io import volume_grid as grid
from osler.io.atomic_file import replacing
from osler.io.metaimage import letters_of
from osler.io.volume_note import KEY, note_of
from osler.io.volume_values import plain_values
from osler.record import Image

_TYPES: Final = {
    "i1": "MET_CHAR", "u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT",
    "u4": "MET_UINT", "i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG", "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}  # fmt: skip
# Fields that are made anew, or that only said how the old file lay on the disk.
_OURS: Final = {
    "ObjectType", "NDims", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB",
    "CompressedData", "CompressedDataSize", "TransformMatrix", "Rotation", "Orientation", "Offset",
    "Position", "Origin", "CenterOfRotation", "AnatomicalOrientation", "ElementSpacing",
    "ElementSize", "DistanceUnits", "DimSize", "ElementNumberOfChannels", "ElementType",
    "HeaderSize", "ElementDataFile", KEY,
}  # fmt: skip


def write_metaimage(image: Image, path: str | Path) -> Path:
    """Write an image as MetaImage, compressed; an ``.mhd`` gets its ``.zraw`` beside it.

    Voxels and affine are kept exactly, and for what came from MetaImage its other fields.

    Returns:
        The path.

    Raises:
        OutputError: its values do not fit the format, it has times (for which the format has no
            unit), or a file cannot be written.
    """
    import imagecodecs

    path = Path(path)
    if image.times:
        raise OutputError(
            f"image '{image.name}' has points in time, and MetaImage has no unit of time; write it "
            "as .nii.gz or .nrrd"
        )
    array = plain_values(image)
    old = dict(image.header.get("metaimage", {}))
    four = image.channel_count > 1 and old.get("NDims") == "4"
    if image.channel_count == 1:
        array = array[0]
    elif not four:
        array = np.moveaxis(array, 0, -1)
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    encode: Any = imagecodecs.deflate_encode  # zlib's format
    packed = encode(data.reshape(-1).view(np.uint8), level=4)
    detached = path.suffix.lower() == ".mhd"
    beside = path.with_suffix(".zraw")
    fields = _fields(image, four=four)
    fields["ElementType"] = _TYPES[data.dtype.str[1:]]
    fields["CompressedDataSize"] = str(len(packed))
    kept = {name: value for name, value in old.items() if name not in _OURS}
    fields = {"ObjectType": "Image"} | kept | fields
    fields["ElementDataFile"] = beside.name if detached else "LOCAL"
    text = "".join(f"{name} = {value}\n" for name, value in fields.items()).encode()
    if detached:
        with replacing(beside) as part:
            part.write_bytes(packed)
    with replacing(path) as part, part.open("wb") as out:
        out.write(text)
        if not detached:
            out.write(packed)
    return path


def _fields(image: Image, *, four: bool) -> dict[str, str]:
    """The fields of size and place; what is not known is left out."""
    plane = image.affine is not None and len(image.shape) == 2
    shape = list(reversed((1, *image.shape) if plane else image.shape))
    shape += [image.channel_count] if four else []
    fields = {
        "NDims": str(len(shape)), "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
    }  # fmt: skip
    if image.affine is not None:
        affine = grid.reversed_axes(image.affine)
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        turn, origin = np.eye(len(shape)), np.zeros(len(shape))
        turn[:3, :3], origin[:3] = (affine[:3, :3] / steps).T, affine[:3, 3]
        fields["TransformMatrix"] = _words(turn.ravel())
        fields["Offset"] = _words(origin)
        fields["CenterOfRotation"] = _words(np.zeros(len(shape)))
        fields["AnatomicalOrientation"] = letters_of(affine)
        fields["ElementSpacing"] = _words([*steps, *([1.0] if four else [])])
    elif image.spacing is not None:
        fields["ElementSpacing"] = _words([*reversed(image.spacing), *([1.0] if four else [])])
    note = note_of(image, plane=plane)
    fields |= {KEY: note} if note else {}
    fields["DimSize"] = " ".join(map(str, shape))
    if image.channel_count > 1 and not four:
        fields["ElementNumberOfChannels"] = str(image.channel_count)
    return fields


def _words(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)
