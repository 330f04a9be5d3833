"""Folders of anything: sorted by patient and study, with a report of what was not understood."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_stack import as_bytes, cine, image, series, stack, write
from image_files import encoded, put, scene
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
)

import osler
from osler.errors import GeometryError, InputError, UnsupportedError
from osler.io import Cases, load, sort
from osler.io.dicom_seg_out import write_segmentation
from osler.io.reading import load_file
from osler.record import Case, Mask, Source
from osler.record.code import Code

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def in_study(datasets: list[Dataset], *, patient: str, study: str, uid: str) -> list[Dataset]:
    for ds in datasets:
        ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = patient, study, uid
    return datasets


def cases_of(folder: Path, **options: Any) -> Cases:
    found = load(folder, **options)
    assert isinstance(found, Cases)
    return found


def case_of(folder: Path, **options: Any) -> Case:
    found = load(folder, **options)
    assert isinstance(found, Case)
    return found


def test_files_belong_together_by_what_they_say_and_not_where_they_lie(tmp_path: Path) -> None:
    one = in_study(series(), patient="A", study="1.1", uid="1.1.1")
    two = in_study(series(stack()[::-1]), patient="A", study="1.1", uid="1.1.2")
    three = in_study(series(), patient="B", study="1.2", uid="1.2.1")
    for ds in two:
        ds.SeriesNumber = 1
    for index, ds in enumerate([*one, *two, *three]):
        put(tmp_path, f"disk{index % 2}/{index}", as_bytes(ds))
    cases = cases_of(tmp_path)
    assert len(cases) == 2
    assert cases.skipped == ()
    by_patient = {case.patient_id: case for case in cases}
    first = by_patient["A"]
    assert list(first.items) == ["ct", "ct-2"]
    assert not first.image("ct").loaded
    np.testing.assert_array_equal(first.image("ct").array[0], stack()[::-1].astype(int) - 1024)
    np.testing.assert_array_equal(first.image("ct-2").array[0], stack().astype(int) - 1024)
    assert len({case.id for case in cases}) == 2
    assert cases[0].id == next(iter(cases)).id


def test_a_folder_of_one_study_is_one_case(tmp_path: Path) -> None:
    write(tmp_path / "head", series())
    put(tmp_path, "head/cine.dcm", as_bytes(cine(np.zeros((3, 8, 8, 3), np.uint8))))
    single = image(scene()[..., 0], SecondaryCaptureImageStorage)
    put(tmp_path, "head/capture", as_bytes(single))
    case = case_of(tmp_path)
    assert (case.id, case.patient_id) == ("head", "P-17")
    assert set(case.items) == {"ct", "us", "photo"}
    assert not any(case.image(name).loaded for name in case.items)
    assert isinstance(osler.load(tmp_path), Case)


def test_a_segmentation_lies_in_the_grid_of_its_series(tmp_path: Path) -> None:
    write(tmp_path, series())
    ct = case_of(tmp_path).image("ct")
    drawn = np.zeros(ct.shape, np.bool_)
    drawn[1:4, 2:5, 3:9] = drawn[5, 0, 0] = True
    mask = Mask(
        id="liver",
        name="Liver",
        source=Source("bundle", "organs", "1.0.0"),
        item="ct",
        mask=drawn,
        code=Code("10200004", "SCT", "Liver"),
    )
    write_segmentation([mask], ct, tmp_path / "seg.dcm")
    case = case_of(tmp_path)
    assert list(case.items) == ["ct"]
    (found,) = case.of(Mask)
    assert found.item == "ct"
    np.testing.assert_array_equal(found.mask, drawn)
    assert not case.image("ct").loaded


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_headers_of_every_encoding(tmp_path: Path, syntax: str) -> None:
    datasets = series(syntax=syntax)
    for ds in datasets:
        ds.SpecificCharacterSet, ds.PatientID = "ISO_IR 192", "病人-7"
        ds.ReferencedStudySequence = [Dataset()]
        ds.ReferencedStudySequence[0].ReferencedSOPInstanceUID = "1.2.3"
        ds["ReferencedStudySequence"].is_undefined_length = True
    write(tmp_path, datasets)
    assert case_of(tmp_path).patient_id == "病人-7"


def test_files_without_identifiers_belong_to_their_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        datasets = series()
        for ds in datasets:
            del ds.StudyInstanceUID, ds.SeriesInstanceUID
        write(tmp_path / name, datasets)
    assert [(case.id, list(case.items)) for case in cases_of(tmp_path)] == [
        ("a", ["ct"]),
        ("b", ["ct"]),
    ]


def test_files_without_a_study_belong_to_the_study_of_their_series(tmp_path: Path) -> None:
    one = in_study(series(), patient="A", study="1.1", uid="1.1.1")
    for ds in one[::2]:
        del ds.StudyInstanceUID
    write(tmp_path / "one", one)
    other = in_study(series(), patient="B", study="1.1", uid="1.1.1")  # of somebody else
    for ds in other:
        del ds.StudyInstanceUID
    write(tmp_path / "other", other)
    assert [(c.patient_id, c.image("ct").shape) for c in cases_of(tmp_path)] == [
        ("A", (6, 8, 12)),
        ("B", (6, 8, 12)),
    ]


def test_copies_of_a_file_are_told_and_taken_once(tmp_path: Path) -> None:
    datasets = series()
    write(tmp_path / "a", datasets)
    write(tmp_path / "b", datasets[:2])
    assert case_of(tmp_path).image("ct").shape == (6, 8, 12)
    reasons = [reason for _, reason in sort(tmp_path).skipped]
    assert len(reasons) == 2
    assert all(reason.startswith("the same file as '") for reason in reasons)
    datasets[1].ImageComments = "another file under the same SOPInstanceUID"
    write(tmp_path / "b", datasets[:2])
    with pytest.raises(GeometryError, match="lie at the same place"):
        load(tmp_path)


def test_copies_without_an_instance_uid_are_told_by_their_content(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", series())
    for path in paths:
        ds = pydicom.dcmread(path)
        del ds.SOPInstanceUID
        ds.save_as(path)
    for path in paths[1:4]:
        (tmp_path / "a" / f"copy of {path.name}").write_bytes(path.read_bytes())
    (tmp_path / "a" / "again").write_bytes(paths[2].read_bytes())
    assert case_of(tmp_path).image("ct").shape == (6, 8, 12)
    told = {Path(path).name: reason for path, reason in sort(tmp_path).skipped}
    assert len(told) == 4
    assert all(reason.startswith("the same file as '") for reason in told.values())
    # one bit of one pixel makes it another slice at the same place
    data = bytearray(paths[0].read_bytes())
    data[-1] ^= 1
    (tmp_path / "a" / "another").write_bytes(data)
    with pytest.raises(GeometryError, match="lie at the same place"):
        load(tmp_path)


def test_files_without_preamble(tmp_path: Path) -> None:
    for index, ds in enumerate(series()):
        data = as_bytes(ds)
        put(tmp_path, f"{index}", data[132:])
    assert case_of(tmp_path).image("ct").shape == (6, 8, 12)


def test_what_is_not_understood_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "a", series())
    put(tmp_path, "notes.xyz", b"\x93\xfa\x01\x02" * 50)
    put(tmp_path, "empty.dcm", b"")
    put(tmp_path, ".hidden", b"x")
    put(tmp_path, "film.mp4", b"\0\0\0\x20ftypisom" + bytes(40))
    put(tmp_path, "cut.dcm", as_bytes(series()[0])[:340])
    put(tmp_path, "result/findings.json", b"{}")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path)
    skipped = {Path(path).name: reason for path, reason in sort(tmp_path).skipped}
    assert skipped == {
        "notes.xyz": "of no known format, which is not read",
        "empty.dcm": "empty",
        "film.mp4": "a HEIF, AVIF or MP4 file, which is not read",
        "cut.dcm": "a DICOM file whose header cannot be read",
        "result": "an output folder (it holds findings.json)",
        "pipe": "no regular file",
    }


def test_a_series_that_is_no_volume_is_left_out_with_the_reason(tmp_path: Path) -> None:
    broken = in_study(series(), patient="A", study="1.1", uid="1.1.1")
    del broken[3]
    sound = in_study(series(), patient="A", study="1.1", uid="1.1.2")
    write(tmp_path / "s" / "broken", broken)
    with pytest.raises(GeometryError, match="slices are missing"):
        load(tmp_path)
    assert case_of(tmp_path, allow_irregular=True).image("ct").affine is None
    write(tmp_path / "s" / "sound", sound)
    case = case_of(tmp_path)
    assert list(case.items) == ["ct"]
    ((path, reason),) = case.left_out
    assert "broken" in path
    assert "slices are missing" in reason
    other = in_study(series(), patient="B", study="1.2", uid="1.2.1")
    write(tmp_path / "t", other[::2] + other[1:2])
    assert [len(case.left_out) for case in cases_of(tmp_path)] == [1, 1]


def test_other_files_are_a_case_each(tmp_path: Path) -> None:
    put(tmp_path, "a/left.png", encoded(scene(), "PNG"))
    put(tmp_path, "b/left.png", encoded(scene(), "PNG"))
    put(tmp_path, "b/right10.jpg", encoded(scene(), "JPEG"))
    put(tmp_path, "b/right9.jpg", encoded(scene(), "JPEG"))
    cases = cases_of(tmp_path)
    ids = [case.id for case in cases]
    assert [id.split("-")[0] for id in ids] == ["left", "left", "right9", "right10"]
    assert len(set(ids)) == 4
    assert all(list(case.items) == ["photo"] for case in cases)


def test_other_files_by_a_pattern(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        put(tmp_path, f"{patient}/OD.png", encoded(scene(), "PNG"))
        put(tmp_path, f"{patient}/os.png", encoded(scene(), "PNG"))
    put(tmp_path, "p1/middle.png", encoded(scene(), "PNG"))
    cases = cases_of(tmp_path, pattern="{patient}/{eye}.png")
    assert [(case.id, case.patient_id) for case in cases] == [("p1", "p1"), ("p2", "p2")]
    first = cases[0]
    assert [first.image(name).laterality for name in first.items] == ["R", "L"]
    assert list(first.items) == ["photo", "photo-2"]
    ((path, reason),) = cases.skipped
    assert (Path(path).name, reason) == (
        "middle.png",
        "does not fit the pattern '{patient}/{eye}.png'",
    )
    named = cases_of(tmp_path, pattern="**/{patient}/{item}.*")
    assert list(named[0].items) == ["middle", "OD", "os"]


@pytest.mark.parametrize("pattern", ["{name}.png", "{patient}/{patient}", "{patient", "{}.png"])
def test_patterns_that_are_none(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InputError, match=r"takes each of {patient}, {study}, {item}, {eye} once"):
        sort(tmp_path, pattern=pattern)


def test_headers_and_their_data_are_one_case(tmp_path: Path) -> None:
    put(tmp_path, "a.mhd", b"x")
    put(tmp_path, "a.raw", bytes(400))
    put(tmp_path, "b.raw", bytes(400))
    assert [Path(path).name for path, _ in sort(tmp_path).skipped] == ["a.mhd", "b.raw"]


def test_a_record_of_several_segments_is_one_case(tmp_path: Path) -> None:
    samples = np.arange(20, dtype="<i2").tobytes()
    for name in ("part_0001", "part_0002"):
        put(tmp_path, f"{name}.hea", f"{name} 1 100 20\nother-{name}.bin 16 200/mV\n".encode())
        put(tmp_path, f"other-{name}.bin", samples)
    put(tmp_path, "whole.hea", b"whole/3 1 100 45\npart_0001 20\n~ 5\npart_0002 20\n")
    put(tmp_path, "whole.pwave", b"\x05\x04\0\0")  # a beat at sample 5, and the end
    put(tmp_path, "alone.hea", b"alone 1 100 20\nalone.dat 16 200/mV\n")
    put(tmp_path, "alone.dat", samples)
    put(tmp_path, "alone.qrs", b"\x05\x04\0\0")
    put(tmp_path, "stray.qrs", b"\x93\xfa\x01\x02" * 50)
    put(tmp_path, "bad.hea", b"bad/9 1 100 20\npart_0001 20\n")
    os.mkfifo(tmp_path / "pipe.hea")
    cases = cases_of(tmp_path)
    assert [case.id for case in cases] == ["alone", "bad", "whole"]
    assert {Path(path).name for path, _ in cases.skipped} == {"stray.qrs", "pipe.hea"}
    whole = cases[2]
    (signal,) = (whole[name] for name in whole.items)
    assert signal.array.shape == (1, 45)
    assert len(whole.findings) == 1


def test_folders_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no file that is read"):
        load(tmp_path)
    put(tmp_path, "a.bin", b"\x93\xfa\x01\x02" * 50)
    with pytest.raises(InputError, match=r"1 skipped, such as .*a\.bin"):
        load(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        sort(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is no folder"):
        sort(tmp_path / "a.bin")
    put(tmp_path, "a.png", encoded(scene(), "PNG"))
    with pytest.raises(InputError, match="no reader takes an option 'allow_tild'"):
        load(tmp_path, allow_tild=True)


# --- DICOMDIR -------------------------------------------------------------------------------


def index(names: list[Any]) -> bytes:
    """A DICOMDIR that names files."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.SOPClassUID, ds.SOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3.4"
    records = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", name
        records.append(record)
    ds.DirectoryRecordSequence = records
    return as_bytes(ds)


