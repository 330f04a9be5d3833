"""WFDB records: a header, its files of samples, its segments and its annotations.

The formats are read here and not by the package ``wfdb``, which brings pandas, matplotlib, aiohttp
and a sound library (more than 150 MB) for what is a few hundred lines; the tests compare with it.
Values are physical, with potentials in millivolts; what is missing is NaN.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import signal_leads as leads
from osler.io import signal_wfdb_flac
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding, opened
from osler.io.signal_comments import patient_table
from osler.io.signal_wfdb_header import Channel, Header, parse_header
from osler.io.signal_wfdb_markers import ANNOTATORS, read_markers
from osler.io.signal_wfdb_samples import STORAGE, Samples, deinterleave, unpack
from osler.record import Markers, Signal, Table

_NAME = re.compile(r"[^/\\:\0]+")
_MAX_SEGMENTS: Final = 100_000


def read_wfdb(file: InputFile, format: str, *, max_pixels: int, **_options: Any) -> Content:
    """Read a record.

    Signals of one rate are one item. Where signals have several samples a frame, those of each
    rate are an item of their own.

    Args:
        file: the header, ``NAME.hea``.
        format: ``"wfdb"``.
        max_pixels: refuse more samples than this, all channels together.

    Raises:
        UnreadableError: damaged, incomplete, or a file of the record is missing.
        UnsupportedError: a storage format that is not read.
        TooLargeError: more than ``max_pixels`` samples.
    """
    with decoding(file, format):
        header = parse_header(file)
        signals = _record(file, header, max_samples=max_pixels)
        origin = file.origin(format)
        for signal in signals:
            used = signal.header.get("files", ())
            signal.origin = replace(origin, files=(file.name, *used))
        items: list[Signal | Table] = list(signals)
        table = patient_table(header.comments, origin)
        if table is not None:
            items.append(table)
        return Content(items, _markers(file, header, signals))


def read_beside(file: InputFile, format: str, *, max_pixels: int, **_options: Any) -> Content:
    """Read the record whose samples are in this file, by the header beside it.

    Raises:
        UnsupportedError: there is no header.
    """
    beside = file.path.with_suffix(".hea")
    if not beside.is_file():
        raise UnsupportedError(
            f"'{file.name}' may hold samples of a WFDB record, but '{beside.name}' is not beside "
            "it; copy the header there"
        )
    with opened(beside) as header:
        return read_wfdb(header, format, max_pixels=max_pixels)


def _record(file: InputFile, header: Header, *, max_samples: int) -> list[Signal]:
    if header.segments:
        return [_joined(file, header, max_samples=max_samples)]
    if not header.channels:
        raise UnsupportedError(
            f"'{file.name}' is a WFDB header without signals; open the record that it describes"
        )
    columns = _columns(file, header, max_samples=max_samples)
    groups: dict[int, list[int]] = {}
    for i, channel in enumerate(header.channels):
        groups.setdefault(channel.per_frame, []).append(i)
    signals: list[Signal] = []
    for per_frame, members in groups.items():
        chosen = [header.channels[i] for i in members]
        signals.append(
            _signal(header, chosen, [columns[i] for i in members], header.rate * per_frame)
        )
    return _named(signals)


def _named(signals: list[Signal]) -> list[Signal]:
    counts: dict[str, int] = {}
    for signal in signals:
        name = leads.item_name(signal.channels)
        signal.name = leads.item_name(signal.channels, counts.get(name, 0))
        counts[name] = counts.get(name, 0) + 1
    return signals


def _columns(file: InputFile, header: Header, *, max_samples: int) -> list[Samples]:
    """The samples of each signal in ADC units, skew undone, missing ones still as stored."""
    by_file: dict[str, list[int]] = {}
    for i, channel in enumerate(header.channels):
        by_file.setdefault(channel.file, []).append(i)
    columns: dict[int, Samples] = {}
    for name, members in by_file.items():
        parts = _dat(file, header, name, [header.channels[i] for i in members], max_samples)
        columns.update(zip(members, parts, strict=True))
    lengths = {len(columns[i]) // c.per_frame for i, c in enumerate(header.channels)}
    if len(lengths) > 1:
        raise UnreadableError(
            f"'{file.name}' states no number of samples and its files hold different ones; it is "
            "incomplete: copy it again from its source"
        )
    return [columns[i] for i in range(len(header.channels))]


def _dat(
    file: InputFile, header: Header, name: str, channels: Sequence[Channel], max_samples: int
) -> list[Samples]:
    first = channels[0]
    if first.format not in (*STORAGE, *signal_wfdb_flac.FORMATS):
        raise UnsupportedError(
            f"'{file.name}' stores samples in WFDB format {first.format}; formats "
            f"{', '.join(map(str, (*STORAGE, *signal_wfdb_flac.FORMATS)))} are read: convert it "
            "with 'xform'"
        )
    if any((c.format, c.offset) != (first.format, first.offset) for c in channels):
        raise UnreadableError(
            f"'{file.name}' gives several formats or offsets for one file; mend its signal lines"
        )
    per_frame = [c.per_frame for c in channels]
    if first.format in signal_wfdb_flac.FORMATS:
        with opened(sibling(file, name)) as dat:
            return signal_wfdb_flac.read_flac(
                dat, first.format, per_frame=per_frame, frames=header.frames, skip=first.offset,
                most=max_samples,
            )  # fmt: skip
    storage = STORAGE[first.format]
    width = sum(per_frame)
    with opened(sibling(file, name)) as dat:
        room = max(0, dat.size - first.offset)
        frames = header.frames if header.frames is not None else storage.count(room) // width
        count = frames * width
        if count > max_samples or sum(c.per_frame for c in header.channels) * frames > max_samples:
            raise TooLargeError(
                f"'{file.name}' has {count:,} samples, more than the limit of {max_samples:,}; "
                "cut the record, or raise max_pixels"
            )
        need = storage.length(count)
        if need > room:
            raise UnreadableError(
                f"'{dat.name}' has {room:,} bytes of samples and its header asks for {need:,}; it "
                "is incomplete: copy it again from its source"
            )
        dat.stream.seek(first.offset)
        samples = unpack(dat.stream.read(need), first.format, count)
    return deinterleave(samples, per_frame)


def sibling(file: InputFile, name: str) -> Path:
    """A file in the folder of another, by a name that the other states.

    Raises:
        UnreadableError: the name leads out of the folder, or there is no such file.
    """
    # a name that is a path could make the reader open any file of the machine
    if not _NAME.fullmatch(name) or name in ("-", "~", ".", ".."):
        raise UnreadableError(
            f"'{file.name}' names a file that is not in its own folder; mend its header"
        )
    path = file.path.parent / name
    if not path.is_file():
        raise UnreadableError(
            f"'{file.name}' needs a file beside it that is not there: '{path}'; copy the whole "
            "record"
        )
    return path


def _signal(
    header: Header, channels: Sequence[Channel], columns: Sequence[Samples], rate: float
) -> Signal:
    flags: list[str] = []
    if not header.rate_stated:
        flags.append("rate-by-default")
    units, rows = [], []
    # single precision holds every value of an ADC of 16 bits to a hundredth of a step
    wide = any(c.format in (8, 24, 32, 524) for c in channels)
    for channel, column in zip(channels, columns, strict=True):
        row, unit, doubts = _physical(channel, column, np.dtype("f8" if wide else "f4"))
        rows.append(row)
        units.append(unit)
        flags += [doubt for doubt in doubts if doubt not in flags]
    names = leads.distinct(
        [leads.lead(c.name) or f"channel {i}" for i, c in enumerate(channels, 1)]
    )
    return Signal(
        "signal",
        np.stack(rows),
        rate,
        names,
        tuple(units),
        acquired=header.acquired,
        flags=tuple(flags),
        header={
            "record": header.name,
            "comments": header.comments,
            "files": tuple(dict.fromkeys(c.file for c in channels)),
            "channels": tuple(
                {"name": c.name, "format": c.format, "gain": c.gain, "baseline": c.baseline,
                 "units": c.units, "resolution": c.resolution, "zero": c.zero}
                for c in channels
            ),
        },
    )  # fmt: skip


def _physical(
    channel: Channel, stored: Samples, dtype: np.dtype[Any]
) -> tuple[NDArray[np.floating[Any]], str, list[str]]:
    doubts = [] if channel.calibrated else ["uncalibrated"]
    values = stored
    if channel.format == 8:
        values = np.cumsum(stored, dtype=np.int32) + np.int32(channel.first or 0)
    if channel.checksum is not None and channel.skew == 0:
        total = int(values.sum(dtype=np.int64))
        if (total - channel.checksum) % 65536:
            doubts.append("checksum-mismatch")
    # a layout header describes signals that have no samples, in format 0
    missing = None
    if stored.size and channel.format in STORAGE:
        missing = STORAGE[channel.format].missing
    elif stored.size:
        missing = signal_wfdb_flac.missing(channel.format)
    row = ((values.astype(np.float64) - channel.baseline) / channel.gain).astype(dtype)
    if missing is not None:
        row[stored == missing] = np.nan
    if channel.skew:
        late = min(channel.skew * channel.per_frame, row.size)
        row = np.concatenate([row[late:], np.full(late, np.nan, dtype)])
    return *leads.to_millivolts(row, leads.unit(channel.units)), doubts


def _joined(file: InputFile, header: Header, *, max_samples: int) -> Signal:
    """A record of several segments as one signal; gaps and absent signals are NaN."""
    frames = sum(n for _, n in header.segments)
    if len(header.segments) > _MAX_SEGMENTS or frames * max(1, header.signals) > max_samples:
        raise TooLargeError(
            f"'{file.name}' has {len(header.segments):,} segments and {frames:,} samples of "
            f"{header.signals} signals, more than the limit of {max_samples:,} samples; open its "
            "segments one by one, or raise max_pixels"
        )
    layout: Signal | None = None
    parts: list[tuple[int, Signal]] = []
    start = 0
    for i, (name, count) in enumerate(header.segments):
        if name != "~":
            part = _segment(file, name, count, layout_only=i == 0 and count == 0)
            if i == 0 and count == 0:
                layout = part
            elif count:
                _check_segment(file, header, part, count)
                parts.append((start, part))
        start += count
    return _placed(file, header, frames, layout, parts)


def _check_segment(file: InputFile, header: Header, part: Signal, count: int) -> None:
    if part.array.shape[1] != count or part.rate != header.rate:
        raise UnreadableError(
            f"'{file.name}' and a segment of it state different lengths or rates; it is damaged: "
            "copy it again from its source"
        )


def _segment(file: InputFile, name: str, count: int, *, layout_only: bool) -> Signal:
    with opened(sibling(file, f"{name}.hea")) as inner, decoding(inner, "wfdb"):
        header = parse_header(inner)
        if header.segments:
            raise UnreadableError(f"'{inner.name}' is a segment that has segments; mend its header")
        if layout_only:
            empty = [np.zeros(0, np.int32) for _ in header.channels]
            return _signal(header, header.channels, empty, header.rate)
        signals = _record(inner, header, max_samples=max(1, count) * max(1, header.signals))
        if len(signals) != 1:
            raise UnsupportedError(f"'{inner.name}' is a segment with several rates; open it alone")
        return signals[0]


def _placed(
    file: InputFile,
    header: Header,
    frames: int,
    layout: Signal | None,
    parts: Sequence[tuple[int, Signal]],
) -> Signal:
    guide = layout or (parts[0][1] if parts else None)
    if guide is None:
        raise UnreadableError(f"'{file.name}' has no segment with samples; copy it again")
    wide = any(part.array.dtype == np.float64 for _, part in parts)
    array = np.full((len(guide.channels), frames), np.nan, np.float64 if wide else np.float32)
    flags: list[str] = list(guide.flags) if layout is None else []
    for start, part in parts:
        flags += [flag for flag in part.flags if flag not in flags]
        for row, channel, unit in zip(part.array, part.channels, part.units, strict=True):
            if channel not in guide.channels:
                raise UnreadableError(
                    f"'{file.name}' has a segment with a signal that its layout does not name; "
                    "mend the layout header"
                )
            at = guide.channels.index(channel)
            if unit != guide.units[at]:
                raise UnreadableError(
                    f"'{file.name}' has segments whose units differ; convert one of them"
                )
            array[at, start : start + row.size] = row
    origin_files = [name for _, part in parts for name in part.header["files"]]
    return Signal(
        leads.item_name(guide.channels),
        array,
        header.rate,
        guide.channels,
        guide.units,
        acquired=header.acquired,
        flags=tuple(flags),
        header={**guide.header, "record": header.name, "comments": header.comments,
                "files": tuple(dict.fromkeys(origin_files)), "segments": header.segments},
    )  # fmt: skip


def _markers(file: InputFile, header: Header, signals: Sequence[Signal]) -> list[Markers]:
    """The annotation files beside the header, by their usual extensions."""
    found: list[Markers] = []
    stem = file.path.stem
    used = {name for signal in signals for name in signal.header.get("files", ())}
    with os.scandir(file.path.parent) as listing:
        names = sorted(e.name for e in listing if e.name.startswith(f"{stem}.") and e.is_file())
    for name in names:
        extension = name[len(stem) + 1 :]
        if name in used or not ANNOTATORS.fullmatch(extension):
            continue
        # a file of another kind may have such a name: it is no reason to refuse the record
        with suppress(InputError), opened(file.path.parent / name) as beside:
            found.append(
                read_markers(
                    beside,
                    id=f"annotations.{extension}",
                    item=signals[0].name,
                    rate=header.rate,
                    source=extension,
                )
            )
            continue
        signals[0].flags = (*signals[0].flags, "annotations-unreadable")
    return found
