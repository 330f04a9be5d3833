"""An index by a bundle: what its graph saw before its scores, and cases that a program made."""

import numpy as np
import onnx
import pytest
import small_bundles as small
from onnx import TensorProto, helper
from PIL import Image as Pillow

from osler import bundles
from osler.batch.indexing import Ask, index
from osler.batch.retrieval_encoders import open_encoder
from osler.batch.retrieving import search
from osler.errors import InputError, OslerError
from osler.record import Case, Image

WEIGHTS = np.random.default_rng(0).standard_normal((64, 6)).astype(np.float32)


def two_layers(folder):
    """A classifier of 8 by 8 pixels whose first layer is ``WEIGHTS``."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["kept"]),
    ]
    constants = {"w": WEIGHTS, "v": np.ones((6, 2)), "b": [0.1, 0.2], "t": [2.0]}
    nodes += [
        helper.make_node("Gemm", ["kept", "v", "b"], ["raw"]),
        helper.make_node("Div", ["raw", "t"], ["scores"]),
    ]
    graph = small._graph(nodes, constants, [("image", ["N", 1, 8, 8])], [("scores", ["N", 2])])
    image = {"size": [8, 8], "intensity": {"method": "range", "range": [0.0, 255.0]}}
    card = {
        **small.CARD, "name": "two-layers", "title": "Two", "task": "classification",
        "settings": {"image": image, "target": "class", "labels": ["dark", "light"],
                     "counts": [5, 5]},
        "inputs": [{"name": "image", "channels": ["image"], "source": "case", "size": [8, 8]}],
        "outputs": [{"name": "scores", "activation": "softmax",
                     "labels": [{"name": "dark"}, {"name": "light"}]}],
    }  # fmt: skip
    return bundles.save(card, {"model.onnx": graph}, folder, overwrite=True)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, (5, 8, 8), np.uint8)
    for number, one in enumerate(values):
        Pillow.fromarray(one).save(folder / f"{number}.png")
    return folder, values


def test_features_are_what_the_last_layer_takes(tmp_path, pictures):
    folder, values = pictures
    two_layers(tmp_path / "bundle")
    before = (tmp_path / "bundle" / "model.onnx").read_bytes()
    encoder = open_encoder(str(tmp_path / "bundle"))
    images = [Image("photo", one[None]) for one in values]
    expected = np.maximum(values.reshape(5, 64).astype(np.float32) / 255 @ WEIGHTS, 0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.images(images), expected, atol=1e-5)
    assert (tmp_path / "bundle" / "model.onnx").read_bytes() == before
    batch, made = index([str(folder)], tmp_path / "index", ask=Ask(str(tmp_path / "bundle")))
    assert [one.status for one in batch.outcomes] == ["read"] * 5
    np.testing.assert_allclose(made.vectors(np.arange(5)), expected, atol=1e-5)
    # a case of a program, from no file
    found = search(Case("mine", items={"photo": images[3]}), tmp_path / "index", k=2)
    assert found.hits[0].row == 3
    assert found.same == frozenset()
    with pytest.raises(InputError, match="encodes images only"):
        search("a text", tmp_path / "index", how="text")


def test_a_bundle_without_such_a_layer_is_refused(tmp_path, pictures):
    small.classifier(tmp_path / "bundle")
    small.segmenter(tmp_path / "outlines")
    with pytest.raises(OslerError, match="no layer with weights"):
        open_encoder(str(tmp_path / "bundle"))
    with pytest.raises(OslerError, match="outlines; it has no features"):
        open_encoder(str(tmp_path / "outlines"))


def test_a_changed_bundle_is_another_encoder(tmp_path, pictures):
    folder, _ = pictures
    two_layers(tmp_path / "bundle")
    index([str(folder)], tmp_path / "index", ask=Ask(str(tmp_path / "bundle")))
    path = tmp_path / "bundle" / "model.onnx"
    graph = onnx.load_model_from_string(path.read_bytes())
    graph.graph.output.append(helper.make_tensor_value_info("kept", TensorProto.FLOAT, ["N", 6]))
    card = bundles.load(tmp_path / "bundle").card.model_dump(mode="json", exclude={"files"})
    changed = {"model.onnx": graph.SerializeToString()}
    bundles.save(card, changed, tmp_path / "bundle", overwrite=True)
    with pytest.raises(InputError, match="cannot be compared"):
        search(folder / "0.png", tmp_path / "index")


def test_one_bad_file_does_not_end_the_others(tmp_path, pictures):
    folder, _ = pictures
    two_layers(tmp_path / "bundle")
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:40])
    inputs = [str(path) for path in sorted(folder.iterdir())]
    batch, made = index(inputs, tmp_path / "index", ask=Ask(str(tmp_path / "bundle")))
    assert len(made) == 5
    assert [one.status for one in batch.outcomes].count("failed") == 1


def test_a_shipped_bundle_reads_the_fundus(data_dir, tmp_path):
    path = next(iter(sorted((data_dir / "odir" / "images").glob("*.jpg"))))
    encoder = open_encoder("retina-quality")
    assert encoder.said.name == "retina-quality"
    batch, made = index([str(path)], tmp_path / "index", ask=Ask("retina-quality"))
    assert batch.outcomes[0].error == ""
    found = search(path, tmp_path / "index")
    assert found.hits[0].score == pytest.approx(1, abs=1e-5)
    assert made.listed.encoder.name == "retina-quality"
