"""Names of leads and units of potential, the same whatever the device wrote.

Sources: ISO/IEEE 11073-10102 (MDC codes of ECG leads), SCP-ECG (EN 1064) lead numbers.
"""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from osler.io.table_units import ucum

TWELVE: Final = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The twelve standard leads, in the usual order."""

_NAMES: Final = {
    name.casefold(): name
    for name in (
        *TWELVE, "V7", "V8", "V9", "V3R", "V4R", "V5R", "V6R", "V7R", "X", "Y", "Z", "-aVR",
        "MLI", "MLII", "MLIII", "MCL1", "MCL6", "ES", "AS", "AI",
    )
}  # fmt: skip
_MDC_WORDS: Final = {f"mdc_ecg_lead_{name.casefold()}": name for name in _NAMES.values()}
# codes of the nomenclature's partition 2; MLII and the like are device-specific
_MDC_CODES: Final = {
    "2:1": "I", "2:2": "II", "2:61": "III", "2:62": "aVR", "2:63": "aVL", "2:64": "aVF",
    **{f"2:{number + 2}": f"V{number}" for number in range(1, 7)},
}  # fmt: skip
_PREFIX = re.compile(r"(?:ecg|ekg|lead|leads|channel|导联)[\s_:.\-]*(?=\S)", re.IGNORECASE)

_VOLTS: Final = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "nV": 1e-6, "kV": 1e6, "pV": 1e-9}


def lead(name: str) -> str:
    """The usual name of an ECG lead (``"I"``, ``"aVR"``, ``"V1"``); any other name as it is.

    Args:
        name: as a device writes it: ``"AVR"``, ``"Lead I"``, ``"ECG V1"``, ``"MDC_ECG_LEAD_V1"``,
            ``"2:62"``.
    """
    plain = name.strip()
    if plain in _MDC_CODES:
        return _MDC_CODES[plain]
    if plain.casefold() in _MDC_WORDS:
        return _MDC_WORDS[plain.casefold()]
    for _ in range(2):  # "ECG Lead I"
        if plain.casefold() in _NAMES:
            return _NAMES[plain.casefold()]
        plain = _PREFIX.sub("", plain, count=1)
    return _NAMES.get(plain.casefold(), name.strip())


def is_ecg(channels: tuple[str, ...]) -> bool:
    """Whether any channel is a lead of an ECG by its name."""
    return any(
        c in _NAMES.values() and c not in ("X", "Y", "Z", "ES", "AS", "AI") for c in channels
    )


def item_name(channels: tuple[str, ...], taken: int = 0) -> str:
    """``"ecg"`` or ``"signal"``; the second item of a file is ``"ecg-2"`` and so on.

    Args:
        channels: names of the channels.
        taken: how many items of the name there are.
    """
    name = "ecg" if is_ecg(channels) else "signal"
    return name if taken == 0 else f"{name}-{taken + 1}"


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names with a number added where one stands twice."""
    counts: dict[str, int] = {}
    out = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        out.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return tuple(out)


def unit(text: str) -> str:
    """A unit in UCUM; what is no known unit becomes an annotation, such as ``"{NU2}"``."""
    known = ucum(text)
    if known is not None:
        return known
    plain = re.sub(r"[^!-z|~]", "_", text.strip())[:40]
    return f"{{{plain}}}" if plain else "1"


def to_millivolts(values: NDArray[np.floating], unit: str) -> tuple[NDArray[np.floating], str]:
    """Potentials in millivolts; values in any other unit as they are.

    Args:
        values: any shape.
        unit: UCUM unit of the values.

    Returns:
        The values and their unit.
    """
    factor = _VOLTS.get(unit)
    if factor is None or factor == 1.0:
        return values, unit
    return values * values.dtype.type(factor), "mV"
