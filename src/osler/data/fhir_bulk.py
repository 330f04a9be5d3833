"""FHIR bulk exports: NDJSON of Patient, Observation, DiagnosticReport and ImagingStudy.

A case is a patient. Sex and age become variables, of each kind of Observation the last final value
(``NAME [UNIT]``), codes of conclusions labels, and the text of the last report a file. Names,
addresses, identifiers and dates of birth are not taken.

Source: HL7 FHIR Bulk Data Access 2.0; resources of FHIR R4.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from osler.data.cohort import Row
from osler.data.importing import Imported, Names, Options, column_name
from osler.data.tables import Value
from osler.errors import InputError, TooLargeError, UnreadableError

LONGEST_LINE: Final = 64 << 20
"""Bytes of one resource beyond which a file is refused."""

_TAKEN: Final = ("Patient", "Observation", "DiagnosticReport", "ImagingStudy")
_DATE: Final = re.compile(r"\d{4}(-\d\d(-\d\d(T.*)?)?)?\Z", re.ASCII)
_SETTLED: Final = {"final", "amended", "corrected"}


@dataclass(slots=True)
class _Person:
    """What is known of one patient; of each kind the latest counts."""

    birth: str = ""
    sex: str = ""
    last: str = ""
    values: dict[str, tuple[str, Value]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    report: tuple[str, str] = ("", "")
    studies: list[tuple[str, str, str]] = field(default_factory=list)


def accepts(source: Path) -> bool:
    """Whether it is a file of resources, one a line, or a folder of such."""
    return any(b'"resourceType"' in _head(file) for file in _files(source))


def read(source: Path, options: Options) -> Imported:
    """A case for each patient.

    Raises:
        UnreadableError: a line is no resource; the message names the file and the line.
        TooLargeError: a line is longer than 64 MiB.
    """
    people: dict[str, _Person] = {}
    notes: list[str] = []
    left: dict[str, int] = {}
    for file in _files(source):
        for where, resource in _resources(file):
            kind = str(resource.get("resourceType"))
            if kind not in _TAKEN:
                left[kind] = left.get(kind, 0) + 1
                continue
            try:
                _take(kind, resource, people)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError):
                raise UnreadableError(f"{where}: the {kind} is damaged; export it again") from None
    if left:
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
        notes.append(f"left out: {listed}")
    names = Names()
    rows = [_row(id, person, names, options) for id, person in sorted(people.items())]
    return Imported(options.files, rows, notes)


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        return sorted(source.glob("*.ndjson"))
    return [source] if source.suffix.lower() in (".ndjson", ".jsonl") else []


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(4096)


def _resources(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and content of each line."""
    try:
        with file.open("rb") as stream:
            number = 0
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                where = f"'{file.name}', line {number}"
                if len(line) > LONGEST_LINE:
                    raise TooLargeError(f"{where} is longer than {LONGEST_LINE:,} bytes")
                if not line.strip():
                    continue
                try:
                    resource = json.loads(line)
                except (ValueError, RecursionError):
                    raise UnreadableError(f"{where} is no JSON; export it again") from None
                if not isinstance(resource, dict) or "resourceType" not in resource:
                    raise UnreadableError(f"{where} is no FHIR resource")
                yield where, resource
    except OSError as error:
        raise InputError(f"'{file}' cannot be read: {error.strerror}") from None


def _take(kind: str, resource: Mapping[str, Any], people: dict[str, _Person]) -> None:
    if kind == "Patient":
        person = people.setdefault(str(resource["id"]), _Person())
        person.birth, person.sex = _date(resource, "birthDate"), str(resource.get("gender") or "")
        return
    reference = str(resource["subject"]["reference"]).split("/")
    if reference[-2:-1] != ["Patient"]:
        return  # about a group, a device or a place
    person = people.setdefault(reference[-1], _Person())
    {"Observation": _observation, "DiagnosticReport": _report, "ImagingStudy": _study}[kind](
        resource, person
    )


def _date(resource: Mapping[str, Any], name: str) -> str:
    """A date, as exact as it is; ``""`` where it is missing."""
    text = resource.get(name) or ""
    if text and not _DATE.match(text):
        raise ValueError(name)
    return str(text)


