"""The tutorial that adds a strategy is done as it is written."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml

from osler.errors import RecipeError
from osler.learn.fitting import fit

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.M | re.S)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder after every block was written and run."""
    text = (REPOSITORY / "docs/tutorials/add-a-strategy.md").read_text(encoding="utf-8")
    blocks = dict(BLOCK.findall(text))
    assert list(blocks) == ["make_shapes.py", "start_near.py", "shapes.yaml", "learn.py"]
    folder = tmp_path_factory.mktemp("tutorial")
    for name, content in blocks.items():
        (folder / name).write_text(content, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        runpy.run_path("make_shapes.py")
        names = runpy.run_path("learn.py")
        yield folder, names["run"], sys.modules.pop("start_near").StartNear


def fitted(done, name, **changes):
    folder, _, kind = done
    content = yaml.safe_load((folder / "shapes.yaml").read_text())
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}))
    return fit(path, out=folder / name, strategies=[kind])


def distance(run):
    return json.loads((run.folder / "run.json").read_text())["strategies"]["start-near"]["distance"]


@pytest.mark.usefixtures("graphless")  # but the tutorial's own run
def test_the_network_stays_near_its_start(done):
    free = fitted(done, "free", strategies={"start-near": {"alpha": 0}})
    assert distance(done[1]) < 0.5 * distance(free)


def test_what_it_remembers_is_in_the_checkpoint_and_not_in_the_bundle(done):
    kept = torch.load(done[1].folder / "checkpoint.pt", weights_only=True)["net"]
    assert any(name.startswith("beside.start.") for name in kept)
    assert not any("start" in one.name for one in done[1].bundle.iterdir())


def test_its_own_keys_and_its_refusals_are_told(done):
    with pytest.raises(RecipeError, match="alfa: no such key; the nearest is 'alpha'"):
        fitted(done, "wrong", strategies={"start-near": {"alfa": 1}})
    with pytest.raises(RecipeError, match="do not move there"):
        fitted(done, "both", strategies={"start-near": {}, "lora": {}})
