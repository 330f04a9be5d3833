"""Against a real PACS: what was sent comes back as it was."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_stack import as_bytes, series
from pydicom.uid import CTImageStorage, generate_uid
from web_server import Asked, serving

import osler
from orthanc_server import Orthanc, orthanc
from osler import io
from osler.errors import GeometryError, InputError, MissingExtraError, OutputError, UnreadableError
from osler.io.dicom_seg_out import write_segmentation
from osler.io.dicom_sr import write_measurements
from osler.record import Case, Mask, Measurement, Source


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def ct(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real series in JPEG 2000, whose UIDs were emptied for publication, with new ones."""
    source = data_dir / "ct-example" / "dicom"
    if not source.is_dir():
        pytest.skip(f"no CT series at {source}")
    folder = tmp_path_factory.mktemp("ct")
    study, series, frame = (generate_uid() for _ in range(3))
    for path in sorted(source.iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.FrameOfReferenceUID = frame
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.PatientID = "P-1"
        dataset.save_as(folder / f"{path.name}.dcm")
    return folder


@pytest.fixture(scope="module")
def study(pacs: Orthanc, ct: Path) -> str:
    files = [path for path in sorted(ct.iterdir()) if path.is_file()]
    stored = io.send(files, pacs.url, **pacs.access)
    assert len(stored) == len(files)
    return str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)


def loaded(url: str, pacs: Orthanc, **options: object) -> Case:
    case = osler.load(url, **pacs.access, **options)
    assert isinstance(case, Case)
    return case


def test_a_series_comes_back_as_from_its_files(pacs: Orthanc, ct: Path, study: str) -> None:
    here = osler.load(ct)
    assert isinstance(here, Case)
    there = loaded(f"dicomweb+{pacs.url}/studies/{study}", pacs)
    assert list(there.items) == list(here.items)
    a, b = here["ct"], there["ct"]
    assert not b.loaded
    np.testing.assert_array_equal(a.affine, b.affine)
    assert (a.spacing, a.units, a.window, a.flags) == (b.spacing, b.units, b.window, b.flags)
    np.testing.assert_array_equal(a.array[:, 3:5], b.region(slice(3, 5), slice(None), slice(None)))
    np.testing.assert_array_equal(a.array, b.array)
    assert there.patient_id == here.patient_id


def test_a_study_is_found(pacs: Orthanc, study: str) -> None:
    (found,) = io.search(pacs.url, patient_id="P-1", modality="CT", **pacs.access)
    assert found.study_uid == study
    assert found.url == f"dicomweb+{pacs.url}/studies/{study}"
    assert found.patient_id == "P-1"
    assert io.search(pacs.url, patient_id="nobody", **pacs.access) == []


def test_one_instance_opens_by_a_plain_url(pacs: Orthanc, ct: Path, study: str) -> None:
    path = sorted(ct.iterdir())[2]
    header = pydicom.dcmread(path, stop_before_pixels=True)
    url = (
        f"{pacs.url}/studies/{study}/series/{header.SeriesInstanceUID}/instances/"
        f"{header.SOPInstanceUID}"
    )
    here, there = osler.load(path), loaded(url, pacs)
    assert isinstance(here, Case)
    np.testing.assert_array_equal(here["ct"].array, there["ct"].array)
    assert there["ct"].origin.path == url
    assert there["ct"].origin.sha256 == here["ct"].origin.sha256


def test_findings_on_a_fetched_study_are_sent_and_come_back(
    pacs: Orthanc, study: str, tmp_path: Path
) -> None:
    case = loaded(f"{pacs.url}/studies/{study}", pacs)
    image = case.image("ct")
    voxels = np.zeros(image.shape, bool)
    voxels[4:9, 10:30, 20:50] = True
    source = Source("algorithm", "test", "1")
    mask = Mask(id="liver", name="Liver", source=source, item="ct", mask=voxels)
    volume = Measurement(
        id="volume", name="Volume", source=source, item="ct", value=12.5, unit="mL",
        evidence=("liver",),
    )  # fmt: skip
    case.add(mask)
    case.add(volume)
    seg = write_segmentation([mask], image, tmp_path / "seg.dcm", patient_id="P-1")
    report = write_measurements(case, tmp_path / "sr.dcm", seg=seg)
    assert len(io.send([seg, report], pacs.url, **pacs.access)) == 2
    again = loaded(f"{pacs.url}/studies/{study}", pacs)
    masks = [found for found in again.findings.values() if isinstance(found, Mask)]
    assert [found.item for found in masks] == ["ct"]
    np.testing.assert_array_equal(masks[0].mask, voxels)
    values = [found for found in again.findings.values() if isinstance(found, Measurement)]
    assert [(found.value, found.unit) for found in values] == [(12.5, "mL")]


def test_wrong_credentials_are_said_without_them(pacs: Orthanc, study: str) -> None:
    with pytest.raises(InputError, match="credentials") as raised:
        osler.load(f"{pacs.url}/studies/{study}", user="osler", password="wrong-word")
    assert "wrong-word" not in str(raised.value)


def test_what_is_not_there_is_said(pacs: Orthanc) -> None:
    with pytest.raises(InputError, match=r"does not exist|no instances"):
        osler.load(f"{pacs.url}/studies/1.2.3", **pacs.access)


@pytest.fixture
def slices() -> list[pydicom.Dataset]:
    return series()


