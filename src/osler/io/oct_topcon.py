"""Topcon ``.fda`` and ``.fds`` files: an OCT volume and the colour photograph taken with it [1].

A file is a list of named chunks. Which B-scan lies at which edge of the scanned area is not stated,
so the area is kept (``header["area"]``) and no line is made of it.

[1] The uocte project's notes on the format, bitbucket.org/uocte/uocte, and OCT-Converter's binary
structures, which this follows.
"""

import math
import struct
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import TooLargeError, UnreadableError, UnsupportedError
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.io.volume_data import BYTES_A_PIXEL, Piece, Voxels, unchanged
from osler.record import Deferred, Image, Item, Origin
from osler.record.item import Laterality, Region

Chunks = dict[str, tuple[int, int]]

_HEADER_BYTES: Final = 15
_MOST_CHUNKS: Final = 10_000
_LONGEST_SIDE: Final = 1 << 15
_IMAGES: Final = ("@IMG_MOT_COMP_03", "@IMG_SCAN_03")
_EYES: Final[dict[int, Laterality]] = {0: "R", 1: "L"}
# What a scan of an eye can measure, in mm: wider than any device's range.
_WIDTH, _DEPTH = (0.5, 40.0), (0.0005, 0.02)


def read_topcon(file: InputFile, format: str, *, max_pixels: int) -> Content:
    """Read the chunks' headers; the pixels are read when they are asked for.

    Gives ``"oct"``, and ``"photo"`` where the file holds one.

    Raises:
        UnreadableError: damaged or incomplete, or a B-scan is missing.
        UnsupportedError: it holds no volume in a way that is read.
    """
    with decoding(file, format):
        chunks = _chunks(file)
        held, count, width = _volume(file, format, chunks, max_pixels)
        spacing, doubts = _spacing(file, chunks, count, width)
        eye, taken = _capture(file, chunks)
        flags = () if eye else ("laterality-not-stated",)
        origin = Origin(path=file.name, sha256="", format=format)
        area = _area(file, chunks)
        items: list[Item] = [
            Image(
                name="oct", array=held, modality="OPT", spacing=spacing, laterality=eye,
                acquired=taken, origin=origin,
                flags=(*file.extension_flags(format), *flags, *doubts, "bscan-places-not-stated"),
                header={"chunks": tuple(chunks)} | ({"area": area} if area else {}),
            )
        ]  # fmt: skip
        photo = _photo(file, format, chunks, max_pixels)
        if photo is not None:
            items.append(
                Image(
                    name="photo", array=photo, modality="OP", laterality=eye, acquired=taken,
                    origin=origin, flags=(*flags, "colour-order-by-content"),
                )
            )  # fmt: skip
    return Content(items)


def _chunks(file: InputFile) -> Chunks:
    """Name of each chunk to its offset and length; the last of a name counts."""
    found: Chunks = {}
    at = _HEADER_BYTES
    for _ in range(_MOST_CHUNKS):
        file.stream.seek(at)
        length = file.stream.read(1)
        if not length:
            raise UnreadableError(
                f"'{file.name}' ends before its list of chunks does; it is incomplete: copy it "
                "again from its source"
            )
        if length == b"\0":
            return found
        name = file.stream.read(length[0])
        size = struct.unpack("<I", file.stream.read(4))[0]
        start = at + 5 + length[0]
        if start + size > file.size:
            raise UnreadableError(
                f"'{file.name}' ends within a chunk; it is incomplete: copy it again from its "
                "source"
            )
        found[name.decode("ascii")] = (start, size)
        at = start + size
    raise UnreadableError(f"'{file.name}' has more chunks than any scan; it is damaged")


def _bytes(file: InputFile, chunk: tuple[int, int], size: int) -> bytes:
    """The first bytes of a chunk."""
    start, length = chunk
    if length < size:
        raise UnreadableError(f"'{file.name}' has a chunk that is too short; it is damaged")
    file.stream.seek(start)
    return file.stream.read(size)


