# ruff: noqa: E501 - tables of names
"""What is known of a patient: values with units from a case's tables, checked before use.

A value that no patient can have, that lacks a unit it needs, or that contradicts another is said
and not used. Names, LOINC codes and units of a table or of FHIR observations are understood.

Conversions: HbA1c from IFCC to NGSP units by the master equation [1]; cholesterol 38.67 mg/dL,
creatinine 88.42 µmol/L per mg/dL, albumin-to-creatinine 8.84 mg/g per mg/mmol [2].

[1] Hoelzel W, et al. IFCC reference system for measurement of hemoglobin A1c in human blood and
    the national standardization schemes. Clin Chem 2004;50(1):166-174.
[2] AMA Manual of Style, 11th ed., SI conversion calculator.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from osler.errors import InputError
from osler.language.patient_spelt import acuity_spelt, diabetes_spelt, pregnancy_spelt
from osler.record import Case, Code, Label, Measurement, Table

_MOST_BYTES: Final = 1_000_000


class _Number(NamedTuple):
    """A number: its names, LOINC codes, units with the way to the first, and what is possible."""

    names: tuple[str, ...]
    loinc: tuple[str, ...]
    units: tuple[tuple[str, float, float], ...]  # unit, factor, offset: to the first unit
    low: float
    high: float
    bare: bool = False  # whether a number without a unit has the first


_NUMBERS: Final[Mapping[str, _Number]] = {
    "age": _Number(("age", "age_years", "年龄"), ("30525-0", "21612-7"), (("a", 1, 0), ("years", 1, 0), ("year", 1, 0), ("y", 1, 0), ("岁", 1, 0)), 0, 120, bare=True),
    "diabetes_years": _Number(("diabetes_years", "diabetes_duration", "duration", "duration_of_diabetes", "years_of_diabetes", "糖尿病病程", "病程"), (), (("a", 1, 0), ("years", 1, 0), ("year", 1, 0), ("y", 1, 0), ("年", 1, 0)), 0, 100, bare=True),
    "hba1c": _Number(("hba1c", "a1c", "hemoglobin_a1c", "haemoglobin_a1c", "糖化血红蛋白"), ("4548-4", "17856-6", "59261-8"), (("%", 1, 0), ("mmol/mol", 0.09148, 2.152), ("percent", 1, 0)), 3, 20),
    "systolic": _Number(("systolic", "sbp", "systolic_blood_pressure", "systolic_bp", "收缩压"), ("8480-6",), (("mm[Hg]", 1, 0), ("mmHg", 1, 0)), 50, 300, bare=True),
    "diastolic": _Number(("diastolic", "dbp", "diastolic_blood_pressure", "diastolic_bp", "舒张压"), ("8462-4",), (("mm[Hg]", 1, 0), ("mmHg", 1, 0)), 20, 200, bare=True),
    "ldl": _Number(("ldl", "ldl_cholesterol", "ldl_c", "低密度脂蛋白", "低密度脂蛋白胆固醇"), ("13457-7", "18262-6", "2089-1", "22748-8"), (("mmol/L", 1, 0), ("mg/dL", 1 / 38.67, 0)), 0.1, 20),
    "bmi": _Number(("bmi", "body_mass_index", "体质指数", "体重指数"), ("39156-5",), (("kg/m2", 1, 0), ("kg/m²", 1, 0)), 10, 90, bare=True),
    "egfr": _Number(("egfr", "gfr", "肾小球滤过率"), ("62238-1", "98979-8", "33914-3", "48642-3", "48643-1"), (("mL/min/{1.73_m2}", 1, 0), ("mL/min/1.73m2", 1, 0), ("mL/min/1.73 m2", 1, 0), ("mL/min/1.73 m²", 1, 0)), 1, 250, bare=True),
    "uacr": _Number(("uacr", "acr", "albumin_creatinine_ratio", "urinary_albumin_creatinine_ratio", "尿白蛋白肌酐比"), ("9318-7", "14959-1"), (("mg/g", 1, 0), ("mg/g{creat}", 1, 0), ("mg/mmol", 8.84, 0)), 0, 20000),
    "visual_acuity": _Number(("visual_acuity", "va", "bcva", "视力"), (), (("1", 1, 0),), 0, 3, bare=True),
}  # fmt: skip

_WORDS: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]]] = {
    "sex": (("sex", "gender", "性别"), {"f": "female", "female": "female", "woman": "female", "女": "female", "m": "male", "male": "male", "man": "male", "男": "male"}),
    "diabetes": (("diabetes", "diabetes_type", "type_of_diabetes", "糖尿病类型", "糖尿病"), {
        "1": "type 1", "type 1": "type 1", "t1dm": "type 1", "t1": "type 1", "1型": "type 1", "type1": "type 1", "type 1 diabetes mellitus": "type 1", "1型糖尿病": "type 1",
        "2": "type 2", "type 2": "type 2", "t2dm": "type 2", "t2": "type 2", "2型": "type 2", "type2": "type 2", "type 2 diabetes mellitus": "type 2", "2型糖尿病": "type 2",
        "gestational": "gestational", "gdm": "gestational", "妊娠期": "gestational", "妊娠期糖尿病": "gestational",
        "none": "none", "no": "none", "false": "none", "无": "none", "否": "none",
        "yes": "yes", "true": "yes", "是": "yes", "有": "yes", "other": "other", "其他": "other"}),
    "pregnant": (("pregnant", "pregnancy", "pregnancy_status", "妊娠", "怀孕"), {"yes": "yes", "true": "yes", "pregnant": "yes", "是": "yes", "no": "no", "false": "no", "not pregnant": "no", "否": "no"}),
    "smoking": (("smoking", "smoker", "smoking_status", "tobacco", "吸烟"), {"current": "current", "yes": "current", "true": "current", "current smoker": "current", "smokes": "current", "是": "current", "former": "former", "ex": "former", "former smoker": "former", "ex-smoker": "former", "已戒": "former", "never": "never", "no": "never", "false": "never", "never smoker": "never", "否": "never", "never smoked tobacco": "never"}),
    "sudden_vision_loss": (("sudden_vision_loss", "sudden_loss_of_vision", "突发视力丧失"), {"yes": "yes", "true": "yes", "是": "yes", "no": "no", "false": "no", "否": "no"}),
}  # fmt: skip
_CODED: Final = {"82810-3": "pregnant", "72166-2": "smoking", "46098-0": "sex", "76689-9": "sex"}
_TREATMENT: Final = ("treatment", "medication", "medications", "drugs", "治疗", "用药")
_PRESSURE: Final = ("blood_pressure", "bp", "血压")
_STATED: Final = {"type-1-diabetes": "type 1", "type-2-diabetes": "type 2", "diabetes": "yes"}
PATIENT: Final = "patient"
"""The table of a file that holds nothing but a patient's values."""
_WEEKS: Final = ("gestational_age", "gestational_weeks", "weeks_pregnant", "孕周", "妊娠周数")
_WHO: Final = re.compile(
    r"name|(?:^|_)(?:id|mrn|dob|nhs|ssn)(?:_|$)|identifier|number|birth|date|address|phone|mail|"
    r"姓名|编号|号码|出生|日期|住址|地址|电话|note|comment|备注"
)  # of the person, not of the patient's values: nobody expects advice on them
_BRACKETS: Final = re.compile(r"\s*[(（\[]([^()（）\[\]]{1,30})[)）\]]\s*$")
_EYES: Final = frozenset({"right", "left", "od", "os", "r", "l", "右", "左", "右眼", "左眼"})
_FERTILE: Final = (10, 60)  # years within which a pregnancy is believed
_STOP: Final = re.compile(
    r"statin\b|他汀|(?:pril|sartan)\b|普利|沙坦|ACE inhibitor|angiotensin receptor", re.IGNORECASE
)
_ASPIRIN: Final = re.compile(r"aspirin|acetylsalicylic|阿司匹林", re.IGNORECASE)

