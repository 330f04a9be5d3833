"""The tutorial that adds a task is done as it is written."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from osler import bundles, io
from osler.batch.evaluation import figures_of
from osler.bundles.answering import answer
from osler.errors import BundleError, RecipeError
from osler.learn.fitting import fit

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.M | re.S)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder after every block was written and run."""
    text = (REPOSITORY / "docs/tutorials/add-a-task.md").read_text(encoding="utf-8")
    blocks = dict(BLOCK.findall(text))
    assert list(blocks) == ["make_discs.py", "number.py", "discs.yaml", "learn.py"]
    folder = tmp_path_factory.mktemp("tutorial")
    for name, content in blocks.items():
        (folder / name).write_text(content, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        runpy.run_path("make_discs.py")
        names = runpy.run_path("learn.py")
        yield folder, names, sys.modules.pop("number").Number


def test_it_learns_better_than_saying_the_mean(done):
    folder, names, _ = done
    (figure,) = names["run"].metrics
    areas = [float(line.split(",")[3]) for line in (folder / "discs.csv").read_text().split()[1:]]
    guess = np.abs(np.array(areas) - np.mean(areas)).mean()
    assert figure["value"] < 0.6 * guess
    assert figure["low"] < figure["value"] < figure["high"]
    assert figure["images"] == 12


def test_the_bundle_answers_for_a_case(done):
    folder, names, task = done
    bundle = bundles.load(names["run"].bundle)
    (found,) = answer(bundle, io.load_file(folder / "disc-3.png"), tasks=[task])
    bright = (np.asarray(Pillow.open(folder / "disc-3.png")) > 120).sum()
    assert found.value == pytest.approx(bright, abs=100)
    assert found.unit == "[pix_i]"
    with pytest.raises(BundleError, match="there is no task 'number'"):
        answer(bundle, io.load_file(folder / "disc-3.png"))


def test_it_is_judged_on_cases_that_neither_taught_nor_tuned(done):
    folder, names, task = done
    assert len(names["done"].taught) == 48
    said = json.loads((folder / "evaluation" / "evaluation.json").read_text())
    assert said["cohort"]["judged"] == 12
    (figure,) = figures_of(said, tasks=[task])
    (trained,) = names["run"].metrics
    # the graph keeps its weights in half precision
    assert figure.interval.value == pytest.approx(trained["value"], rel=0.02)
    errors = [case["bundle"]["error"] for case in said["cases"]]
    assert figure.interval.value == pytest.approx(np.mean(errors))


def test_a_wrong_key_of_its_own_settings_is_named(done):
    folder, _, task = done
    text = (folder / "discs.yaml").read_text().replace("target:", "tarket:")
    (folder / "wrong.yaml").write_text(text)
    with pytest.raises(
        RecipeError, match=r"settings\.tarket: no such key; the nearest is 'target'"
    ):
        fit(folder / "wrong.yaml", out=folder / "wrong", tasks=[task])