def _volume(
    file: InputFile, format: str, chunks: Chunks, max_pixels: int
) -> tuple[Deferred, int, int]:
    """The B-scans, how many there are, and the A-scans in each."""
    for name in _IMAGES:
        if name in chunks:
            _, width, height, bits, count, _, _ = struct.unpack(
                "<BIIIIBI", _bytes(file, chunks[name], 22)
            )
            _check_sides(file, width, height, count)
            if bits != 16:
                raise UnsupportedError(f"'{file.name}' has values of {bits} bits; 16 are read")
            if chunks[name][1] < 22 + width * height * count * 2:
                raise UnreadableError(
                    f"'{file.name}' states {count} B-scans and does not hold them all; copy it "
                    "again from its source"
                )
            piece = Piece(file.path, file.size, chunks[name][0] + 22)
            stored = np.dtype("<u2")
            shape = (count, height, width)
            voxels = Voxels(file.name, format, (piece,), stored, shape, None, np.dtype("u2"))
            return voxels.deferred(max_pixels=max_pixels), count, width
    if "@IMG_JPEG" not in chunks:
        raise UnsupportedError(
            f"'{file.name}' holds no volume in a chunk that is read (@IMG_JPEG, "
            f"{', '.join(_IMAGES)}); export it as DICOM"
        )
    return _jpeg_volume(file, format, chunks["@IMG_JPEG"], max_pixels)


def _check_sides(file: InputFile, *sides: int) -> None:
    if not all(0 < side <= _LONGEST_SIDE for side in sides):
        raise UnreadableError(f"'{file.name}' states sizes that no scan has; export it again")


def _jpeg_volume(
    file: InputFile, format: str, chunk: tuple[int, int], max_pixels: int
) -> tuple[Deferred, int, int]:
    """B-scans as one JPEG or JPEG 2000 stream each."""
    _, _, _, width, height, count, _ = struct.unpack("<BIIIIII", _bytes(file, chunk, 25))
    _check_sides(file, width, height, count)
    start, length = chunk
    places, at = list[tuple[int, int]](), 25
    for _ in range(count):
        file.stream.seek(start + at)
        size = struct.unpack("<I", file.stream.read(4))[0] if at + 4 <= length else length
        if at + 4 + size > length:
            raise UnreadableError(
                f"'{file.name}' states {count} B-scans and holds {len(places)}; copy it again "
                "from its source"
            )
        places.append((start + at + 4, size))
        at += 4 + size
    first = _decoded(file, *places[0], (height, width))
    if first.ndim != 2:
        raise UnsupportedError(f"'{file.name}' has B-scans in colour; export it as DICOM")
    shape, dtype = (1, count, height, width), first.dtype

    scans = _Scans(file.path, file.size, file.name, format, tuple(places), shape, dtype, max_pixels)
    return Deferred(shape, dtype, scans.load, scans.region), count, width


@dataclass(frozen=True, slots=True)
class _Scans:
    """B-scans of which each is a compressed picture at a place in the file."""

    path: Path
    size: int
    name: str
    format: str
    places: tuple[tuple[int, int], ...]
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    max_pixels: int

    def load(self) -> NDArray[Any]:
        _check_memory(self.name, self.shape, self.dtype.itemsize, self.max_pixels)
        return self.region(tuple(slice(0, n) for n in self.shape[1:]))

    def region(self, cut: Region) -> NDArray[Any]:
        _, _, height, width = self.shape
        some = self.places[cut[0]]
        with unchanged(Piece(self.path, self.size), self.format) as file:
            planes = [_decoded(file, *place, (height, width))[cut[1:]] for place in some]
        empty = np.empty((0, height, width), self.dtype)[(slice(None), *cut[1:])]
        return np.stack(planes)[None].astype(self.dtype) if planes else empty[None]


def _check_memory(name: str, shape: tuple[int, ...], itemsize: int, max_pixels: int) -> None:
    size = math.prod(shape) * itemsize
    if size > max_pixels * BYTES_A_PIXEL:
        raise TooLargeError(
            f"'{name}' takes {size:,} bytes; the limit is max_pixels={max_pixels:,} of "
            f"{BYTES_A_PIXEL} bytes: read a part with image.region(...), or raise max_pixels"
        )


def _decoded(file: InputFile, start: int, size: int, shape: tuple[int, int]) -> NDArray[Any]:
    """One picture of a stated size, whose own header is asked first."""
    from PIL import Image as Pillow

    file.stream.seek(start)
    with Pillow.open(BytesIO(file.stream.read(size)), formats=("JPEG", "JPEG2000")) as picture:
        if (picture.height, picture.width) != shape:
            raise UnreadableError(
                f"'{file.name}' has a picture of another size than it states; it is damaged"
            )
        return np.asarray(picture)


