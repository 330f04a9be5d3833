"""The bundles of the fundus, judged on masks and grades of a cohort."""

import json

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

import osler
from osler.batch.evaluation import evaluate, figures_of
from osler.cli import app
from osler.errors import RecipeError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, photo_bytes):
    """A photograph twice: its vessels as the bundle marks them, and three pixels beside."""
    folder = tmp_path_factory.mktemp("fundus")
    for name in "ab":  # told apart by a comment after the picture
        (folder / f"{name}.jpg").write_bytes(photo_bytes + name.encode())
    found = osler.predict("retina-vessels", folder / "a.jpg").masks["vessel"]
    for name, mask in (("a", found), ("b", np.roll(found, 3, axis=1))):
        Pillow.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{name}.png")
    (folder / "c.csv").write_text(
        "case_id,patient_id,photo,label:vessel,label:fovea,label:quality,label:field\n"
        "a,1,a.jpg,a.png,170;280,good,no\nb,2,b.jpg,b.png,170;280,usable,yes\n"
    )
    return folder / "c.csv", found


def test_masks_are_judged_in_the_photographs_pixels(cohort, tmp_path):
    path, found = cohort
    words = ["retina-vessels", str(path), "-o", str(tmp_path), "--replicates", "50"]
    run = CliRunner().invoke(app, ["evaluate", *words])
    assert run.exit_code == 0, run.output
    assert "it was trained on CHASE_DB1, HRF" in run.output
    content = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    shifted = np.roll(found, 3, axis=1)
    dice = 2 * (found & shifted).sum() / (found.sum() + shifted.sum())
    rows = [case["bundle"] for case in content["cases"]]
    assert rows[0]["dice/vessel"] == 1
    assert rows[0]["hd95/vessel"] == 0
    assert rows[1]["dice/vessel"] == pytest.approx(dice, abs=1e-9)
    assert rows[1]["cldice/vessel"] < 1  # vessels are thin
    again = figures_of(content)
    assert [one.interval.value for one in again] == [one["value"] for one in content["figures"]]
    assert "trained on CHASE_DB1" in (tmp_path / "evaluation.html").read_text(encoding="utf-8")


def test_answers_are_judged_one_at_a_time(cohort):
    path, _ = cohort
    done = evaluate("retina-quality", path, replicates=50)
    said = osler.predict("retina-quality", path.parent / "a.jpg")
    row = done.content["cases"][0]["bundle"]
    assert row["probability"] == pytest.approx(list(said.probabilities["quality"].values()))
    assert [case["bundle"]["truth"] for case in done.content["cases"]] == [0, 1]
    assert "--output judges fundus photograph" not in done.content["bundle"]["note"]
    assert "--output judges photograph or defects" in done.content["bundle"]["note"]
    with pytest.raises(RecipeError, match="label:blur and label:underexposed and"):
        evaluate("retina-quality", path, output="defects")
    with pytest.raises(RecipeError, match="answers photograph, quality, defects, not 'grade'"):
        evaluate("retina-quality", path, output="grade")


@pytest.mark.parametrize(
    ("bundle", "message"),
    [
        ("retina-artery-vein", "in columns label:artery or label:vein of the cohort"),
        ("retina-anatomy", "is judged by masks"),  # the fovea is a place
        ("retina-dr", r"'grade' label:grade or label:dr-grade; 'referable' label:referable, yes"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_columns(cohort, bundle, message):
    with pytest.raises(RecipeError, match=message):
        evaluate(bundle, cohort[0])


def test_grades_of_the_idrid_cohort(cohort, tmp_path):
    """Under the name that this cohort gives them; several answers of one bundle."""
    folder = cohort[0].parent
    (folder / "g.csv").write_text(
        "case_id,patient_id,photo,label:dr-grade,label:dme-risk\na,1,a.jpg,2,1\nb,2,b.jpg,0,0\n"
    )
    done = evaluate("retina-dr", folder / "g.csv", output="oedema", replicates=50)
    assert [len(case["bundle"]["probability"]) for case in done.content["cases"]] == [3, 3]
    assert done.content["bundle"]["settings"]["kind"] == "ordinal"
    assert [case["bundle"]["truth"] for case in done.content["cases"]] == [1, 0]
