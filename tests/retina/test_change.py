"""What changed between two photographs, on a real one and the same turned and partly painted."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from osler.cli import app
from osler.errors import InputError
from osler.io import load, write
from osler.io.conversion import one_case
from osler.io.converting import save
from osler.record import Case, Label, Mask, Measurement, Passage, Transform
from osler.retina import interpret
from osler.retina.change import compare

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTO = EXAMPLES / "idrid-lesions-22.jpg"


@pytest.fixture(scope="module")
def photograph():
    """At half its size, which is read and compared sooner."""
    photo = load(PHOTO).image("photo")
    return replace(photo, array=np.ascontiguousarray(photo.array[:, ::2, ::2]))


@pytest.fixture(scope="module")
def later(photograph):
    return interpret(Case("later", items={"photo": photograph}))


@pytest.fixture(scope="module")
def earlier(later):
    """The photograph turned by three degrees, before its loneliest haemorrhage came."""
    photo = later.image("photo")
    mask = later.get("haemorrhages", Mask).mask
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())
    lonely = max(np.flatnonzero(sizes[1:] > 25) + 1, key=lambda one: _alone(labels, one))
    came = labels == lonely
    hole = ndimage.binary_dilation(came, iterations=8)
    around = ndimage.binary_dilation(hole, iterations=6) & ~hole
    pixels = photo.array.copy()
    pixels[:, hole] = np.median(pixels[:, around], axis=1)[:, None]
    turned = np.stack([ndimage.rotate(c, 3.0, reshape=False, order=1) for c in pixels])
    case = interpret(Case("earlier", items={"photo": replace(photo, array=turned)}))
    return case, came


def _alone(labels, one):
    """Pixels to the nearest other lesion."""
    others = (labels > 0) & (labels != one)
    return ndimage.distance_transform_edt(~others)[labels == one].min()


@pytest.fixture(scope="module")
def found(earlier, later):
    return compare(earlier[0], later, days=365.25)


def test_the_earlier_photograph_lies_on_the_later_one(found, later):
    transform = next(one for one in found if isinstance(one, Transform))
    turn = np.degrees(np.arctan2(transform.matrix[0, 1], transform.matrix[0, 0]))
    assert abs(abs(turn) - 3.0) < 0.1
    assert later.items["previous"].shape == later.image("photo").shape


def test_what_came_is_new_and_most_stayed(found, later, earlier):
    new = later.get("new-haemorrhages", Mask)
    assert (new.mask & earlier[1]).sum() > 0.9 * earlier[1].sum()
    assert new.evidence == ("haemorrhages", "registration")
    for kind in ("haemorrhages", "hard-exudates"):
        values = {
            what: later.get(f"change.{what}.{kind}", Measurement).value
            for what in ("new", "gone", "stayed")
        }
        assert values["stayed"] > 4 * (values["new"] + values["gone"]), values


def test_rates_are_a_year(found, later):
    new = later.get("change.new.microaneurysms", Measurement)
    gone = later.get("change.gone.microaneurysms", Measurement)
    assert later.get("change.formation.microaneurysms", Measurement).value == new.value
    assert later.get("change.turnover.microaneurysms", Measurement).value == new.value + gone.value
    assert later.get("change.days", Measurement).value == 365.25


def test_the_grade_is_compared(found, later, earlier):
    steps = later.get("change.dr-grade-steps", Measurement).value
    then, now = (int(case.get("dr-grade", Label).value) for case in (earlier[0], later))
    assert steps == now - then
    word = later.get("change.dr-grade", Label).value
    assert word == ("same" if not steps else "worse" if steps > 0 else "better")


def test_sentences_restate_findings_and_are_in_the_report(found, later, tmp_path):
    said = [one for one in found if isinstance(one, Passage)]
    assert said[0].text == (
        "It is compared with a photograph of the same eye taken 365 days earlier."
    )
    for passage in said:
        assert passage.section == "history"
        assert all(id in later for id in passage.evidence)
    folder = write(later, tmp_path, dicom=True, fhir=True)
    page = (folder / "report.html").read_text()
    assert "Since the earlier photograph" in page
    assert said[-1].text in page
    kept = json.loads((folder / "findings.json").read_text())
    assert any(one["id"] == "new-haemorrhages" for one in kept["findings"])


def test_twice_is_refused(found, later, earlier):
    with pytest.raises(InputError, match="compared already"):
        compare(earlier[0], later)


def test_other_eyes_and_unread_photographs_are_refused(later):
    other = Case("other", items={"photo": later.image("photo")}, findings=dict(later.findings))
    with pytest.raises(InputError, match="was not read yet"):
        compare(one_case(str(EXAMPLES / "idrid-141.jpg")), other)
    sides = []
    for side in ("R", "L"):
        photo = replace(later.image("photo"), laterality=side)
        sides.append(Case(side, items={"photo": photo}, findings=dict(later.findings)))
    with pytest.raises(InputError, match="one is of the right eye and one of the left"):
        compare(*sides)


def test_the_order_of_the_dates_is_held(later):
    days = [datetime(2026, 5, 1), datetime(2025, 5, 1)]
    pair = [
        Case(f"{day:%Y}", items={"photo": replace(later.image("photo"), acquired=day)},
             findings=dict(later.findings))
        for day in days
    ]  # fmt: skip
    with pytest.raises(InputError, match="exchange the two"):
        compare(*pair)


def test_the_command_speaks_chinese(tmp_path, earlier, photograph):
    paths = [str(tmp_path / "earlier.png"), str(tmp_path / "later.png")]
    save(earlier[0].image("photo"), Path(paths[0]))
    save(photograph, Path(paths[1]))
    out = tmp_path / "out"
    run = CliRunner().invoke(app, ["compare", *paths, "-o", str(out), "--language", "zh"])
    assert run.exit_code == 0, run.output
    assert "与同一眼较早的照片比较" in run.output
    assert (out / "later" / "report.html").exists()
