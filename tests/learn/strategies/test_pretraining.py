"""Stages without labels go one after the other, and with what else a learner may be asked for."""

import json

import pytest

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.pretraining import VIEWS, PretrainingSettings

pytestmark = pytest.mark.usefixtures("graphless")

HEAD = {"steps": 2, "hidden": 8, "projection": 4}
EVERY = {
    "contrastive": HEAD,
    "masked-autoencoding": {"steps": 2, "width": 8},
    "self-distillation": {"steps": 2, "local": 0, "directions": 8, "hidden": 8, "narrow": 4},
    "image-text": {**HEAD, "text": "site"},
}


def test_all_stages_with_lower_precision_and_several_batches_a_step(recipe, classify, tmp_path):
    learner = {"steps": 2, "precision": "bfloat16", "accumulate": 2}
    settings = {"table": {"columns": ["site"]}}  # its network is left as it is
    path = recipe(classify, strategies=EVERY, learner=learner, settings=settings)
    fit(path, out=tmp_path)
    kept = json.loads((tmp_path / "run.json").read_text())["strategies"]
    assert list(kept) == list(EVERY)
    assert all((tmp_path / one["weights"]).exists() for one in kept.values())


def test_blocks_that_are_computed_again(recipe, segment, tmp_path):
    said = {name: EVERY[name] for name in ("contrastive", "masked-autoencoding")}
    learner = {"steps": 2, "checkpointing": True}
    fit(recipe(segment, strategies=said, learner=learner), out=tmp_path)
    kept = json.loads((tmp_path / "run.json").read_text())["strategies"]
    assert all((tmp_path / one["weights"]).exists() for one in kept.values())


def test_views_are_a_preset_or_its_keys():
    assert PretrainingSettings(augment="light").augment.preset == "light"
    assert PretrainingSettings(augment=VIEWS).augment.scale.factor == (1.0, 1.8)
    assert PretrainingSettings().augment is None


@pytest.mark.parametrize("name", sorted(EVERY))
def test_a_task_without_images_is_refused(recipe, classify, name):
    settings = {"table": {"columns": ["site"]}, "target": "class"}
    content = {key: value for key, value in classify.items() if key != "network"}
    path = recipe({**content, "settings": settings, "cohort": "nowhere.csv"},
                  strategies={name: EVERY[name]})  # fmt: skip
    with pytest.raises(RecipeError, match="learns from images, and the task 'classification'"):
        check_recipe(read_yaml(path), path)
