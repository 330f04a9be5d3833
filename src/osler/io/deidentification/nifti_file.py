"""A NIfTI volume (.nii, .hdr and .img) → the same voxels; what its header says in words is blanked.

Any of the files may be compressed with gzip.
"""

import gzip
import math
import re
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import BinaryIO, Final, cast

from osler.errors import UnreadableError
from osler.io.deidentification.key import Key
from osler.io.deidentification.names_of_files import place
from osler.io.input_file import InputFile

# Fields that hold words: where they start and how many bytes they have (nifti1.h, nifti2.h).
_WORDS_1: Final = {
    "data_type": (4, 10),
    "db_name": (14, 18),
    "extents": (32, 4),
    "descrip": (148, 80),
    "aux_file": (228, 24),
    "intent_name": (328, 16),
}
_WORDS_2: Final = {"descrip": (240, 80), "aux_file": (320, 24), "intent_name": (508, 16)}
_GZIP: Final = b"\x1f\x8b"
_BLOCK: Final = 1 << 20
_LONGEST_HEADER: Final = 64 << 20  # bytes before the voxels


def is_nifti(head: bytes) -> bool:
    """Whether bytes start a NIfTI file with its voxels in it."""
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def is_header(head: bytes) -> bool:
    """Whether bytes start the header of a pair (``.hdr``)."""
    return head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0"


def accepts(file: InputFile) -> bool:
    """Whether a file is a NIfTI volume or one of a pair, compressed or not."""
    head = _head(file.path)
    return is_nifti(head) or is_header(head) or _header_of(file.path) is not None


def place_of(file: InputFile, relative: str, key: Key) -> tuple[str, str]:
    """Folder and name of a copy; both files of a pair share a stem."""
    packed = ".gz" if file.head.startswith(_GZIP) else ""
    stem = _stem(relative)
    head = _head(file.path)
    if is_nifti(head):
        return place(relative, ".nii" + packed, key)
    return place(stem, (".hdr" if is_header(head) else ".img") + packed, key)


def _stem(name: str) -> str:
    return re.sub(r"\.(hdr|img)(\.gz)?\Z", "", name, flags=re.IGNORECASE)


def _head(path: Path) -> bytes:
    try:
        with _open(path) as stream:
            return stream.read(544)
    except (OSError, EOFError, zlib.error):
        return b""


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    return cast("BinaryIO", gzip.open(path, "rb") if packed else path.open("rb"))


def _header_of(path: Path) -> bytes | None:
    """The header beside the voxels of a pair; None where there is none, or they are no voxels."""
    if not re.search(r"\.img(\.gz)?\Z", path.name, re.IGNORECASE):
        return None
    for ending in (".hdr", ".hdr.gz", ".HDR"):
        beside = path.with_name(_stem(path.name) + ending)
        if beside.is_file() and is_header(head := _head(beside)):
            return head
    return None


def write(file: InputFile, path: Path, counts: Counter[tuple[str, str]]) -> None:
    """Copy a volume block by block, with a blank header; extensions go.

    Raises:
        UnreadableError: it ends early, or its header is damaged.
    """
    packed = file.head.startswith(_GZIP)
    try:
        with _open(file.path) as source, path.open("wb") as target:
            if packed:
                with gzip.GzipFile("", "wb", 6, target, mtime=0) as out:
                    _copy(source, cast("BinaryIO", out), file, counts)
            else:
                _copy(source, target, file, counts)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableError(f"'{file.name}' ends early ({type(error).__name__})") from None


def _copy(
    source: BinaryIO, target: BinaryIO, file: InputFile, counts: Counter[tuple[str, str]]
) -> None:
    beside = _header_of(file.path)
    if beside is not None:
        offset, length = _voxels(beside, file)
        target.write(b"\0" * len(source.read(offset)))
        _copy_voxels(source, target, length, file, counts)
        return
    head = bytearray(source.read(544))
    second = bytes(head[4:8]) in (b"n+2\0", b"ni2\0")
    size = 540 if second else 348
    if is_header(bytes(head)):
        head += source.read(_LONGEST_HEADER)
        _blank(head, size, counts, second=second)
        target.write(head[:size] + b"\0" * 4)
        return
    offset, length = _voxels(head, file)
    if not size <= offset <= _LONGEST_HEADER:
        raise UnreadableError(f"'{file.name}' states its voxels at byte {offset}; it is damaged")
    head += source.read(max(offset - len(head), 0))
    if len(head) < offset:
        raise UnreadableError(f"'{file.name}' ends before its voxels")
    early = bytes(head[offset:])
    del head[offset:]
    _blank(head, size, counts, second=second)
    target.write(head)
    target.write(early[:length])
    if len(early) > length:
        counts["NIfTI bytes after the voxels", "removed"] = 1
    _copy_voxels(source, target, length - len(early), file, counts)


def _blank(head: bytearray, size: int, counts: Counter[tuple[str, str]], *, second: bool) -> None:
    """Empty what tells words: fields of the header and all that follows it."""
    for name, (start, length) in (_WORDS_2 if second else _WORDS_1).items():
        if any(head[start : start + length]):
            counts[f"NIfTI {name}", "emptied"] += 1
        head[start : start + length] = b"\0" * length
    if any(head[size:]):
        counts["NIfTI extensions", "removed"] += 1
    head[size:] = b"\0" * (len(head) - size)


def _voxels(head: bytes | bytearray, file: InputFile) -> tuple[int, int]:
    """Where the voxels start and how many bytes they take, by the header.

    Raises:
        UnreadableError: it states neither.
    """
    second = bytes(head[4:8]) in (b"n+2\0", b"ni2\0")
    order = "<" if head[0] in (0x5C, 0x1C) else ">"
    if second:
        (bits,) = struct.unpack_from(f"{order}h", head, 14)
        sides = struct.unpack_from(f"{order}8q", head, 16)
        (offset,) = struct.unpack_from(f"{order}q", head, 168)
    else:
        sides = struct.unpack_from(f"{order}8h", head, 40)
        (bits,) = struct.unpack_from(f"{order}h", head, 72)
        (offset,) = struct.unpack_from(f"{order}f", head, 108)
    count = sides[0]
    if not 1 <= count <= 7 or min(sides[1 : count + 1]) < 1 or bits < 1 or not 0 <= offset < 1e9:
        raise UnreadableError(f"'{file.name}' does not state its size; it is damaged")
    return int(offset), (math.prod(sides[1 : count + 1]) * bits + 7) // 8


def _copy_voxels(
    source: BinaryIO,
    target: BinaryIO,
    length: int,
    file: InputFile,
    counts: Counter[tuple[str, str]],
) -> None:
    """Copy so many bytes and drop what follows them."""
    while length > 0:
        block = source.read(min(_BLOCK, length))
        if not block:
            raise UnreadableError(f"'{file.name}' ends before its last voxel; copy it again")
        target.write(block)
        length -= len(block)
    if source.read(1):
        counts["NIfTI bytes after the voxels", "removed"] = 1
        while source.read(_BLOCK):  # a damaged end of a compressed file still shows
            pass


def words_left(path: Path) -> list[str]:
    """Fields of a copy's header that hold words, and extensions."""
    head = _head(path)
    if not (is_nifti(head) or is_header(head)):
        return []
    second = head[4:8] in (b"n+2\0", b"ni2\0")
    fields = _WORDS_2 if second else _WORDS_1
    found = [f"NIfTI {n}" for n, (at, size) in fields.items() if any(head[at : at + size])]
    return found + ["NIfTI extensions"] * any(head[540:544] if second else head[348:352])
