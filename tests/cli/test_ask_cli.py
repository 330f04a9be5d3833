"""``osler ask``: one question, a conversation, a bundle that answers, and paths that are wrong."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Pillow
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "language"))
from asked_case import asked_case, on_disk
from loopback_server import loopback, saying

from osler import bundles
from osler.batch.case_opening import open_case
from osler.cli import app
from osler.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return on_disk(asked_case(), tmp_path_factory.mktemp("out"))


def osler(*arguments, lines=None):
    return CliRunner().invoke(app, ["ask", *map(str, arguments)], input=lines)


def test_an_answer_comes_with_its_evidence(folder):
    said = osler(folder, "How many haemorrhages are there?")
    assert said.exit_code == 0
    assert said.stdout.splitlines() == [
        "2 haemorrhages were found.",
        "  [haemorrhages, lesion-count.haemorrhages]",
    ]
    said = osler(folder, "有青光眼吗？", "--json")
    document = json.loads(said.stdout)
    assert (document["seen"], document["evidence"], document["language"]) == (False, [], "zh")
    assert osler(folder, "Which eye?", "--language", "zh").stdout.startswith("眼别：右眼")


def test_lines_are_a_conversation(folder):
    said = osler(folder, "--json", lines="Are there haemorrhages?\n\nWhere are they?\nquit\nNo?\n")
    answers = [json.loads(line) for line in said.stdout.splitlines()]
    assert [a["seen"] for a in answers] == [True, True]
    assert answers[1]["calls"][0]["tool"] == "measure"
    assert osler(folder, lines="").exit_code == 0


def test_two_visits_and_a_folder_of_one_case(folder, tmp_path):
    then = on_disk(asked_case(grade="0", day=1), tmp_path)
    said = osler(folder, "Has the grade changed?", "--before", then.parent)
    assert "0 (no apparent retinopathy) before, 2 (moderate) now" in said.stdout
    said = osler(then, "Has the grade changed?", "--before", folder)
    assert "swap the two" in said.stdout


def test_what_a_folder_keeps_is_known_again_without_its_pixels(folder):
    case = open_case(folder)
    photo = case.image("photo")
    assert (photo.shape, photo.loaded) == ((200, 300), False)
    assert photo.acquired is not None
    with pytest.raises(InputError, match="--source"):
        _ = photo.array


def test_wrong_paths_are_told(folder, tmp_path):
    on_disk(asked_case(), tmp_path / "a")
    other = asked_case()
    other.id = "two"
    on_disk(other, tmp_path / "a")
    for arguments, words in (
        ((tmp_path / "missing", "x"), "missing"),
        ((tmp_path / "a", "x"), "several cases"),
        ((folder, "x", "--source", folder / "overlay.png"), "not the file that was read"),
        ((folder, "x", "--language", "fr"), "en or zh"),
        ((folder, "x", "--engine", "magic"), "no language engine"),
        ((folder, "x", "--bundle", "retina-dr"), "reads prepared photographs"),
    ):
        said = osler(*arguments)
        assert said.exit_code == 2
        assert words in said.stderr


def test_an_engine_that_is_down_is_told(folder):
    with loopback(saying("nonsense")) as server:
        engine = server.engine
        said = osler(folder, "How many haemorrhages?", "--engine", engine)
        assert "this answer is by rule" in said.stderr
        assert "2 haemorrhages" in said.stdout
    limit = ("--engine-timeout", "5")
    said = osler(folder, "How many haemorrhages?", "--engine", engine, *limit, "--json")
    assert said.exit_code == 0
    assert json.loads(said.stdout)["flags"] == ["engine-down"]


def questions_bundle(folder):
    """Says yes to what holds the word "light" in a light picture, no in a dark one."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "half"], ["above"]),
        helper.make_node("Mul", ["above", "slope"], ["steep"]),
        helper.make_node("ReduceSum", ["words", "last"], ["heard"], keepdims=0),
        helper.make_node("Mul", ["steep", "heard"], ["yes"]),
        helper.make_node("Neg", ["yes"], ["no"]),
        helper.make_node("Unsqueeze", ["yes", "last"], ["yes1"]),
        helper.make_node("Unsqueeze", ["no", "last"], ["no1"]),
        helper.make_node("Concat", ["yes1", "no1"], ["scores"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array(0.5, np.float32), "half"),
        numpy_helper.from_array(np.array(10.0, np.float32), "slope"),
        numpy_helper.from_array(np.array([1], np.int64), "last"),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "questions",
        [info("image", TensorProto.FLOAT, ["N", 3, 8, 8]),
         info("words", TensorProto.FLOAT, ["N", 1])],
        [info("scores", TensorProto.FLOAT, ["N", 2])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    image = {"size": [8, 8], "colour": True, "intensity": {"method": "range", "range": [0, 255]}}
    card = {
        "schema_version": 1, "version": "1.0.0", "licence": "CC0-1.0", "intended_use": "Tests.",
        "name": "light-questions", "title": "Is it light?", "task": "question-answering",
        "settings": {"image": image, "words": ["light"], "answers": ["yes", "no"]},
        "inputs": [{"name": "image", "channels": ["red", "green", "blue"], "source": "case",
                    "size": [8, 8]}, {"name": "words", "channels": ["light"], "source": "case"}],
        "outputs": [{"name": "scores", "activation": "softmax",
                     "labels": [{"name": "yes"}, {"name": "no"}]}],
    }  # fmt: skip
    return bundles.save(card, {"model.onnx": model.SerializeToString()}, folder)


def test_a_bundle_answers_and_may_not_be_sure(tmp_path):
    made = questions_bundle(tmp_path / "bundle")
    for value, answer in ((250, "yes"), (5, "no")):
        Pillow.new("RGB", (20, 20), (value,) * 3).save(tmp_path / f"{answer}.png")
        said = osler(tmp_path / f"{answer}.png", "Is it light?", "--bundle", made, "--json")
        assert said.exit_code == 0, said.stderr
        document = json.loads(said.stdout)
        assert document["answer"].startswith(f"{answer} (probability 1.00)")
        assert document["by"] == "light-questions"
    # without a word that it knows both answers are as likely
    said = osler(tmp_path / "yes.png", "Who?", "--bundle", made, "--certain", "0.6", "--json")
    assert json.loads(said.stdout)["seen"] is False


def test_an_index_is_looked_in_by_rule(folder, tmp_path):
    for name, words in (("a", "A macular hole."), ("b", "Cotton wool spots."), ("c", "黄斑裂孔。")):
        (tmp_path / f"{name}.txt").write_text(words, encoding="utf-8")
    query = tmp_path / "query.txt"
    query.write_text("There is a macular hole with a cuff of fluid.")
    texts = [str(tmp_path / f"{name}.txt") for name in "abc"]
    assert CliRunner().invoke(
        app, ["index", *texts, "--out", str(tmp_path / "index"), "--with", "words"]
    ).exit_code == 0  # fmt: skip
    index = ("--index", tmp_path / "index")
    for case, question, first in (
        (folder, "Search the index for cotton wool spots.", "b.txt"),
        (folder, "在索引中查找黄斑裂孔", "c.txt"),
        (query, "Please find similar reports.", "a.txt"),
    ):
        document = json.loads(osler(case, question, *index, "--json").stdout)
        assert document["seen"], document
        assert f"1. {tmp_path / first} (" in document["answer"]
        assert document["calls"][0]["tool"] == "search"
    assert "no index" in osler(folder, "Find similar photographs").stdout
    said = osler(folder, "Find similar photographs", *index).stdout
    assert said.startswith("I cannot see that: ")
