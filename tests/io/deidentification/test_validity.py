"""A copy breaks no rule of its information object that the original kept: dciodvfy's opinion."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from osler.io.deidentification import Key, Options
from osler.io.deidentification.one import Setting, copy

FILES = [
    "CT_small.dcm",
    "MR_small.dcm",
    "JPEG2000.dcm",
    "examples_overlay.dcm",
    "reportsi.dcm",
    "rtplan.dcm",
    "rtdose.dcm",
    "examples_ybr_color.dcm",
    "waveform_ecg.dcm",
    "test-SR.dcm",
]
ALL_KEPT = Options(
    dates="shift",
    device=True,
    institution=True,
    patient=True,
    safe_private=True,
    descriptors=True,
    structured=True,
    graphics=True,
    pixels="rules",
)


def errors(path: Path) -> set[str]:
    done = subprocess.run(["dciodvfy", path], capture_output=True, check=False)
    lines = (done.stderr + done.stdout).decode("utf-8", "replace").splitlines()
    return {re.sub(r"[0-9][0-9.]*", "N", x) for x in lines if x.startswith("Error")}


@pytest.mark.parametrize("options", [Options(pixels="rules"), ALL_KEPT], ids=["basic", "all-kept"])
@pytest.mark.parametrize("name", FILES)
def test_no_new_error(name: str, options: Options, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"this pydicom ships no {name}")
    source = Path(str(found))
    setting = Setting(source.parent, tmp_path, options, Key())
    outcome = copy(source, setting)
    assert outcome.status == "copied", outcome.error
    assert errors(tmp_path / outcome.place) - errors(source) == set()
