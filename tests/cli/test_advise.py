"""``osler advise`` and the advice in what ``osler read --patient`` writes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from osler import io
from osler.cli import app
from osler.record import Case, Label, Source

PATIENT = {
    "age": 58,
    "diabetes": {"type": 2, "years": 12},
    "hba1c": "70 %",
    "blood_pressure": "150/85",
}
BUNDLE = Source("bundle", "retina-dr", "1.0.0")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["advise", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def read(tmp_path: Path) -> Path:
    """What was written of one eye."""
    case = Case("eye")
    for id, value in (("photograph", "fundus photograph"), ("quality", "good"), ("dr-grade", "3")):
        case.add(Label(id=id, name=id, source=BUNDLE, value=value))
    return io.write(case, tmp_path / "read", html=False)


@pytest.fixture
def values(tmp_path: Path) -> Path:
    path = tmp_path / "patient.json"
    path.write_text(json.dumps(PATIENT))
    return path


def test_advice_is_printed_with_its_sources(read: Path, values: Path) -> None:
    code, out, _ = run(str(read), "--patient", str(values))
    assert code == 0
    assert out.startswith("Referral: soon\n")
    assert "to be seen within 3 months" in out
    assert "[ICO 2017, " in out
    assert "HbA1c: no patient can have this value" in out
    assert "no medical device" in out


def test_json_and_chinese(read: Path, values: Path) -> None:
    code, out, _ = run(str(read), "--patient", str(values), "--json", "--language", "zh")
    assert code == 0
    said = json.loads(out)
    assert said["urgency"] == "soon"
    assert said["advice"][0]["rule"] == "interval-grade-3"
    assert "3 个月内就诊" in said["advice"][0]["text"]
    assert all(a["sources"] for a in said["advice"] if a["topic"] != "data")


def test_the_case_is_written_with_its_advice(read: Path, values: Path, tmp_path: Path) -> None:
    out = tmp_path / "advised"
    assert run(str(read), "--patient", str(values), "-o", str(out), "--fhir")[0] == 0
    page = (out / "eye" / "report.html").read_text("utf-8")
    assert "Advice for primary care" in page
    assert "[ICO 2017, re-examination and referral, high-resource settings]" in page
    assert "no medical device" in page
    bundle = (out / "eye" / "fhir.json").read_text("utf-8")
    assert "to be seen within 3 months. [ICO 2017, " in bundle
    assert "no medical device" in bundle
    report = next(
        e["resource"]
        for e in json.loads(bundle)["entry"]
        if e["resource"]["resourceType"] == "DiagnosticReport"
    )
    assert "conclusion" not in report  # advice says what to do, not what is there
    # once more: the advice is given anew, not twice
    code, printed, _ = run(str(out / "eye"), "--json")
    assert code == 0
    assert len([a for a in json.loads(printed)["advice"] if a["rule"] == "interval-grade-3"]) == 1


def test_fhir_observations_are_a_patient(read: Path, tmp_path: Path) -> None:
    observations = {
        "resourceType": "Bundle",
        "entry": [
            {
                "resource": {
                    "resourceType": "Observation",
                    "status": "final",
                    "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
                    "valueQuantity": {
                        "value": value,
                        "unit": unit,
                        "system": "http://unitsofmeasure.org",
                        "code": unit,
                    },
                }
            }
            for code, value, unit in (("59261-8", 66, "mmol/mol"), ("8480-6", 150, "mm[Hg]"),
                                      ("8462-4", 85, "mm[Hg]"))
        ],
    }  # fmt: skip
    path = tmp_path / "observations.json"
    path.write_text(json.dumps(observations))
    code, out, _ = run(str(read), "--patient", str(path))
    assert code == 0
    assert "HbA1c is 8.2 % (66 mmol/mol)" in out
    assert "Blood pressure is 150/85 mmHg" in out


def test_a_report_alone_can_be_advised_on(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text("Both eyes: moderate NPDR. HbA1c 9.1 %.")
    code, out, _ = run(str(path))
    assert code == 0
    assert "Moderate non-proliferative retinopathy (grade 2)" in out
    assert "HbA1c is 9.1 %" in out


def test_wrong_usage(read: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("[1, 2]")
    code, _, err = run(str(read), "--patient", str(bad))
    assert code == 2
    assert "no object of a patient's values" in err
    assert run(str(read), "--follow", "nobody")[0] == 2
    assert run(str(read), "--fhir")[0] == 2
    assert run(str(tmp_path / "missing"))[0] == 2
    huge = tmp_path / "deep.json"
    huge.write_text("[" * 100_000)
    assert run(str(read), "--patient", str(huge))[0] == 2
