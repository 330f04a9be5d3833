"""Where the frames of a DICOM file lie, and reading one of them alone.

Source: DICOM PS3.5 annex A.4 (encapsulated frames, offset tables) and 8.1 (native frames).
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from osler.errors import TooLargeError, UnreadableError
from osler.io.dicom_layout import EXPLICIT_BIG, Layout
from osler.io.input_file import InputFile, unopenable
from osler.io.partial_file import need

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Fragment = tuple[int, int]
ReadFrame = Callable[[int], bytes]

_PIXEL_ELEMENTS = (0x0008, 0x0009, 0x0010)
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN", b"UC", b"UR", b"UT", b"SQ")
_ITEM, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of a file, each readable alone; small enough to be sent to another process.

    Attributes:
        path: the file.
        name: its name as it can be printed.
        size: its length in bytes when it was opened.
        fragments: for each compressed frame, offset and length of its parts; empty where native.
        start: offset of the first native frame.
        frame_bits: bits of a native frame; the next one follows at once, even within a byte.
        inflate: ``(offset, limit)`` where the data set is deflated from an offset on: all other
            offsets count in the inflated bytes, of which there are ``limit`` at most.
        swapped: whether native bytes lie in big-endian 16-bit words, and so in pairs the other
            way round (PS3.5 7.3).
    """

    path: str
    name: str
    size: int
    fragments: tuple[tuple[Fragment, ...], ...] = ()
    start: int = 0
    frame_bits: int = 0
    inflate: tuple[int, int] | None = None
    swapped: bool = False

    @contextmanager
    def reading(self) -> Iterator[ReadFrame]:
        """A function that reads one frame; threads may share it.

        Raises:
            InputError: the file is gone or may no longer be read.
            UnreadableError: it is not as long as it was.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except (OSError, ValueError) as error:
            raise unopenable(self.name, error) from None
        try:
            if os.fstat(descriptor).st_size != self.size:
                raise self._changed()
            yield self._reader(descriptor)
        finally:
            os.close(descriptor)

    def _reader(self, descriptor: int) -> ReadFrame:
        inflated: bytes | None = None
        if self.inflate is not None:
            offset, limit = self.inflate
            need(self.path)
            inflated = inflate(_blocks(descriptor, offset, self.size), limit=limit)

        def take(offset: int, length: int) -> bytes:
            if inflated is not None:
                data = inflated[offset : offset + length]
            else:
                need(self.path, offset, offset + length)
                data = _pread(descriptor, offset, length)
            if len(data) < length:
                raise self._changed()
            return data

        def frame(index: int) -> bytes:
            if self.fragments:
                parts = self.fragments[index]
                if len(parts) == 1:
                    return take(*parts[0])
                return b"".join(take(*part) for part in parts)
            first = self.frame_bits * index
            last = first + self.frame_bits
            first, last = first // 8, (last + 7) // 8
            if not self.swapped:
                return take(self.start + first, last - first)
            pairs = take(self.start + first // 2 * 2, (last + 1) // 2 * 2 - first // 2 * 2)
            data = np.frombuffer(pairs, ">u2").astype("<u2").tobytes()
            return data[first % 2 : first % 2 + last - first]

        return frame

    def _changed(self) -> UnreadableError:
        return UnreadableError(
            f"'{self.name}' has changed since it was opened; load it again, and copy it again from "
            "its source if that fails"
        )


def _pread(descriptor: int, offset: int, length: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _blocks(descriptor: int, offset: int, size: int) -> Iterator[bytes]:
    while offset < size:
        block = os.pread(descriptor, _BLOCK, offset)
        if not block:
            return
        yield block
        offset += len(block)


def inflate(blocks: Iterator[bytes], *, limit: int) -> bytes:
    """The first ``limit`` bytes, at most, of a raw deflate stream (RFC 1951).

    Raises:
        zlib.error: the stream is damaged.
    """
    decompressor, parts, length = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    for block in blocks:
        part = decompressor.decompress(block, limit - length)
        parts.append(part)
        length += len(part)
        while decompressor.unconsumed_tail and length < limit:
            part = decompressor.decompress(decompressor.unconsumed_tail, limit - length)
            parts.append(part)
            length += len(part)
        if length >= limit or decompressor.eof:
            break
    return b"".join(parts)


def locate(
    file: InputFile,
    stream: BinaryIO,
    dataset: "Dataset",
    layout: Layout,
    *,
    inflate: tuple[int, int] | None = None,
) -> Frames:
    """Find every frame, without reading one.

    Args:
        file: the opened file.
        stream: the file's own stream, or its inflated bytes, at the element of the pixels.
        dataset: the header.
        layout: what it says of the samples.
        inflate: as in ``Frames``.

    Raises:
        UnreadableError: frames are missing, incomplete, or not where the file says.
    """
    words, length = _element(file, stream, big=layout.syntax == EXPLICIT_BIG)
    start = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    stream.seek(start)
    common: dict[str, Any] = {"path": str(file.path), "name": file.name, "size": file.size}
    if layout.encapsulated:
        if length != _UNDEFINED:
            raise UnreadableError(
                f"'{file.name}' is compressed by its TransferSyntaxUID, but its pixels are not "
                "encapsulated; export it again"
            )
        table, fragments = _fragments(file, stream, end)
        parts = _by_frame(file, stream, dataset, layout, table=table, fragments=fragments)
        return Frames(fragments=parts, inflate=inflate, **common)
    if length == _UNDEFINED:
        raise UnreadableError(
            f"'{file.name}' is uncompressed by its TransferSyntaxUID, but its pixels are "
            "encapsulated; export it again"
        )
    held = min(length, end - start)
    frame_bits = _native_bits(layout, held)
    needed = (frame_bits * layout.frames + 7) // 8
    if held < needed:
        raise UnreadableError(
            f"'{file.name}' has {held} bytes of pixels where its header needs {needed}; it is "
            "incomplete: copy it again from its source"
        )
    swapped = words and layout.syntax == EXPLICIT_BIG and layout.allocated <= 8
    return Frames(start=start, frame_bits=frame_bits, inflate=inflate, swapped=swapped, **common)


def native_frame(
    path: str, name: str, size: int, layout: Layout, *, head: bytes, at: int
) -> Frames | None:
    """The one uncompressed little-endian frame of a file, without opening it.

    Args:
        path: the file.
        name: its name as it can be printed.
        size: its length in bytes.
        layout: what the header says of the samples.
        head: the first 12 bytes of the element of the pixels.
        at: where they are.

    Returns:
        None where ``locate`` has to look.
    """
    if layout.encapsulated or layout.syntax == EXPLICIT_BIG or layout.frames != 1:
        return None
    if len(head) < 12 or struct.unpack_from("<HH", head) != (0x7FE0, 0x0010):
        return None
    explicit = head[4:6] in _LONG_VRS
    (length,) = struct.unpack_from("<I", head, 8 if explicit else 4)
    start = at + (12 if explicit else 8)
    held = min(length, size - start)
    bits = _native_bits(layout, held)
    if length == _UNDEFINED or held < (bits + 7) // 8:
        return None
    return Frames(path, name, size, start=start, frame_bits=bits)


def _native_bits(layout: Layout, held: int) -> int:
    """Bits of a frame; whole chroma where a program left the name of shared chroma behind."""
    whole = layout.rows * layout.columns * layout.samples * layout.allocated
    if layout.frame_bits != whole and held * 8 >= whole * layout.frames:
        return whole
    return layout.frame_bits


def _element(file: InputFile, stream: BinaryIO, *, big: bool) -> tuple[bool, int]:
    """Whether the element of the pixels is of VR OW, and its length; the value comes next."""
    order = ">" if big else "<"
    head = stream.read(8)
    if len(head) < 8:
        raise truncated(file)
    group, element = struct.unpack_from(f"{order}HH", head)
    if group != 0x7FE0 or element not in _PIXEL_ELEMENTS:
        raise truncated(file)
    vr = head[4:6]
    if vr not in _LONG_VRS:  # implicit, which some writers use where their syntax denies it
        return True, struct.unpack_from(f"{order}I", head, 4)[0]
    rest = stream.read(4)
    if len(rest) < 4:
        raise truncated(file)
    return vr == b"OW", struct.unpack(f"{order}I", rest)[0]


def truncated(file: InputFile) -> UnreadableError:
    """What to say about an image without its pixels."""
    return UnreadableError(
        f"'{file.name}' is a DICOM image without pixels; it is incomplete: copy it again from its "
        "source"
    )


def _fragments(file: InputFile, stream: BinaryIO, end: int) -> tuple[list[int], list[Fragment]]:
    """The basic offset table, and offset and length of each fragment."""
    table: list[int] | None = None
    fragments: list[Fragment] = []
    while True:
        head = stream.read(8)
        if len(head) < 8:
            return table or [], fragments  # some writers leave the delimiter out
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == _DELIMITER:
            return table or [], fragments
        start = stream.tell()
        if (group, element) != _ITEM or start + length > end:
            raise UnreadableError(
                f"'{file.name}' has a compressed frame that is cut off or lies outside the file; "
                "it is incomplete: copy it again from its source"
            )
        if table is None:
            content = stream.read(length)
            table = list(struct.unpack(f"<{length // 4}I", content[: length // 4 * 4]))
        else:
            fragments.append((start, length))
            stream.seek(start + length)


def _by_frame(
    file: InputFile,
    stream: BinaryIO,
    dataset: "Dataset",
    layout: Layout,
    *,
    table: list[int],
    fragments: list[Fragment],
) -> tuple[tuple[Fragment, ...], ...]:
    """The fragments of each frame: one each, or by an offset table, or by how they begin."""
    count = layout.frames
    if not fragments:
        raise truncated(file)
    if count == 1:
        return (tuple(fragments),)
    if len(fragments) == count:
        return tuple((fragment,) for fragment in fragments)
    base = fragments[0][0] - 8
    starts = _extended_table(dataset) or table
    if len(starts) != count:
        starts = [at - 8 - base for at, length in fragments if _begins(stream, at, length)]
    groups: dict[int, list[Fragment]] = {start + base + 8: [] for start in starts}
    current: list[Fragment] | None = None
    for fragment in fragments:
        current = groups.get(fragment[0], current)
        if current is not None:
            current.append(fragment)
    if len(groups) != count or not all(groups.values()):
        raise UnreadableError(
            f"'{file.name}' states {count} frames (NumberOfFrames) but has {len(fragments)} "
            "fragments that no offset table divides so; it is incomplete, or export it again with "
            "an offset table"
        )
    return tuple(tuple(group) for group in groups.values())


def _extended_table(dataset: "Dataset") -> list[int]:
    value = dataset.get("ExtendedOffsetTable")
    if not isinstance(value, bytes):
        return []
    return list(struct.unpack(f"<{len(value) // 8}Q", value[: len(value) // 8 * 8]))


def _begins(stream: BinaryIO, at: int, length: int) -> bool:
    stream.seek(at)
    return stream.read(min(8, length)).startswith(_STARTS)


def refuse_bomb(file: InputFile, length: int, limit: int) -> None:
    """Raise where inflated bytes go beyond what the header asks for.

    Raises:
        TooLargeError: there are ``limit`` bytes or more.
    """
    if length >= limit:
        raise TooLargeError(
            f"'{file.name}' inflates to more than {limit:,} bytes before its pixels; it is no image"
        )
