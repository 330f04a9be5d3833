"""Against a real PACS: what was sent comes back as it was."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

import osler
from orthanc_server import Orthanc, orthanc
from osler import io
from osler.record import Case


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def ct(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real series in JPEG 2000, whose UIDs were lost when it was published, with new ones."""
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
