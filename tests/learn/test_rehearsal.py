"""``osler fit --dry-run``: what a recipe would do, said before it does it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Pillow
from typer.testing import CliRunner

from osler import models
from osler.cli import app
from osler.errors import RecipeError
from osler.learn import rehearse

RECIPE = {
    "name": "shades",
    "task": "classification",
    "cohort": "cohort.csv",
    "settings": {"target": "shade", "image": {"size": [32, 32], "colour": True}},
    "network": {"name": "resnet-18", "options": {"widths": [4, 8, 8, 8]}},
    "learner": {"steps": 5000, "batch": 3, "accumulate": 2, "precision": "float32"},
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Dark and bright pictures; patients have two each."""
    lines = ["case_id,patient_id,fold,image,label:shade"]
    for n in range(12):
        bright = n % 2 == 0
        picture = np.random.default_rng(n).integers(0, 60, (40, 40)) + 150 * bright
        Pillow.fromarray(picture.astype(np.uint8)).save(tmp_path / f"{n}.png")
        lines.append(f"c{n},p{n // 2},{(n // 2) % 3},{n}.png,{'bright' if bright else 'dark'}")
    (tmp_path / "cohort.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def asked(place: Path, *options: str, **more):
    path = place / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **more}))
    return CliRunner().invoke(app, ["fit", str(path), "--dry-run", *options])


def test_it_says_what_would_be_done_and_keeps_nothing(place, monkeypatch):
    monkeypatch.chdir(place)
    done = asked(place)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[:3] == [
        "teach: 4 cases of 2 patients",
        "tune: 4 cases of 2 patients",
        "test: 4 cases of 2 patients",
    ]
    assert "input: image, 6 x 3 x 32 x 32" in lines
    assert any("5,000 steps take about" in line for line in lines)
    assert lines[-1] == "nothing was kept"
    kept = {path.name for path in place.iterdir()}
    assert kept == {"cohort.csv", "recipe.yaml", *(f"{n}.png" for n in range(12))}


def test_the_time_is_that_of_the_steps(place, monkeypatch):
    recipe = {**RECIPE, "cohort": str(place / "cohort.csv")}
    clock = iter(np.cumsum([0, 7, 1, 3, 2, *[100] * 50]).astype(float))
    monkeypatch.setattr("osler.learn.rehearsal.perf_counter", lambda: next(clock))
    tried = rehearse(recipe)
    assert tried.seconds == 2.0  # the median of 1, 3 and 2: the first step warms up
    assert (tried.batch, tried.steps) == (6, 5000)
    assert tried.groups == {"bright": 2, "dark": 2}
    assert tried.parameters > 1000


def test_a_case_that_would_end_the_run_at_its_end_ends_it_here(place):
    (place / "7.png").write_bytes(b"no picture")
    done = asked(place)
    assert done.exit_code == 2
    assert "1 of 12 cases cannot be used" in done.output
    assert done.output.count("line 9") == 1
    assert "7.png' is named .png but its content is text" in done.output


def test_strategies_are_built_and_named(place):
    done = asked(place, strategies={"pseudo-labels": {}}, labels={"share": 0.5})
    assert done.exit_code == 0, done.output
    assert "unlabelled: 2 cases" in done.output
    assert "not tried: what pseudo-labels does beside such steps" in done.output


@pytest.mark.parametrize("option", [["--resume"], ["--folds"], ["--rounds", "2"], ["--out", "x"]])
def test_it_goes_with_no_other_option(place, option):
    done = asked(place, *option)
    assert done.exit_code == 2
    assert "leave out the other options" in done.output


@pytest.fixture
def eyes(place: Path) -> Path:
    """Discs on black with a bright spot, four patients, and where the spots are."""
    hh, ww = np.mgrid[:96, :120]
    field, spot = (hh - 48) ** 2 + (ww - 60) ** 2 < 45**2, (hh - 40) ** 2 + (ww - 70) ** 2 < 36
    rng = np.random.default_rng(0)
    light = np.where(spot, 235, 110 + rng.normal(0, 5, field.shape)) * field
    Pillow.fromarray(np.stack([light, light * 0.6, light * 0.3], -1).astype(np.uint8)).save(
        place / "eye.png"
    )
    Pillow.fromarray((spot * 255).astype(np.uint8)).save(place / "spot.png")
    rows = [f"e{n},p{n},{n % 2},eye.png,spot.png" for n in range(4)]
    head = "case_id,patient_id,fold,photo,label:spot"
    (place / "cohort.csv").write_text("\n".join([head, *rows]) + "\n")
    return place


