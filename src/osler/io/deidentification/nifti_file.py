"""A NIfTI volume (.nii, .nii.gz) → the same voxels; what its header says in words is blanked."""

import gzip
import struct
from collections import Counter
from pathlib import Path
from typing import BinaryIO, Final

from osler.errors import UnreadableError
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
_BLOCK: Final = 1 << 20
_LONGEST_HEADER: Final = 64 << 20  # bytes before the voxels


def is_nifti(head: bytes) -> bool:
    """Whether bytes start a NIfTI file with its voxels in it (not a .hdr of a pair)."""
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def accepts(file: InputFile) -> bool:
    """Whether a file is a NIfTI volume, compressed or not."""
    if not file.head.startswith(b"\x1f\x8b"):
        return is_nifti(file.head)
    try:
        with gzip.open(file.path) as stream:
            return is_nifti(stream.read(352))
    except (OSError, EOFError):
        return False


def write(file: InputFile, path: Path, counts: Counter[tuple[str, str]]) -> None:
    """Copy a volume block by block, with a blank header; extensions go.

    Raises:
        UnreadableError: it ends early, or its header is damaged.
    """
    packed = file.head.startswith(b"\x1f\x8b")
    opener = gzip.open if packed else open
    try:
        with opener(file.path, "rb") as source, path.open("wb") as target:
            if packed:
                with gzip.GzipFile("", "wb", 6, target, mtime=0) as out:
                    _copy(source, out, file, counts)  # type: ignore[arg-type]
            else:
                _copy(source, target, file, counts)  # type: ignore[arg-type]
    except (EOFError, gzip.BadGzipFile) as error:
        raise UnreadableError(f"'{file.name}' ends early ({type(error).__name__})") from None


def _copy(
    source: BinaryIO, target: BinaryIO, file: InputFile, counts: Counter[tuple[str, str]]
) -> None:
    head = bytearray(source.read(544))
    second = head[4:8] == b"n+2\0"
    order = "<" if head[0] in (0x5C, 0x1C) else ">"
    offset = int(
        struct.unpack_from(f"{order}{'q' if second else 'f'}", head, 168 if second else 108)[0]
    )
    size = 540 if second else 348
    if not size <= offset <= _LONGEST_HEADER:
        raise UnreadableError(f"'{file.name}' states its voxels at byte {offset}; it is damaged")
    head += source.read(max(offset - len(head), 0))
    if len(head) < offset:
        raise UnreadableError(f"'{file.name}' ends before its voxels")
    for name, (start, length) in (_WORDS_2 if second else _WORDS_1).items():
        if any(head[start : start + length]):
            counts[f"NIfTI {name}", "emptied"] += 1
        head[start : start + length] = b"\0" * length
    if any(head[size:offset]):
        counts["NIfTI extensions", "removed"] += 1
    head[size:offset] = b"\0" * (offset - size)
    target.write(head)
    while block := source.read(_BLOCK):
        target.write(block)


def words_left(path: Path) -> list[str]:
    """Fields of a copy's header that hold words, and extensions."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else path.open("rb") as stream:
        head = stream.read(1024)
    second = head[4:8] == b"n+2\0"
    fields = _WORDS_2 if second else _WORDS_1
    found = [f"NIfTI {n}" for n, (at, size) in fields.items() if any(head[at : at + size])]
    return found + ["NIfTI extensions"] * any(head[540:544] if second else head[348:352])
