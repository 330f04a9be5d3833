"""Why a file is no checkpoint that can be read, in words; nothing in it is run."""

import pickletools
import struct
import zipfile
from pathlib import Path

MOST_HEADER = 100_000_000
"""Bytes that the header of safetensors may have, as its own reader has it."""

_MOST_PICKLE = 64_000_000
_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".safetensors")


def told(path: Path) -> str:
    """What a file that no reader takes is, as the end of a sentence."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(512)
    if not size:
        return "is empty"
    if head[:2] == b"\x1f\x8b":
        return "is compressed with gzip; unpack it first"
    if head[:2] == b"PK":
        return _zipped(path)
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page and no checkpoint: its download was refused or asked for consent"
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS and holds no weights; fetch them with 'git lfs pull'"
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return "is HDF5, as Keras writes it, which is not read; ask for torch or safetensors"
    if size < 8:
        return "is too short to hold weights"
    (length,) = struct.unpack("<Q", head[:8])
    if head[8:9] == b"{" and length > min(MOST_HEADER, size - 8):
        return (
            f"is safetensors and damaged or cut off: its header states {length} bytes, and it has "
            f"{size - 8} after that"
        )
    if head[8:9] == b"{":
        return "is safetensors and damaged or cut off"
    return "is neither a file of torch nor of safetensors, or is damaged"


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "is damaged: it cannot be read to its end"
    if any(name.endswith("data.pkl") for name in names):
        return "is damaged: it cannot be read to its end"
    inside = next((name for name in names if name.endswith(_WEIGHTS)), None)
    if inside is not None:
        return f"is a zip with '{inside}' in it; unpack it and name that"
    return "is a zip that torch did not write and holds no weights"


def named_globals(path: Path) -> list[str]:
    """Classes and functions that a pickle outside of a zip names; what is damaged ends the list."""
    found: list[str] = []
    said: list[str] = []
    with path.open("rb") as stream:
        content = stream.read(_MOST_PICKLE)
    try:
        for code, value, _ in pickletools.genops(content):
            if code.name == "GLOBAL":
                found.append(str(value).replace(" ", "."))
            elif code.name == "STACK_GLOBAL" and len(said) >= 2:
                found.append(".".join(said[-2:]))
            elif isinstance(value, str):
                said.append(value)
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError):
        pass
    return sorted(set(found))
