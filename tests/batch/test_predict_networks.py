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
    steps = net.card.preprocessing.for_size(32)
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


def test_a_box_and_points_become_masks_in_native_size(photos, tmp_path):
    torch.manual_seed(6)
    models.keep(tiny("medsam"), tmp_path / "medsam")
    boxes = ["--box", "5,5,40,50", "--box", "10,20,60,55"]
    said = predict(tmp_path / "medsam", photos / "one.png", "-o", tmp_path / "a", *boxes)
    assert said.exit_code == 0, said.stderr
    net = models.create("medsam", checkpoint=tmp_path / "medsam")
    picture = rgb(io.load(photos / "one.png")["photo"])
    true = net.segment(picture, boxes=[[5, 5, 40, 50], [10, 20, 60, 55]]).best()
    for number, mask in enumerate(true, start=1):
        drawn = np.asarray(Image.open(tmp_path / "a" / f"one.{number}.png"))
        assert drawn.shape == (60, 80)
        assert np.array_equal(drawn > 0, mask)
    points = ["--point", "10,12", "--point", "30,12", "--probabilities"]
    said = predict(tmp_path / "medsam", photos / "two.png", "-o", tmp_path / "b", *points)
    assert said.exit_code == 0, said.stderr
    with np.load(tmp_path / "b" / "two.npz") as stored:
        assert stored["probability"].shape == (1, 90, 70)
    said = predict(
        tmp_path / "medsam", photos / "two.png", "-o", tmp_path / "c", "--box", "5,5,400,50"
    )
    assert said.exit_code == 3
    assert "two.png" in said.stderr


def test_labels_are_told_apart_without_training(photos, tmp_path, data_dir):
    folder = data_dir.parent / "golden/flair"
    if not folder.is_dir():
        pytest.skip(f"no golden vectors at {folder}")
    words = folder / "tokenizer_and_bert_config"
    asked = ["--labels", "normal,macular hole", "--tokenizer", words, "-o", tmp_path]
    weights = ["--checkpoint", folder / "checkpoint.pth", "--set", "text_heads=4"]
    said = predict("flair", photos / "one.png", photos / "two.png", *weights, *asked)
    assert said.exit_code == 0, said.stderr
    with (tmp_path / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [set(row) for row in rows] == [{"input", "label", "p_normal", "p_macular hole"}] * 2
    assert all(float(r["p_normal"]) + float(r["p_macular hole"]) == pytest.approx(1) for r in rows)
