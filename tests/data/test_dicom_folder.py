"""Folders of DICOM: a case a study, never a case a slice."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from osler.data.cohort import read_cohort
from osler.data.importing import import_cohort
from osler.data.splitting import split_cohort
from osler.errors import InputError, RecipeError


def put(path: Path, *, patient: str, study: str, series: str, number: int, placed: bool = True):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = patient, study, series
    ds.Modality, ds.InstanceNumber = "CT", number
    if placed:
        ds.ImagePositionPatient = [0, 0, 2 * number]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing = [1, 1]
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 4, 5, 1
    ds.PhotometricInterpretation, ds.PixelRepresentation = "MONOCHROME2", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelData = bytes(range(number, number + 20))
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def put_series(folder: Path, *, patient: str, study: str, series: str, count: int = 4) -> None:
    for number in range(1, count + 1):
        put(folder / f"{number}.dcm", patient=patient, study=study, series=series, number=number)


def test_slices_are_cases_by_study_and_not_pictures_of_a_class(tmp_path):
    put_series(tmp_path / "src/one/a", patient="P1", study="1.1", series="1.1.1")
    put_series(tmp_path / "src/one/b", patient="P1", study="1.1", series="1.1.2", count=3)
    put_series(tmp_path / "src/two", patient="P1", study="1.2", series="1.2.1")
    put_series(tmp_path / "src/three", patient="P2", study="1.3", series="1.3.1")
    (tmp_path / "src/three/.hidden").touch()
    Pillow.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "src" / "p.png")
    (tmp_path / "src/what.xyz").write_bytes(b"\x93\xfa\x01\x02" * 20)
    _, notes = import_cohort(tmp_path / "src", tmp_path / "c.csv")
    cohort = read_cohort(tmp_path / "c.csv")
    assert {row.case_id: (row.patient_id, sorted(row.items)) for row in cohort.rows} == {
        "one": ("P1", ["ct", "ct-2"]),
        "two": ("P1", ["ct"]),
        "three": ("P2", ["ct"]),
    }
    shapes = {c.id: [c.image(n).shape for n in sorted(c.items)] for c in cohort.cases()}
    assert shapes["one"] == [(4, 4, 5), (3, 4, 5)]
    assert notes[0].startswith("patient_id is PatientID")
    assert notes[1] == "1 other file left out: no DICOM images"
    assert notes[2].endswith("what.xyz': of no known format, which is not read")
    parts = split_cohort(cohort, parts={"train": 0.5, "test": 0.5}).cohort
    assert len({row.split for row in parts.rows if row.patient_id == "P1"}) == 1


def test_series_that_a_cell_cannot_name_are_said(tmp_path):
    put_series(tmp_path / "src/mixed", patient="P1", study="1.1", series="1.1.1")
    for number in (7, 8):
        put(
            tmp_path / f"src/mixed/x{number}.dcm",
            patient="P1", study="1.1", series="1.1.2", number=number,
        )  # fmt: skip
    with pytest.raises(InputError, match="no DICOM series in a folder of its own"):
        import_cohort(tmp_path / "src", tmp_path / "c.csv")
    put_series(tmp_path / "src/own", patient="P2", study="1.2", series="1.2.1")
    cohort, notes = import_cohort(tmp_path / "src", tmp_path / "c.csv")
    assert [row.patient_id for row in cohort.rows] == ["P2"]
    assert notes[1].startswith("2 series that share a folder with other files")


def test_a_rule_for_patients_goes_before_the_header(tmp_path):
    for name in ("p7_a", "p8_b"):
        put_series(
            tmp_path / "src" / name, patient="", study=f"1.{name[1]}", series=f"1.{name[1]}.1"
        )
    cohort, notes = import_cohort(tmp_path / "src", tmp_path / "c.csv")
    assert [row.patient_id for row in cohort.rows] == ["p7_a", "p8_b"]
    assert "does not say who the patients are" in notes[1]
    cohort, notes = import_cohort(tmp_path / "src", tmp_path / "c.csv", patient=r"(p\d)_")
    assert [row.patient_id for row in cohort.rows] == ["p7", "p8"]
    assert len(notes) == 1
    with pytest.raises(RecipeError, match="does not fit"):
        import_cohort(tmp_path / "src", tmp_path / "c.csv", patient=r"(q\d)_")


def test_dicom_pictures_in_class_folders_say_their_patient(tmp_path):
    for index, (folder, patient) in enumerate(
        (("sick", "P1"), ("sick", "P2"), ("well", "P1"), ("well", ""))
    ):
        put(
            tmp_path / "src" / folder / f"{index}.dcm",
            patient=patient, study=f"1.{index}", series=f"1.{index}.1", number=index, placed=False,
        )  # fmt: skip
    cohort, notes = import_cohort(tmp_path / "src", tmp_path / "c.csv")
    assert [(row.patient_id, row.labels["class"]) for row in cohort.rows] == [
        ("P1", "sick"), ("P2", "sick"), ("P1", "well"), ("well-3", "well"),
    ]  # fmt: skip
    assert notes == ["1 picture of no stated patient, each counted as one"]
