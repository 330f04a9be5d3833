"""``osler models``: the list, a card, a checkpoint looked at and imported."""

import json
import sys

import pytest
import torch
from typer.testing import CliRunner

from osler.cli import app
from osler.models.catalogue import SYSTEMS
from osler.models.trying import tiny

NAME = "retfound-vit-large"


def osler(*arguments):
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def test_every_network_is_listed():
    said = osler("list", "--json")
    assert said.exit_code == 0
    cards = [json.loads(line) for line in said.stdout.splitlines()]
    assert [card["name"] for card in cards] == [system.name for system in SYSTEMS]
    assert NAME in osler("list", "*retfound*").stdout
    assert "unet" not in osler("list", "*retfound*").stdout
    assert osler("list", "no such thing").exit_code == 2


def test_a_card_says_whose_it_is():
    said = osler("show", NAME)
    assert said.exit_code == 0
    assert "CC-BY-NC-4.0" in said.stdout
    assert "doi:10.1038" in said.stdout
    assert "384, notebook, by image_size" in said.stdout
    wrong = osler("show", "retfond-vit-large")
    assert wrong.exit_code == 2
    assert NAME in wrong.stderr


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(2)
    net = tiny(NAME)
    path = tmp_path / "checkpoint-best.pth"
    torch.save({"model": net.state_dict(), "epoch": 7}, path)
    return path


def test_a_checkpoint_is_looked_at_and_imported(checkpoint, tmp_path):
    looked = osler("inspect", checkpoint)
    assert looked.exit_code == 0, looked.stderr
    assert "epoch: 7" in looked.stdout
    assert f"{NAME}  (RETFound, fine-tuned)" in looked.stdout
    out = tmp_path / "mine"
    options = ["--set", "image_size=32", "--set", "num_heads=2"]
    done = osler("import", checkpoint, "--as", NAME, "--out", out, *options)
    assert done.exit_code == 0, done.stderr
    assert "100.0% of the encoder's numbers" in done.stdout
    assert (out / "model.safetensors").is_file()
    again = osler("import", checkpoint, "--as", NAME, "--out", out, *options)
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_wrong_options_are_named(checkpoint, tmp_path):
    out = tmp_path / "mine"
    said = osler("import", checkpoint, "--as", NAME, "--out", out, "--set", "num_heads")
    assert said.exit_code == 2
    assert "KEY=VALUE" in said.stderr
    asked = ["--out", out, "--set", "num_heads=2", "--set", "heads=2"]
    said = osler("import", checkpoint, "--as", NAME, *asked)
    assert said.exit_code == 2
    assert "'heads'" in said.stderr
    assert not out.exists()


def test_the_list_needs_no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert osler("list").exit_code == 0
