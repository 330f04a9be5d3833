"""The files of samples and annotations of a WFDB record → the same without words about anybody.

Source: signal(5) and annot(5) of the WFDB Applications Guide, PhysioNet.
"""

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from osler.errors import OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io.deidentification.free_text import Scrubber
from osler.io.input_file import InputFile, opened
from osler.io.signal_wfdb_header import Header, parse_header
from osler.io.signal_wfdb_markers import ANNOTATORS

Counts = Counter[tuple[str, str]]

_SAMPLES: Final = {
    8: 1,
    80: 1,
    16: 2,
    61: 2,
    160: 2,
    24: 3,
    32: 4,
    212: 1.5,
    310: 4 / 3,
    311: 4 / 3,
}
"""Bytes a sample, by storage format; the compressed formats may hold comments and are not here."""

_MATLAB: Final = 24  # bytes of the header that makes a file of samples one of MATLAB 4
_LARGEST: Final = 64 << 20  # bytes of annotations
_BLOCK: Final = 1 << 20
_RHYTHM: Final = re.compile(r"\([A-Z0-9]{1,6}")  # (AFIB
_AUX, _LONG = 63, 59


@dataclass(frozen=True, slots=True)
class Role:
    """What a file is to the records of its folder.

    Attributes:
        format: of its samples; 0 for annotations.
        offset: bytes before the first sample.
        length: bytes that its samples take at most, or None where the header does not say.
    """

    format: int
    offset: int = 0
    length: int | None = None


def role_of(path: Path) -> Role | None:
    """What a file is to the records beside it; None where none names it."""
    try:
        changed = path.parent.stat().st_mtime_ns
    except OSError:
        return None
    signals, records = _records(str(path.parent), changed)
    if path.name in signals:
        return signals[path.name]
    stem, _, ending = path.name.partition(".")
    return Role(0) if stem in records and ANNOTATORS.fullmatch(ending) else None


@lru_cache(maxsize=64)
def _records(folder: str, changed: int) -> tuple[dict[str, Role], frozenset[str]]:
    """Files of samples by name, and names of records."""
    del changed  # makes the cache forget
    roles: dict[str, Role] = {}
    names = set()
    for path in sorted(Path(folder).glob("*.hea")):
        try:
            with opened(path) as file:
                header = parse_header(file)
        except (OslerError, OSError):
            continue
        names.add(path.name.partition(".")[0])
        for name in {channel.file for channel in header.channels}:
            roles[name] = _joined(roles.get(name), _role(header, name))
    return roles, frozenset(names)


def _role(header: Header, name: str) -> Role:
    channels = [channel for channel in header.channels if channel.file == name]
    format, offset = channels[0].format, min(channel.offset for channel in channels)
    if header.frames is None or format not in _SAMPLES:
        return Role(format, offset)
    frames = header.frames + max(channel.skew for channel in channels)
    samples = frames * sum(channel.per_frame for channel in channels)
    return Role(format, offset, int(samples * _SAMPLES[format] + 3) // 4 * 4)


def _joined(one: Role | None, other: Role) -> Role:
    """A file that several records share keeps what any of them needs."""
    if one is None:
        return other
    known = one.length is not None and other.length is not None
    length = max(one.length or 0, other.length or 0) if known else None
    return Role(other.format, min(one.offset, other.offset), length)


def clean(file: InputFile, scrubber: Scrubber, counts: Counts) -> Callable[[Path], None]:
    """What writes the copy of a file of samples or annotations.

    Raises:
        UnreadableError: annotations are damaged.
        UnsupportedError: samples are compressed in a format that may hold words.
        TooLargeError: annotations are longer than 64 MiB.
    """
    role = role_of(file.path) or Role(0)
    if role.format == 0:
        data = _annotations(file, scrubber, counts)
        return lambda path: _save(data, path)
    if role.format not in _SAMPLES:
        raise UnsupportedError(
            f"'{file.name}' has samples in WFDB's format {role.format}, which is not cleaned; "
            "convert it to format 16 first"
        )
    return lambda path: _samples(file, role, counts, path)


def _save(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _samples(file: InputFile, role: Role, counts: Counts, path: Path) -> None:
    """Copy samples; what stands before them is blanked, and what follows them dropped."""
    file.stream.seek(0)
    before = file.stream.read(role.offset)
    matlab = role.offset == _MATLAB and before[16:24] == b"\4\0\0\0val\0"
    if any(before) and not matlab:
        counts["WFDB bytes before the samples", "blanked"] += 1
        before = b"\0" * len(before)
    left = file.size - role.offset
    if role.length is not None and left > role.length:
        counts["WFDB bytes after the samples", "removed"] += 1
        left = role.length
    with path.open("wb") as target:
        target.write(before)
        while left > 0 and (block := file.stream.read(min(_BLOCK, left))):
            target.write(block)
            left -= len(block)


def _annotations(file: InputFile, scrubber: Scrubber, counts: Counts) -> bytes:
    """Annotations with their notes cleaned."""
    if file.size > _LARGEST:
        raise TooLargeError(f"'{file.name}' has {file.size:,} bytes of annotations")
    file.stream.seek(0)
    data, out, at = file.stream.read(), bytearray(), 0
    while at + 2 <= len(data):
        (word,) = struct.unpack_from("<H", data, at)
        code, value = word >> 10, word & 1023
        size = 2 + (4 if code == _LONG else value + value % 2 if code == _AUX else 0)
        if at + size > len(data):
            raise UnreadableError(f"'{file.name}' ends within an annotation; copy it again")
        if word == 0:
            return bytes(out) + b"\0\0"
        if code == _AUX:
            out += _note(data[at + 2 : at + 2 + value], scrubber, counts)
        else:
            out += data[at : at + size]
        at += size
    raise UnreadableError(f"'{file.name}' has no end, or is no file of annotations; copy it again")


def left(file: InputFile, scrubber: Scrubber) -> Iterator[str]:
    """What cleaned annotations still tell."""
    counts: Counts = Counter()
    _annotations(file, scrubber, counts)
    if +counts:
        yield "something of somebody in an annotation"


def _note(data: bytes, scrubber: Scrubber, counts: Counts) -> bytes:
    words, zero, _ = data.partition(b"\0")
    try:
        text = words.decode("utf-8")
    except UnicodeDecodeError:
        text = words.decode("gb18030", "replace")
    new = text if _RHYTHM.fullmatch(text) else scrubber.phrase(text)
    counts["WFDB annotations", "cleaned"] += new != text
    coded = (new.encode() if new != text else words)[:1022] + zero
    return struct.pack("<H", _AUX << 10 | len(coded)) + coded + b"\0" * (len(coded) % 2)
