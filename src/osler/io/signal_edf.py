"""EDF, EDF+ and BDF recordings.

Source: Kemp and Olivan, European data format 'plus' (EDF+), Clin Neurophysiol 114 (2003) 1755.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from osler.errors import MissingExtraError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import signal_leads as leads
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.record import Markers, Origin, Signal, Source, Table

if TYPE_CHECKING:
    from edfio import Edf

_OFF_GRID: Final = 0.01
"""Of a sample: devices round the times of their records."""


def read_edf(file: InputFile, format: str, *, max_pixels: int, **_options: Any) -> Content:
    """Read a recording; signals of one rate are one item.

    Potentials are in millivolts. Annotations of EDF+ are the markers ``"annotations"``, and its
    patient field gives sex and age. Gaps of a discontinuous recording (EDF+D) are NaN.

    Args:
        file: the opened file.
        format: ``"edf"``.
        max_pixels: refuse more samples than this, all channels together, gaps included.

    Raises:
        UnreadableError: damaged, incomplete, or contradicting itself.
        TooLargeError: more than ``max_pixels`` samples.
        MissingExtraError: ``edfio`` is not installed.
    """
    try:
        import edfio
    except ImportError:
        raise MissingExtraError("edfio", extra="signals", purpose="read EDF") from None
    with decoding(file, format):
        _check(file, max_samples=max_pixels)
        file.stream.seek(0)
        stream = cast("BinaryIO", file.stream)
        # the standard asks for ASCII; what devices write is a superset of it
        bdf = file.head.startswith(b"\xff")
        read = edfio.read_bdf if bdf else edfio.read_edf
        recording = cast("Edf", read(cast("Any", stream), header_encoding="latin-1"))
        if not recording.signals:
            raise UnsupportedError(f"'{file.name}' has annotations but no signal; nothing to read")
        starts = _starts(file, recording)
        origin = file.origin(format)
        signals = _signals(file, recording, starts, origin, max_pixels)
        markers = _markers(recording, signals[0].name)
        table = _patient(recording, origin)
        return Content([*signals, *([table] if table else [])], [markers] if markers else [])


def _check(file: InputFile, *, max_samples: int) -> None:
    """Compare the header's numbers with the length of the file, before anything is allocated."""
    records, count = _number(file, 236), _number(file, 252)
    width = 3 if file.head.startswith(b"\xff") else 2
    header = 256 * (count + 1)
    if count < 1 or header > file.size or _number(file, 184) != header:
        raise _damaged(file, "its header does not fit its number of signals")
    file.stream.seek(256 + 216 * count)
    fields = file.stream.read(8 * count)
    samples = [int(fields[i : i + 8]) for i in range(0, 8 * count, 8)]
    if any(n < 1 for n in samples):
        raise _damaged(file, "a signal has no samples in a record")
    size = sum(samples) * width
    if records == -1:  # still recording when it was closed
        records = (file.size - header) // size
    if records < 1 or header + records * size != file.size:
        raise _damaged(
            file, f"it states {records} records of {size:,} bytes and has {file.size - header:,}"
        )
    if records * sum(samples) > max_samples:
        raise TooLargeError(
            f"'{file.name}' has {records * sum(samples):,} samples, more than the limit of "
            f"{max_samples:,}; cut the recording, or raise max_pixels"
        )


def _number(file: InputFile, at: int) -> int:
    return int(file.head[at : at + (4 if at == 252 else 8)])


def _starts(file: InputFile, recording: "Edf") -> NDArray[np.float64]:
    """When each record starts, in seconds from the first, where there are gaps; else empty.

    The first annotation of each record of EDF+D is its time.
    """
    if not recording.reserved.startswith(("EDF+D", "BDF+D")):
        return np.zeros(0)
    count = _number(file, 252)
    width = 3 if file.head.startswith(b"\xff") else 2
    file.stream.seek(256)
    labels = file.stream.read(16 * count)
    file.stream.seek(256 + 216 * count)
    fields = file.stream.read(8 * count)
    samples = [int(fields[i : i + 8]) for i in range(0, 8 * count, 8)]
    keeper = next(
        (i for i in range(count) if labels[16 * i + 4 : 16 * i + 15] == b"Annotations"), None
    )
    onsets: list[float] = []
    for record in range(recording.num_data_records if keeper is not None else 0):
        before = record * sum(samples) + sum(samples[:keeper])
        file.stream.seek(256 * (count + 1) + before * width)
        match = re.match(rb"([+-]\d+(?:\.\d*)?)\x14", file.stream.read(32))
        if match is None:
            break
        onsets.append(float(match[1]))
    if len(onsets) != recording.num_data_records:
        raise _damaged(file, "it is discontinuous and does not say when its records start")
    starts = np.array(onsets, np.float64) - onsets[0]
    if np.any(np.diff(starts) < recording.data_record_duration - 1e-9):
        raise _damaged(file, "its records overlap in time")
    return starts


