"""Published networks on real photographs, through the command line."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from osler import io, models
from osler.cli import app
from osler.models.trying import tiny
from osler.retina.predict import rgb

NAME = "retfound-vit-large"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    torch.manual_seed(4)
    folder = tmp_path_factory.mktemp("networks") / "retfound"
    models.keep(tiny(NAME), folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, size in {"one": (60, 80), "two": (90, 70), "three": (64, 64)}.items():
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(folder / f"{name}.png")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_scores_are_those_of_the_network(kept, photos, tmp_path):
    said = predict(kept, photos, "--out", tmp_path, "--batch", "2")
    assert said.exit_code == 3  # one of four is damaged
    assert "bad.png" in said.stderr
    with (tmp_path / "predictions.csv").open() as stream:
        rows = {row["input"].rpartition("/")[2]: row for row in csv.DictReader(stream)}
    assert set(rows) == {"one.png", "two.png", "three.png"}
    net = models.create(NAME, checkpoint=kept)
    steps = net.card.preprocessing.resized(32 / 224)
    for name, row in rows.items():
        x = torch.from_numpy(steps(rgb(io.load(photos / name)["photo"])))[None]
        with torch.inference_mode():
            true = net(x).softmax(1)[0]
        assert [float(row[f"p_{k}"]) for k in range(3)] == pytest.approx(true.tolist(), abs=1e-5)
        assert int(row["label"]) == int(true.argmax())


def test_features_are_a_table_of_numbers(kept, photos, tmp_path):
    assert (
        predict(
            kept, photos / "one.png", photos / "two.png", "-o", tmp_path, "--features"
        ).exit_code
        == 0
    )
    table = pq.read_table(tmp_path / "features.parquet")
    assert table.column_names == ["input", *(f"f_{k}" for k in range(24))]
    assert table.num_rows == 2
    assert table.schema.metadata[b"network"] == NAME.encode()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ([NAME], "--checkpoint FILE"),
        (["KEPT", "--labels", "a,b"], "asked for zero-shot"),
        (["KEPT", "--box", "1,2,3"], "not 4 numbers"),
        (["KEPT", "--set", "num_classes=0"], "say what"),
        (["retina-vessels", "--features"], "is a bundle"),
    ],
)
def test_what_cannot_be_asked_is_said(kept, photos, tmp_path, asked, says):
    named = [str(kept) if one == "KEPT" else one for one in asked]
    said = predict(named[0], photos / "one.png", "-o", tmp_path / "out", *named[1:])
    assert said.exit_code == 2
    assert says in said.stderr
    assert not (tmp_path / "out").exists()
