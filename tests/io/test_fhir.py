import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_case import Grading, Kind, fake_case
from fake_series import masks, write_series
from fhir_check import fhir_errors

from osler.errors import InputError
from osler.io import fhir
from osler.io.dicom_photo import reference
from osler.record import (
    Case,
    Code,
    Label,
    Laterality,
    Measurement,
    Passage,
    Risk,
    Source,
    Table,
    vocab,
)


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def observations(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    return resources(bundle, "Observation")


def observation(bundle: dict[str, Any], id: str) -> dict[str, Any]:
    return next(
        o for o in observations(bundle) if any(c["code"] == id for c in o["code"]["coding"])
    )


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [r for v in value.values() for r in references(v)]
    return [r for v in value for r in references(v)] if isinstance(value, list) else []


@pytest.mark.parametrize("kind", ["jpeg", "dicom-op"])
@pytest.mark.parametrize("grading", ["graded", "reject", "not-fundus"])
@pytest.mark.parametrize("patient_id", [None, "P 1|é"])
def test_the_bundle_is_r4(
    tmp_path: Path, kind: Kind, grading: Grading, patient_id: str | None
) -> None:
    r4 = pytest.importorskip(
        "fhir.resources.R4B.bundle", reason="fhir.resources is not installed: pip install it"
    )
    case = fake_case(tmp_path, kind=kind, grading=grading, patient_id=patient_id)
    path = fhir.write(case, tmp_path)
    assert path.name == "fhir.json"
    read = r4.Bundle.model_validate_json(path.read_text(encoding="utf-8"))
    assert len(read.entry) == len(fhir.bundle(case)["entry"])


@pytest.mark.parametrize("grading", ["graded", "reject", "not-fundus"])
def test_a_second_validator_agrees(tmp_path: Path, grading: Grading) -> None:
    bundle = fhir.bundle(fake_case(tmp_path, grading=grading))
    assert fhir_errors(bundle, *(entry["resource"] for entry in bundle["entry"])) == []


def test_the_validator_finds_errors(tmp_path: Path) -> None:
    bundle = fhir.bundle(fake_case(tmp_path))
    bundle["entry"][0]["resource"]["status"] = "bogus"
    bundle["entry"][-1]["resource"]["surprise"] = 1
    assert len(fhir_errors(*(entry["resource"] for entry in bundle["entry"]))) >= 2


@pytest.mark.parametrize(
    ("languages", "said"), [(["zh", "zh"], "zh"), (["en"], "en"), (["zh", "en"], None), ([], None)]
)
def test_the_report_says_its_language(
    tmp_path: Path, languages: list[str], said: str | None
) -> None:
    case = Case("c", items=fake_case(tmp_path).items)
    for number, language in enumerate(languages):
        source = Source("rule", "osler.retina.narrative")
        case.add(
            Passage(
                id=f"s{number}", name="S", source=source, item="photo", text="左", language=language
            )
        )
    (report,) = resources(fhir.bundle(case), "DiagnosticReport")
    assert report.get("language") == said
    assert report.get("text", {"div": ""})["div"].count("lang=") == len(languages) + 2 * bool(said)
    assert fhir_errors(report) == []


@pytest.mark.parametrize("side", ["R", "L", None])
def test_every_reference_is_in_the_bundle(tmp_path: Path, side: Laterality | None) -> None:
    bundle = fhir.bundle(fake_case(tmp_path, laterality=side))
    names = [e["fullUrl"] for e in bundle["entry"]]
    assert len(set(names)) == len(names)
    used = set(references(bundle["entry"]))
    assert used - {"#patient"} <= set(names)
    assert all(r["subject"]["reference"] == "#patient" for r in observations(bundle))


def test_a_measurement(tmp_path: Path) -> None:
    bundle = fhir.bundle(fake_case(tmp_path))
    crae = observation(bundle, "crae.knudtson")
    assert crae["valueQuantity"] == {
        "value": 0.0871,
        "unit": "disc diameters",
        "system": "http://unitsofmeasure.org",
        "code": "{DD}",
    }
    assert crae["status"] == "preliminary"
    assert crae["method"]["coding"][0]["code"] == "knudtson-2003"
    assert crae["bodySite"]["coding"][0]["code"] == vocab.RIGHT_EYE.value
    assert crae["bodySite"]["text"] == "Right eye, artery, zone B"
    assert observation(bundle, "median-diameter.vein.zone-b")["valueQuantity"]["code"] == "{pixels}"
    ratio = observation(bundle, "avr.knudtson")
    names = {e["fullUrl"]: e["resource"] for e in bundle["entry"]}
    behind = [names[r["reference"]] for r in ratio["derivedFrom"]]
    assert behind[0]["resourceType"] == "ImagingStudy"
    assert crae in behind[1:]


def test_what_was_not_computed_says_why(tmp_path: Path) -> None:
    absent = observation(fhir.bundle(fake_case(tmp_path)), "crve.hubbard")
    assert "valueQuantity" not in absent
    assert absent["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    assert absent["note"][0]["text"].endswith("the image does not say its spacing in µm")


def test_a_grade(tmp_path: Path) -> None:
    bundle = fhir.bundle(fake_case(tmp_path, laterality="L"))
    grade = observation(bundle, "icdr-grade")
    coding = grade["valueCodeableConcept"]["coding"][0]
    assert (coding["system"], coding["code"]) == ("http://loinc.org", "LA18645-4")
    chances = [c["valueQuantity"]["value"] for c in grade["component"] if "valueQuantity" in c]
    assert chances == [0.04, 0.15, 0.71, 0.08, 0.02]
    left = [c for c in grade["component"] if c["code"]["text"] == "Cannot be excluded at 90%"]
    assert len(left) == 2
    report = resources(bundle, "DiagnosticReport")[0]
    assert report["conclusion"].startswith("Moderate non-proliferative")
    assert report["conclusionCode"][0]["coding"][0]["code"] == "LA18645-4"
    assert len(report["result"]) == len(observations(bundle))
    assert "“mild”" in report["text"]["div"]


def test_a_rejected_photograph_has_no_grade(tmp_path: Path) -> None:
    bundle = fhir.bundle(fake_case(tmp_path, grading="reject"))
    report = resources(bundle, "DiagnosticReport")[0]
    assert "conclusionCode" not in report
    assert report["conclusion"] == "The photograph cannot be graded: blur."
    doubts = [
        c["valueCodeableConcept"]["text"]
        for c in observation(bundle, "111101")["component"]
        if c["code"]["text"] == "Named doubt"
    ]
    assert doubts == ["Blur", "Underexposed"]


def test_every_device_has_a_provenance(tmp_path: Path) -> None:
    bundle = fhir.bundle(fake_case(tmp_path))
    devices = {d["deviceName"][0]["name"] for d in resources(bundle, "Device")}
    assert {"retina-vessels", "retina-grade", "osler.retina.field"} <= devices
    by_urn = {e["fullUrl"]: e["resource"] for e in bundle["entry"]}
    whose = [p["agent"][0]["who"]["reference"] for p in resources(bundle, "Provenance")]
    assert {by_urn[w]["deviceName"][0]["name"] for w in whose} == devices
    made = [t["reference"] for p in resources(bundle, "Provenance") for t in p["target"]]
    observed = {e["fullUrl"] for e in bundle["entry"] if e["resource"] in observations(bundle)}
    assert observed <= set(made)


def test_sending_it_again_asks_for_the_same_names(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        texts.append(fhir.write(fake_case(tmp_path / name), tmp_path / name).read_bytes())
    assert texts[0] == texts[1]
    for entry in json.loads(texts[0])["entry"]:
        request, resource = entry["request"], entry["resource"]
        asked = request.get("ifNoneExist") or request["url"].partition("?")[2]
        names = [i["value"] for i in resource.get("identifier", [])]
        names += [t["code"] for t in resource.get("meta", {}).get("tag", [])]
        assert any(asked.endswith(f"|{n}") for n in names)
        assert (request["method"] == "PUT") == (
            resource["resourceType"] in ("Observation", "DiagnosticReport")
        )


def test_a_study_that_the_archive_has_is_found(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op", patient_id="P1")
    study = resources(fhir.bundle(case), "ImagingStudy")[0]
    uids = reference(case)
    assert study["identifier"][0] == {
        "system": "urn:dicom:uid",
        "value": f"urn:oid:{uids['StudyInstanceUID']}",
    }
    instance = study["series"][0]["instance"][0]
    assert instance["uid"] == uids["SOPInstanceUID"]
    assert study["subject"] == {"type": "Patient", "identifier": {"value": "P1"}}
    # the file says no time zone, and FHIR has no time without one
    assert study["started"] == "2024-05-06"
    case.image("photo").acquired = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    study = resources(fhir.bundle(case), "ImagingStudy")[0]
    assert study["started"] == "2024-05-06T07:08:09+00:00"


def test_nothing_of_the_patient_but_the_identifier(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op")
    text = fhir.write(case, tmp_path).read_text(encoding="utf-8")
    assert "Müller" not in text
    assert "19600102" not in text


def test_a_person_is_a_performer(tmp_path: Path) -> None:
    case = fake_case(tmp_path, grading="not-fundus")
    case.add(
        Label(id="second-look", name="Second look", source=Source("person", "grader"), value="x")
    )
    seen = observation(fhir.bundle(case), "second-look")
    assert seen["performer"] == [{"display": "grader"}]
    assert "device" not in seen


def test_a_case_without_the_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="photo"):
        fhir.write(Case(id="empty"), tmp_path)


def general_case(folder: Path) -> Case:
    image = write_series(folder)
    source = Source("algorithm", "organs", "2")
    case = Case("c", "P1", {"ct": image, "variables": Table("variables", {"age": 61})})
    for mask in masks():
        case.add(mask)
    case.add(
        Measurement(
            id="volume.liver", name="Volume", source=source, item="ct", value=1412.5, unit="mL",
            code=Code("118565006", "SCT", "Volume"), site=Code("10200004", "SCT", "Liver"),
            evidence=("liver",),
        )
    )  # fmt: skip
    case.add(
        Label(id="phase", name="Contrast phase", source=source, item="ct", value="portal",
              code=Code("X1", "99ELSE", "Phase"), laterality="R")
    )  # fmt: skip
    case.add(Risk(id="death", name="Death", source=source, value=0.12, horizon_days=365.0))
    case.add(Passage(id="p", name="P", source=source, text="Liver of normal size.", item="ct"))
    return case


def test_any_case(tmp_path: Path) -> None:
    case = general_case(tmp_path)
    path = fhir.write_fhir(case, tmp_path / "out" / "ct.json")
    bundle = json.loads(path.read_text(encoding="utf-8"))
    assert fhir_errors(bundle, *(entry["resource"] for entry in bundle["entry"])) == []
    volume = observation(bundle, "volume.liver")
    assert volume["valueQuantity"]["code"] == "mL"
    assert volume["bodySite"]["coding"][0]["code"] == "10200004"
    study = resources(bundle, "ImagingStudy")[0]
    assert study["numberOfInstances"] == 6
    assert study["series"][0]["modality"]["code"] == "CT"
    assert "bodySite" not in study["series"][0]
    assert volume["derivedFrom"][0]["type"] == "ImagingStudy"
    phase = next(o for o in observations(bundle) if o["code"]["text"] == "Contrast phase")
    assert phase["bodySite"] == {"text": "Right"}
    assert "system" not in phase["code"]["coding"][0]
    risk = observation(bundle, "death")
    assert risk["valueQuantity"]["value"] == 0.12
    assert risk["component"][0]["valueQuantity"]["code"] == "d"
    report = resources(bundle, "DiagnosticReport")[0]
    assert "Ophthalmology" not in json.dumps(report)
    assert report["conclusion"] == "Liver of normal size."


def test_a_case_without_images(tmp_path: Path) -> None:
    case = Case("t", None, {"variables": Table("variables", {"age": 61})})
    source = Source("bundle", "risk", "1")
    case.add(Measurement(id="score", name="Score", source=source, value=3.0, unit="{score}"))
    bundle = fhir.bundle(case)
    assert fhir_errors(bundle, *(entry["resource"] for entry in bundle["entry"])) == []
    assert not resources(bundle, "ImagingStudy")
    assert "derivedFrom" not in observation(bundle, "score")
