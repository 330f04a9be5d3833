"""A patient of a FHIR server: an independent one, and servers that misbehave."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from web_server import Asked, serving

import osler
from orthanc_server import free_port
from osler.errors import InputError, TooLargeError, UnreadableError
from osler.record import Case, Table, Text

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = REPOSITORY / ".cache" / "node" / "node_modules"
FHIR = "application/fhir+json"


def observation(number: int, patient: str, value: float) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}], "text": "Systolic"},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": f"2026-01-{number:02d}T08:00:00Z",
        "valueQuantity": {
            "value": value, "unit": "mmHg", "system": "http://unitsofmeasure.org",
            "code": "mm[Hg]",
        },
    }  # fmt: skip


def report(patient: str) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {"text": "CT of the chest"},
        "subject": {"reference": f"Patient/{patient}"},
        "conclusion": "No pulmonary nodule.",
    }


def imaging(patient: str) -> dict[str, Any]:
    return {
        "resourceType": "ImagingStudy",
        "status": "available",
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4"}],
        "subject": {"reference": f"Patient/{patient}"},
        "started": "2026-01-03T10:00:00Z",
        "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}],
        "numberOfSeries": 2,
        "numberOfInstances": 200,
        "contained": [
            {
                "resourceType": "Endpoint",
                "id": "e",
                "status": "active",
                "connectionType": {
                    "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
                    "code": "dicom-wado-rs",
                },
                "payloadType": [{"text": "DICOM"}],
                "address": "https://pacs.example/dicom-web/",
            }
        ],
        "endpoint": [{"reference": "#e"}],
    }


def post(url: str, resource: dict[str, Any]) -> str:
    data = json.dumps({k: v for k, v in resource.items() if k != "id"}).encode()
    request = urllib.request.Request(
        f"{url}/{resource['resourceType']}", data, {"Content-Type": FHIR}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)["id"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("node") is None or not (MODULES / "@medplum" / "fhir-router").is_dir():
        pytest.skip("no FHIR server for the tests; run: make validator")
    port = free_port()
    script = Path(__file__).with_name("fhir_server.mjs")
    with open(tmp_path_factory.mktemp("fhir") / "log", "wb") as log:
        process = subprocess.Popen(
            ["node", "--experimental-websocket", script, MODULES, str(port)],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}/fhir"
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{url}/Patient", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, "the FHIR server did not start"
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def one(url: str, **options: Any) -> Case:
    case = osler.load(url, **options)
    assert isinstance(case, Case)
    return case


def test_an_independent_server_gives_one_patient_and_no_other(server: str) -> None:
    anna = post(server, {"resourceType": "Patient", "gender": "female"})
    other = post(server, {"resourceType": "Patient", "gender": "male"})
    for number in range(1, 4):
        post(server, observation(number, anna, 120.0 + number))
    post(server, observation(9, other, 200.0))
    post(server, report(anna))
    post(server, imaging(anna))
    case = one(f"fhir+{server}?patient={anna}")
    assert case.patient_id == anna
    tables = [case[name] for name in ("table", "table-2", "table-3")]
    assert [t.values["Systolic"] for t in tables] == [121, 122, 123]
    assert tables[0].units == {"Systolic": "mm[Hg]"}
    assert tables[0].acquired == datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert case["variables"].values == {"sex": "female"}
    assert isinstance(case["report"], Text)
    assert case["report"].sections["impression"] == "No pulmonary nodule."
    study = case["imaging-study"]
    assert isinstance(study, Table)
    assert study.values == {
        "study_uid": "1.2.3.4",
        "modalities": "CT",
        "series": 2,
        "instances": 200,
        "url": "dicomweb+https://pacs.example/dicom-web/studies/1.2.3.4",
    }
    with pytest.raises(InputError, match="no patient"):
        one(f"fhir+{server}?patient=nobody")


def paged(
    asked: Asked, *, count: int = 5, size: int = 2, next_url: Callable[[str, int], str]
) -> None:
    """A server that gives a few observations a page."""
    parts = urlsplit(asked.path)
    if parts.path.startswith("/fhir/Patient"):
        body: dict[str, Any] = {"resourceType": "Patient", "id": "p"}
    else:
        body = {"resourceType": "Bundle", "type": "searchset", "entry": []}
        if parts.path == "/fhir/Observation":
            start = int(parse_qs(parts.query).get("page", ["0"])[0])
            chosen = range(start, min(start + size, count))
            body["entry"] = [{"resource": observation(n + 1, "p", 100.0 + n)} for n in chosen]
            if start + size < count:
                host = f"http://{asked.headers['Host']}"
                body["link"] = [{"relation": "next", "url": next_url(host, start + size)}]
    asked.reply(json.dumps(body).encode(), FHIR)


@pytest.mark.parametrize(
    "next_url",
    [
        lambda host, at: f"{host}/fhir/Observation?page={at}",
        lambda host, at: f"Observation?page={at}",
        lambda host, at: f"/fhir/Observation?page={at}",
    ],
)
def test_all_pages_are_read(next_url: Callable[[str, int], str]) -> None:
    with serving(lambda asked: paged(asked, next_url=next_url)) as server:
        case = one(f"fhir+{server.url}/fhir/Patient/p")
    assert [item.values["Systolic"] for item in case.items.values()] == [100, 101, 102, 103, 104]


@pytest.mark.parametrize(
    ("next_url", "error", "words"),
    [
        (lambda h, at: f"http://elsewhere.example/fhir/Observation?page={at}", InputError, "named"),
        (lambda h, at: f"{h}/fhir/Observation?page=2", UnreadableError, "same page"),
    ],
)
def test_pages_lead_nowhere_else(
    next_url: Callable[[str, int], str], error: type, words: str
) -> None:
    with (
        serving(lambda asked: paged(asked, next_url=next_url)) as server,
        pytest.raises(error, match=words),
    ):
        osler.load(f"fhir+{server.url}/fhir?patient=p")


def answers(body: Any, kind: str = FHIR) -> Callable[[Asked], None]:
    """A patient, and the same answer to everything else."""

    def answer(asked: Asked) -> None:
        if "/Patient/" in asked.path:
            asked.reply(b'{"resourceType": "Patient", "id": "p"}', FHIR)
        else:
            asked.reply(body if isinstance(body, bytes) else json.dumps(body).encode(), kind)

    return answer


def bundle(resource: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": resource}]}


OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "processing", "diagnostics": "Smith"}],
}


@pytest.mark.parametrize(
    ("body", "kind", "error", "words"),
    [
        (b"<html>", "text/html", UnreadableError, "text/html"),
        (b"<html>", FHIR, UnreadableError, "FHIR in JSON"),
        (b"[" * 100_000, FHIR, UnreadableError, "FHIR in JSON"),
        ([1, 2], FHIR, UnreadableError, "FHIR resource"),
        ({"resourceType": "Basic"}, FHIR, UnreadableError, "Bundle"),
        (bundle(observation(1, "q", 1.0)), FHIR, UnreadableError, "another patient"),
        (bundle(OUTCOME), FHIR, InputError, "OperationOutcome"),
        (b" " * 3_000_000, FHIR, TooLargeError, "max_bytes"),
    ],
)
def test_a_bad_answer_is_one_clear_error(body: Any, kind: str, error: type, words: str) -> None:
    with serving(answers(body, kind)) as server, pytest.raises(error, match=words) as raised:
        osler.load(f"fhir+{server.url}/fhir?patient=p", max_bytes=2_000_000)
    assert "Smith" not in str(raised.value)
