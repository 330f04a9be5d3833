"""Samples of WFDB records that are compressed as FLAC: formats 508, 516 and 524.

A file holds one FLAC channel for each signal; where a frame of the record has several samples of
each, they follow one another.

Source: signal(5) of the WFDB Applications Guide, PhysioNet; RFC 9639 (FLAC), 8.2 (streaminfo).
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import MissingExtraError, TooLargeError, UnreadableError, UnsupportedError
from osler.io.input_file import InputFile
from osler.io.signal_wfdb_samples import Samples

FORMATS: Final = {508: 8, 516: 16, 524: 24}
"""Format to the most bits of a sample."""

_START: Final = struct.Struct(">4sB3xHH6xQ16s")


@dataclass(frozen=True, slots=True)
class _Info:
    """What a FLAC file states first."""

    channels: int
    bits: int
    count: int
    digest: bytes


def missing(format: int) -> int:
    """The value that stands for no sample."""
    return -(1 << (FORMATS[format] - 1))


def read_flac(
    dat: InputFile,
    format: int,
    *,
    per_frame: Sequence[int],
    frames: int | None,
    skip: int,
    most: int,
) -> list[Samples]:
    """The samples of each signal of a file.

    Args:
        dat: the file.
        format: a key of ``FORMATS``.
        per_frame: samples a frame, for each signal.
        frames: how many frames, or None for all that are there.
        skip: samples before the first.
        most: refuse more samples than this.

    Raises:
        MissingExtraError: the extra ``signals`` is not installed.
        TooLargeError: there are more samples.
        UnreadableError: damaged, incomplete, or other than the header says.
        UnsupportedError: signals of different rates, or a length that is not stated.
    """
    if find_spec("miniaudio") is None:
        raise MissingExtraError(
            "miniaudio", extra="signals", purpose="read compressed WFDB records"
        )
    info = _info(dat)
    if len(set(per_frame)) != 1 or info.count == 0:
        raise UnsupportedError(
            f"'{dat.name}' is FLAC with signals of different rates or without its length; convert "
            "the record with 'xform'"
        )
    if info.channels != len(per_frame) or info.bits > FORMATS[format]:
        raise UnreadableError(
            f"'{dat.name}' has {info.channels} channels of {info.bits} bits, which is not what the "
            "record's header says; copy the whole record again"
        )
    if info.count * info.channels > most:
        raise TooLargeError(
            f"'{dat.name}' has {info.count * info.channels:,} samples, more than the limit of "
            f"{most:,}; cut the record, or raise max_pixels"
        )
    each = per_frame[0]
    length = (info.count - skip) // each if frames is None else frames
    if skip + length * each > info.count or length < 0:
        raise UnreadableError(
            f"'{dat.name}' has {info.count:,} samples a signal and its header asks for "
            f"{skip + length * each:,}; it is incomplete: copy it again from its source"
        )
    samples = _decoded(dat, info)[skip : skip + length * each]
    return [np.ascontiguousarray(samples[:, i]) for i in range(info.channels)]


def _info(dat: InputFile) -> _Info:
    dat.stream.seek(0)
    head = dat.stream.read(_START.size)
    if len(head) < _START.size or head[:4] != b"fLaC" or head[4] & 0x7F:
        raise UnreadableError(
            f"'{dat.name}' is no FLAC file, as the record's header says it is; copy it again"
        )
    *_, packed, digest = _START.unpack(head)
    channels, bits = (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1
    return _Info(channels, bits, packed & (1 << 36) - 1, digest)


def _decoded(dat: InputFile, info: _Info) -> NDArray[np.int32]:
    """``(count, channels)``, held against the digest that the file states."""
    import miniaudio  # type: ignore[import-untyped]

    dat.stream.seek(0)
    found = miniaudio.flac_read_s32(dat.stream.read(dat.size))
    samples: NDArray[np.int32] = np.frombuffer(found.samples, np.int32).reshape(-1, info.channels)
    samples = samples >> (32 - info.bits)
    if len(samples) != info.count or (any(info.digest) and _digest(samples, info) != info.digest):
        raise UnreadableError(
            f"'{dat.name}' is damaged: its samples are not those that were compressed; copy it "
            "again from its source"
        )
    return samples


def _digest(samples: NDArray[np.int32], info: _Info) -> bytes:
    size = (info.bits + 7) // 8
    plain: Any = samples.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :size]
    return hashlib.md5(plain.tobytes(), usedforsecurity=False).digest()
