"""Orthanc's anonymiser (PS3.15, edition 2021b) on the same files; differences have reasons."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from osler.io.deidentification import Key, Options
from osler.io.deidentification.one import Setting, copy
from osler.io.deidentification.profile import row_of

SCRIPT = Path(__file__).with_name("orthanc_anonymise.py")
STATED = {"DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified"}


@pytest.fixture(scope="module")
def orthanc() -> list[str]:
    if shutil.which("Orthanc") is None:
        pytest.skip("Orthanc is not installed (Debian package orthanc)")
    alone = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace can be made here, and Orthanc listens everywhere")
    return [*alone, sys.executable, str(SCRIPT)]


def state(dataset: pydicom.Dataset, before: pydicom.Dataset, tag: int) -> str:
    if tag not in dataset:
        return "absent"
    if dataset[tag].is_empty:
        return "empty"
    return "kept" if tag in before and dataset[tag].value == before[tag].value else "changed"


def reason(tag: pydicom.tag.BaseTag, theirs: str, ours: str, keyword: str) -> str:
    """Why two anonymisers differ; empty where there is no good reason."""
    row = row_of(tag)
    if keyword in STATED:
        return "we also state the method in codes, and what became of the dates"
    if tag.group >> 8 == 0x60 and theirs == "kept" and ours == "absent":
        return "Orthanc knows no repeating groups, so overlays stay"
    if keyword == "CodingSchemeIdentificationSequence" and ours == "changed":
        return "names of a scheme that nobody publishes are cleaned as text"
    if row is None:
        return ""
    if theirs == "kept" and ours in ("changed", "empty", "absent") and row.since == "later":
        return "listed since the edition that Orthanc has"
    if "D" in row.basic and theirs in ("absent", "empty") and ours == "changed":
        return "Orthanc removes or empties where we put a dummy, which suits every type"
    if row.basic.startswith("X/") and theirs == "absent" and ours == "empty":
        return "Orthanc removes where we empty, which suits every type"
    return ""


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "reportsi.dcm", "examples_overlay.dcm", "rtplan.dcm"]
)
def test_every_difference_has_a_reason(name: str, orthanc: list[str], tmp_path: Path) -> None:
    source = Path(str(get_testdata_file(name)))
    folder = tmp_path / "orthanc"
    folder.mkdir()
    target = tmp_path / "orthanc.dcm"
    subprocess.run([*orthanc, str(folder), str(source), str(target)], check=True, timeout=60)
    setting = Setting(source.parent, tmp_path / "out", Options(pixels="rules"), Key())
    outcome = copy(source, setting)
    before, theirs = pydicom.dcmread(source), pydicom.dcmread(target)
    ours = pydicom.dcmread(setting.out / outcome.place)
    unexplained = []
    for tag in sorted({*before.keys(), *theirs.keys(), *ours.keys()}):
        if tag.is_private:
            continue
        a, b = state(theirs, before, tag), state(ours, before, tag)
        keyword = pydicom.datadict.keyword_for_tag(tag)
        if a != b and not reason(tag, a, b, keyword):
            unexplained.append((str(tag), a, b))
    assert unexplained == []
    assert not [e for e in ours if e.tag.is_private]
    assert not [e for e in theirs if e.tag.is_private]
    assert theirs.PixelData == ours.PixelData if "PixelData" in before else True
