"""Bundles that are told what to mark: options, columns of a table, findings; and wrong prompts."""

import numpy as np
import pytest
import small_bundles as small
from PIL import Image as Pillow
from typer.testing import CliRunner

from osler.cli import app
from osler.io.findings_json import read_findings
from osler.io.nifti_out import write_nifti
from osler.record import Box, Image, Point


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A picture of 40 by 60 pixels with two bright squares."""
    folder = tmp_path_factory.mktemp("told")
    for kind in ("box", "point"):
        small.prompted(folder / kind, kind=kind)
    small.segmenter(folder / "untold")
    picture = np.full((40, 60), 30, np.uint8)
    picture[5:15, 10:20] = picture[20:35, 40:55] = 200
    Pillow.fromarray(picture).save(folder / "a.png")
    return folder


def invoke(*words):
    return CliRunner().invoke(app, ["predict", *map(str, words), "--quiet"])


def mask(out, case="a"):
    return np.asarray(Pillow.open(out / case / "masks" / "shape.png"))


def test_a_box_says_what_is_marked(place, tmp_path):
    run = invoke(place / "box", place / "a.png", "--box", "8,3,18,12", "-o", tmp_path)
    assert run.exit_code == 0, run.output
    wanted = np.zeros((40, 60), bool)
    wanted[5:12, 10:18] = True  # bright, and inside of the box
    assert ((mask(tmp_path) > 0) == wanted).all()
    kept = read_findings(tmp_path / "a")["prompt-1"]
    assert isinstance(kept, Box)
    assert (kept.start, kept.stop, kept.source.kind) == ((3, 8), (12, 18), "person")


def test_points_say_what_is_marked(place, tmp_path):
    run = invoke(
        place / "point", place / "a.png", "--point", "15,10", "--point", "50,30",
        "--background", "2,2", "-o", tmp_path,
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    h, w = np.mgrid[:40, :60]
    wanted = ((h - 10) ** 2 + (w - 15) ** 2 <= 6.25) | ((h - 30) ** 2 + (w - 50) ** 2 <= 6.25)
    assert ((mask(tmp_path) > 0) == wanted).all()
    found = [one for one in read_findings(tmp_path / "a").findings.values() if type(one) is Point]
    assert [one.position for one in found] == [(10, 15), (30, 50), (2, 2)]
    assert found[2].name == "background"


def test_a_table_says_it_case_by_case(place, tmp_path):
    (place / "cases.csv").write_text(
        "case_id,patient_id,image,label:here,label:grade\n"
        "one,p1,a.png,0;0;18;30,2\ntwo,p2,a.png,18;30;40;60 0;0;7;12,3\nthree,p3,a.png,,1\n"
    )
    run = invoke(place / "box", place / "cases.csv", "-o", tmp_path)
    assert run.exit_code == 3  # the third says nothing
    assert "case 'three' has no box that says what to mark; give --box" in run.output
    assert mask(tmp_path, "one").astype(bool).sum() == 10 * 10
    assert mask(tmp_path, "two").astype(bool).sum() == 15 * 15 + 2 * 2
    assert "grade" not in read_findings(tmp_path / "one")  # other labels are not shown
    again = invoke(place / "box", place / "cases.csv", "--box", "1,1,9,9", "-o", tmp_path / "x")
    assert "case 'one' says itself what to mark" in again.output


def test_a_volume_is_told_in_three_axes(tmp_path):
    small.prompted(tmp_path / "bundle", axes=3)
    array = np.full((1, 6, 8, 10), 200, np.int16)
    affine = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
    write_nifti(Image("volume", array, "CT", affine=affine), tmp_path / "v.nii.gz")
    said = [tmp_path / "bundle", tmp_path / "v.nii.gz", "-o", tmp_path / "out"]
    run = invoke(*said, "--box", "2,1,3,9,4,5")
    assert run.exit_code == 0, run.output
    found = read_findings(tmp_path / "out" / "v")["shape"].mask
    wanted = np.zeros((6, 8, 10), bool)
    wanted[3:5, 1:4, 2:9] = True
    assert (found == wanted).all()
    run = invoke(*said, "--box", "2,1,9,4")
    assert "an image of 3 axes; a box in it is --box X0,Y0,Z0,X1,Y1,Z1" in run.output


@pytest.mark.parametrize(
    ("bundle", "words", "message", "status"),
    [
        ("box", [], "has no box that says what to mark; give --box", 3),
        ("point", [], "has no point that says what to mark; give --point", 3),
        ("box", ["--point", "3,3"], "is told by boxes: --box X0,Y0,X1,Y1", 2),
        ("point", ["--box", "3,3,5,5"], "is told by points: --point X,Y", 2),
        ("point", ["--background", "3,3"], "say what to mark as well", 2),
        ("untold", ["--box", "3,3,5,5"], "is a bundle that is not told what to mark", 2),
        ("box", ["--box", "3,3,5"], "is not 4 or 6 numbers", 2),
        ("box", ["--box", "3,3,nan,5"], "is not 4 or 6 numbers", 2),
        ("box", ["--box", "5,5,3,9"], "holds no pixel", 3),
        ("box", ["--box", "5,5,61,9"], "leaves the image of case 'a', 60 x 40 pixels", 3),
        ("point", ["--point", "3,41"], "is not in the image of case 'a', 60 x 40 pixels", 3),
    ],
)
def test_wrong_prompts(place, tmp_path, bundle, words, message, status):
    run = invoke(place / bundle, place / "a.png", *words, "-o", tmp_path / "out")
    assert run.exit_code == status, run.output
    assert message in run.output
    fundus = invoke("retina-vessels", place / "a.png", "--box", "1,1,2,2", "-o", tmp_path / "f")
    assert fundus.exit_code == 2