_BY_NAME: Final = {
    **{name: key for key, number in _NUMBERS.items() for name in number.names},
    **{name: key for key, (names, _) in _WORDS.items() for name in names},
    **dict.fromkeys(_WEEKS, "weeks_pregnant"),
}
_BY_CODE: Final = {
    **{code: key for key, number in _NUMBERS.items() for code in number.loinc},
    **_CODED,
}


class Given(NamedTuple):
    """A value as it was used.

    Attributes:
        value: a number in the unit, or a word.
        unit: of the number; empty for words.
        item: name of the table that it stands in.
    """

    value: float | str
    unit: str
    item: str


class NotUsed(NamedTuple):
    """A value that was not used, without the value: its name and why."""

    name: str
    why: str
    why_zh: str
    item: str


@dataclass(slots=True)
class Patient:
    """What is known of a patient.

    Attributes:
        given: name to value, such as ``"hba1c"`` to 8.2 in ``"%"``.
        not_used: what was given and cannot be right, or cannot be understood.
    """

    given: dict[str, Given] = field(default_factory=dict)
    not_used: list[NotUsed] = field(default_factory=list)

    def number(self, name: str) -> float | None:
        """A number, in the unit that advice uses."""
        given = self.given.get(name)
        return given.value if given and isinstance(given.value, int | float) else None

    def items(self) -> tuple[str, ...]:
        """Names of the tables that values came from."""
        return tuple(dict.fromkeys(given.item for given in self.given.values()))


