"""``osler data``: the commands, from a class folder to a split and back to folders."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from osler.cli import app
from osler.data.cohort import read_cohort


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def folder(tmp_path):
    for k in range(12):
        path = tmp_path / "set" / "ab"[k % 2] / f"p{k // 2}_{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(k).integers(0, 255, (70, 70), np.uint8)
        Pillow.fromarray(noise).save(path)
    return tmp_path


def test_from_folders_to_a_split_and_back(folder):
    table, split = folder / "cohort.csv", folder / "split.parquet"
    said = run("import", folder / "set", "-o", table, "--patient", r"(p\d+)_")
    assert "12 cases of 6 patients; items: photo; labels: class" in said
    said = run("split", table, "-o", split, "--parts", "train=0.5,test=0.5", "--stratify", "class")
    assert "train: 3 patients, 6 cases; class=a: 3; class=b: 3" in said
    record = json.loads((folder / "split.parquet.split.json").read_text())
    assert record["patients"] == {"train": 3, "test": 3}
    assert {row.split for row in read_cohort(split).rows} == {"train", "test"}
    assert "12 cases" in run("export", split, "-o", folder / "out", "--kind", "imagefolder")
    assert len(list((folder / "out/train/a").iterdir())) == 3
    run("check", split, "-o", folder / "check")
    assert json.loads((folder / "check/check.json").read_text())["parts"]["test"]["patients"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["split", "none.csv", "-o", "x.csv"], "cannot be read"),
        (["split", "none.csv", "-o", "x.csv", "--parts", "train"], "cannot be read"),
        (["import", "none", "-o", "x.csv"], "'none' does not exist"),
        (["import", "set", "-o", "x.csv", "--kind", "x"], "it is one of nnunet"),
        (["import", "https://localhost:1/x", "-o", "x.csv", "--where", "CT"], "KEY=VALUE"),
        (["check", "none.csv"], "cannot be read"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(folder, monkeypatch, arguments, words):
    monkeypatch.chdir(folder)
    assert words in run(*arguments, status=2)


def test_a_share_that_is_none_is_told(folder):
    run("import", folder / "set", "-o", folder / "c.csv")
    said = run("split", folder / "c.csv", "-o", Path("x.csv"), "--parts", "train,test", status=2)
    assert "expected NAME=SHARE" in said
