"""DICOM waveforms: each multiplex group a signal, annotations as findings.

Sources: PS3.3 C.10.9 (Waveform Module) and C.10.10 (Waveform Annotation Module); CID 3001 (ECG
leads; the same numbers in SCP-ECG, EN 1064).
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import TooLargeError, UnreadableError, UnsupportedError
from osler.io import dicom_header as header
from osler.io import signal_leads as leads
from osler.io.content import Content
from osler.io.dicom_whole import read_whole
from osler.io.input_file import InputFile, decoding
from osler.record import Code, Finding, Markers, Measurement, Passage, Signal, Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_STORED: Final = {
    ("SB", 8): "i1", ("UB", 8): "u1", ("SS", 16): "i2", ("US", 16): "u2", ("SL", 32): "i4",
    ("UL", 32): "u4", ("SV", 64): "i8", ("UV", 64): "u8",
}  # fmt: skip
_SCP_LEAD = re.compile(r"5\.6\.3-9-(\d+)")
_IN_BRACKETS = re.compile(r"\s*\([^()]*\)")


def read_waveform(file: InputFile, format: str, *, max_pixels: int) -> Content:
    """Read every multiplex group of a waveform object.

    Values are ``sample * ChannelSensitivity * correction + ChannelBaseline`` (C.10.9.1.4.5), with
    potentials in millivolts and padding as NaN.

    Args:
        file: the opened file.
        format: ``"dicom"``.
        max_pixels: refuse more samples than this, all channels of a group together.

    Raises:
        UnreadableError: damaged, incomplete, or contradicting itself.
        UnsupportedError: it has no waveform, or its samples are companded.
        TooLargeError: more than ``max_pixels`` samples.
    """
    with decoding(file, format):
        dataset = read_whole(file)
        groups = dataset.get("WaveformSequence") or []
        if not groups:
            raise UnsupportedError(f"'{file.name}' is a DICOM waveform object without a waveform")
        signals = [_signal(file, dataset, group, max_pixels) for group in groups]
        counts: dict[str, int] = {}
        for signal in signals:
            base = leads.item_name(signal.channels)
            signal.name = leads.item_name(signal.channels, counts.get(base, 0))
            counts[base] = counts.get(base, 0) + 1
        signals[0].origin = file.origin(format, header.as_json(_without_samples(dataset)))
        for signal in signals[1:]:
            signal.origin = signals[0].origin
        return Content(signals, list(_annotations(dataset, signals)), header.patient_id(dataset))


def _without_samples(dataset: "Dataset") -> "Dataset":
    import pydicom

    return pydicom.Dataset(
        {e.tag: e for e in dataset if e.keyword not in ("WaveformSequence", "PixelData")}
    )


def _signal(file: InputFile, dataset: "Dataset", group: "Dataset", max_samples: int) -> Signal:
    stored = _samples(file, dataset, group, max_samples)
    rate = header.decimal(group, "SamplingFrequency")
    if rate is None or rate <= 0:
        raise UnreadableError(
            f"'{file.name}' states no usable SamplingFrequency (003A,001A); export it again"
        )
    channels = list(group.get("ChannelDefinitionSequence") or [])
    if len(channels) != len(stored):
        raise UnreadableError(
            f"'{file.name}' has {len(stored)} channels and describes {len(channels)} "
            "(ChannelDefinitionSequence); export it again"
        )
    padding = _padding(group, stored.dtype)
    flags: list[str] = []
    rows, units = [], []
    names: list[str] = []
    for row, channel in zip(stored, channels, strict=True):
        values, unit, doubts = _physical(row, channel, rate)
        if padding is not None:
            values[row == padding] = np.nan
        values, unit = leads.to_millivolts(values, unit)
        rows.append(values)
        units.append(unit)
        names.append(_name(channel, len(names) + 1))
        flags += [doubt for doubt in doubts if doubt not in flags]
    return Signal(
        "signal",
        np.stack(rows),
        rate,
        leads.distinct(names),
        tuple(units),
        acquired=header.acquired(dataset),
        flags=tuple(flags),
        header={
            "label": header.text(group, "MultiplexGroupLabel"),
            "offset_ms": header.decimal(group, "MultiplexGroupTimeOffset"),
        },
    )


def _samples(
    file: InputFile, dataset: "Dataset", group: "Dataset", max_samples: int
) -> NDArray[Any]:
    """``(C, T)`` as stored."""
    count = header.integer(file, group, "NumberOfWaveformChannels", default=None)
    length = header.integer(file, group, "NumberOfWaveformSamples", default=None)
    bits = header.integer(file, group, "WaveformBitsAllocated", default=None)
    kind = header.text(group, "WaveformSampleInterpretation")
    if (kind, bits) not in _STORED:
        raise UnsupportedError(
            f"'{file.name}' stores waveform samples as '{kind[:2]}' of {bits} bits; linear ones "
            "of 8 to 64 bits are read: export it uncompanded"
        )
    if count < 1 or length < 1:
        raise UnreadableError(f"'{file.name}' has a waveform without samples; export it again")
    if count * length > max_samples:
        raise TooLargeError(
            f"'{file.name}' has {count} channels of {length:,} samples, more than the limit of "
            f"{max_samples:,}; raise max_pixels"
        )
    little = dataset.original_encoding[1] is not False
    dtype = np.dtype(("<" if little else ">") + _STORED[kind, bits])
    data = group.get("WaveformData") or b""
    if len(data) < count * length * dtype.itemsize:
        raise UnreadableError(
            f"'{file.name}' has fewer samples than NumberOfWaveformSamples (003A,0010) says; it "
            "is incomplete: copy it again from its source"
        )
    flat = np.frombuffer(data, dtype, count * length)
    return np.ascontiguousarray(flat.reshape(length, count).T)


def _padding(group: "Dataset", dtype: np.dtype[Any]) -> int | None:
    value = group.get("WaveformPaddingValue")
    if isinstance(value, bytes):
        return int(np.frombuffer(value, dtype, 1)[0]) if len(value) >= dtype.itemsize else None
    return value if isinstance(value, int) else None


def _physical(
    row: NDArray[Any], channel: "Dataset", rate: float
) -> tuple[NDArray[np.floating[Any]], str, list[str]]:
    doubts: list[str] = []
    dtype = np.float32 if row.dtype.itemsize <= 2 else np.float64
    values = row.astype(np.float64)
    sensitivity = header.decimal(channel, "ChannelSensitivity")
    if sensitivity is None:
        # stored numbers without a scale are of no unit
        return values.astype(dtype), "1", ["uncalibrated"]
    correction = header.decimal(channel, "ChannelSensitivityCorrectionFactor")
    baseline = header.decimal(channel, "ChannelBaseline") or 0.0
    values = values * sensitivity * (1.0 if correction is None else correction) + baseline
    if header.decimal(channel, "ChannelSampleSkew") or header.decimal(channel, "ChannelTimeSkew"):
        doubts.append("channel-skew")
    unit = _code(channel, "ChannelSensitivityUnitsSequence")
    return values.astype(dtype), leads.unit(unit[0] if unit else ""), doubts


def _name(channel: "Dataset", number: int) -> str:
    code = _code(channel, "ChannelSourceSequence")
    if code is not None:
        value, meaning = code
        if match := _SCP_LEAD.fullmatch(value):
            value = f"2:{match[1]}"
        for candidate in (value, meaning, _IN_BRACKETS.sub("", meaning)):
            name = leads.lead(candidate)
            if leads.is_ecg((name,)):
                return name
        if meaning:
            return meaning
    return header.text(channel, "ChannelLabel") or f"channel {number}"


def _code(dataset: "Dataset", keyword: str) -> tuple[str, str] | None:
    sequence = dataset.get(keyword)
    if not sequence:
        return None
    return header.text(sequence[0], "CodeValue"), header.text(sequence[0], "CodeMeaning")


def _annotations(dataset: "Dataset", signals: Sequence[Signal]) -> Iterator[Finding]:
    """Numbers as measurements, words as passages, points in time as one set of markers a group."""
    source = Source("algorithm", "waveform annotation")
    moments: dict[int, list[tuple[float, str]]] = {}
    words = 0
    taken: dict[str, int] = {}
    for one in dataset.get("WaveformAnnotationSequence") or []:
        group = _group(one, len(signals))
        text = header.text(one, "UnformattedTextValue")
        concept = _code(one, "ConceptNameCodeSequence")
        positions = one.get("ReferencedSamplePositions")
        if positions is not None and concept:
            each = [positions] if isinstance(positions, int) else list(positions)
            # the first sample has position 1
            moments.setdefault(group, []).extend(
                ((p - 1) / signals[group].rate, concept[1]) for p in each
            )
        elif text:
            words += 1
            yield Passage(
                id=f"statement-{words}", name="Statement", source=source,
                item=signals[group].name, text=text, language="",
            )  # fmt: skip
        elif concept and (value := header.decimal(one, "NumericValue")) is not None:
            id = re.sub(r"[^a-z0-9]+", "-", concept[1].casefold()).strip("-") or "measurement"
            taken[id] = taken.get(id, 0) + 1
            unit = _code(one, "MeasurementUnitsCodeSequence")
            scheme = header.text(one.ConceptNameCodeSequence[0], "CodingSchemeDesignator")
            yield Measurement(
                id=id if taken[id] == 1 else f"{id}-{taken[id]}", name=concept[1], source=source,
                item=signals[group].name, value=value, unit=unit[0] if unit else "1",
                code=Code(concept[0], scheme, concept[1]) if concept[0] else None,
            )  # fmt: skip
    for group, found in sorted(moments.items()):
        found.sort(key=lambda moment: moment[0])
        yield Markers(
            id=f"annotations.{signals[group].name}", name="Annotated moments", source=source,
            item=signals[group].name, times=np.array([time for time, _ in found]),
            labels=tuple(label for _, label in found),
        )  # fmt: skip


def _group(annotation: "Dataset", count: int) -> int:
    """Which multiplex group, counted from 0, an annotation is about."""
    channels = annotation.get("ReferencedWaveformChannels") or [1]
    first = channels if isinstance(channels, int) else channels[0]
    return min(max(int(first) - 1, 0), count - 1)
