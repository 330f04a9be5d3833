"""Every strategy with every task and with every other strategy: taken, or refused in words."""

import itertools
import re
from pathlib import Path

import pytest
import yaml

from osler.errors import RecipeError
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.catalogue import STRATEGIES

NAMES = [name for name, _ in STRATEGIES]
RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*.yaml"))
PAGES = sorted((Path(__file__).parents[3] / "docs" / "learning").glob("*.md"))
NEEDED = {
    "distillation": {"teacher": {"run": "elsewhere"}},
    "federated": {"sites": {"count": 2}, "rounds": 1},
    "image-labels": {"column": "site", "present": {"shape": ["yes"]}},
    "image-text": {"text": "report"},
    **{name: {"by": "site"} for name in ("sequence", "replay", "ewc", "adversarial",
                                         "separate-features", "adain", "fourier-style")},
    "differential-privacy": {"noise": 1.0},
}  # fmt: skip
SENTENCE = 5  # words


def refusals(content, path, names):
    """What is said against the strategies, a sentence each; none where they are taken."""
    chosen = {name: NEEDED.get(name, {}) for name in names}
    try:
        check_recipe({**content, "strategies": chosen}, path)
    except RecipeError as error:
        said = str(error).split("\n")[1:] or [str(error)]
        assert all(len(one.split()) > SENTENCE for one in said), said
        return said
    return []


def test_every_strategy_is_taken_or_refused_with_a_recipe_of_every_task():
    taken, tasks = dict.fromkeys(NAMES, 0), set()
    for path in RECIPES:
        content = read_yaml(path)
        if (kind := (content["task"], "inputs" in content.get("settings", {}))) in tasks:
            continue
        try:
            check_recipe(content, path)
        except RecipeError:
            continue  # a recipe of the shipped bundles, which has keys of its own
        tasks.add(kind)
        content.setdefault("labels", {"share": 0.5})
        for name in NAMES:
            said = refusals(content, path, [name])
            taken[name] += not said
            assert all(f"strategies.{name}" in one for one in said), said
    never = {name for name, count in taken.items() if not count}
    # these need settings of their own
    assert never <= {"image-labels", "partial-labels", "differential-privacy"}, never


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_every_pair_is_taken_or_refused_with_a_sentence(task, classify, segment):
    base = {**(classify if task == "classification" else segment), "labels": {"share": 0.5}}
    alone = {name: refusals(base, Path("recipe.yaml"), [name]) for name in NAMES}
    for pair in itertools.combinations(NAMES, 2):
        said = refusals(base, Path("recipe.yaml"), pair)
        for name in pair:  # what one of them lacks, it lacks in company too
            assert set(alone[name]) <= set(said)


@pytest.mark.parametrize("page", PAGES, ids=[one.stem for one in PAGES])
def test_the_recipe_on_its_page_is_taken(page):
    for text in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        said = yaml.safe_load(text)
        picture = {"image": {"items": ["photo"], "size": [224, 224], "colour": True}}
        bases = [
            ("classification", {"target": "grade", **picture}),
            ("classification", {"target": "grade"}),  # whose inputs the page names
            ("segmentation", {"labels": ["disc"]}),
        ]
        faults = []
        for task, settings in bases:
            content = {
                "name": "page", "task": task, "cohort": "cohort.csv", **said,
                "settings": {**settings, **said.get("settings", {})},
                "learner": {"steps": 1000, **said.get("learner", {})},
            }  # fmt: skip
            if "checkpoint" in (network := dict(content.get("network", {}))):
                names = network.keys() - {"checkpoint", "partial"}  # weights are not at hand
                content["network"] = {name: network[name] for name in names}
            try:
                check_recipe(content, page)
                break
            except RecipeError as error:
                faults.append(str(error))
        else:
            raise AssertionError("\n".join(faults))
