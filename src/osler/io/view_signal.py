"""Signals for the quick look: drawn as on paper, 25 mm a second and 10 mm a millivolt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.record import Markers, Signal

_PAGE_SECONDS: Final = 10.0
_MOST_PAGES: Final = 6
_MOST_CHANNELS: Final = 32
_MOST_POINTS: Final = 3000
_MM_PER_SECOND: Final = 25.0
_MM_PER_MV: Final = 10.0
_ROW: Final = 25.0
_MARGIN: Final = 14.0
_MOST_MARKS: Final = 150


@dataclass(frozen=True, slots=True)
class Lead:
    """One channel on a page: its name, what its height stands for, where it lies, its line."""

    name: str
    scale: str
    y: float
    path: str


@dataclass(frozen=True, slots=True)
class Strip:
    """One page of paper; lengths are in millimetres.

    Attributes:
        title: which seconds it shows.
        width: of the paper.
        height: of the paper.
        leads: top to bottom.
        marks: ``(x, words)`` of what happens.
        seconds: ``(x, words)`` of the time axis.
    """

    title: str
    width: float
    height: float
    leads: tuple[Lead, ...]
    marks: tuple[tuple[float, str], ...]
    seconds: tuple[tuple[float, str], ...]


def strips_of(signal: Signal, markers: Sequence[Markers]) -> tuple[list[Strip], str]:
    """The first pages of a signal, and what is not shown, in words."""
    total = signal.array.shape[1] / signal.rate
    page = _PAGE_SECONDS if signal.rate >= 50 else max(total, 1 / signal.rate)
    count = min(_MOST_PAGES, max(1, int(np.ceil(total / page - 1e-9))))
    strips = [_strip(signal, markers, page, number) for number in range(count)]
    left = []
    if total > count * page:
        left.append(f"The first {count * page:g} s of {total:g} s are shown.")
    if len(signal.channels) > _MOST_CHANNELS:
        left.append(f"The first {_MOST_CHANNELS} of {len(signal.channels)} channels are shown.")
    if all(unit == "mV" for unit in signal.units) and page == _PAGE_SECONDS:
        left.append("25 mm/s, 10 mm/mV; each lead about its median.")
    if markers:
        left.append(f"Marked: {markers[0].name}.")
    return strips, " ".join(left)


def _strip(signal: Signal, markers: Sequence[Markers], page: float, number: int) -> Strip:
    start, stop = round(number * page * signal.rate), round((number + 1) * page * signal.rate)
    part = signal.array[:_MOST_CHANNELS, start:stop]
    across = page * _MM_PER_SECOND if page == _PAGE_SECONDS else 250.0
    leads = []
    for row, values in enumerate(part):
        middle = 8 + _ROW * (row + 0.5)
        unit = signal.units[row] if row < len(signal.units) else ""
        mm, scale = _scale(values, unit)
        times = np.arange(len(values)) / signal.rate / page * across + _MARGIN
        path = _path(times, middle - _centred(values) * mm)
        leads.append(Lead(signal.channels[row], scale, round(middle, 2), path))
    begin, end = number * page, (number + 1) * page
    marks = [
        (round((float(t) - begin) / page * across + _MARGIN, 2), label)
        for one in markers[:1]
        for t, label in zip(one.times, one.labels, strict=True)
        if begin <= t < end
    ]
    ticks = [
        (round(_MARGIN + across * k / 10, 2), f"{begin + page * k / 10:g} s") for k in range(10)
    ]
    shown = min(end, signal.array.shape[1] / signal.rate)
    return Strip(
        f"{begin:g} to {shown:g} s", _MARGIN + across + 2, 8 + _ROW * len(part) + 6,
        tuple(leads), tuple(marks[:_MOST_MARKS]), tuple(ticks),
    )  # fmt: skip


def _centred(values: NDArray[Any]) -> NDArray[Any]:
    finite = values[np.isfinite(values)]
    centred: NDArray[Any] = values - (np.median(finite) if finite.size else 0.0)
    return centred


def _scale(values: NDArray[Any], unit: str) -> tuple[float, str]:
    """Millimetres a unit, and what is written beside the lead."""
    if unit == "mV":
        return _MM_PER_MV, ""
    centred = np.abs(_centred(values))
    most = float(np.nanmax(centred)) if np.isfinite(centred).any() else 0.0
    return (0.45 * _ROW / most if most > 0 else 1.0), f"±{most:.3g} {unit}".strip()


def _path(x: NDArray[Any], y: NDArray[Any]) -> str:
    """SVG path data; of very many samples the lowest and the highest of each bin."""
    if len(y) > _MOST_POINTS:
        bins = np.array_split(np.arange(len(y)), _MOST_POINTS // 2)
        safe = np.where(np.isfinite(y), y, np.inf)
        last = np.where(np.isfinite(y), y, -np.inf)
        ends = {k for b in bins for k in (b[safe[b].argmin()], b[last[b].argmax()])}
        keep = np.array(sorted(ends))
        x, y = x[keep], y[keep]
    parts, pen = [], "M"
    for one, two in zip(x.round(2).tolist(), y.round(2).tolist(), strict=True):
        if np.isfinite(two):
            parts.append(f"{pen}{one:g} {two:g}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)
