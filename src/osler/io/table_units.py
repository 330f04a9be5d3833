"""Units as people write them, in UCUM's letters [1].

[1] Unified Code for Units of Measure, https://ucum.org/ucum
"""

import re
from typing import Final

# Case matters in UCUM ("m" is milli, "M" is mega), so what people write is looked up exactly
# first, and then without regard to case where no two units differ by it alone.
_EXACT: Final[dict[str, str]] = {
    "µV": "uV", "μV": "uV", "µm": "um", "μm": "um", "µmol/L": "umol/L", "μmol/L": "umol/L",
    "µg/L": "ug/L", "μg/L": "ug/L", "µg": "ug", "μg": "ug", "µL": "uL", "μL": "uL",
    "µg/mL": "ug/mL", "μg/mL": "ug/mL", "°C": "Cel", "℃": "Cel", "C": "Cel",
    "°F": "[degF]", "F": "[degF]", "°": "deg", "Ω": "Ohm", "10^9/L": "10*9/L",
    "10^12/L": "10*12/L", "10^3/uL": "10*3/uL", "10^6/uL": "10*6/uL", "x10^9/L": "10*9/L",
    "10⁹/L": "10*9/L", "10¹²/L": "10*12/L", "K/uL": "10*3/uL", "M/uL": "10*6/uL", "D": "[diop]",
    "kg/m2": "kg/m2", "kg/m^2": "kg/m2", "kg/m²": "kg/m2", "m²": "m2", "m^2": "m2",
    "mm²": "mm2", "mm³": "mm3", "cm²": "cm2", "cm³": "cm3", "mL/min/1.73m2": "mL/min/{1.73_m2}",
    "mL/min/1.73 m2": "mL/min/{1.73_m2}", "mL/min/1.73m²": "mL/min/{1.73_m2}", "M": "mol/L",
    "岁": "a", "次/分": "/min", "次/min": "/min", "毫米汞柱": "mm[Hg]", "天": "d", "月": "mo",
}  # fmt: skip

_FOLDED: Final[dict[str, str]] = {
    "mmhg": "mm[Hg]", "cmh2o": "cm[H2O]", "bpm": "/min", "beats/min": "/min", "1/min": "/min",
    "breaths/min": "/min", "/min": "/min", "degc": "Cel", "celsius": "Cel", "cel": "Cel",
    "deg c": "Cel", "degf": "[degF]", "deg f": "[degF]", "percent": "%", "pct": "%", "%": "%",
    "years": "a", "year": "a", "yr": "a", "yrs": "a", "y": "a", "months": "mo", "month": "mo",
    "weeks": "wk", "week": "wk", "days": "d", "day": "d", "hours": "h", "hour": "h", "hr": "h",
    "hrs": "h", "minutes": "min", "minute": "min", "mins": "min", "seconds": "s", "second": "s",
    "sec": "s", "secs": "s", "milliseconds": "ms", "msec": "ms", "diopters": "[diop]",
    "dioptres": "[diop]", "dpt": "[diop]", "iu/l": "[iU]/L", "iu/ml": "[iU]/mL", "iu": "[iU]",
    "mmol/l": "mmol/L", "umol/l": "umol/L", "nmol/l": "nmol/L", "pmol/l": "pmol/L",
    "mol/l": "mol/L", "mg/dl": "mg/dL", "g/dl": "g/dL", "g/l": "g/L", "mg/l": "mg/L",
    "ug/l": "ug/L",
    "ng/ml": "ng/mL", "pg/ml": "pg/mL", "ug/ml": "ug/mL", "mg/ml": "mg/mL", "ng/l": "ng/L",
    "u/l": "U/L", "ml": "mL",
    "l": "L", "ul": "uL", "dl": "dL", "ml/min": "mL/min", "l/min": "L/min", "meq/l": "meq/L",
    "miu/l": "m[iU]/L", "uiu/ml": "u[iU]/mL", "ratio": "1", "nu": "1", "1": "1", "none": "1",
    "unitless": "1", "db": "dB", "ohm": "Ohm", "ohms": "Ohm", "kg": "kg", "g": "g", "cm": "cm",
    "hz": "Hz", "volt": "V", "volts": "V", "millivolt": "mV", "millivolts": "mV", "microvolt": "uV",
    "microvolts": "uV", "logmar": "{logMAR}", "pixels": "[pix_i]", "px": "[pix_i]", "deg": "deg",
    "degrees": "deg", "10*9/l": "10*9/L", "10*12/l": "10*12/L", "10e9/l": "10*9/L",
    "10e12/l": "10*12/L", "counts": "{counts}", "adu": "{adu}", "a.u.": "[arb'U]", "au": "[arb'U]",
}  # fmt: skip

# Atoms of UCUM that clinical variables are given in, with the prefixes that they take.
_METRIC = (
    r"(?:[YZEPTGMkhdcmunpf]|da)?"
    r"(?:m|g|s|L|l|mol|V|A|W|J|N|Pa|Hz|Ohm|Bq|Gy|Sv|K|eq|osm|U|kat|bit|By|bar|cal|Cel)"
)
_OTHER = (
    r"(?:min|h|d|wk|mo|a|deg|%|1|10\*-?\d{1,2}|mm\[Hg\]|cm\[H2O\]|m?u?\[iU\]|\[[A-Za-z_'0-9]{1,24}\]"
    r"|dB|\{[!-z|~]{1,40}\})"
)
_TERM = rf"(?:{_METRIC}|{_OTHER})(?:-?[1-9])?(?:\{{[!-z|~]{{1,40}}\}})?"
_LITRE = re.compile(
    r"(?<![A-Za-z\[{])([mudnpcfk]?)l(?![A-Za-z])"
)  # "l" is UCUM too, but reads as 1
_UCUM = re.compile(rf"/?{_TERM}(?:[./]{_TERM}){{0,4}}")


def ucum(text: str) -> str | None:
    """A unit in UCUM, or None where what is written is no unit that is known.

    Args:
        text: as a header or a device writes it, such as ``"mmHg"``, ``"µV"`` or ``"mg/dl"``.
    """
    text = text.strip()
    if text in _EXACT:
        return _EXACT[text]
    if len(text) <= 64 and _UCUM.fullmatch(text):
        return _LITRE.sub(r"\1L", text)
    return _FOLDED.get(text.casefold().replace("µ", "u").replace("μ", "u"))


_HEADERS = (
    re.compile(r"(?P<name>.*\S)\s*\[(?P<unit>[^\[\]]*(?:\[[^\]]*\][^\[\]]*)?)\]"),
    re.compile(r"(?P<name>.*\S)\s*[(（](?P<unit>[^()（）]+)[)）]"),
)


def split_header(header: str) -> tuple[str, str | None]:
    """A column's name and UCUM unit, from ``"glucose [mmol/L]"`` or ``"glucose (mmol/L)"``.

    What stands in brackets and is no unit stays in the name: ``"sex (M/F)"``.
    """
    header = header.strip()
    if not header.endswith(("]", ")", "）")) or len(header) > 1000:
        return header, None
    for pattern in _HEADERS:
        match = pattern.fullmatch(header)
        if match and (unit := ucum(match["unit"])) is not None:
            return match["name"], unit
    return header, None
