"""Images to NRRD, gzipped; what was read from NRRD keeps the fields of its header."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from osler.io import nrrd
from osler.io import volume_grid as grid
from osler.io.atomic_file import replacing
from osler.io.nrrd_header import Header, parsed
from osler.io.volume_note import KEY, note_of, read_note
from osler.io.volume_values import even_step, is_colour, plain_values
from osler.record import Image

_TYPES: Final = {
    "i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32",
    "i8": "int64", "u8": "uint64", "f4": "float", "f8": "double",
}  # fmt: skip
_OF_THE_FILE: Final = ("data file", "line skip", "byte skip", "endian", "encoding", "type")
_SAME: Final = 1e-6  # mm
_GZIP_LEVEL: Final = 4


def write_nrrd(image: Image, path: str | Path) -> Path:
    """Write an image as NRRD, in LPS millimetres; a ``.nhdr`` gets its ``.raw.gz`` beside it.

    Voxels, affine and times are kept exactly, and for what came from NRRD its other fields and
    key/value pairs, and the order of its axes.

    Returns:
        The path.

    Raises:
        OutputError: its values or times do not fit the format, or the file cannot be written.
    """
    import imagecodecs

    path = Path(path)
    array = plain_values(image)
    fields, pairs, channel_axis, plane = _header_for(image)
    note = note_of(image, plane=plane)
    pairs = {key: value for key, value in pairs.items() if key != KEY} | (
        {KEY: note} if note else {}
    )
    array = array[:, None] if plane else array
    array = array[0] if channel_axis is None else np.moveaxis(array, 0, channel_axis)
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    fields |= {"type": _TYPES[data.dtype.str[1:]], "encoding": "gzip", "endian": "little"}
    detached = path.suffix.lower() == ".nhdr"
    beside = path.with_suffix(".raw.gz")
    if detached:
        fields["data file"] = beside.name
    order = ("type", "dimension", "space", "space dimension", "sizes")
    names = [*(n for n in order if n in fields), *(n for n in fields if n not in order)]
    lines = ["NRRD0005", *(f"{name}: {fields[name]}" for name in names)]
    lines += [f"{key}:={value}" for key, value in pairs.items()]
    encode: Any = imagecodecs.gzip_encode
    packed = encode(data.reshape(-1).view(np.uint8), level=_GZIP_LEVEL)
    if detached:
        with replacing(beside) as part:
            part.write_bytes(packed)
    with replacing(path) as part, part.open("wb") as out:
        out.write(("\n".join(lines) + "\n\n").encode())
        if not detached:
            out.write(packed)
    return path


def _header_for(image: Image) -> tuple[dict[str, str], dict[str, str], int | None, bool]:
    """Fields, key/value pairs, the axis of the channels, and whether there is one slice of a plane.

    The axis is that of the stored array, slowest first.
    """
    old = image.header.get("nrrd")
    new, axis = _fresh(image)
    if not isinstance(old, Mapping):
        return new, {}, axis, _is_plane(image)
    header = parsed(old)
    count = len(header.values["sizes"])
    space, channel = nrrd.axes_of(header, count, image.name)
    kept_axis = None if channel is None else count - 1 - channel
    if _same_grid(header, space, kept_axis, image):
        fields = {k: v for k, v in header.fields.items() if k not in _OF_THE_FILE}
        return fields, header.pairs, kept_axis, len(space) > len(image.shape)
    fields = {k: header.fields[k] for k in ("content", "sample units") if k in header.fields}
    return fields | new, header.pairs, axis, _is_plane(image)


def _is_plane(image: Image) -> bool:
    return image.affine is not None and len(image.shape) == 2


def _same_grid(header: Header, space: tuple[int, ...], axis: int | None, image: Image) -> bool:
    sizes = list(reversed([int(n) for n in header.values["sizes"]]))
    channels = 1 if axis is None else sizes.pop(axis)
    if read_note(header.pairs.get(KEY)).plane and len(image.shape) == 2 and sizes[:1] == [1]:
        sizes.pop(0)
    if tuple(sizes) != image.shape or channels != image.channel_count:
        return False
    affine, spacing, _ = nrrd.place_of(header, space, image.name)
    if affine is None or image.affine is None:
        return affine is image.affine is None and spacing == image.spacing
    shape = image.shape if len(image.shape) == 3 else (1, *image.shape)
    return grid.farthest(affine, image.affine, shape) <= _SAME


def _fresh(image: Image) -> tuple[dict[str, str], int | None]:
    """Fields for an image without any, and the axis of its channels: colour lies together."""
    shape = (1, *image.shape) if _is_plane(image) else image.shape
    sizes, kinds = list(reversed(shape)), ["domain"] * len(shape)
    at: int | None = None
    if image.channel_count > 1:
        colour = is_colour(image)
        at = 0 if colour else len(sizes)
        sizes.insert(at, image.channel_count)
        named = "RGBA-color" if image.channel_count == 4 else "RGB-color"
        # "time" would be an axis of space to ITK; the unit of a list tells as much
        kinds.insert(at, named if colour else "list")
    fields = {
        "dimension": str(len(sizes)),
        "sizes": " ".join(map(str, sizes)),
        "kinds": " ".join(kinds),
    }
    if image.units:
        fields["sample units"] = f'"{image.units}"'
    steps = ["nan"] * len(sizes)
    units = ['""'] * len(sizes)
    if image.affine is not None:
        columns = grid.reversed_axes(image.affine)[:3, :3].T
        directions = [_vector(column) for column in columns]
        if at is not None:
            directions.insert(at, "none")
        fields |= {
            "space": "left-posterior-superior",
            "space directions": " ".join(directions),
            "space origin": _vector(image.affine[:3, 3]),
            "space units": '"mm" "mm" "mm"',
        }
    elif image.spacing is not None:
        spatial = [i for i in range(len(sizes)) if i != at]
        for i, step in zip(spatial, reversed(image.spacing), strict=True):
            steps[i], units[i] = repr(float(step)), '"mm"'
    if at is not None and image.times:
        steps[at], units[at] = repr(even_step(image, "NRRD")), '"s"'
    if set(steps) != {"nan"}:
        fields |= {"spacings": " ".join(steps), "units": " ".join(units)}
    return fields, None if at is None else len(sizes) - 1 - at


def _vector(values: Any) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"
