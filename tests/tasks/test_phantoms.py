"""The makers of phantoms: the same files each time, and bodies that are what they say."""

import csv
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from osler import io
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.learn.recipe import check_recipe, read_yaml
from osler.record import Mask
from osler.tasks.segmentation_figures import value_of

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
MAKERS = {
    "brain-tumour-phantom": "make_brain_tumour_phantom",
    "covid-phantom": "make_covid_phantom",
    "cardiac-phantom": "make_cardiac_phantom",
    "body-phantom": "make_body_phantom",
    "lung-nodule-phantom": "make_nodule_phantom",
}


@pytest.fixture
def maker(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES / "cohorts"))

    def made(name):
        module = importlib.import_module(MAKERS[name])
        monkeypatch.setattr(module, "CASES", 2)
        return module

    yield made
    for name in ("phantom_volumes", *MAKERS.values()):
        sys.modules.pop(name, None)


def test_a_volume_without_nodules_serves_its_recipe(maker, tmp_path):
    """An empty cell would be refused: nobody would know whether anybody looked."""
    module = maker("lung-nodule-phantom")
    module.main(tmp_path)
    path = RECIPES / "lung-nodule-phantom.yaml"
    _, task = check_recipe(read_yaml(path), path)
    cohort = read_cohort(tmp_path / "cohort.csv")
    samples = [task.encode(open_row(row, cohort), truth=True) for row in cohort.rows]
    assert 0 in {len(one.targets["boxes"]) for one in samples}


@pytest.mark.parametrize("name", [one for one in MAKERS if one != "lung-nodule-phantom"])
def test_a_phantom_is_the_same_each_time_and_serves_its_recipe(name, maker, tmp_path):
    module = maker(name)
    for folder in ("one", "two"):
        module.main(tmp_path / folder)
    for path in sorted((tmp_path / "one").iterdir()):
        again = tmp_path / "two" / path.name
        if path.suffix == ".gz":
            assert "phantom" in path.name
            first, second = (next(iter(io.load_file(p).items.values())) for p in (path, again))
            assert np.array_equal(first.array, second.array)
            assert first.spacing == pytest.approx(module.SPACING)
        else:
            assert path.read_bytes() == again.read_bytes()
    path = RECIPES / f"{name}.yaml"
    recipe, task = check_recipe(read_yaml(path), path)
    assert "phantom" in recipe.card["title"].lower()
    assert "phantom" in recipe.card["limits"][0]
    cohort = read_cohort(tmp_path / "one" / "cohort.csv")
    case = open_row(cohort.rows[0], cohort)
    assert {one.name for one in case.of(Mask)} == set(task.settings.labels)
    assert all(one.mask.any() for one in case.of(Mask))
    sample = task.planned(lambda: iter([case])).encode(case, truth=True)
    assert len(sample.inputs["image"]) == len(task.inputs()[0].channels)


def test_tumours_are_nested_and_only_the_rim_takes_contrast(maker):
    images, masks = maker("brain-tumour-phantom").head(0)
    assert not (masks["core"] & ~masks["whole"]).any()
    assert not (masks["enhancing"] & ~masks["core"]).any()
    gain = images["t1c"][~masks["whole"]].mean() / images["t1"][~masks["whole"]].mean()
    taken = images["t1c"] / gain - images["t1"]
    assert taken[masks["enhancing"]].mean() > 40
    assert abs(taken[masks["whole"] & ~masks["core"]].mean()) < 15


def test_some_tumours_do_not_enhance(maker):
    _, masks = maker("brain-tumour-phantom").head(5)
    assert masks["core"].any()
    assert not masks["enhancing"].any()


def test_lesions_lie_in_lungs_and_some_chests_have_none(maker):
    module = maker("covid-phantom")
    values, lungs, lesions = module.chest(1)
    assert lesions.any()
    assert not (lesions & ~lungs).any()
    assert values[lungs & ~lesions].mean() < -700
    assert values[lesions].mean() > values[lungs & ~lesions].mean() + 150
    assert not module.chest(5)[2].any()


def test_the_masks_of_a_heart_give_the_fraction_that_was_drawn(maker):
    module = maker("cardiac-phantom")
    path = RECIPES / "cardiac-phantom.yaml"
    rule = check_recipe(read_yaml(path), path)[1].settings.measure[-1]
    assert rule.name == "ejection fraction"
    drawn, found = [], []
    for number in range(6):
        values, masks, fraction = module.heart(number)
        assert values.shape == (10, *module.SHAPE)
        assert not (masks["systole"] & masks["muscle"]).any() or masks["systole"].any()
        drawn.append(fraction)
        found.append(value_of(rule, masks, module.SPACING))
    assert found == pytest.approx(drawn, abs=0.06)
    assert module.volumes(0.6).argmin() == module.SYSTOLE
    assert module.volumes(0.6).min() == pytest.approx(0.4)


def test_organs_have_their_density(maker):
    module = maker("body-phantom")
    values, labels = module.trunk(0)
    organs = list(module.ORGANS)
    assert set(np.unique(labels)) == set(range(len(organs) + 1))
    for name, density in (("lung-left", -830), ("liver", 55), ("spine", 320)):
        inside = values[labels == organs.index(name) + 1]
        assert np.median(inside) == pytest.approx(density, abs=30)
    right, left = (
        np.argwhere(labels == organs.index(f"kidney-{s}") + 1) for s in ("right", "left")
    )
    assert right[:, 2].max() < left[:, 2].min()


def test_the_table_of_discs_names_what_exists(data_dir):
    with (RECIPES / "cohorts" / "disc-cup.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 200
    parts = {}
    for row in rows:
        assert parts.setdefault(row["patient_id"], row["fold"]) == row["fold"]
        for key in ("photo", "label:disc", "label:cup"):
            assert (data_dir / row[key]).is_file()
        assert "disc-cup-pseudo" in row["label:cup"]