def patient_of(case: Case) -> Patient:
    """What the tables of a case say of its patient; the latest table that says something holds."""
    patient = Patient()
    tables = [item for item in case.items.values() if isinstance(item, Table)]
    tables.sort(key=lambda t: (t.acquired is not None, str(t.acquired or "")))
    for table in tables:
        codes = table.header.get("codes", {})
        for name, value in table.values.items():
            code = codes.get(name) if isinstance(codes, Mapping) else None
            _take(patient, table, str(name), value, code if isinstance(code, Code) else None)
    _of_texts(patient, case)
    _contradictions(patient)
    return patient


def _of_texts(patient: Patient, case: Case) -> None:
    """What a report states and no table does: laboratory values, and whether there is diabetes."""
    known = set(patient.given) | {one.name for one in patient.not_used}
    for finding in case.findings.values():
        said = finding.id.split(".")
        if isinstance(finding, Measurement) and finding.span is not None:
            key = next((part for part in said if part in _NUMBERS), None)
            if key and key not in known and finding.value is not None:
                _number(patient, key, finding.value, finding.unit, finding.id)
        elif isinstance(finding, Label) and finding.span is not None and finding.value == "present":
            kind = next((_STATED[part] for part in said if part in _STATED), None)
            if kind and "diabetes" not in known:
                patient.given["diabetes"] = Given(kind, "", finding.id)


