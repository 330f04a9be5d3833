"""What comments of a record say about the patient: age, sex, diagnoses.

Sources: the headers of the PhysioNet/CinC challenges of 2020 and 2021 (``Age: 78``), of the PTB
database (``age: 81``), and of the MIT-BIH databases (``69 M ...``).
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from osler.record import Origin, Table

_FIELD = re.compile(r"<?(?P<key>[A-Za-z][A-Za-z /_-]{0,40}?)>?\s*:\s*(?P<value>.*)")
_ANGLED = re.compile(r"<(?P<key>[A-Za-z]+)>:\s*(?P<value>[^<]*)")
_MIT = re.compile(r"(?P<age>\d{1,3}|-1)\s+(?P<sex>[MF?])(?:\s+.*)?")
_CODES = re.compile(r"\d{6,18}(?:\s*,\s*\d{6,18})*")

_KEYS: Final = {
    "age": "age", "sex": "sex", "gender": "sex", "dx": "diagnoses", "diagnoses": "diagnoses",
    "rx": "medication", "hx": "history", "sx": "symptoms",
}  # fmt: skip
_SEXES: Final = {"m": "male", "male": "male", "f": "female", "female": "female"}
_MISSING: Final = {"", "unknown", "nan", "na", "n/a", "none", "(none)", "?"}


def patient_table(comments: Iterable[str], origin: Origin | None) -> Table | None:
    """The item ``"variables"`` with what the comments say, or None where they say nothing.

    ``age`` is in years, ``sex`` is ``"male"`` or ``"female"``, ``diagnoses`` is a tuple of SNOMED
    CT codes, or of words where they are no codes. What is unknown is absent.
    """
    values: dict[str, Any] = {}
    for comment in comments:
        for key, value in _fields(comment):
            if key in _KEYS:
                _keep(values, _KEYS[key], value.strip())
    if not values:
        return None
    units = {"age": "a"} if "age" in values else {}
    return Table("variables", values, units, origin=origin)


def _fields(comment: str) -> list[tuple[str, str]]:
    angled = _ANGLED.findall(comment)
    if angled:
        return [(key.casefold(), value) for key, value in angled]
    if match := _FIELD.fullmatch(comment):
        return [(match["key"].strip().casefold(), match["value"])]
    if match := _MIT.fullmatch(comment):
        return [("age", match["age"]), ("sex", match["sex"])]
    return []


def _keep(values: dict[str, Any], name: str, value: str) -> None:
    if value.casefold() in _MISSING or name in values:
        return
    if name == "age":
        try:
            age = float(value)
        except ValueError:
            return
        if 0 <= age <= 130:
            values[name] = int(age) if age.is_integer() else age
    elif name == "sex":
        if value.casefold() in _SEXES:
            values[name] = _SEXES[value.casefold()]
    elif _CODES.fullmatch(value):
        values[name] = tuple(code.strip() for code in value.split(","))
    else:
        values[name] = (value,) if name == "diagnoses" else value