def _observation(resource: Mapping[str, Any], person: _Person) -> None:
    if resource.get("status") not in _SETTLED:
        return
    when = _date(resource, "effectiveDateTime") or _date(resource, "issued")
    parts = [resource, *resource.get("component", [])]
    for part in parts:
        value = _value(part)
        if value is None:
            continue
        name, found = _words(part["code"]), value
        unit = part.get("valueQuantity", {}).get("code") or part.get("valueQuantity", {}).get(
            "unit"
        )
        column = column_name(f"{name} [{unit}]" if unit else name)
        if when >= person.values.get(column, ("", 0))[0]:
            person.values[column] = (when, found)
        person.last = max(person.last, when)


def _value(part: Mapping[str, Any]) -> Value | None:
    if "valueQuantity" in part:
        quantity = part["valueQuantity"]
        # "<5" is no 5
        number = quantity.get("value")
        if quantity.get("comparator"):
            return f"{quantity['comparator']}{number}"
        return number if isinstance(number, int | float) else None
    for key in ("valueInteger", "valueBoolean", "valueString", "valueDateTime"):
        if key in part and isinstance(part[key], str | int | bool):
            found: Value = part[key]
            return found
    return _words(part["valueCodeableConcept"]) if "valueCodeableConcept" in part else None


def _words(concept: Mapping[str, Any]) -> str:
    """A concept as its text, else its first display, else its first code."""
    coding = (concept.get("coding") or [{}])[0]
    found = concept.get("text") or coding.get("display") or coding.get("code")
    if not found:
        raise ValueError("a concept without text and code")
    return str(found)


def _report(resource: Mapping[str, Any], person: _Person) -> None:
    if resource.get("status") not in _SETTLED:
        return
    when = _date(resource, "effectiveDateTime") or _date(resource, "issued")
    for concept in resource.get("conclusionCode", []):
        person.labels[column_name(_words(concept))] = "1"
    text = _text(resource)
    if text and when >= person.report[0]:
        person.report = (when, text)
    person.last = max(person.last, when)


def _text(resource: Mapping[str, Any]) -> str:
    for form in resource.get("presentedForm", []):
        if str(form.get("contentType", "")).startswith("text/plain") and form.get("data"):
            try:
                return base64.b64decode(form["data"], validate=True).decode("utf-8")
            except binascii.Error:
                raise ValueError("presentedForm") from None
    return str(resource.get("conclusion", ""))


def _study(resource: Mapping[str, Any], person: _Person) -> None:
    when = _date(resource, "started")
    uids = [
        str(i.get("value", "")).removeprefix("urn:oid:")
        for i in resource.get("identifier", [])
        if i.get("system") == "urn:dicom:uid"
    ]
    modality = next((str(s["modality"].get("code", "")) for s in resource.get("series", [])), "")
    if uids:
        person.studies.append((when, uids[0], modality))
    person.last = max(person.last, when)


def _row(id: str, person: _Person, names: Names, options: Options) -> Row:
    case = names.new(id)
    variables: dict[str, Value] = {}
    if person.sex:
        variables["sex"] = person.sex
    if len(person.birth) >= 4 and len(person.last) >= 4:
        variables["age"] = _age(person.birth, person.last)
    variables |= {name: value for name, (_, value) in sorted(person.values.items())}
    if person.studies:
        _, uid, modality = max(person.studies)
        variables |= {"study_uid": uid, "modality": modality} if modality else {"study_uid": uid}
    items = {}
    if person.report[1]:
        options.files.mkdir(parents=True, exist_ok=True)
        items["report"] = options.files / f"{case}.txt"
        items["report"].write_text(person.report[1], encoding="utf-8", newline="\n")
    return Row(case, id, None, items, dict(sorted(person.labels.items())), None, variables)


def _age(birth: str, when: str) -> int:
    """Whole years; of dates to the year or month only, what they say at most."""
    years = int(when[:4]) - int(birth[:4])
    return years - (len(birth) == 10 and when[5:10] < birth[5:10])
