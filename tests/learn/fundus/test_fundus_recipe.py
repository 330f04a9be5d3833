"""Recipes: those that ship are right, and a wrong one says where."""

from pathlib import Path

import numpy as np
import pytest

from osler.errors import RecipeError
from osler.learn.fundus.evaluate import platt
from osler.learn.fundus.recipe import read_recipe

RECIPES = Path(__file__).resolve().parents[3] / "recipes"

GOOD = """
name: tiny
task: fundus-segmentation
cohort: cohort.csv
diameter: 64
targets: [{name: vessel, columns: [vessel]}]
network: {name: unet}
learner: {steps: 10}
"""


def read(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path)


def refused(tmp_path, text):
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert "recipe.yaml" in message
    return message


@pytest.mark.parametrize("path", sorted(RECIPES.glob("retina-*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_right(path):
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    cohort = path.parent / recipe.cohort
    assert cohort.is_file()
    columns = cohort.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert recipe.item in columns
    for target in recipe.targets:
        for column in target.columns:
            assert f"label:{column}" in columns
    if recipe.task == "fundus-segmentation":
        assert recipe.targets


def test_what_is_not_said_has_its_default(tmp_path):
    recipe = read(tmp_path, GOOD)
    assert recipe.version == "1.0.0"
    assert recipe.item == "photo"
    assert recipe.learner.batch == 8
    assert recipe.learner.patience is None
    assert recipe.targets[0].absent == "none"


@pytest.mark.parametrize(
    ("old", "new", "where", "nearest"),
    [
        ("diameter: 64", "diameter: 64\nlerner: {}", "lerner", "learner"),
        ("{steps: 10}", "{steps: 10, rates: 0.1}", "learner.rates", "rate"),
        ("{name: unet}", "{name: unet, option: {}}", "network.option", "options"),
        ("columns: [vessel]}", "columns: [vessel], color: []}", "targets.0.color", "colours"),
        ("diameter: 64", "diameter: 64\naugment: {rotat: 3}", "augment.rotat", "rotate"),
        ("{steps: 10}", "{steps: 10, zzz: 1}", "learner.zzz", ""),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(tmp_path, old, new, where, nearest):
    message = refused(tmp_path, GOOD.replace(old, new))
    assert f"{where}: no such key; the nearest is '{nearest}" in message


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("steps: 10", "steps: 0", "learner.steps"),
        ("steps: 10", "steps: many", "learner.steps"),
        ("steps: 10", "steps: 10, patch: 100", "learner.patch"),
        ("steps: 10", "steps: 10, foreground: 1.5", "learner.foreground"),
        ("steps: 10", "steps: 10, ema: 1.0", "learner.ema"),
        ("steps: 10", "steps: 10, patience: 0", "learner.patience"),
        ("steps: 10", "steps: 10, validate_every: 0", "learner.validate_every"),
        ("steps: 10", "steps: 10, precision: float8", "learner.precision"),
        ("diameter: 64", "diameter: 16", "diameter"),
        ("segmentation", "detection", "task"),
        ("columns: [vessel]", "columns: vessel", "targets.0.columns"),
        ("[vessel]}", "[vessel], absent: maybe}", "targets.0.absent"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, old, new, where):
    message = refused(tmp_path, GOOD.replace(old, new))
    assert f"  {where}: " in message
    assert "(got " in message


def test_every_problem_is_listed(tmp_path):
    message = refused(tmp_path, GOOD.replace("steps: 10", "steps: 0, rate: -1, bath: 2"))
    for where in ("learner.steps", "learner.rate", "learner.bath"):
        assert where in message


def test_a_missing_key_is_named(tmp_path):
    assert "cohort: Field required" in refused(tmp_path, GOOD.replace("cohort: cohort.csv\n", ""))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    assert "is not a mapping" in refused(tmp_path, text)


def test_what_is_no_yaml_is_refused(tmp_path):
    assert "is not valid YAML" in refused(tmp_path, "a: [1, 2\nb: }")
    (tmp_path / "recipe.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(RecipeError, match="is not valid YAML"):
        read_recipe(tmp_path / "recipe.yaml")


def test_yaml_cannot_make_objects(tmp_path):
    assert "is not valid YAML" in refused(tmp_path, "name: !!python/object/apply:os.getcwd []")


def test_a_recipe_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.yaml' cannot be read: No such file"):
        read_recipe(tmp_path / "none.yaml")


def test_scores_that_say_nothing_are_not_calibrated_and_say_what_to_do(tmp_path):
    recipe = read(tmp_path, GOOD)
    truth, scores = np.array([0, 0, 1, 1]), np.array([2.0, 1.0, -1.0, -2.0])
    assert platt(truth, np.array([-2.0, 1.0, -1.0, 2.0]), recipe)["temperature"] > 0
    with pytest.raises(RecipeError, match=r"tiny .* than 'learner.steps: 10"):
        platt(truth, scores, recipe)
