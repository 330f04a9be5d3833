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
from osler.tasks.canvas import rgb

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


def test_classes_have_the_names_that_were_said(kept, photos, tmp_path):
    named = ["--set", "class_names=no disease,Glaucoma,other"]
    said = predict(kept, photos / "one.png", "-o", tmp_path / "a", *named)
    assert said.exit_code == 0, said.stderr
    with (tmp_path / "a/predictions.csv").open() as stream:
        row = next(csv.DictReader(stream))
    names = ["no-disease", "Glaucoma", "other"]
    assert list(row) == ["input", "label", *(f"p_{name}" for name in names)]
    assert row["label"] == max(names, key=lambda name: float(row[f"p_{name}"]))
    models.keep(models.create(NAME, checkpoint=kept, class_names=names), tmp_path / "named")
    assert predict(tmp_path / "named", photos / "one.png", "-o", tmp_path / "b").exit_code == 0
    assert (tmp_path / "b/predictions.csv").read_text() == (
        tmp_path / "a/predictions.csv"
    ).read_text()
    for wrong, says in (("a,b", "2 names"), ("a,b,A", "two classes"), ("a,b,../c", "cannot name")):
        out = tmp_path / "c"
        said = predict(
            kept, photos / "one.png", "-o", out, "--set", f"class_names={wrong}", "--quiet"
        )
        assert said.exit_code == 2
        assert says in said.stderr
        assert not out.exists()


def test_masks_are_named_by_what_they_show(photos, tmp_path):
    torch.manual_seed(7)
    models.keep(tiny("deepdr-vit-base-lesions"), tmp_path / "net")
    assert predict(tmp_path / "net", photos / "one.png", "-o", tmp_path / "a").exit_code == 0
    lesions = ["microaneurysm", "haemorrhage", "hard-exudate", "soft-exudate"]
    drawn = sorted(one.name for one in (tmp_path / "a").glob("*.png"))
    assert drawn == sorted(f"one.{name}.png" for name in lesions)
    named = ["--set", "class_names=[background, a, b, c, d]", "--probabilities"]
    said = predict(tmp_path / "net", photos / "one.png", "-o", tmp_path / "b", *named)
    assert said.exit_code == 0, said.stderr
    for old, new in zip(lesions, "abcd", strict=True):
        first, second = (tmp_path / "a" / f"one.{old}.png"), (tmp_path / "b" / f"one.{new}.png")
        assert first.read_bytes() == second.read_bytes()
    with np.load(tmp_path / "b/one.npz") as stored:
        assert stored["labels"].tolist() == list("abcd")


def test_names_in_a_folder_of_transformers_are_kept(photos, tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(8)
    ViTForImageClassification(
        ViTConfig(
            hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32,
            image_size=32, id2label={0: "No DR", 1: "Mild (NPDR)", 2: "Severe"},
        )
    ).save_pretrained(tmp_path / "hub")  # fmt: skip
    net = models.create("vit-base", checkpoint=tmp_path / "hub")
    assert net.options["class_names"] == ["No-DR", "Mild-(NPDR)", "Severe"]
    other = models.create("vit-base", checkpoint=tmp_path / "hub", num_classes=5)
    assert "class_names" not in other.options


def test_half_the_precision_says_nearly_the_same(kept, photos, tmp_path):
    tables = []
    for name in ("float32", "bfloat16"):
        asked = ["-o", tmp_path / name, "--features", "--precision", name]
        said = predict(kept, photos / "one.png", *asked)
        assert said.exit_code == 0, said.stderr
        read = pq.read_table(tmp_path / name / "features.parquet").drop_columns(["input"])
        tables.append(np.array([column.to_pylist() for column in read.columns])[:, 0])
    apart = np.abs(tables[0] - tables[1]).max() / np.abs(tables[0]).max()
    assert 0 < apart < 0.05


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
        (["KEPT", "--labels", "a"], "name two"),
        (["retfond", "--features"], "nearest are 'retfound-vit-large'"),
        (["KEPT", "--labels", "a,b", "--features"], "--features and --labels are"),
        (["KEPT", "--set", "num_classes=0"], "say what"),
        (["retina-vessels", "--features"], "is a bundle"),
        (["retina-vessels", "--precision", "bfloat16"], "is for networks"),
        (["KEPT", "--precision", "int8"], "float32 or bfloat16, not 'int8'"),
    ],
)
def test_what_cannot_be_asked_is_said(kept, photos, tmp_path, asked, says):
    named = [str(kept) if one == "KEPT" else one for one in asked]
    said = predict(named[0], photos / "one.png", "-o", tmp_path / "out", *named[1:])
    assert said.exit_code == 2
    assert says in said.stderr
    assert not (tmp_path / "out").exists()


def test_only_what_a_network_answers_is_offered(photos, tmp_path, data_dir):
    models.keep(tiny("medsam"), tmp_path / "medsam")
    said = predict(tmp_path / "medsam", photos / "one.png", "-o", tmp_path / "out")
    assert said.exit_code == 2
    assert "(--box X0,Y0,X1,Y1 or --point X,Y)" in " ".join(said.stderr.split())
    attention = data_dir.parent / "golden/cabnet/weights.npz"
    if attention.is_file():
        asked = ["cabnet", "--checkpoint", attention, photos / "one.png"]
        said = predict(*asked, "-o", tmp_path / "out")
        assert said.exit_code == 2
        assert "without the backbone" in " ".join(said.stderr.split())
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
