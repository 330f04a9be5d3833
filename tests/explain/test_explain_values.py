"""What values and channels contributed to an answer, against bundles whose reasons are known."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import osler
from osler.bundles import load, save
from osler.cli import app
from osler.errors import RecipeError
from osler.record import Case, Label, Signal, Table

CARD = {"version": "1.0.0", "title": "Small", "licence": "CC0-1.0", "intended_use": "Tests."}
WEIGHTS = {"age": 0.8, "stage": (0.0, 1.5), "dose": -0.4}


def written(folder, nodes, inputs, settings, **constants):
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *s]) for n, s in inputs.items()],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    card = {
        **CARD, "name": "values", "task": "classification",
        "settings": {**settings, "target": "ill", "labels": ["no", "yes"]},
        "inputs": [
            {"name": n, "channels": [f"{n} {k}" for k in range(s[0])], "source": "case"}
            for n, s in inputs.items()
        ],
        "outputs": [{"name": "scores", "activation": "softmax",
                     "labels": [{"name": "no"}, {"name": "yes"}]}],
    }  # fmt: skip
    return load(save(card, {"model.onnx": model.SerializeToString()}, folder, overwrite=True))


@pytest.fixture
def bundle(tmp_path):
    """Log odds of "yes": 0.8 age + 1.5 (stage II) - 0.4 dose, of standardised known values."""
    weights = np.zeros((4, 2), np.float32)
    weights[:, 1] = [0.8, 0.0, 1.5, -0.4]
    table = {
        "columns": ["age", "stage", "dose"], "categories": {"stage": ["I", "II"]},
        "numbers": {"age": {"mean": 60, "deviation": 10}, "dose": {"mean": 0, "deviation": 1}},
    }  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["table", "known"], ["kept"]),
        helper.make_node("MatMul", ["kept", "w"], ["scores"]),
    ]
    return written(tmp_path / "b", nodes, {"table": [4], "known": [4]}, {"table": table}, w=weights)


def chance(odds):
    return 1 / (1 + np.exp(-odds))


def test_values_contribute_what_their_chances_differ_by(bundle, tmp_path):
    case = Case("c", items={"variables": Table("variables", {"age": 75, "stage": "II"})})
    said = osler.explain(bundle, case)
    (one,) = said.findings
    assert isinstance(one, Label)
    assert one.value == "yes"
    age, stage, both, none = (chance(x) for x in (1.2, 1.5, 2.7, 0.0))
    assert one.without == pytest.approx({"age": stage, "stage": age}, abs=1e-6)
    wanted = {
        "age": ((age - none) + (both - stage)) / 2,
        "stage": ((stage - none) + (both - age)) / 2,
    }
    assert one.contributions == pytest.approx(wanted, abs=1e-6)  # the dose is not known
    folder = said.write(tmp_path / "out")
    kept = json.loads((folder / "explanation.json").read_text())
    assert kept["answers"][0]["contributions"] == pytest.approx(wanted, abs=1e-6)
    assert "counts as missing" in kept["notes"][0]
    assert "stage" in (folder / "explanation.html").read_text("utf-8")
    with pytest.raises(RecipeError, match="there is no answer 'x'; there are: 'ill'"):
        osler.explain(bundle, case, label="x")
    with pytest.raises(RecipeError, match="the method is 'contributions'"):
        osler.explain(bundle, case, method="occlusion")


def test_the_channels_of_a_signal_contribute(tmp_path):
    """Log odds of "yes": 2 times the mean of the second channel."""
    weights = np.array([[0.0, 0.0], [0.0, 2.0]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["signal"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("Mul", ["mean", "leads"], ["known"]),
        helper.make_node("MatMul", ["known", "w"], ["plain"]),
        helper.make_node("Mul", ["length", "zero"], ["none"]),
        helper.make_node("Add", ["plain", "none"], ["scores"]),
    ]
    settings = {"channels": ["I", "II"], "rate": 5, "seconds": 2, "scale": "units"}
    inputs = {"signal": [2, 10], "leads": [2], "length": [1]}
    bundle = written(
        tmp_path / "b", nodes, inputs, {"signal": settings}, w=weights, zero=np.float32(0)
    )
    array = np.stack([np.full(10, 3.0), np.full(10, 0.7)]).astype(np.float32)
    ecg = Signal("signal", array, rate=5.0, channels=("I", "II"), units=("mV", "mV"))
    (one,) = osler.explain(bundle, Case("c", items={"signal": ecg})).findings
    assert one.contributions == pytest.approx({"I": 0.0, "II": chance(1.4) - 0.5}, abs=1e-6)


def test_a_row_of_a_table_is_named_at_the_command(bundle, tmp_path):
    table = tmp_path / "cohort.csv"
    table.write_text("case_id,patient_id,age,stage\nc1,p1,75,II\nc2,p2,40,I\n")
    done = CliRunner().invoke(app, ["explain", str(bundle.folder), str(table), "-o", str(tmp_path)])
    assert done.exit_code == 2
    assert "cohort.csv#CASE" in done.output
    done = CliRunner().invoke(
        app, ["explain", str(bundle.folder), f"{table}#c1", "-o", str(tmp_path / "why")]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "why" / "c1" / "explanation.html").is_file()
