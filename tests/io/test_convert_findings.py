"""``osler convert --findings``: what was found goes from one DICOM object to another."""

from pathlib import Path

import numpy as np
import pytest
from dicom_check import errors
from fake_series import filled, masks, write_series
from typer.testing import CliRunner

from osler.cli import app
from osler.io import load
from osler.io.dicom_seg_out import write_segmentation
from osler.io.dicom_sr import write_measurements
from osler.record import Contour, Mask, Passage, Source


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["convert", *(str(a) for a in arguments)])
    return result.exit_code, result.stdout + result.stderr


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    write_segmentation(masks(), write_series(folder), folder / "seg.dcm")
    return folder


@pytest.mark.parametrize("kind", ["seg", "rtstruct", "gsps"])
def test_masks_go_from_one_object_to_another(study: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out.dcm"
    assert run(study, out, "--findings", kind, "--masks")[0] == 0
    assert not errors(out)
    (study / "seg.dcm").unlink()
    out.rename(study / "new.dcm")
    case = load(study)
    assert not case.left_out
    for mask in masks():
        if kind == "gsps":  # which has lines, and no masks
            assert np.array_equal(filled(case.get(mask.id, Contour)), mask.mask)
        else:
            assert np.array_equal(case.get(mask.id, Mask).mask, mask.mask)


def test_words_and_numbers_go_into_a_report(study: Path, tmp_path: Path) -> None:
    source = Source("algorithm", "a", "1")
    (study / "seg.dcm").unlink()
    case = load(study)
    case.add(Passage(id="p", name="P", source=source, item="ct", text="Words alone."))
    first = write_measurements(case, study / "words.dcm")
    assert not errors(first)
    out = tmp_path / "out"
    assert run(study, out, "--findings", "sr")[0] == 0
    (report,) = out.rglob("sr.dcm")
    assert not errors(report)
    assert [p.text for p in load(report).of(Passage)] == ["Words alone."]


def test_a_report_of_nothing_is_refused(study: Path, tmp_path: Path) -> None:
    (study / "seg.dcm").unlink()
    status, said = run(study, tmp_path / "x.dcm", "--findings", "sr")
    assert status == 2
    assert "nothing is said of" in " ".join(said.split())


def test_refusals(study: Path, tmp_path: Path) -> None:
    status, said = run(study, tmp_path / "x.dcm", "--findings", "rtstruct")
    assert status == 2
    assert "masks=True" in said
    status, said = run(study, tmp_path / "x.nii", "--findings", "seg")
    assert status == 2
    assert "NAME.dcm" in " ".join(said.split())
    status, said = run(study, tmp_path / "x.dcm", "--findings", "pdf")
    assert status == 2
    assert "seg, sr, rtstruct, gsps" in " ".join(said.split())
    assert not list(tmp_path.glob("x.*"))
