"""Every recipe that ships is right, and its cohort is made by a script that ships too."""

from pathlib import Path

import pytest

from osler.data.cohort import read_cohort
from osler.errors import RecipeError
from osler.learn.fundus.recipe import read_recipe
from osler.learn.recipe import FUNDUS, check_recipe, read_yaml
from osler.tasks.catalogue import TASKS

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FILES = sorted(RECIPES.glob("*.yaml"))


def test_there_are_recipes():
    assert len(FILES) > 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_passes_its_check(path):
    content = read_yaml(path)
    assert content["name"] == path.stem
    if content["task"] in FUNDUS:
        read_recipe(path)
        return
    recipe, task = check_recipe(content, path)
    assert task.name == recipe.task
    assert recipe.card.get("title")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_table_beside_the_recipe_can_be_read(path):
    content = read_yaml(path)
    table = RECIPES / content["cohort"]
    if table.suffix not in (".csv", ".parquet"):
        pytest.skip("a data set of the data folder")
    if "-phantom" in table.parent.name:  # drawn on demand; tests/tasks/ draws some of them
        (line,) = [x for x in path.read_text().splitlines() if "python recipes/cohorts/make_" in x]
        assert (RECIPES.parent / line.split()[-1]).is_file()
        if not table.exists():
            pytest.skip("a phantom that has not been drawn here")
    cohort = read_cohort(table, root=RECIPES, strict=False)
    assert len(cohort) > 9
    assert cohort.patients() > 1


def test_every_task_has_a_recipe():
    used = {read_yaml(path)["task"] for path in FILES}
    missing = {name for name, _ in TASKS} - used
    assert not missing, f"no recipe shows the task(s) {', '.join(sorted(missing))}"


def test_an_unknown_key_is_named_with_the_nearest():
    path = RECIPES / "hippocampus.yaml"
    content = {**read_yaml(path), "learnr": {}}
    with pytest.raises(RecipeError, match="learnr: no such key; the nearest is 'learner'"):
        check_recipe(content, path)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"titel": "x"}, "card.titel: no such key; the nearest is 'title'"),
        ({"limits": "none"}, "card.limits"),
        ({"data": [{"name": "x"}]}, "card.data.0.source"),
        ({"version": "2.0.0"}, "card.version: no such key"),
    ],
)
def test_a_wrong_text_of_the_card_is_told_before_training(card, message):
    path = RECIPES / "hippocampus.yaml"
    with pytest.raises(RecipeError) as caught:
        check_recipe({**read_yaml(path), "card": card}, path)
    assert message in str(caught.value)
