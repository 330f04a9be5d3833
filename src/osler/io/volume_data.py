"""The voxels of a volume file, where they lie and how they become ``(C, [D,] H, W)``."""

import bz2
import math
import mmap
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from osler.errors import TooLargeError, UnreadableError
from osler.io.input_file import InputFile, decoding, opened
from osler.io.partial_file import need
from osler.record import Deferred, Origin
from osler.record.item import Region

Encoding = Literal["raw", "gzip", "bzip2"]

BYTES_A_PIXEL: Final = 4
"""A volume may take as much memory as ``max_pixels`` pixels of four bytes."""

_MOST_OF_A_BYTE: Final = 1032  # deflate makes at most so many bytes of one (zlib's details)
_BLOCK: Final = 1 << 20
GZIP_MAGIC: Final = b"\x1f\x8b"

Change = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A file, or the part of one, that holds voxels.

    Attributes:
        path: the file.
        size: its length in bytes when it was first looked at.
        offset: bytes before the voxels.
        encoding: how the voxels are compressed.
        whole: whether the compression is of the whole file (``.nii.gz``: the offset counts
            inflated bytes) rather than of what comes after the offset.
    """

    path: Path
    size: int
    offset: int = 0
    encoding: Encoding = "raw"
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Voxels:
    """Voxels as they lie in one or more files.

    Attributes:
        name: the file that the user named, for messages.
        format: the reader's name.
        pieces: the files, each with an equal share along the slowest axis.
        stored: type of the stored values, with their byte order.
        shape: as stored, the slowest axis first.
        channel_axis: which axis of ``shape`` is the channels; None where there is none.
        dtype: of the values after ``change``.
        change: what turns stored values into those of the image, such as a rescale.
    """

    name: str
    format: str
    pieces: tuple[Piece, ...]
    stored: np.dtype[Any]
    shape: tuple[int, ...]
    channel_axis: int | None
    dtype: np.dtype[Any]
    change: Change | None = None

    def origin(self, file: InputFile) -> Origin:
        """Where an image comes from: the file that was named, and those with its voxels."""
        beside = tuple(str(piece.path) for piece in self.pieces if piece.path != file.path)
        return Origin(path=file.name, sha256="", format=self.format, files=beside)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """``(C, [D,] H, W)``."""
        if self.channel_axis is None:
            return (1, *self.shape)
        rest = list(self.shape)
        channels = rest.pop(self.channel_axis)
        return (channels, *rest)

    @property
    def piece_bytes(self) -> int:
        """Bytes of voxels in each piece, inflated."""
        return math.prod(self.shape) * self.stored.itemsize // len(self.pieces)

    def without(self, axis: int) -> "Voxels":
        """The same voxels without an axis of ``shape`` that has one step, such as a plane's."""
        channels = self.channel_axis
        if channels is not None and channels > axis:
            channels -= 1
        shape = self.shape[:axis] + self.shape[axis + 1 :]
        return replace(self, shape=shape, channel_axis=channels)

    def check(self) -> None:
        """Refuse what the header alone shows to be impossible.

        Raises:
            UnreadableError: an axis is empty, or the file is too short for what it states.
        """
        if any(n < 1 for n in self.shape):
            raise UnreadableError(
                f"'{self.name}' states an empty axis in its size {self.shape}; export it again"
            )
        for piece in self.pieces:
            wanted = self.piece_bytes + (piece.offset if piece.whole else 0)
            there = piece.size - (0 if piece.whole else piece.offset)
            most = {"raw": there, "gzip": there * _MOST_OF_A_BYTE}.get(piece.encoding, wanted)
            if wanted > most or there < 1:
                raise UnreadableError(
                    f"'{self.name}' states {wanted:,} bytes of voxels but there are only "
                    f"{there:,} bytes; it is incomplete: copy it again from its source"
                )

    def deferred(self, *, max_pixels: int) -> Deferred:
        """The voxels as what an ``Image`` holds; nothing is read yet."""
        self.check()
        count = len(self.pieces)
        planes = count == self.shape[0] and self.channel_axis != 0
        raw = all(piece.encoding == "raw" for piece in self.pieces) and (count == 1 or planes)
        return Deferred(
            self.image_shape,
            self.dtype,
            partial(self._load, max_pixels),
            (self._region if count == 1 else self._region_of_planes) if raw else None,
        )

    def _load(self, max_pixels: int) -> NDArray[Any]:
        size = math.prod(self.shape) * max(self.dtype.itemsize, self.stored.itemsize)
        if size > max_pixels * BYTES_A_PIXEL:
            raise TooLargeError(
                f"'{self.name}' has {math.prod(self.shape):,} voxels, which take {size:,} bytes; "
                f"the limit is max_pixels={max_pixels:,} of {BYTES_A_PIXEL} bytes: read a part "
                "with image.region(...), or raise max_pixels"
            )
        if len(self.pieces) == 1:
            flat = read_piece(self.pieces[0], self.piece_bytes, self.format)
        else:
            flat = np.empty(self.piece_bytes * len(self.pieces), np.uint8)
            for i, piece in enumerate(self.pieces):
                start = i * self.piece_bytes
                part = read_piece(piece, self.piece_bytes, self.format)
                flat[start : start + self.piece_bytes] = part
        return self._arranged(_as(flat, self.stored).reshape(self.shape))

    def _region(self, region: Region) -> NDArray[Any]:
        return self._arranged(self._part(self.pieces[0], self.shape, self._stored_cut(region)))

    def _region_of_planes(self, region: Region) -> NDArray[Any]:
        """The same where each file holds one step of the slowest axis."""
        first, *rest = self._stored_cut(region)
        parts = [self._part(piece, self.shape[1:], tuple(rest)) for piece in self.pieces[first]]
        if not parts:
            return self._arranged(np.empty(self.shape, self.stored)[self._stored_cut(region)])
        return self._arranged(np.stack(parts))

    def _stored_cut(self, region: Region) -> Region:
        cut = list(region)
        if self.channel_axis is not None:
            cut.insert(self.channel_axis, slice(None))
        return tuple(cut)

    def _part(self, piece: Piece, shape: tuple[int, ...], cut: Region) -> NDArray[Any]:
        with unchanged(piece, self.format) as file:
            for start, stop in _runs(shape, cut):
                size = self.stored.itemsize
                need(file.path, piece.offset + start * size, piece.offset + stop * size)
            mapped = np.memmap(file.path, self.stored, mode="r", offset=piece.offset, shape=shape)
            return np.array(mapped[cut])

    def _arranged(self, array: NDArray[Any]) -> NDArray[Any]:
        """Stored values to ``(C, [D,] H, W)`` in the image's values."""
        if not self.stored.isnative:
            array = array.byteswap(inplace=True).view(self.stored.newbyteorder("="))
        if self.channel_axis is None:
            array = array[None]
        else:
            array = np.moveaxis(array, self.channel_axis, 0)
        if self.change is not None:
            array = self.change(array)
        return np.require(array, requirements=["C_CONTIGUOUS", "WRITEABLE"])