WIDTHS = [8, 8, 8]
LEARNER = {"steps": 900, "batch": 2, "patch": 32, "finish": 100, "hold": 0, "precision": "float32"}
FUNDUS = {
    "name": "spots",
    "task": "fundus-segmentation",
    "cohort": "cohort.csv",
    "diameter": 64,
    "targets": [{"name": "spot", "columns": ["spot"]}],
    "network": {"name": "unet", "options": {"widths": [8, 8, 8], "context": False}},
    "learner": LEARNER,
}


@pytest.mark.parametrize(
    ("changes", "shape", "steps"),
    [
        ({}, "2 x 4 x 32 x 32", "1,000"),  # those that end it on all folds are steps too
        (
            {"task": "fundus-quality", "targets": [],
             "network": {"name": "classifier", "options": {"widths": [8, 8, 8]}}},
            "2 x 4 x 64 x 64", "900",
        ),
    ],
)  # fmt: skip
def test_networks_of_the_fundus_are_tried_and_leave_what_their_training_takes(
    eyes, monkeypatch, changes, shape, steps
):
    monkeypatch.chdir(eyes)
    before = {path.name for path in eyes.iterdir()}
    (eyes / "recipe.yaml").write_text(yaml.safe_dump({**FUNDUS, **changes}))
    done = CliRunner().invoke(app, ["fit", "recipe.yaml", "--dry-run"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[:2] == ["teach: 2 cases of 2 patients", "hold: 2 cases of 2 patients"]
    assert f"input: image, {shape}" in lines
    assert any(f"{steps} steps take about" in line for line in lines)
    assert "nothing was kept but the canvases in .cache/canvases" in lines[-1]
    assert {path.name for path in eyes.iterdir()} - before == {".cache", "recipe.yaml"}


def test_a_photograph_of_the_fundus_that_cannot_be_read_is_named(eyes, monkeypatch):
    monkeypatch.chdir(eyes)
    (eyes / "eye.png").write_bytes(b"no picture")
    (eyes / "recipe.yaml").write_text(yaml.safe_dump(FUNDUS))
    with pytest.raises(RecipeError, match=r"case 'e0'.*eye\.png"):
        rehearse("recipe.yaml")
    with pytest.raises(RecipeError, match="takes a recipe's file, not its keys"):
        rehearse(FUNDUS)


@pytest.fixture
def graded(eyes: Path) -> Path:
    """The same eyes with grades, and a lesion network of random weights to see them with."""
    head = "case_id,patient_id,fold,photo,label:dr-grade,label:dme-risk"
    rows = [f"e{n},p{n},{n % 2},eye.png,{(0, 2, 2, 4)[n]},{n % 3}" for n in range(4)]
    (eyes / "cohort.csv").write_text("\n".join([head, *rows]) + "\n")
    net = models.create("unet", weights="random", labels=4, widths=WIDTHS, context=False)
    torch.save(net.state_dict(), eyes / "lesions.pt")
    recipe = {
        "name": "grades", "task": "fundus-grading", "cohort": "cohort.csv", "diameter": 64,
        "targets": [], "options": {"views": 1, "seeds": 3, "width": 8},
        "network": {
            "name": "grader", "start": "lesions.pt", "options": {"widths": WIDTHS, "context": False}
        },
        "learner": {"steps": 50, "batch": 3},
    }  # fmt: skip
    (eyes / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return eyes


def test_graders_are_tried_and_what_the_lesion_network_saw_is_kept(graded, monkeypatch):
    monkeypatch.chdir(graded)
    done = CliRunner().invoke(app, ["fit", "recipe.yaml", "--dry-run"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[:2] == [
        "teach: 4 cases of 4 patients", "of those that teach: grade 0 1, grade 2 2, grade 4 1"
    ]  # fmt: skip
    assert lines[2].startswith("network: 6 graders, ")
    # 8 features, 3 for each of 4 lesions, the field
    assert lines[3] == "input: cells, 3 x 21 x 2 x 2"
    assert any("300 steps take about" in line for line in lines)  # 2 folds, 3 seeds, 50 steps
    assert lines[-1] == (
        "nothing was kept but the cells in .cache/cells, which the training takes from there"
    )
    (graded / "lesions.pt").unlink()
    with pytest.raises(RecipeError, match=r"'lesions\.pt' do not exist"):
        rehearse("recipe.yaml")