def patient_table(path: str | Path, *, name: str = PATIENT) -> Table:
    """A table from a JSON file of a patient's values.

    The file is an object of names and values; a value with a unit is ``"8.2 %"`` or
    ``{"value": 8.2, "unit": "%"}``. What ``osler.load`` opens, such as FHIR observations or a row
    of CSV, needs no such file.

    Raises:
        InputError: the file cannot be read, or is no such object.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"'{path}' is too large for a patient's values")
        found = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"'{path}' is no readable JSON of a patient's values") from None
    if not isinstance(found, dict) or len(found) > 500:
        raise InputError(
            f'\'{path}\' is no object of a patient\'s values, such as {{"age": 58, "hba1c": '
            '"8.2 %"}'
        )
    values: dict[str, Any] = {}
    units: dict[str, str] = {}
    for key, value in found.items():
        if isinstance(value, dict) and {"type", "years"} & set(value):
            # {"diabetes": {"type": 2, "years": 12}}
            values |= {f"{key}_{inner}": one for inner, one in value.items()}
        elif isinstance(value, dict) and value and set(map(str.casefold, value)) <= _EYES:
            # {"visual_acuity": {"right": "6/12", "left": "6/60"}}
            values[key] = "; ".join(map(str, value.values()))
        elif isinstance(value, dict):
            values[key] = value.get("value")
            units[key] = str(value.get("unit", ""))[:40]
        else:
            values[key] = "; ".join(map(str, value[:100])) if isinstance(value, list) else value
    return Table(name, values, units)


def _take(patient: Patient, table: Table, name: str, value: Any, code: Code | None) -> None:
    key = _key(name, code)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return
    if _plain(name) in _TREATMENT:
        words = str(value)[:2000]
        for flag, pattern in (("drugs_to_stop", _STOP), ("aspirin", _ASPIRIN)):
            if pattern.search(words):
                patient.given[flag] = Given("yes", "", table.name)
        return
    if _plain(name) in _PRESSURE:
        match = re.fullmatch(r"\s*(\d{2,3})\s*/\s*(\d{2,3})\s*(?:mm ?Hg|mm\[Hg\])?\s*", str(value))
        if match:
            for part, number in zip(("systolic", "diastolic"), match.groups(), strict=True):
                _number(patient, part, float(number), "mm[Hg]", table.name)
        else:
            _refuse(patient, "systolic", "not-understood", table.name)
        return
    if key == "weeks_pregnant":
        said = pregnancy_spelt(f"{str(value).strip().casefold()[:20].removesuffix('.0')} weeks")
        said = said or pregnancy_spelt(str(value).strip().casefold()[:40])
        _word(patient, "pregnant", said, table.name)
    elif key == "visual_acuity" and isinstance(value, str) and not table.units.get(name):
        _acuity(patient, value, table.name)
    elif key in _NUMBERS:
        number, unit = _parted(value, table.units.get(name) or _bracketed(name))
        if number is None:
            _refuse(patient, key, "not-understood", table.name)
        else:
            _number(patient, key, number, unit, table.name)
    elif key in _WORDS:
        said = str(value).strip().casefold()[:80].removesuffix(".0")
        word = _WORDS[key][1].get(said)
        if word is None and key == "diabetes":
            word = _diabetes(patient, said, table.name)
        elif word is None and key == "pregnant":
            word = pregnancy_spelt(said)
        _word(patient, key, word, table.name)
    elif not key and table.name == PATIENT and not _WHO.search(_plain(name)):
        patient.not_used.append(NotUsed(_shown(name), *_WHY["no-such-name"], table.name))


def _word(patient: Patient, key: str, word: str | None, item: str) -> None:
    if word is None:
        _refuse(patient, key, "not-understood", item)
    else:
        patient.given[key] = Given(word, "", item)


def _diabetes(patient: Patient, said: str, item: str) -> str | None:
    found = diabetes_spelt(said)
    if found is not None and found[1] is not None and "diabetes_years" not in patient.given:
        _number(patient, "diabetes_years", found[1], "a", item)
    return None if found is None else found[0]


def _acuity(patient: Patient, value: str, item: str) -> None:
    found = acuity_spelt(value.strip().casefold()[:80])
    if found is None:
        _refuse(patient, "visual_acuity", "not-understood", item)
    elif isinstance(found, str):
        patient.given["low_vision"] = Given("yes", "", item)
    else:
        _number(patient, "visual_acuity", found, "1", item)


def _bracketed(name: str) -> str:
    """The unit behind a name, as in ``HbA1c (%)``."""
    match = _BRACKETS.search(name[:200])
    return match[1].strip() if match else ""


def _shown(name: str) -> str:
    """A name as it may be printed: short, and of letters, digits and spaces."""
    return re.sub(r"[^\w .%-]+", " ", name)[:40].strip() or "?"


def _key(name: str, code: Code | None) -> str:
    if code is not None and code.scheme == "LN" and code.value in _BY_CODE:
        return _BY_CODE[code.value]
    plain = _plain(name)
    # FHIR names a component "Blood pressure: Systolic blood pressure"
    return _BY_NAME.get(plain) or _BY_NAME.get(plain.rpartition(":")[2].strip("_ ")) or ""


def _plain(name: str) -> str:
    bare = _BRACKETS.sub("", name[:200])
    return re.sub(r"[\s\-/]+", "_", bare.strip().casefold())[:120]


def _parted(value: Any, unit: str) -> tuple[float | None, str]:
    """The number of a value and its unit: of ``"8.2 %"``, say."""
    if isinstance(value, bool):
        return None, unit
    if isinstance(value, int | float):
        return float(value), unit
    snellen = re.fullmatch(r"\s*(20|6|5)\s*/\s*(\d{1,3})\s*", str(value)[:20])
    if snellen and float(snellen[2]):
        return float(snellen[1]) / float(snellen[2]), "1"
    match = re.fullmatch(r"\s*(\d{1,6}(?:[.,]\d{1,4})?)\s*(\S.{0,30}?)?\s*", str(value)[:60])
    if match is None:
        return None, unit
    return float(match[1].replace(",", ".")), unit or match[2] or ""


def _number(patient: Patient, key: str, value: float, unit: str, item: str) -> None:
    kind = _NUMBERS[key]
    if not unit and not kind.bare:
        _refuse(patient, key, "no-unit", item)
        return
    plain = unit.replace(" ", "").casefold() if unit else kind.units[0][0].casefold()
    known = next((u for u in kind.units if u[0].replace(" ", "").casefold() == plain), None)
    if known is None:
        _refuse(patient, key, "unknown-unit", item)
        return
    value = value * known[1] + known[2]
    if not kind.low <= value <= kind.high:
        _refuse(patient, key, "implausible", item)
        return
    patient.given[key] = Given(value, kind.units[0][0], item)


_WHY: Final = {
    "no-unit": ("it has no unit", "没有单位"),
    "unknown-unit": ("its unit is not known", "单位无法识别"),
    "implausible": ("no patient can have this value", "该数值不可能"),
    "not-understood": ("it was not understood", "无法理解"),
    "contradiction": ("it contradicts another value", "与其他数值矛盾"),
    "no-such-name": ("no value of this name is known", "没有这一名称的数值"),
}


def _refuse(patient: Patient, key: str, why: str, item: str) -> None:
    patient.given.pop(key, None)  # a value that was overruled must not stand in for it
    patient.not_used.append(NotUsed(key, *_WHY[why], item))


def _contradictions(patient: Patient) -> None:
    age, years = patient.number("age"), patient.number("diabetes_years")
    if age is not None and years is not None and years > age:
        _refuse(patient, "diabetes_years", "contradiction", patient.given["diabetes_years"].item)
    high, low = patient.number("systolic"), patient.number("diastolic")
    if high is not None and low is not None and low >= high:
        item = patient.given["systolic"].item
        _refuse(patient, "systolic", "contradiction", item)
        _refuse(patient, "diastolic", "contradiction", item)
    if patient.given.get("pregnant", Given("", "", "")).value == "yes":
        sex = patient.given.get("sex")
        if (sex and sex.value == "male") or (
            age is not None and not _FERTILE[0] <= age < _FERTILE[1]
        ):
            _refuse(patient, "pregnant", "contradiction", patient.given["pregnant"].item)
