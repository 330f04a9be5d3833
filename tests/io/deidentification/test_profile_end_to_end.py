"""The header profile, from a folder to a folder, through the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from osler.batch import deidentify
from osler.io.deidentification import Key, Options

CT = Path(str(get_testdata_file("CT_small.dcm")))


def copies(out: Path) -> list[Path]:
    return sorted(out.rglob("*.dcm"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A patient's folder, named after the patient, with one CT slice with 179 private tags."""
    place = tmp_path / "in" / "CompressedSamples^CT1"
    place.mkdir(parents=True)
    dataset = pydicom.dcmread(CT)
    assert sum(e.tag.is_private for e in dataset) == 179
    nested = pydicom.Dataset()
    nested.PatientName = "CompressedSamples^CT1"
    nested.ReferencedSOPInstanceUID = "1.2.3.4.5.6.7.8.9"
    nested.ReferencedSOPClassUID = dataset.SOPClassUID
    dataset.ReferencedImageSequence = [nested]
    dataset.ConvolutionKernel = "CompressedSampl"
    dataset.ProtocolName = "head of CompressedSamples CT1"
    dataset.save_as(place / "1CT1.dcm")
    return tmp_path / "in"


def test_command_line_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "osler", "deidentify", str(folder), str(out), "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (copy,) = copies(out)
    assert b"CompressedSamples" not in copy.read_bytes()
    assert "CompressedSamples" not in str(copy.relative_to(tmp_path))
    dataset = pydicom.dcmread(copy)
    assert not [e for e in dataset.iterall() if e.tag.is_private]
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.PatientID == dataset.PatientName == copy.relative_to(out).parts[0]
    assert dataset.PixelData == pydicom.dcmread(CT).PixelData
    assert dataset.preamble == b"\0" * 128
    report = json.loads((out / "deidentification" / "report.json").read_text("utf-8"))
    assert report["second_pass"] == {"done": True, "clean": True, "found": {}}
    removed = {(a["attribute"], a["action"]): a["count"] for a in report["attributes"]}
    assert removed["private attributes", "removed"] == 179
    assert not (out / deidentify.STATE).exists()


def test_same_key_same_copy(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        options = Options(dates="shift")
        done = deidentify.run(folder, tmp_path / name, options=options, key=Key(b"k" * 32))
        assert done.clean
    (a,), (b,) = copies(tmp_path / "a"), copies(tmp_path / "b")
    assert a.relative_to(tmp_path / "a") == b.relative_to(tmp_path / "b")
    assert a.read_bytes() == b.read_bytes()
    done = deidentify.run(folder, tmp_path / "c", options=options, key=Key(b"l" * 32))
    (c,) = copies(tmp_path / "c")
    assert pydicom.dcmread(c).SOPInstanceUID != pydicom.dcmread(a).SOPInstanceUID


def test_shifted_dates_keep_intervals(folder: Path, tmp_path: Path) -> None:
    deidentify.run(folder, tmp_path / "out", options=Options(dates="shift"))
    new, old = pydicom.dcmread(copies(tmp_path / "out")[0]), pydicom.dcmread(CT)

    def moment(dataset: pydicom.Dataset, what: str) -> object:
        import datetime

        text = dataset[f"{what}Date"].value + dataset[f"{what}Time"].value[:6]
        return datetime.datetime.strptime(text, "%Y%m%d%H%M%S")

    moved = {
        moment(old, what) - moment(new, what)  # type: ignore[operator]
        for what in ("Study", "Series", "Acquisition", "Content", "InstanceCreation")
    }
    assert len(moved) == 1
    assert next(iter(moved)).days >= 365
    assert new.LongitudinalTemporalInformationModified == "MODIFIED"