def fake(
    slices: list[pydicom.Dataset],
    instance: Callable[[Asked, pydicom.Dataset], None] | None = None,
    listed: Callable[[list[dict[str, Any]]], Any] = lambda headers: headers,
) -> Callable[[Asked], None]:
    """A service that gives these slices, or whatever a test has it give instead."""

    def answer(asked: Asked) -> None:
        if asked.path.endswith("/metadata"):
            headers = [one.to_json_dict() for one in slices]
            for header in headers:
                header.pop("7FE00010", None)
            body = listed(headers)
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            asked.reply(raw, "application/dicom+json")
            return
        uid = asked.path.rpartition("/")[2]
        one = next(one for one in slices if one.SOPInstanceUID == uid)
        (instance or whole)(asked, one)

    return answer


def whole(asked: Asked, one: pydicom.Dataset) -> None:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + as_bytes(one) + b"\r\n--b--\r\n"
    asked.reply(body, 'multipart/related; type="application/dicom"; boundary=b')


def place(server: str, slices: list[pydicom.Dataset]) -> str:
    return f"{server}/dicom-web/studies/{slices[0].StudyInstanceUID}"


def test_pixels_wait_until_they_are_asked_for(slices: list[pydicom.Dataset]) -> None:
    with serving(fake(slices)) as server:
        case = osler.load(place(server.url, slices))
        assert isinstance(case, Case)
        assert len(server.requests) == 2  # the headers, and one slice
        part = case["ct"].region(slice(2, 4), slice(None), slice(None))
        assert len(server.requests) == 4
        assert np.array_equal(part, case["ct"].array[:, 2:4])
        assert len(server.requests) == 1 + len(slices)


def test_a_missing_slice_is_told_before_pixels_are_fetched(slices: list[pydicom.Dataset]) -> None:
    del slices[3]
    with serving(fake(slices)) as server:
        with pytest.raises(GeometryError, match="1 slices are missing"):
            osler.load(place(server.url, slices))
        assert len(server.requests) == 1


def moved(asked: Asked, one: pydicom.Dataset) -> None:
    one = pydicom.Dataset.from_json(one.to_json_dict())
    other = series()[0]
    other.SOPInstanceUID, other.StudyInstanceUID = one.SOPInstanceUID, one.StudyInstanceUID
    other.SeriesInstanceUID = one.SeriesInstanceUID
    other.ImagePositionPatient = [0, 0, 999]
    whole(asked, other)


def another(asked: Asked, one: pydicom.Dataset) -> None:
    whole(asked, series()[0])


def cut(asked: Asked, one: pydicom.Dataset) -> None:
    asked.reply(b"--b\r\n\r\nabc", "multipart/related; boundary=b")


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        (moved, "another than the service's list"),
        (another, "another instance"),
        (cut, "breaks off"),
        (lambda asked, one: asked.reply(b"<html>", "text/html"), "text/html"),
        (lambda asked, one: asked.reply(b"x" * 500, "application/dicom"), "no DICOM"),
    ],
)
def test_a_wrong_instance_is_refused(
    slices: list[pydicom.Dataset], instance: Callable[[Asked, pydicom.Dataset], None], words: str
) -> None:
    with (
        serving(fake(slices, instance)) as server,
        pytest.raises(UnreadableError, match=words),
    ):
        osler.load(place(server.url, slices))


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        (lambda headers: b"<html>", "DICOM in JSON"),
        (lambda headers: {"a": 1}, "list of DICOM"),
        (lambda headers: [headers[0], headers[0]], "twice"),
        (lambda headers: [{**headers[0], "0020000D": {"Value": ["9.9"]}}], "another study"),
        (lambda headers: [{}], "another study"),
        (
            lambda headers: [{**headers[0], "00080018": {"Value": ["../../../tmp/evil"]}}],
            "no sound UID",
        ),
    ],
)
def test_wrong_headers_are_refused(
    slices: list[pydicom.Dataset], listed: Callable[[Any], Any], words: str
) -> None:
    with (
        serving(fake(slices, listed=listed)) as server,
        pytest.raises(UnreadableError, match=words),
    ):
        osler.load(place(server.url, slices))


def test_sending_is_done_once_and_what_was_not_stored_is_said(
    slices: list[pydicom.Dataset], tmp_path: Path
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(as_bytes(slices[0]))
    failed = {"00081198": {"vr": "SQ", "Value": [{
        "00081155": {"vr": "UI", "Value": [slices[0].SOPInstanceUID]},
        "00081197": {"vr": "US", "Value": [0xA700]},
    }]}}  # fmt: skip
    refusal = json.dumps(failed).encode()
    with serving(lambda a: a.reply(refusal, "application/dicom+json", 409)) as server:
        with pytest.raises(OutputError, match="0xa700"):
            io.send(path, f"{server.url}/dicom-web")
        assert len(server.requests) == 1
    with serving(lambda a: a.reply(b"", "text/plain", 503)) as server:
        with pytest.raises(InputError, match="503"):
            io.send(path, f"{server.url}/dicom-web")
        assert len(server.requests) == 1


def test_a_file_that_no_archive_can_keep_is_not_sent(
    slices: list[pydicom.Dataset], tmp_path: Path
) -> None:
    del slices[0].StudyInstanceUID
    path = tmp_path / "a.dcm"
    path.write_bytes(as_bytes(slices[0]))
    with pytest.raises(UnreadableError, match="no StudyInstanceUID"):
        io.send(path, "http://127.0.0.1:9/dicom-web")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osler.io.web_address.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"osler\[network\]"):
        osler.load("https://pacs.invalid/dicom-web/studies/1.2.3")