def _signals(
    file: InputFile,
    recording: "Edf",
    starts: NDArray[np.float64],
    origin: Origin,
    max_samples: int,
) -> list[Signal]:
    groups: dict[float, list[Any]] = {}
    for one in recording.signals:
        groups.setdefault(float(one.sampling_frequency), []).append(one)
    signals: list[Signal] = []
    counts: dict[str, int] = {}
    for rate, members in groups.items():
        if not 0 < rate < 1e9:
            raise _damaged(file, "a signal has no usable rate")
        names = leads.distinct([_name(one.label) for one in members])
        base = leads.item_name(names)
        signal = Signal(
            leads.item_name(names, counts.get(base, 0)),
            *_values(file, members, rate, starts, max_samples),
            acquired=_acquired(recording),
            origin=origin,
            flags=_gap_flags(starts, rate, recording.data_record_duration),
            header=_header(members),
        )
        signal.channels = names
        counts[base] = counts.get(base, 0) + 1
        signals.append(signal)
    return signals


def _gap_flags(starts: NDArray[np.float64], rate: float, duration: float) -> tuple[str, ...]:
    """Whether samples are missing between records, or lie between the steps of the rate."""
    if not starts.size:
        return ()
    steps = starts * rate
    gaps = np.any(np.diff(_steps(starts, rate)) > round(duration * rate))
    off = np.abs(steps - np.round(steps)).max() > _OFF_GRID
    return (*(("gaps",) if gaps else ()), *(("gaps-off-grid",) if off else ()))


def _steps(starts: NDArray[np.float64], rate: float) -> NDArray[np.int64]:
    """The sample with which each record begins; never two records over each other."""
    return np.floor(starts * rate + 0.5).astype(np.int64)


def _values(
    file: InputFile,
    members: Sequence[Any],
    rate: float,
    starts: NDArray[np.float64],
    max_samples: int,
) -> tuple[NDArray[Any], float, tuple[str, ...], tuple[str, ...]]:
    rows, units = [], []
    for one in members:
        if one.digital_max == one.digital_min:
            raise _damaged(file, "a signal's digital range is empty")
        values: NDArray[np.floating[Any]] = np.asarray(one.data, np.float64)
        if starts.size:
            values = _spread(file, values, rate, starts, max_samples // len(members))
        values, unit = leads.to_millivolts(values, leads.unit(one.physical_dimension))
        rows.append(values.astype(np.float32 if one._fmt == "EDF" else np.float64))
        units.append(unit)
    return np.stack(rows), rate, (), tuple(units)


def _spread(
    file: InputFile, values: NDArray[Any], rate: float, starts: NDArray[Any], limit: int
) -> NDArray[Any]:
    """Each record at its own time, NaN between them."""
    records = values.reshape(starts.size, -1)
    first = _steps(starts, rate)
    length = int(first[-1]) + records.shape[1]
    if length > limit:
        raise TooLargeError(
            f"'{file.name}' spans {length:,} samples a signal with its gaps; cut the recording, "
            "or raise max_pixels"
        )
    out = np.full(length, np.nan)
    for at, record in zip(first, records, strict=True):
        out[at : at + record.size] = record
    return out


def _name(label: str) -> str:
    """EDF+ labels are a kind and a place, ``"ECG V1"``; the kind stays for all but leads."""
    return leads.lead(label) or "signal"


def _header(members: Sequence[Any]) -> Mapping[str, Any]:
    return {
        "channels": tuple(
            {"name": one.label, "transducer": one.transducer_type,
             "prefiltering": one.prefiltering, "units": one.physical_dimension}
            for one in members
        )
    }  # fmt: skip


def _acquired(recording: "Edf") -> datetime | None:
    try:
        return recording.startdatetime
    except Exception:  # noqa: BLE001 - an anonymised start is no reason to refuse the signal
        return None


def _markers(recording: "Edf", item: str) -> Markers | None:
    found = recording.annotations
    if not found:
        return None
    durations = tuple(float(one.duration or 0.0) for one in found)
    return Markers(
        id="annotations",
        name="Annotations",
        source=Source("person", "annotator"),
        item=item,
        times=np.array([float(one.onset) for one in found]),
        labels=tuple(one.text for one in found),
        durations=durations if any(durations) else (),
    )


def _patient(recording: "Edf", origin: Origin) -> Table | None:
    """Sex and age; a plain EDF's patient field is free text and is passed over."""
    if not recording.reserved.startswith(("EDF+", "BDF+")):
        return None
    values: dict[str, Any] = {}
    try:
        patient = recording.patient
        sex = patient.sex
    except Exception:  # noqa: BLE001 - a field that breaks the rules says nothing
        return None
    if sex in ("F", "M"):
        values["sex"] = "female" if sex == "F" else "male"
    try:
        born, at = patient.birthdate, recording.startdate
        values["age"] = at.year - born.year - ((at.month, at.day) < (born.month, born.day))
    except Exception:  # noqa: BLE001 - unknown dates raise an error of their own
        values.pop("age", None)
    if not values:
        return None
    return Table("variables", values, {"age": "a"} if "age" in values else {}, origin=origin)


def _damaged(file: InputFile, why: str) -> UnreadableError:
    return UnreadableError(
        f"'{file.name}' starts as EDF but {why}; it is damaged or incomplete: copy it again from "
        "its source"
    )
