"""FHIR bulk export: what becomes of it, and what is refused."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from importing_files import FUZZ, only_our_errors, replaced, take

from osler.errors import UnreadableError


def observation(patient, name, value, unit="mmol/L", when="2020-05-01", **more):
    return {
        "resourceType": "Observation", "status": "final", "code": {"text": name},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": when,
        "valueQuantity": {"value": value, "code": unit}, **more,
    }  # fmt: skip


@pytest.fixture
def bulk(tmp_path):
    folder = tmp_path / "bulk"
    folder.mkdir()

    def write(name, *resources):
        lines = "".join(json.dumps(r) + "\n" for r in resources)
        (folder / f"{name}.ndjson").write_text(lines, encoding="utf-8")

    write(
        "Patient",
        {
            "resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1960-06-01",
            "name": [{"family": "Secretname"}],
        },
        {"resourceType": "Patient", "id": "p2", "birthDate": "1990"},
    )  # fmt: skip
    write(
        "Observation",
        observation("p1", "Glucose", 5.5, when="2020-05-02"),
        observation("p1", "Glucose", 9.9, when="2019-01-01"),
        observation(
            "p1",
            "CRP",
            5,
            unit="mg/L",
            valueQuantity={"value": 5, "comparator": "<", "code": "mg/L"},
        ),
        observation("p2", "Glucose", 4, status="preliminary"),
    )
    write(
        "rest",
        {
            "resourceType": "DiagnosticReport", "status": "final",
            "subject": {"reference": "https://h/fhir/Patient/p1"},
            "effectiveDateTime": "2020-05-03",
            "conclusionCode": [{"coding": [{"code": "233604007", "display": "Pneumonia"}]}],
            "presentedForm": [{
                "contentType": "text/plain", "data": base64.b64encode(b"Consolidation.").decode(),
            }],
        },
        {
            "resourceType": "ImagingStudy", "started": "2020-05-03",
            "subject": {"reference": "Patient/p1"}, "series": [{"modality": {"code": "CT"}}],
            "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        },
        {"resourceType": "Encounter", "id": "e"},
    )  # fmt: skip
    return folder


def test_fhir_patients_values_reports_and_studies(bulk, tmp_path):
    cohort, notes = take(bulk, tmp_path / "out")
    one, two = cohort.rows
    assert one.variables == {
        "sex": "female", "age": 59, "CRP [mg/L]": "<5", "Glucose [mmol/L]": 5.5,
        "study_uid": "1.2.3", "modality": "CT",
    }  # fmt: skip
    assert one.labels == {"Pneumonia": "1"}
    assert one.items["report"].read_text() == "Consolidation."
    assert (two.patient_id, two.variables, two.labels) == ("p2", {}, {})
    assert notes == ["left out: 1 Encounter"]
    assert "Secretname" not in (tmp_path / "out/cohort.csv").read_text()
    assert "1960" not in (tmp_path / "out/cohort.csv").read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 5 is no JSON"), ("[1]", "line 5 is no FHIR resource"),
        ('{"resourceType": "Observation"}', "line 5: the Observation is damaged"),
        ("[" * 100_000, "line 5 is no JSON"),
    ],
)  # fmt: skip
def test_a_broken_line_is_named(bulk, tmp_path, line, words):
    with (bulk / "Observation.ndjson").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(UnreadableError, match=words):
        take(bulk, tmp_path / "out")


@FUZZ
@given(draw=st.data())
def test_any_fhir_resource_ends_in_our_errors(bulk, tmp_path, draw):
    lines = [line for f in sorted(bulk.glob("*.ndjson")) for line in f.read_text().splitlines()]
    changed = [json.loads(line) for line in lines]
    place = draw.draw(st.integers(0, len(changed) - 1))
    changed[place] = replaced(changed[place], draw)
    source = tmp_path / "one.ndjson"
    source.write_text("".join(json.dumps(one) + "\n" for one in changed))
    only_our_errors(source, tmp_path, kind="fhir")
