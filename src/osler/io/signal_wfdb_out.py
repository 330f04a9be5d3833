"""A signal and its markers as a WFDB record.

Source: header(5), signal(5) and annot(5) of the WFDB Applications Guide, PhysioNet.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import OutputError
from osler.io.atomic_file import replacing
from osler.io.signal_wfdb_markers import pack_markers
from osler.io.signal_wfdb_samples import STORAGE, pack
from osler.record import Markers, Signal

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WRITTEN: Final = (16, 24, 32)
_UNITS: Final = {"mm[Hg]": "mmHg", "1": "NU", "Cel": "degC", "cm[H2O]": "cmH2O"}

Digital = NDArray[np.int64]


def write_wfdb(
    signal: Signal,
    folder: str | os.PathLike[str],
    name: str,
    *,
    markers: Mapping[str, Markers] | None = None,
) -> tuple[Path, ...]:
    """Write ``NAME.hea``, ``NAME.dat`` and a file for each set of markers.

    A signal that was read from a record keeps its gains and baselines and so its very samples.
    Any other is stored with a step of at most a millionth of each channel's range. NaN becomes
    the format's value for a missing sample.

    Args:
        signal: ``(C, T)``.
        folder: made where it does not exist.
        name: of the record: letters, digits, ``_`` and ``-``.
        markers: annotator, such as ``"atr"``, to the markers.

    Returns:
        The files, the header first.

    Raises:
        OutputError: the name cannot be one, the signal has no samples or infinite ones, or a file
            cannot be written.
    """
    markers = markers or {}
    for word in (name, *markers):
        if not _NAME.fullmatch(word):
            raise OutputError(
                f"'{word}' cannot be a name in WFDB; use letters, digits, '_' and '-' only"
            )
    if signal.array.ndim != 2 or not signal.array.size or np.isinf(signal.array).any():
        raise OutputError(
            f"signal '{signal.name}' has no samples, or infinite ones; WFDB holds neither"
        )
    format, scales = _scales(signal)
    columns = [
        _digital(row, scale, format) for row, scale in zip(signal.array, scales, strict=True)
    ]
    files = {
        f"{name}.hea": _header(signal, name, format, scales, columns).encode(),
        f"{name}.dat": pack(np.stack(columns, axis=1).reshape(-1), format),
    }
    for annotator, one in markers.items():
        files[f"{name}.{annotator}"] = pack_markers(one, rate=signal.rate)
    return _write(Path(folder), files)


class _Scale:
    """Gain (ADC units a physical unit), baseline (ADC units at zero) and the unit's name."""

    def __init__(self, gain: float, baseline: int, units: str) -> None:
        # the header's own digits are what a reader will use
        self.words = f"{gain:.10g}"
        self.gain, self.baseline, self.units = float(self.words), baseline, units


def _scales(signal: Signal) -> tuple[int, list[_Scale]]:
    known: Sequence[Mapping[str, Any]] = signal.header.get("channels", ())
    if len(known) == len(signal.array) and all("gain" in one for one in known):
        scales = [_kept(one, unit) for one, unit in zip(known, signal.units, strict=True)]
        for format in _WRITTEN:
            if all(_exact(r, s, format) for r, s in zip(signal.array, scales, strict=True)):
                return format, scales
    scales24 = [_made(row, unit) for row, unit in zip(signal.array, signal.units, strict=True)]
    return 24, scales24


def _kept(channel: Mapping[str, Any], unit: str) -> _Scale:
    """The scale of the file that it was read from, in the unit of the signal."""
    factor = {"uV": 1e3, "µV": 1e3, "V": 1e-3, "nV": 1e6}.get(str(channel["units"]), 1.0)
    gain = float(channel["gain"]) * (factor if unit == "mV" else 1.0)
    return _Scale(gain, int(channel["baseline"]), _unit(unit))


def _exact(row: NDArray[Any], scale: _Scale, format: int) -> bool:
    """Whether every value is a sample of this scale and the format holds it."""
    stored = np.asarray(row, np.float64) * scale.gain + scale.baseline
    whole = np.round(stored)
    gap = np.isnan(stored)
    lowest = STORAGE[format].missing or 0
    near = np.abs(stored - whole) <= 0.02
    inside = (whole > lowest) & (whole <= -lowest - 1)
    return bool(np.all(gap | (near & inside)))


def _made(row: NDArray[Any], unit: str) -> _Scale:
    values = np.asarray(row, np.float64)
    present = values[~np.isnan(values)]
    low, high = (float(present.min()), float(present.max())) if present.size else (0.0, 0.0)
    half = (high - low) / 2
    # a constant channel still needs a gain with which its value is exact enough
    half = half or max(abs(high), 1.0) / 2
    gain = float(f"{8_000_000 / half:.6g}")
    return _Scale(gain, round(-(low + high) / 2 * gain), _unit(unit))


def _unit(unit: str) -> str:
    return _UNITS.get(unit) or re.sub(r"\s", "_", unit.strip("{}")) or "NU"


def _digital(row: NDArray[Any], scale: _Scale, format: int) -> Digital:
    missing = STORAGE[format].missing or 0
    stored = np.round(np.asarray(row, np.float64) * scale.gain + scale.baseline)
    return np.where(np.isnan(stored), missing, stored).astype(np.int64)


def _header(
    signal: Signal, name: str, format: int, scales: Sequence[_Scale], columns: Sequence[Digital]
) -> str:
    count, length = signal.array.shape
    when = f" {signal.acquired:%H:%M:%S} {signal.acquired:%d/%m/%Y}" if signal.acquired else ""
    lines = [f"{name} {count} {signal.rate:.12g} {length}{when}"]
    for scale, column, channel in zip(scales, columns, signal.channels, strict=True):
        total = int(column.sum()) & 0xFFFF
        checksum = total - 65536 if total & 0x8000 else total
        lines.append(
            f"{name}.dat {format} {scale.words}({scale.baseline})/{scale.units} {format} 0 "
            f"{column[0]} {checksum} 0 {' '.join(channel.split())}"
        )
    lines += [f"# {' '.join(line.split())}" for line in signal.header.get("comments", ())]
    return "\n".join(lines) + "\n"


def _write(folder: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Each file whole or not at all, the header last, so that no header lacks its samples."""
    for file_name in reversed(list(files)):
        with replacing(folder / file_name) as part:
            part.write_bytes(files[file_name])
    return tuple(folder / file_name for file_name in files)
