"""Looks for words anywhere in files, in every usual encoding, and in what is compressed in them."""

import contextlib
import gzip
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path


def everything(path: Path) -> Iterator[bytes]:
    """The bytes of a file, of its name, and of what is compressed in it."""
    data = path.read_bytes()
    yield path.name.encode()
    yield data
    if data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            for one in archive.infolist():
                yield one.filename.encode() + one.comment + one.extra
                yield archive.read(one)


def found(paths: Iterable[Path], words: Iterable[str]) -> list[str]:
    """Words that stand in any of the files, whatever their case."""
    blocks = [block.lower() for path in paths if path.is_file() for block in everything(path)]
    return [
        word
        for word in words
        if any(needle in block for needle in _needles(word.lower()) for block in blocks)
    ]


def _needles(word: str) -> Iterator[bytes]:
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1", "gb18030"):
        with contextlib.suppress(UnicodeEncodeError):
            yield word.encode(encoding)
