"""Signals in delimited text: a column a channel, and a sampling rate that is said.

The rate is said by an option, by a comment (``# rate = 500``), or by a first column of times with
its unit (``"time [s]"``). A table without any of these is no signal.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, UnreadableError, UnsupportedError
from osler.io import signal_leads as leads
from osler.io.input_file import InputFile
from osler.io.table_csv import Cells
from osler.io.table_frame import MISSING
from osler.io.table_units import split_header, ucum
from osler.record import Signal

_TIME: Final = re.compile(r"(?:t|time|times|timestamp|elapsed(?:[ _]time)?|时间)", re.IGNORECASE)
_SUFFIX: Final = re.compile(r"(t|time|timestamp)_(s|sec|ms|us)", re.IGNORECASE)
_RATES: Final = ("rate", "sampling rate", "sampling_rate", "sample rate", "sample_rate", "fs",
                 "sampling frequency", "sampling_frequency", "frequency")  # fmt: skip
_RATE = re.compile(r"(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*(Hz|kHz)?", re.IGNORECASE)
_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}
_JITTER: Final = 0.02
"""Largest deviation of a time from an even grid, as a part of a step: rounding of the text."""


def stated_rate(comments: Mapping[str, str]) -> float | None:
    """The rate in Hz that comments state, or None."""
    for name in _RATES:
        if name in comments and (match := _RATE.fullmatch(comments[name].strip())):
            rate = float(match[1])
            return rate * 1000 if (match[2] or "").casefold() == "khz" else rate
    return None


def time_unit(header: str) -> str | None:
    """The UCUM unit of a column of times, or None where it is no such column."""
    name, unit = split_header(header)
    if match := _SUFFIX.fullmatch(name):
        return ucum(match[2])
    return unit if _TIME.fullmatch(name) and unit in _SECONDS else None


def is_signal(cells: Cells) -> bool:
    """Whether a table says that it is a signal."""
    return stated_rate(cells.comments) is not None or (
        len(cells.headers) > 1 and time_unit(cells.headers[0]) is not None
    )


def read_csv_signal(file: InputFile, format: str, cells: Cells, *, rate: float | None) -> Signal:
    """The signal in a table.

    Args:
        file: the file, for messages and origin.
        format: the format's name.
        cells: the parsed table.
        rate: Hz; by default as the table says it.

    Raises:
        UnreadableError: a cell is no number, or times are not evenly spaced.
        UnsupportedError: times and a stated rate disagree.
        InputError: the rate is not positive.
    """
    if rate is not None and not 0 < rate < 1e9:
        raise InputError(f"rate is {rate}; give a positive number of samples a second")
    unit = time_unit(cells.headers[0]) if len(cells.headers) > 1 else None
    stated = rate if rate is not None else stated_rate(cells.comments)
    first = 0
    if unit is not None:
        measured = _rate_of(file, cells, unit)
        if stated is not None and abs(measured - stated) > 0.01 * stated:
            raise UnsupportedError(
                f"'{file.name}' has times at {measured:g} Hz and a stated rate of {stated:g} Hz; "
                "remove the one that is wrong"
            )
        stated, first = stated or measured, 1
    if stated is None:
        raise UnsupportedError(f"'{file.name}' states no sampling rate; say rate= in Hz")
    rows, units = [], []
    names: list[str] = []
    for header, column in zip(cells.headers[first:], cells.columns[first:], strict=True):
        name, given = split_header(header)
        values, in_unit = leads.to_millivolts(_numbers(file, column, name), given or "")
        rows.append(values)
        names.append(leads.lead(name) or f"channel {len(names) + 1}")
        units.append(in_unit or "1")
    flags = cells.flags + (("units-unknown",) if not all(
        split_header(h)[1] for h in cells.headers[first:]) else ())  # fmt: skip
    channels = leads.distinct(names)
    return Signal(
        leads.item_name(channels),
        np.stack(rows),
        stated,
        channels,
        tuple(units),
        origin=file.origin(format),
        flags=flags,
        header={"comments": dict(cells.comments)},
    )


def _rate_of(file: InputFile, cells: Cells, unit: str) -> float:
    times = _numbers(file, cells.columns[0], cells.headers[0]) * _SECONDS[unit]
    if times.size < 2 or np.isnan(times).any():
        raise UnreadableError(f"'{file.name}' has too few times, or empty ones, to say a rate")
    step = (times[-1] - times[0]) / (times.size - 1)
    grid = times[0] + step * np.arange(times.size)
    # times are rounded to the digits that are written, which may be much of a step
    digits = max(len(cell.strip().partition(".")[2]) for cell in cells.columns[0])
    rounding = 0.5 * 10.0**-digits * _SECONDS[unit]
    if step <= 0 or np.max(np.abs(times - grid)) > _JITTER * step + min(2 * rounding, step / 4):
        raise UnreadableError(
            f"'{file.name}' has times that are not evenly spaced; a gap or a mended clock cannot "
            "be told apart: resample it, or split it at the gaps"
        )
    rate = 1 / step
    whole = round(rate)
    return float(whole) if whole and abs(rate - whole) < 0.005 * rate * _JITTER else rate


def _numbers(file: InputFile, column: tuple[str, ...], name: str) -> NDArray[np.floating[Any]]:
    try:
        return np.array(
            [np.nan if c.strip().casefold() in MISSING else float(c) for c in column], np.float64
        )
    except ValueError:
        raise UnreadableError(
            f"'{file.name}', column '{name}': a cell is no number; a signal's column holds numbers "
            "or nothing"
        ) from None


def signal_csv_text(signal: Signal) -> str:
    """A signal as CSV with its rate in a comment and units in the first row; the same to the bit.

    A missing sample is an empty cell.
    """
    import csv
    import io

    buffer = io.StringIO()
    buffer.write(f"# rate = {signal.rate!r} Hz\r\n")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(
        f"{name} [{unit}]" for name, unit in zip(signal.channels, signal.units, strict=True)
    )
    kind = signal.array.dtype.type
    for column in signal.array.T:
        # the shortest digits that give the very same number back
        cells = ["" if np.isnan(v) else np.format_float_positional(kind(v)) for v in column]
        writer.writerow(cells if cells != [""] else ["NaN"])
    return buffer.getvalue()
