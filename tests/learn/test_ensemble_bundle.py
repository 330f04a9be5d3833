"""One bundle of several: their mean, in one graph, and what its card says."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Pillow
from typer.testing import CliRunner

from osler import bundles
from osler.bundles import probability
from osler.cli import app
from osler.data.taught import join_records, read_taught
from osler.errors import RecipeError
from osler.learn.ensemble_bundle import ensemble_bundle

CARD = {
    "schema_version": 1, "version": "1.0.0", "licence": "CC0-1.0", "intended_use": "Tests.",
    "title": "A sum", "task": "classification", "settings": {"labels": ["a", "b", "c"]},
    "inputs": [{"name": "x", "channels": ["one", "two"], "source": "case", "size": []}],
}  # fmt: skip


def member(folder, seed, *, temperature=None, settings=None, taught=b""):
    """Scores of three classes, two yes-or-no answers and a number: products with random weights."""
    rng = np.random.default_rng(seed)
    names = {"classes": 3, "yes": 2, "value": 1}
    nodes = [helper.make_node("MatMul", ["x", f"w_{name}"], [name]) for name in names]
    weights = {name: 20 * rng.normal(size=(2, n)) for name, n in names.items()}
    graph = helper.make_graph(
        nodes, "member",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, ["N", n]) for k, n in names.items()],
        [numpy_helper.from_array(w.astype(np.float32), f"w_{k}") for k, w in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    fitted = {"method": "temperature", "temperature": temperature} if temperature else None
    outputs = [
        {"name": "classes", "activation": "softmax", "calibration": fitted,
         "labels": [{"name": one} for one in "abc"]},
        {"name": "yes", "activation": "sigmoid", "labels": [{"name": "d"}, {"name": "e"}]},
        {"name": "value", "activation": "none", "labels": []},
    ]  # fmt: skip
    card = {**CARD, "name": f"m{seed}", "outputs": outputs}
    card["settings"] = {**CARD["settings"], **(settings or {})}
    files = {"model.onnx": model.SerializeToString()}
    if taught:
        files["taught.json"] = taught
    return bundles.load(bundles.save(card, files, folder / f"m{seed}"))


def test_the_graph_gives_the_mean_of_calibrated_probabilities(tmp_path):
    members = [member(tmp_path, n, temperature=t) for n, t in ((1, 2.0), (2, None), (3, 0.5))]
    whole = bundles.load(ensemble_bundle(members, tmp_path / "all", name="all"))
    x = np.random.default_rng(9).normal(size=(5, 2)).astype(np.float32)
    x[0] *= 50  # certain members must not give infinite scores
    said, each = whole.run({"x": x}), [one.run({"x": x}) for one in members]
    for k, name in enumerate(("classes", "yes", "value")):
        wanted = np.mean(
            [
                probability(m.card.outputs[k], e[name]).astype(np.float64)
                for m, e in zip(members, each, strict=True)
            ],
            axis=0,
        )
        found = probability(whole.card.outputs[k], said[name])
        assert np.isfinite(said[name]).all()
        assert found == pytest.approx(wanted, abs=1e-4, rel=1e-5)
    assert whole.card.outputs[0].calibration is None
    assert "No unseen case judged this bundle" in whole.card.limits[0]


def test_members_that_differ_are_refused(tmp_path):
    one, other = member(tmp_path, 1), member(tmp_path, 2, settings={"coverage": 0.8})
    with pytest.raises(RecipeError, match=r"each fold planned other settings\.coverage; write"):
        ensemble_bundle([one, other], tmp_path / "all", name="all")
    counted = member(tmp_path, 3, settings={"counts": [1, 2, 3]})  # changes no answer
    ensemble_bundle([one, counted], tmp_path / "all", name="all")


def test_what_taught_one_taught_the_whole():
    records = [
        json.dumps({"schema_version": 1, "teach": teach, "tune": tune}).encode()
        for teach, tune in ((["a", "b"], ["c"]), (["c"], ["a", "d"]))
    ]
    assert read_taught(join_records(records), name="x") == {
        "a": "teach", "b": "teach", "c": "teach", "d": "tune",
    }  # fmt: skip


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """The recipe of `test_cross_fitting`, fitted once by the command line."""
    sys.path.insert(0, str(Path(__file__).parent))
    from test_cross_fitting import RECIPE

    folder = tmp_path_factory.mktemp("folds")
    lines = ["case_id,patient_id,fold,image,label:shape"]
    for n in range(3):
        mask = np.zeros((32, 32), bool)
        mask[8 + n : 20, 10:24] = True
        Pillow.fromarray((60 + 120 * mask + n).astype(np.uint8)).save(folder / f"{n}.png")
        Pillow.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{n}.mask.png")
        lines.append(f"c{n},p{n},{n},{n}.png,{n}.mask.png")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    recipe = {**RECIPE, "learner": {**RECIPE["learner"], "steps": 2}}
    (folder / "shades.yaml").write_text(yaml.safe_dump(recipe))
    words = ["fit", str(folder / "shades.yaml"), "--folds", "--ensemble", "-o", str(folder / "out")]
    return folder, CliRunner().invoke(app, words)


def test_the_command_writes_one_bundle_of_the_folds(folds):
    folder, run = folds
    assert run.exit_code == 0, run.output
    assert "3 cases, each judged by the one of 3 runs without it" in run.output
    assert "nothing judged the ensemble itself" in run.output
    whole = bundles.load(folder / "out" / "bundle")
    assert whole.card.name == "shades"
    assert all(one.name.endswith("(members)") for one in whole.card.metrics)
    assert "nothing judged the ensemble" in whole.card.metrics[0].data
    members = [bundles.load(folder / "out" / f"fold-{k}" / "bundle") for k in range(3)]
    x = {"image": np.random.default_rng(0).random((1, 1, 24, 40), np.float32)}  # another size
    wanted = np.mean([1 / (1 + np.exp(-m.run(x)["scores"].astype(float))) for m in members], axis=0)
    if whole.card.outputs[0].activation == "softmax":
        scores = [m.run(x)["scores"].astype(float) for m in members]
        wanted = np.mean([np.exp(s) / np.exp(s).sum(1, keepdims=True) for s in scores], axis=0)
    found = probability(whole.card.outputs[0], whole.run(x)["scores"])
    assert found == pytest.approx(wanted, abs=1e-4)
    # every case taught or tuned one of the members, so none can judge the whole
    out = CliRunner().invoke(
        app, ["evaluate", str(whole.folder), str(folder / "cohort.csv"), "-o", str(folder / "e")]
    )
    assert out.exit_code == 2
    assert "3 left out because they taught or tuned the bundle" in out.output


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_an_interrupted_fit_says_how_to_go_on(monkeypatch, stop, status):
    def stopped(*_, **__):
        raise stop

    monkeypatch.setattr("osler.fit", stopped)
    run = CliRunner().invoke(app, ["fit", "any.yaml"])
    assert run.exit_code == status
    assert "the same command with --resume goes on" in run.output


def test_an_ensemble_needs_folds(tmp_path):
    (tmp_path / "r.yaml").write_text("name: x\n")
    run = CliRunner().invoke(app, ["fit", str(tmp_path / "r.yaml"), "--ensemble"])
    assert run.exit_code == 2
    assert "give both" in run.output
