"""FHIR in XML gives what the same resource in JSON gives; an independent package translates."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from fhir_check import fhir_xml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.errors import OslerError, UnreadableError, UnsupportedError
from osler.io import load
from osler.record import Case, Text

UCUM = "http://unitsofmeasure.org"


def quantity(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def observation(text: str, **fields: Any) -> dict[str, Any]:
    coding = [{"system": "http://loinc.org", "code": "718-7", "display": text}]
    return {
        "resourceType": "Observation", "status": "final", "code": {"coding": coding, "text": text},
        "subject": {"reference": "Patient/7"}, "effectiveDateTime": "2024-03-05T09:30:00+01:00",
        **fields,
    }  # fmt: skip


REPORT = {
    "resourceType": "DiagnosticReport", "status": "final", "code": {"text": "Fundus"},
    "subject": {"reference": "Patient/7"}, "effectiveDateTime": "2024-03-05",
    "conclusion": "Moderate retinopathy & oedema.",
    "text": {
        "status": "generated",
        "div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>Findings: <b>oedema</b></p></div>',
    },
}  # fmt: skip
BUNDLE = {
    "resourceType": "Bundle", "type": "collection",
    "entry": [
        {"resource": {"resourceType": "Patient", "id": "7", "gender": "female"}},
        {"resource": observation("Hb", valueQuantity=quantity(13.5, "g/dL"))},
        {"resource": observation("Count", valueQuantity=quantity(4, "1"))},
        {"resource": observation("CRP", valueQuantity={**quantity(5, "mg/L"), "comparator": "<"})},
        {"resource": observation("Smoker", valueBoolean=False)},
        {"resource": observation("Visits", valueInteger=3)},
        {"resource": observation("Titre", valueRatio={"numerator": {"value": 1},
                                                      "denominator": {"value": 128}})},
        {"resource": observation("Lens", valueCodeableConcept={"text": "cataract"})},
        {"resource": observation("BP", component=[
            {"code": {"text": "systolic"}, "valueQuantity": quantity(120, "mm[Hg]")},
            {"code": {"text": "diastolic"}, "valueQuantity": quantity(80, "mm[Hg]")},
        ])},
        {"resource": {**observation("Wrong", valueInteger=1), "status": "entered-in-error"}},
        {"resource": REPORT},
    ],
}  # fmt: skip


def told(case: Case) -> list[Any]:
    return [
        case.patient_id,
        *(
            (name, item.text, item.sections, item.acquired)
            if isinstance(item, Text)
            else (name, item.values, item.units, item.acquired, item.flags, item.header)
            for name, item in case.items.items()
        ),
    ]


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("resource", [BUNDLE, REPORT, BUNDLE["entry"][1]["resource"]])
def test_as_in_json(tmp_path: Path, resource: dict[str, Any]) -> None:
    text = fhir_xml(resource)
    case = load(put(tmp_path / "r.xml", text))
    assert told(case) == told(load(put(tmp_path / "r.json", json.dumps(resource))))
    assert next(iter(case.items.values())).origin.format == "fhir"
    bare = text[text.index("<", text.index("?>")) :]  # the declaration is optional
    assert told(load(put(tmp_path / "b.xml", bare))) == told(case)


SMALL = (
    '<Observation xmlns="http://hl7.org/fhir"><status value="final"/>'
    '<code><text value="Hb"/></code>'
    '<valueQuantity><value value="7.5"/><unit value="g/dL"/></valueQuantity></Observation>'
)


def test_without_any_other_program(tmp_path: Path) -> None:
    table = load(put(tmp_path / "o.xml", SMALL))["table"]
    assert table.values == {"Hb": 7.5}
    assert table.units == {"Hb": "g/dL"}


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no Observation with a value"):
        load(put(tmp_path / "o.xml", SMALL.replace("7.5", "about 7")))
    with pytest.raises(UnsupportedError, match="but Patient"):
        load(
            put(
                tmp_path / "p.xml", '<Patient xmlns="http://hl7.org/fhir"><id value="1"/></Patient>'
            )
        )
    with pytest.raises(UnreadableError, match="document type"):
        load(put(tmp_path / "d.xml", '<?xml version="1.0"?><!DOCTYPE a>' + SMALL))
    with pytest.raises(UnreadableError):
        load(put(tmp_path / "c.xml", SMALL[:150]))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, len(SMALL)), some=st.text(max_size=4), keep=st.integers(1, len(SMALL) + 4))
def test_damage_ends_in_our_errors(tmp_path: Path, at: int, some: str, keep: int) -> None:
    with contextlib.suppress(OslerError):
        load(put(tmp_path / "o.xml", (SMALL[:at] + some + SMALL[at + len(some) :])[:keep]))
