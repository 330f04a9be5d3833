"""Samples of WFDB records, in the storage formats that are in use.

Source: signal(5) of the WFDB Applications Guide, PhysioNet.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int32]


class Storage(NamedTuple):
    """How a format stores samples.

    Attributes:
        samples: in a block.
        bytes: of a block.
        missing: the value that stands for no sample, or None.
        decode: bytes of whole blocks to samples.
        partial: bytes of a cut block that holds 0, 1, ... samples.
    """

    samples: int
    bytes: int
    missing: int | None
    decode: Callable[[NDArray[np.uint8]], Samples]
    partial: tuple[int, ...] = (0,)

    def length(self, count: int) -> int:
        """Bytes that ``count`` samples take; a last block may be cut."""
        whole, rest = divmod(count, self.samples)
        return whole * self.bytes + self.partial[rest]

    def count(self, length: int) -> int:
        """Samples in ``length`` bytes."""
        whole, rest = divmod(length, self.bytes)
        return whole * self.samples + max(n for n, b in enumerate(self.partial) if b <= rest)


def _plain(kind: str, less: int = 0) -> Callable[[NDArray[np.uint8]], Samples]:
    def decode(raw: NDArray[np.uint8]) -> Samples:
        return raw.view(kind).astype(np.int32) - less

    return decode


def _decode_24(raw: NDArray[np.uint8]) -> Samples:
    three = raw.reshape(-1, 3).astype(np.int32)
    value = three[:, 0] | (three[:, 1] << 8) | (three[:, 2] << 16)
    return _signed(value, 24)


def _decode_212(raw: NDArray[np.uint8]) -> Samples:
    three = raw.reshape(-1, 3).astype(np.int32)
    first = three[:, 0] | ((three[:, 1] & 0x0F) << 8)
    second = three[:, 2] | ((three[:, 1] & 0xF0) << 4)
    return _signed(np.stack([first, second], axis=1).reshape(-1), 12)


def _decode_310(raw: NDArray[np.uint8]) -> Samples:
    words = raw.view("<u2").reshape(-1, 2).astype(np.int32)
    first, second = (words[:, 0] >> 1) & 0x3FF, (words[:, 1] >> 1) & 0x3FF
    third = ((words[:, 0] >> 11) & 0x1F) | (((words[:, 1] >> 11) & 0x1F) << 5)
    return _signed(np.stack([first, second, third], axis=1).reshape(-1), 10)


def _decode_311(raw: NDArray[np.uint8]) -> Samples:
    words = raw.view("<u4").astype(np.int64)
    three = np.stack([(words >> shift) & 0x3FF for shift in (0, 10, 20)], axis=1)
    return _signed(three.reshape(-1).astype(np.int32), 10)


def _signed(value: Samples, bits: int) -> Samples:
    half = 1 << (bits - 1)
    signed: Samples = (value ^ half) - half
    return signed


STORAGE: Final[dict[int, Storage]] = {
    8: Storage(1, 1, None, _plain("i1")),
    16: Storage(1, 2, -(1 << 15), _plain("<i2")),
    24: Storage(1, 3, -(1 << 23), _decode_24),
    32: Storage(1, 4, -(1 << 31), _plain("<i4")),
    61: Storage(1, 2, -(1 << 15), _plain(">i2")),
    80: Storage(1, 1, -128, _plain("u1", 128)),
    160: Storage(1, 2, -(1 << 15), _plain("<u2", 1 << 15)),
    212: Storage(2, 3, -(1 << 11), _decode_212, (0, 2)),
    310: Storage(3, 4, -(1 << 9), _decode_310, (0, 2, 4)),
    311: Storage(3, 4, -(1 << 9), _decode_311, (0, 2, 3)),
}
"""Format to how it stores samples; 8 stores differences."""


def unpack(raw: bytes, format: int, count: int) -> Samples:
    """Samples from bytes.

    Args:
        raw: at least the bytes that the samples take.
        format: a key of ``STORAGE``.
        count: how many samples.

    Returns:
        ``(count,)`` in ADC units; differences for format 8.
    """
    storage = STORAGE[format]
    blocks = -(-count // storage.samples)
    padded = np.zeros(blocks * storage.bytes, np.uint8)
    data = np.frombuffer(raw, np.uint8)[: padded.size]
    padded[: data.size] = data
    return storage.decode(padded)[:count]


def pack(values: NDArray[Any], format: int) -> bytes:
    """Bytes of samples in ADC units, ``(N,)``, in format 16, 24, 32 or 212."""
    values = np.asarray(values, np.int64)
    if format == 24:
        return values.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    if format == 212:
        even = np.zeros(values.size + values.size % 2, np.int64)
        even[: values.size] = values & 0xFFF
        first, second = even[::2], even[1::2]
        middle = (first >> 8) | ((second >> 8) << 4)
        packed = np.stack([first & 0xFF, middle, second & 0xFF], axis=1).astype(np.uint8)
        return packed.tobytes()[: STORAGE[212].length(values.size)]
    return values.astype({16: "<i2", 32: "<i4"}[format]).tobytes()


def deinterleave(samples: Samples, per_frame: Sequence[int]) -> list[Samples]:
    """The signals of a file whose frames hold ``per_frame`` samples of each in turn."""
    frames = samples.reshape(-1, sum(per_frame))
    stops = np.cumsum(per_frame)
    return [
        np.ascontiguousarray(frames[:, stop - n : stop]).reshape(-1)
        for n, stop in zip(per_frame, stops, strict=True)
    ]
