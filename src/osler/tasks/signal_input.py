"""How a signal becomes an array: which channels, at what rate, how long, in what units."""

from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from osler.errors import InputError
from osler.record import Case, Signal
from osler.tasks.named_item import named_item
from osler.tasks.task import Settings

_LEAST_SPREAD = 1e-6
_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "µV": 1e-6, "μV": 1e-6, "nV": 1e-9}
_FINEST = 1000  # rates are taken as fractions of whole numbers up to it


class SignalInput(Settings):
    """Which channels of a signal a network takes and how they are made alike.

    Attributes:
        item: name of the item (column of the cohort).
        channels: by name, in the order in which the network takes them; case does not matter.
        rate: samples a second to which the signal is resampled (Hz).
        seconds: length of what the network sees at a time. Of a longer recording, training draws
            windows and reading takes windows that cover it; a shorter one is filled up, and the
            network told where it ends.
        units: UCUM unit that the channels must have; volts of other powers are converted. None
            takes any, unconverted.
        scale: ``z-score`` of each channel over its recording, or ``units`` as they are, divided by
            ``divisor``.
        divisor: see ``scale``.
        lacking: a channel that the recording lacks: ``refuse`` the case, or hand on the others and
            say which one is ``absent``.
        bridge: longest gap of samples that are no numbers, in seconds, that is bridged by a line.
    """

    item: str = "signal"
    channels: Annotated[list[str], Field(min_length=1)]
    rate: Annotated[float, Field(gt=0)]
    seconds: Annotated[float, Field(gt=0)]
    units: str | None = "mV"
    scale: Literal["z-score", "units"] = "z-score"
    divisor: Annotated[float, Field(gt=0)] = 1.0
    lacking: Literal["refuse", "absent"] = "refuse"
    bridge: Annotated[float, Field(ge=0)] = 0.0

    @property
    def samples(self) -> int:
        """How many samples the network sees at a time."""
        return max(1, round(self.seconds * self.rate))


def signal_of(case: Case, name: str) -> Signal:
    """One signal of a case; where the case has one only, its name does not matter.

    Raises:
        InputError: it is missing.
    """
    return named_item(case, name, Signal)


def encoded_signal(
    case: Case, wanted: SignalInput
) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """The signal of a case as an array.

    Returns:
        ``(C, T)`` with T at least ``wanted.samples``, the whole recording; ``(C,)`` 1 for channels
        that are there and 0 for those that are not (which are 0 throughout); and how many of the T
        samples were recorded.

    Raises:
        InputError: the signal or a channel is missing, a unit is another, a name fits two
            channels, or samples are missing.
    """
    signal = signal_of(case, wanted.item)
    places = [_place(signal, name, case, wanted) for name in wanted.channels]
    present = np.array([place is not None for place in places], np.float32)
    if not present.any():
        raise InputError(
            f"case '{case.id}': signal '{signal.name}' has none of the channels "
            f"{', '.join(wanted.channels)}"
        )
    rows = []
    for place in places:
        if place is not None:
            row = np.asarray(signal.array[place], np.float64)
            row = _bridged(row, signal, place, case, wanted)
            row = row * _factor(signal, place, case, wanted)
            rows.append(_resampled(row, signal.rate, wanted.rate))
    length = len(rows[0])
    out = np.zeros((len(places), max(length, wanted.samples)), np.float32)
    made = iter(rows)
    for number, place in enumerate(places):
        if place is not None:
            out[number, :length] = _scaled(next(made), wanted)
    return out, present, length


def _place(signal: Signal, name: str, case: Case, wanted: SignalInput) -> int | None:
    exact = [k for k, one in enumerate(signal.channels) if one == name]
    alike = [k for k, one in enumerate(signal.channels) if one.lower() == name.lower()]
    found = exact or alike
    who = f"case '{case.id}': signal '{signal.name}'"
    if len(found) > 1:
        raise InputError(f"{who} has {len(found)} channels called '{name}'")
    if found:
        return found[0]
    if wanted.lacking == "refuse":
        raise InputError(
            f"{who} lacks the channel '{name}'; it has {', '.join(signal.channels)} "
            "(settings.signal.lacking: absent goes on without it)"
        )
    return None


def _factor(signal: Signal, place: int, case: Case, wanted: SignalInput) -> float:
    unit = signal.units[place]
    if wanted.units is None or unit == wanted.units:
        return 1.0
    if unit in _VOLTS and wanted.units in _VOLTS:
        return _VOLTS[unit] / _VOLTS[wanted.units]
    raise InputError(
        f"case '{case.id}': channel '{signal.channels[place]}' of '{signal.name}' is in '{unit}', "
        f"not '{wanted.units}'; settings.signal.units: null takes any unit"
    )


def _bridged(
    row: NDArray[np.float64], signal: Signal, place: int, case: Case, wanted: SignalInput
) -> NDArray[np.float64]:
    """A channel without gaps: short ones are bridged by a straight line, as the settings allow."""
    gone = ~np.isfinite(row)
    if not gone.any():
        return row
    edges = np.flatnonzero(np.diff(np.concatenate([[0], gone.astype(np.int8), [0]])))
    longest = float((edges[1::2] - edges[::2]).max()) / signal.rate
    if gone.all() or longest > wanted.bridge:
        raise InputError(
            f"case '{case.id}': channel '{signal.channels[place]}' of '{signal.name}' lacks "
            f"{gone.mean():.1%} of its samples, {longest:.2f} s at a stretch; "
            "settings.signal.bridge says how long a gap may be"
        )
    there = np.flatnonzero(~gone)
    return np.asarray(np.interp(np.arange(len(row)), there, row[there]), np.float64)


def _resampled(row: NDArray[np.float64], rate: float, wanted: float) -> NDArray[np.float64]:
    """At another rate, after a low pass below half of the lower one (zero phase)."""
    if rate == wanted:
        return row
    from scipy.signal import resample_poly

    ratio = Fraction(wanted / rate).limit_denominator(_FINEST)
    out = resample_poly(row, ratio.numerator, ratio.denominator, padtype="line")
    return np.asarray(out, np.float64)


def _scaled(row: NDArray[np.float64], wanted: SignalInput) -> NDArray[np.float64]:
    if wanted.scale == "units":
        return row / wanted.divisor
    spread = float(row.std())
    return np.asarray((row - row.mean()) / (spread if spread > _LEAST_SPREAD else 1.0), np.float64)


def windows(length: int, samples: int) -> list[int]:
    """Where windows begin that cover a recording of some length, the last flush with its end.

    Neighbours overlap by as little as whole windows allow; one where it is no longer than that.
    """
    if length <= samples:
        return [0]
    count = -(-length // samples)
    return [round(k * (length - samples) / (count - 1)) for k in range(count)]
