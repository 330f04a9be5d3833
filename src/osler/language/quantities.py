# ruff: noqa: E501 - patterns
"""Numbers with units that a report states: pressures, ratios, thicknesses, sizes, laboratory values.

A number is taken only where its name stands right before it, and what no such thing can measure
is left out. Units are UCUM's.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from osler.record import Laterality

_N: Final = r"(?P<value>\d{1,4}(?:[.,]\d{1,3})?)"
_EYE: Final = r"(?:OD|OS|OU|right eye|left eye|right|left|右眼|左眼|右|左)"
_BETWEEN: Final = rf"(?:\s|[:：=≈~约为是]|of|was|is|measured|value|level|{_EYE}|[()（）]){{0,8}}?"
# "IOP: OD 18 mmHg, OS 21 mmHg": the second eye after the first
_OTHER_EYE: Final = re.compile(
    rf"\s?[,，;；、/]?\s?{_EYE}[\s:：=]{{0,3}}(?P<value>\d{{1,4}}(?:\.\d{{1,3}})?)"
    r"(?:\s?(?:mm ?Hg|µm|μm|um))?(?![\d%％/])",
    re.IGNORECASE,
)
_MICRO: Final = "(?:µm|μm|um|microns?|微米)"


class _Kind(NamedTuple):
    id: str
    name: str
    names: str
    units: tuple[tuple[str, str], ...]
    low: float
    high: float


# the bounds are of what is possible, not of what is normal
_KINDS: Final = (
    _Kind("iop", "Intraocular pressure", r"IOP|intraocular pressure|眼压", (("mm ?Hg", "mm[Hg]"), ("", "mm[Hg]")), 0, 80),
    _Kind("cdr", "Cup-to-disc ratio", r"C ?[/:] ?D(?: ratio)?|CDR|cup[- ](?:to[- ])?disc ratio|杯盘比|杯/盘比", (("", "1"),), 0, 1),
    _Kind("macular-thickness", "Central macular thickness", r"CMT|CST|CRT|central (?:macular|subfield|retinal|foveal) thickness|黄斑中心凹厚度|中心凹厚度|黄斑厚度", ((_MICRO, "um"),), 50, 1500),
    _Kind("hba1c", "Haemoglobin A1c", r"HbA1c|A1c|glycated ha?emoglobin|糖化血红蛋白", (("%|％", "%"), ("mmol/mol", "mmol/mol")), 3, 200),
    _Kind("glucose", "Glucose", r"(?:fasting )?(?:blood |plasma )?glucose|空腹血糖|血糖", (("mmol/L", "mmol/L"), ("mg/dL", "mg/dL")), 1, 1000),
    _Kind("ldl", "LDL cholesterol", r"LDL(?:-C)?(?: cholesterol)?|低密度脂蛋白(?:胆固醇)?", (("mmol/L", "mmol/L"), ("mg/dL", "mg/dL")), 0.1, 800),
    _Kind("creatinine", "Creatinine", r"(?:serum )?creatinine|血?肌酐", (("(?:µ|μ|u)mol/L", "umol/L"), ("mg/dL", "mg/dL")), 0.1, 3000),
    _Kind("egfr", "Estimated glomerular filtration rate", r"eGFR|肾小球滤过率", ((r"mL/min(?:/1[.,]73 ?m(?:2|²))?", "mL/min/{1.73_m2}"),), 1, 250),
    _Kind("spo2", "Oxygen saturation", r"Sp ?O2|SaO2|oxygen saturation|血氧饱和度", (("%|％", "%"),), 20, 100),
    _Kind("temperature", "Body temperature", r"temperature|体温", (("°? ?C|℃", "Cel"),), 25, 45),
    _Kind("crp", "C-reactive protein", r"CRP|C-reactive protein|C反应蛋白", (("mg/L", "mg/L"), ("mg/dL", "mg/dL")), 0, 1000),
)  # fmt: skip

_OF_EYES: Final = ("iop", "cdr", "macular-thickness")

_PATTERNS: Final = tuple(
    (
        kind,
        re.compile(
            rf"(?<![A-Za-z])(?:{kind.names}){_BETWEEN}{_N}\s?"
            rf"(?:{'|'.join(f'(?P<u{k}>{u})' for k, (u, _) in enumerate(kind.units))})"
            + ("" if kind.units[-1][0] else r"(?![\d%％/])"),
            re.IGNORECASE,
        ),
    )
    for kind in _KINDS
)
_PRESSURE: Final = re.compile(
    rf"(?<![A-Za-z])(?:BP|blood pressure|血压){_BETWEEN}(?P<high>\d{{2,3}})\s?/\s?(?P<low>\d{{2,3}})",
    re.IGNORECASE,
)
_SIZE: Final = re.compile(
    r"(?<![\d.])(?P<a>\d{1,3}(?:\.\d{1,2})?)\s?(?P<u1>mm|cm)?"
    r"(?:\s?[x×*]\s?(?P<b>\d{1,3}(?:\.\d{1,2})?)\s?(?P<u2>mm|cm)?)?"
    r"(?:\s?[x×*]\s?(?P<c>\d{1,3}(?:\.\d{1,2})?)\s?(?P<u3>mm|cm)?)?(?![A-Za-z\d])",
    re.IGNORECASE,
)
_SIDE: Final = re.compile(
    r"(?P<R>\bOD\b|\bright\b|右)|(?P<L>\bOS\b|\bleft\b|左)|(?P<B>\bOU\b|\bboth\b|双)", re.IGNORECASE
)


class Quantity(NamedTuple):
    """A number that a text states.

    Attributes:
        id: what was measured, such as ``"iop"``.
        name: its name.
        value: the number.
        unit: UCUM.
        side: where the words right before it say one.
        start: first character of its name.
        stop: one past the last of its unit.
    """

    id: str
    name: str
    value: float
    unit: str
    side: Laterality | None
    start: int
    stop: int


def quantities(text: str, start: int = 0, stop: int | None = None) -> Iterator[Quantity]:
    """The numbers of a stretch of a text, such as a sentence.

    Args:
        text: without control characters.
        start: where the stretch begins.
        stop: where it ends.
    """
    end = len(text) if stop is None else stop
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text, start, end):
            value = float(match["value"].replace(",", "."))
            unit = next(u for k, (_, u) in enumerate(kind.units) if match[f"u{k}"] is not None)
            if kind.low <= value <= kind.high:
                side = _side(text, start, match.start(), match.start("value"))
                yield Quantity(kind.id, kind.name, value, unit, side, *match.span())
            other = _OTHER_EYE.match(text, match.end(), end)
            if other and kind.id in _OF_EYES and kind.low <= float(other["value"]) <= kind.high:
                side = _side(text, other.start(), other.end(), other.start("value"))
                yield Quantity(kind.id, kind.name, float(other["value"]), unit, side, *other.span())
    for match in _PRESSURE.finditer(text, start, end):
        high, low = float(match["high"]), float(match["low"])
        if 50 <= high <= 300 and 20 <= low < high:
            span = match.span()
            yield Quantity("systolic", "Systolic blood pressure", high, "mm[Hg]", None, *span)
            yield Quantity("diastolic", "Diastolic blood pressure", low, "mm[Hg]", None, *span)


def size(text: str, start: int, stop: int) -> Quantity | None:
    """The largest diameter, in millimetres, that a stretch of a text states first."""
    for match in _SIZE.finditer(text, start, stop):
        unit = next((match[u] for u in ("u3", "u2", "u1") if match[u]), None)
        if unit is None:
            continue
        scale = 10.0 if unit.lower() == "cm" else 1.0
        largest = max(float(match[k]) for k in "abc" if match[k]) * scale
        if 0 < largest <= 500:
            return Quantity("size", "Largest diameter", largest, "mm", None, *match.span())
    return None


def _side(text: str, start: int, name: int, value: int) -> Laterality | None:
    """The side nearest before a number, at most forty characters before its name."""
    found: Laterality | None = None
    for match in _SIDE.finditer(text, max(start, name - 40), value):
        found = "R" if match["R"] else "L" if match["L"] else None
    return found