def _spacing(
    file: InputFile, chunks: Chunks, count: int, width: int
) -> tuple[tuple[float, float, float] | None, tuple[str, ...]]:
    """Millimetres along ``(D, H, W)``; what no device measures is not passed on."""
    for name, layout in (("@PARAM_SCAN_04", "<12x3d"), ("@PARAM_SCAN_02", "<21x3d")):
        if name in chunks:
            values = struct.unpack(layout, _bytes(file, chunks[name], struct.calcsize(layout)))
            across, along, depth = values[0], values[1], values[2] / 1000
            sound = all(_WIDTH[0] <= side <= _WIDTH[1] for side in (across, along))
            if not sound or not _DEPTH[0] <= depth <= _DEPTH[1]:
                return None, ("spacing-implausible",)
            return (along / count, depth, across / width), ()
    return None, ("no-scale",)


def _capture(file: InputFile, chunks: Chunks) -> tuple[Laterality | None, datetime | None]:
    """The eye and the time; a number that stands for neither eye is none."""
    for name, skip in (("@CAPTURE_INFO_02", 106), ("@CAPTURE_INFO", 1)):
        if name in chunks:
            data = _bytes(file, chunks[name], skip + 12)
            try:
                taken = datetime(*struct.unpack_from("<6H", data, skip))
            except ValueError:
                taken = None
            return _EYES.get(data[0]), taken
    return None, None


def _area(file: InputFile, chunks: Chunks) -> tuple[int, ...]:
    """The scanned area in pixels of the photograph, as the file states it."""
    if "@REGIST_INFO" not in chunks:
        return ()
    return struct.unpack_from("<4I", _bytes(file, chunks["@REGIST_INFO"], 25), 9)


def _photo(file: InputFile, format: str, chunks: Chunks, max_pixels: int) -> Deferred | None:
    """The colour photograph: a JPEG stream (``.fda``) or plain samples (``.fds``)."""
    if "@IMG_FUNDUS" in chunks:
        start, length = chunks["@IMG_FUNDUS"]
        width, height, _, _, _, size = struct.unpack(
            "<IIII4sI", _bytes(file, chunks["@IMG_FUNDUS"], 24)
        )
        skip, plain = 24, False
    elif "@IMG_OBS" in chunks:
        start, length = chunks["@IMG_OBS"]
        width, height, bits, _, _, size = struct.unpack(
            "<IIIIBI", _bytes(file, chunks["@IMG_OBS"], 21)
        )
        skip, plain = 21, True
        if bits != 24 or size != width * height * 3:
            return None
    else:
        return None
    _check_sides(file, width, height)
    if skip + size > length:
        raise UnreadableError(f"'{file.name}' does not hold all of its photograph; copy it again")
    shape = (3, height, width)
    where = (start + skip, size)
    photo = _Photo(file.path, file.size, file.name, format, where, shape, plain, max_pixels)
    return Deferred(shape, np.dtype(np.uint8), photo)


@dataclass(frozen=True, slots=True)
class _Photo:
    """The photograph at a place in the file."""

    path: Path
    size: int
    name: str
    format: str
    where: tuple[int, int]
    shape: tuple[int, int, int]
    plain: bool
    max_pixels: int

    def __call__(self) -> NDArray[Any]:
        _check_memory(self.name, self.shape, 1, self.max_pixels)
        _, height, width = self.shape
        start, size = self.where
        with unchanged(Piece(self.path, self.size), self.format) as file:
            if self.plain:
                file.stream.seek(start)
                flat = np.frombuffer(file.stream.read(size), np.uint8)
                picture = flat.reshape(height, width, 3)
            else:
                picture = _decoded(file, start, size, (height, width))
            if picture.shape != (height, width, 3):
                raise UnsupportedError(f"'{self.name}' has a photograph that is not in colour")
            return np.ascontiguousarray(_red_first(picture).transpose(2, 0, 1))


def _red_first(picture: NDArray[Any]) -> NDArray[Any]:
    """Programs of different age stored red or blue first; a fundus is redder than blue."""
    first, last = float(picture[..., 0].mean()), float(picture[..., 2].mean())
    return picture if first >= last else picture[..., ::-1]