def _runs(shape: tuple[int, ...], cut: Region) -> Iterator[tuple[int, int]]:
    """Where the values of a part lie: runs along the second axis, for each step of the first."""
    outer, inner = math.prod(shape[1:]), math.prod(shape[2:])
    first = range(*cut[0].indices(shape[0]))
    second = cut[1].indices(shape[1]) if len(shape) > 1 else (0, 1, 1)
    for at in first:
        yield at * outer + second[0] * inner, at * outer + second[1] * inner


def _as(flat: NDArray[np.uint8], stored: np.dtype[Any]) -> NDArray[Any]:
    """Bytes as values; copied only where they begin at an odd address."""
    if flat.ctypes.data % max(1, stored.alignment):
        flat = flat.copy()
    return flat.view(stored)


@contextmanager
def unchanged(piece: Piece, format: str) -> Iterator[InputFile]:
    """The file of a piece, opened again; one whose length has changed is refused."""
    with opened(piece.path) as file, decoding(file, format):
        if file.size != piece.size:
            raise UnreadableError(
                f"'{file.name}' had {piece.size:,} bytes when it was opened and has "
                f"{file.size:,} now: load it again"
            )
        yield file


def read_piece(piece: Piece, size: int, format: str) -> NDArray[np.uint8]:
    """The ``size`` bytes of voxels in a file, inflated.

    Memory for them is taken once; what would inflate to more is cut off there.

    Raises:
        UnreadableError: the file has changed, is damaged, or ends early.
    """
    with unchanged(piece, format) as file:
        if piece.encoding == "raw":
            file.stream.seek(piece.offset)
            out = np.empty(size, np.uint8)
            if file.stream.readinto(out.data) != size:
                raise _short(file)
            return out
        file.whole()
        before = piece.offset if piece.whole else 0
        out = np.empty(before + size, np.uint8)
        with mmap.mmap(file.stream.fileno(), 0, access=mmap.ACCESS_READ) as packed:
            view = memoryview(packed)[0 if piece.whole else piece.offset :]
            try:
                if piece.encoding == "bzip2":
                    _in_blocks(file, view, out, bz2.BZ2Decompressor)
                else:
                    _inflate(file, view, out)
            finally:
                view.release()
        return out[before:]


def _inflate(file: InputFile, packed: memoryview, out: NDArray[np.uint8]) -> None:
    """Gzip or zlib, with its checksum verified; at once where it is one member and no more."""
    import imagecodecs

    gzip = bytes(packed[:2]) == GZIP_MAGIC
    decode: Any = imagecodecs.gzip_decode if gzip else imagecodecs.deflate_decode
    try:
        if len(decode(packed, out=out)) == out.size:
            return
    except (RuntimeError, ValueError):
        pass  # several members, or bytes after the voxels, or damage: block by block tells
    _in_blocks(file, packed, out, lambda: zlib.decompressobj(wbits=47))


def _in_blocks(
    file: InputFile, packed: memoryview, out: NDArray[np.uint8], make: Callable[[], Any]
) -> None:
    """Decompress members one after another until ``out`` is full; the rest is never made."""
    target, filled, at = memoryview(out.data).cast("B"), 0, 0
    decoder, pending = make(), b""
    while filled < len(target):
        if decoder.eof:
            pending = decoder.unused_data + bytes(packed[at : at + _BLOCK])
            at += _BLOCK
            if not pending:
                raise _short(file)
            decoder = make()
        elif not pending and getattr(decoder, "needs_input", True):
            pending = bytes(packed[at : at + _BLOCK])
            at += _BLOCK
            if not pending:
                raise _short(file)
        part = decoder.decompress(pending, len(target) - filled)
        pending = getattr(decoder, "unconsumed_tail", b"")
        target[filled : filled + len(part)] = part
        filled += len(part)
    _finish(file, decoder, pending, packed[at:])


def _finish(file: InputFile, decoder: Any, pending: bytes, rest: memoryview) -> None:
    """Let a member that ends here verify its checksum; one that goes on is left."""
    at = 0
    while not decoder.eof:
        block = pending or bytes(rest[at : at + 64])
        at += 0 if pending else 64
        pending = b""
        if not block:
            raise _short(file)
        if decoder.decompress(block, 1):
            return


def _short(file: InputFile) -> UnreadableError:
    return UnreadableError(
        f"'{file.name}' ends before its last voxel; it is incomplete: copy it again from its source"
    )
