"""Bundles that build on each other: what they need is run first, and a circle is refused."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from osler import bundles
from osler.errors import BundleError
from osler.record import Case, Image
from osler.retina.predict import predict


def graph(taken: str, given: str) -> bytes:
    """Gives back its input, four channels."""
    shape = ["n", 4, "h", "w"]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in (taken, given)]
    node = helper.make_node("Identity", [taken], [given])
    body = helper.make_graph([node], "same", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(body, ir_version=9, opset_imports=opset).SerializeToString()


def make(folder: Path, name: str, *, takes: tuple[str, str] | None = None) -> None:
    one = {"name": "image", "channels": ["red", "green", "blue", "field"]}
    if takes:
        one = {"name": "taken", "channels": list("abcd"), "source": "output",
               "bundle": takes[0], "output": takes[1]}  # fmt: skip
    output = "out" if takes else "map"
    card = {
        "name": name, "version": "1.0.0", "task": "segmentation", "title": name,
        "inputs": [one],
        "outputs": [{"name": output, "activation": "sigmoid",
                     "labels": [{"name": label, "threshold": 0.5} for label in "pqrs"]}],
        "preprocessing": {"diameter": 32, "field_channel": True},
        "requires": [takes[0]] if takes else [],
        "licence": "Apache-2.0", "intended_use": "tests",
    }  # fmt: skip
    bundles.save(card, {"model.onnx": graph(str(one["name"]), output)}, folder / name)


@pytest.fixture
def case(tmp_path, monkeypatch) -> Case:
    monkeypatch.chdir(tmp_path)  # a bundle that does not ship is found as a folder
    return Case("a", items={"photo": Image("photo", np.full((3, 40, 40), 200, np.uint8), "OP")})


def test_what_a_bundle_needs_is_run_before_it(case, tmp_path):
    make(tmp_path, "first")
    make(tmp_path, "second", takes=("first", "map"))
    make(tmp_path, "third", takes=("second", "out"))
    said = predict(bundles.load("third"), case)
    alone = predict(bundles.load("first"), case)
    assert (said.scores["out"] == alone.scores["map"]).all()


def test_what_was_said_already_is_not_asked_again(case, tmp_path):
    make(tmp_path, "first")
    make(tmp_path, "second", takes=("first", "map"))
    given = predict(bundles.load("first"), case)
    (tmp_path / "first" / "card.json").unlink()
    assert predict(bundles.load("second"), case, given={"first": given}).masks.keys() == set("pqrs")


def test_a_circle_is_refused_and_named(case, tmp_path):
    make(tmp_path, "egg", takes=("hen", "out"))
    make(tmp_path, "hen", takes=("egg", "out"))
    with pytest.raises(BundleError, match="in a circle: egg -> hen -> egg"):
        predict(bundles.load("egg"), case)
    make(tmp_path, "nest", takes=("egg", "out"))
    with pytest.raises(BundleError, match="in a circle: egg -> hen -> egg"):
        predict(bundles.load("nest"), case)


def test_an_output_that_is_not_given_is_named(case, tmp_path):
    make(tmp_path, "first")
    make(tmp_path, "second", takes=("first", "cells"))
    with pytest.raises(BundleError, match="'second' takes the output 'cells' of 'first', which"):
        predict(bundles.load("second"), case)
