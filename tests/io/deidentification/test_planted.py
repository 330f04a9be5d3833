"""Identities planted in every kind of place of real series; nothing of them is in the copies."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from osler.batch import deidentify
from osler.io.deidentification import Key, Options
from osler.io.deidentification.one import Setting, copy

EVERYTHING = Options(
    dates="shift",
    device=True,
    patient=True,
    safe_private=True,
    descriptors=True,
    structured=True,
    graphics=True,
    pixels="rules",
)
NAME, NUMBER = "THISTLEWOOD^OLUWASEUN", "PZ-4455-XQ"


def planted(source: Path, target: Path) -> None:
    ds = pydicom.dcmread(source)
    ds.PatientName, ds.PatientID = NAME, NUMBER
    ds.PatientBirthDate, ds.PatientAge = "19310704", "092Y"
    ds.OtherPatientNames = "THISTLEWOOD^OLU"
    ds.InstitutionName, ds.StudyDescription = "Quagmire Infirmary", f"MR of {NAME} {NUMBER}"
    ds.ImageComments = "born 4 Jul 1931, Oluwaseun Thistlewood, tel 555-201-7788"
    ds.SeriesDescription = "t1 thistlewood sag"
    ds.ManufacturerModelName = "Model of Thistlewood"
    ds.ProtocolName = "brain Quagmire Infirmary"
    inner = Dataset()
    inner.PatientName, inner.PatientID = NAME, NUMBER
    inner.add_new(0x00091001, "LO", NAME)
    inner.TextValue = f"{NUMBER} was here"
    outer = Dataset()
    outer.ContentSequence = [inner]
    outer.ReferencedSOPClassUID, outer.ReferencedSOPInstanceUID = ds.SOPClassUID, "1.2.3.4.5.6.7.88"
    outer.PurposeOfReferenceCodeSequence = [inner]
    ds.SourceImageSequence = [outer]
    ds.RequestAttributesSequence = [outer]
    block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0D, "CS", "THISTLEWOOD")
    block.add_new(0x0C, "IS", "1000")
    ds.private_block(0x0033, NAME, create=True).add_new(0x01, "SQ", [inner])
    ds.add_new(0x60000010, "US", 8)
    ds.add_new(0x60000011, "US", 8)
    ds.add_new(0x60000022, "LO", NAME)
    ds.add_new(0x60003000, "OW", b"\xff" * 8)
    ds.add_new(0x50003000, "OW", NAME.encode() + b" ")
    ds.add_new(0x00080000, "UL", 4)
    ds.add_new(0x00189999, "UN", NAME.encode() + b" ")
    ds.file_meta.SendingApplicationEntityTitle = "THISTLEWOOD"
    ds.preamble = NAME.encode().ljust(128, b"\0")
    ds.save_as(target)
    with target.open("ab") as stream:
        stream.write(
            b"\xfc\xff\xfc\xffOB\0\0" + len(NAME + " ").to_bytes(4, "little") + NAME.encode() + b" "
        )


@pytest.mark.parametrize("options", [Options(pixels="rules"), EVERYTHING], ids=["basic", "all"])
@pytest.mark.parametrize("kind", ["ct-example/dicom", "brain-mr-dicom"])
def test_nothing_planted_goes_along(
    data_dir: Path, tmp_path: Path, kind: str, options: Options
) -> None:
    files = sorted(p for p in (data_dir / kind).rglob("*") if p.is_file())[::16]
    folder = tmp_path / "in" / "THISTLEWOOD OLUWASEUN" / NUMBER
    folder.mkdir(parents=True)
    for i, path in enumerate(files):
        planted(path, folder / f"thistlewood_{i}.dcm")
    out = tmp_path / "out"
    run = deidentify.run(tmp_path / "in", out, options=options)
    assert run.clean, (run.found, [o.error for o in run.outcomes])
    names = [str(p.relative_to(out)) for p in out.rglob("*")]
    for text in ("thistlewood", "oluwaseun", "pz-4455", "quagmire"):
        assert not any(text in name.lower() for name in names)
        for path in out.rglob("*"):
            assert path.is_dir() or text.encode() not in path.read_bytes().lower(), text
    copies = [pydicom.dcmread(p) for p in sorted(out.rglob("*.dcm"))]
    assert len(copies) == len(files)
    assert len({ds.PatientID for ds in copies}) == 1
    assert len({ds.StudyInstanceUID for ds in copies}) == len(
        {pydicom.dcmread(p).StudyInstanceUID for p in files}
    )
    pixels = {bytes(pydicom.dcmread(p).PixelData) for p in files}
    assert {bytes(ds.PixelData) for ds in copies} == pixels
    for ds in copies:
        private = [e for e in ds.iterall() if e.tag.is_private]
        safe = options.safe_private
        left = {(e.tag.group, e.value) for e in private}
        assert left <= ({(0x0019, "SIEMENS MR HEADER"), (0x0019, 1000)} if safe else set())
        assert "19310704" not in str(ds)
        assert 0x50003000 not in ds
        if options.patient:
            assert ds.PatientAge == "090Y"


def test_geometry_and_values_stay(tmp_path: Path) -> None:
    source = Path(str(get_testdata_file("CT_small.dcm")))
    setting = Setting(source.parent, tmp_path, Options(pixels="rules"), Key())
    new = pydicom.dcmread(tmp_path / copy(source, setting).place)
    old = pydicom.dcmread(source)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
        "BitsStored",
        "KVP",
        "Modality",
        "SOPClassUID",
    ):
        assert new[keyword].value == old[keyword].value
    assert (new.pixel_array == old.pixel_array).all()
    assert new["PixelData"].VR == old["PixelData"].VR


def test_attributes_that_no_table_lists(tmp_path: Path) -> None:
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ds.PatientBirthDateInAlternativeCalendar = "昭和45年3月2日"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.add_new(
        0x00189074, "ST", "by Dr. Thistlewood on 4 July 2019"
    )  # another VR than it should be
    ds.save_as(tmp_path / "a.dcm")
    setting = Setting(tmp_path, tmp_path / "out", Options(pixels="rules"), Key())
    outcome = copy(tmp_path / "a.dcm", setting)
    data = (setting.out / outcome.place).read_bytes()
    for words in ("昭和", "Thistlewood", "July"):  # UIDs may hold any digits
        assert words.encode() not in data


def test_a_colour_profile_keeps_its_colours_only(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = profile.index(b"s\0R\0G\0B")
    profile[at : at + 6] = "Thi".encode("utf-16-be")
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for value in (bytes(profile), b"Thistlewood" * 20):
        ds.ICCProfile = value
        ds.save_as(tmp_path / "a.dcm")
        setting = Setting(tmp_path, tmp_path / "out", Options(pixels="rules"), Key())
        new = pydicom.dcmread(tmp_path / "out" / copy(tmp_path / "a.dcm", setting).place)
        if value == bytes(profile):
            assert len(new.ICCProfile) == len(value) + len(value) % 2
            assert "Thi".encode("utf-16-be") not in new.ICCProfile
            assert b"XYZ " in new.ICCProfile
        else:
            assert "ICCProfile" not in new


def test_a_large_value_is_copied_from_the_file(tmp_path: Path) -> None:
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ds.Rows, ds.Columns = 512, 512
    pixels = np.random.default_rng(0).integers(0, 4000, (512, 512)).astype("<i2")
    ds.PixelData = pixels.tobytes()
    ds.save_as(tmp_path / "a.dcm")
    setting = Setting(tmp_path, tmp_path / "out", Options(pixels="rules"), Key())
    new = pydicom.dcmread(tmp_path / "out" / copy(tmp_path / "a.dcm", setting).place)
    assert (new.pixel_array == pixels).all()


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, 4000), junk=st.binary(min_size=1, max_size=40))
@example(at=0, junk=b"1.2.840.10008.1.3.10")
def test_damaged_files_are_named_or_clean(tmp_path: Path, at: int, junk: bytes) -> None:
    data = bytearray(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    data[at : at + len(junk)] = junk
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    setting = Setting(tmp_path, tmp_path / "out", Options(pixels="rules"), Key(b"k" * 32))
    outcome = copy(path, setting)
    # junk can be the class of a DICOMDIR, which is an index and no image
    assert outcome.status in ("copied", "failed", "refused", "left out")
    assert "CompressedSamples" not in outcome.error
    if outcome.status == "left out":
        assert (outcome.format, outcome.place) == ("dicomdir", "")
    if outcome.status == "copied":
        assert b"CompressedSamples" not in (setting.out / outcome.place).read_bytes()


def test_a_patient_may_have_numbers_and_names_that_are_everywhere(tmp_path: Path) -> None:
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ds.PatientID, ds.PatientName = "1024", "OSLER^TEXT"
    ds.PatientBirthDate = ds.StudyDate
    ds.Rows, ds.Columns, ds.PixelData = 1024, 8, b"\0" * 16384
    ds.save_as(tmp_path / "a.dcm")
    options = Options(pixels="rules", dates="keep", descriptors=True)
    setting = Setting(tmp_path, tmp_path / "out", options, Key())
    outcome = copy(tmp_path / "a.dcm", setting)
    assert outcome.status == "copied", outcome.error
    new = pydicom.dcmread(tmp_path / "out" / outcome.place)
    assert (new.Rows, new.StudyDate, new.PatientBirthDate) == (1024, ds.StudyDate, "")