@pytest.mark.filterwarnings("ignore")
def test_an_index_is_checked_and_not_believed(tmp_path: Path) -> None:
    write(tmp_path / "disk" / "A", series())
    secret = put(tmp_path, "secret.dcm", as_bytes(series()[0]))
    names = [["A", "0003.dcm"], ["A", "GONE"], ["..", "secret.dcm"], str(secret)]
    path = put(tmp_path, "disk/DICOMDIR", index(names))
    for opened in (path, path.parent):
        case = case_of(opened)
        assert case.image("ct").shape == (6, 8, 12)
    with pytest.raises(UnsupportedError, match=r"is a DICOMDIR.*open the folder"):
        load_file(path)
    skipped = dict(sort(path.parent).skipped)
    assert (
        skipped[str(path)] == "a DICOMDIR that names files outside its folder, which are not read"
    )
    assert skipped[str(path.parent / "A" / "GONE")].startswith("named in the DICOMDIR but not")
    assert len(skipped) == 2
    # its content says what it is, whatever a burner or a browser called it
    renamed = path.rename(path.with_name("dicomdir (1).dcm"))
    assert case_of(renamed).image("ct").shape == (6, 8, 12)


@pytest.mark.filterwarnings("ignore")
def test_the_media_of_other_programs(tmp_path: Path) -> None:
    shutil.copytree(PYDICOM_FILES / "dicomdirtests", tmp_path / "disk")
    cases = sort(tmp_path / "disk")
    expected: dict[tuple[str, str], set[str]] = {}
    for path in (tmp_path / "disk").rglob("*"):
        if path.is_file() and "README" not in path.name and "DICOMDIR" not in path.name:
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            key = (str(ds.PatientID), str(ds.StudyInstanceUID))
            expected.setdefault(key, set()).add(str(path))
    found = [
        {file.path for one in study.series for file in one.files}
        for study in cases.studies
        if study.series
    ]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected.values()))
