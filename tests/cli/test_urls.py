"""``osler info``, ``convert`` and ``view`` on URLs, as a stranger types them."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Pillow
from typer.testing import CliRunner

from osler.cli import app
from s3_server import put, s3_store

sys.path.append(str(Path(__file__).parents[1] / "io"))

from dicom_stack import series, stack, whole_study
from ranged import Files
from web_server import Asked, Server, serving

FHIR = "application/fhir+json"


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def nifti() -> bytes:
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    image = nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def png() -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(out, "png")
    return out.getvalue()


def fhir(asked: Asked) -> None:
    observation = {
        "resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "Systolic"},
        "subject": {"reference": "Patient/smith"}, "valueQuantity": {"value": 120, "unit": "mmHg"},
    }  # fmt: skip
    body: dict[str, Any] = {"resourceType": "Bundle", "entry": [{"resource": observation}]}
    if "/Patient/" in asked.path:
        body = {"resourceType": "Patient", "id": "smith"}
    elif "/Observation" not in asked.path:
        body["entry"] = []
    asked.reply(json.dumps(body).encode(), FHIR)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    study = whole_study(series())
    visits = b"patient_id,age [a]\nP1,5\nP2,6\n"
    files = Files({"/scan.nii": nifti(), "/eye.png": png(), "/visits.csv": visits})

    def answer(asked: Asked) -> None:
        answers = {"dicom-web": study, "fhir": fhir}
        answers.get(asked.path.split("/")[1], files)(asked)

    with serving(answer) as server:
        yield server


@pytest.fixture(scope="module")
def study() -> str:
    return f"dicom-web/studies/{series()[0].StudyInstanceUID}"


def test_info_says_what_a_url_holds_and_shows_no_query(server: Server, study: str) -> None:
    status, out, _ = run("info", f"{server.url}/scan.nii?token=abc")
    assert status == 0
    assert "3 x 4 x 5 (slices x rows x columns), int16" in out
    assert "abc" not in out
    status, out, _ = run("info", f"{server.url}/{study}")
    assert status == 0
    assert "6 x 8 x 12" in out
    assert "P-17" not in out
    status, out, _ = run("info", f"fhir+{server.url}/fhir?patient=smith")
    assert status == 0
    assert "Systolic" in out
    assert "smith" not in out


def test_info_says_what_columns_a_table_of_several_has(server: Server) -> None:
    status, out, _ = run("info", f"{server.url}/visits.csv?key=abc", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["path"] == f"{server.url}/visits.csv"
    assert [(one["name"], one["unit"]) for one in found["table"]["columns"]] == [
        ("patient_id", ""),
        ("age", "a"),
    ]


def test_a_study_behind_a_url_becomes_a_volume(server: Server, study: str, tmp_path: Path) -> None:
    status, out, _ = run("convert", f"dicomweb+{server.url}/{study}", tmp_path / "ct.nii.gz")
    assert (status, out.strip()) == (0, str(tmp_path / "ct.nii.gz"))
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "ct.nii.gz")))
    stored = stack()
    np.testing.assert_array_equal(np.diff(read.ravel()), np.diff(stored.astype(int).ravel()))


def test_files_and_records_behind_urls_become_files(server: Server, tmp_path: Path) -> None:
    assert run("convert", f"{server.url}/eye.png", tmp_path / "eye.tif")[0] == 0
    pixels = np.asarray(Pillow.open(tmp_path / "eye.tif"))
    np.testing.assert_array_equal(pixels, np.asarray(Pillow.open(io.BytesIO(png()))))
    assert run("convert", f"fhir+{server.url}/fhir?patient=smith", f"{tmp_path}/record/")[0] == 0
    (table,) = (tmp_path / "record").rglob("*.csv")
    assert "120" in table.read_text()
    assert run("view", f"{server.url}/scan.nii", "--no-open", "-o", tmp_path / "v.html")[0] == 0
    assert "<html" in (tmp_path / "v.html").read_text()


def test_what_is_wrong_is_one_sentence(server: Server, tmp_path: Path) -> None:
    for arguments, words in (
        (("info", f"{server.url}/none.nii"), "does not exist"),
        (("info", f"{server.url}/eye.png", "-O", "max_bytes=10"), "max_bytes"),
        (("info", f"{server.url}/eye.png", "-O", "timeout=soon"), "no number"),
        (("info", f"{server.url}/eye.png", "-O", "timeout=-1"), "positive"),
        (("info", f"{server.url}/eye.png", "-O", "token=true"), "text"),
        (("info", f"{server.url}/eye.png", "-O", "colour=red"), "no option 'colour'"),
        (("info", "dicomweb+http://127.0.0.1:9/x"), "names no study"),
        (("convert", f"{server.url}/eye.png", f"{server.url}/b.png"), "cannot be written"),
        (("convert", f"{server.url}/none.nii", tmp_path / "a.nii"), "does not exist"),
    ):
        status, out, error = run(*arguments)
        assert (status, out) == (2, ""), arguments
        assert words in error, arguments
        assert error.count("\n") == 1, error
    assert list(tmp_path.iterdir()) == []


def test_an_object_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with s3_store() as url:
        put(url, "/scans/scan.nii", nifti())
        put(url, "/scans/many/p1/eye.png", png())
        put(url, "/scans/many/p2/eye.png", png())
        put(url, "/scans/many/p2/notes.xyz", b"\0\1\2 nothing")
        endpoint = ("-O", f"endpoint={url}")
        status, out, _ = run("info", "s3://scans/scan.nii", *endpoint)
        assert status == 0
        assert "3 x 4 x 5" in out
        assert run("convert", "s3://scans/scan.nii", tmp_path / "a.nrrd", *endpoint)[0] == 0
        read = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nrrd")))
        np.testing.assert_array_equal(read.T, np.arange(60).reshape(5, 4, 3))
        many = ("s3://scans/many/", "--pattern", "{patient}/*.png", *endpoint)
        status, out, _ = run("info", *many)
        assert status == 3, "one file was not understood"
        assert "notes.xyz" in out
        assert "/tmp" not in out
        assert run("convert", many[0], tmp_path / "many", *many[1:])[0] in (0, 3)
        assert len(list((tmp_path / "many").rglob("*.png"))) == 2
        assert run("info", "s3://scans/nothing.nii", *endpoint)[0] == 2
