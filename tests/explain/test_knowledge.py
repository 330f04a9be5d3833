"""The graph of knowledge is sound, and what is not sound is refused."""

import copy

import pytest
import yaml

from osler.errors import RecipeError
from osler.explain import knowledge
from osler.explain.knowledge import load, retina
from osler.record import vocab

FILE = knowledge._GRAPHS / "retina.yaml"


def changed(tmp_path, change):
    said = yaml.safe_load(FILE.read_text("utf-8"))
    change(said)
    file = tmp_path / "graph.yaml"
    file.write_text(yaml.safe_dump(said), "utf-8")
    return file


def test_every_edge_is_sourced_and_no_node_dangles():
    known = retina()
    ids = {node.id for node in known.nodes}
    ends = {end for edge in known.edges for end in (edge.start, edge.to)}
    assert ends == ids
    for edge in known.edges:
        assert edge.source
        assert set(edge.source) <= set(known.sources)
    for citation in known.sources.values():
        assert "doi:10." in citation


def test_codes_are_those_of_the_vocabulary():
    known = retina()
    assert known.node("haemorrhage").coded == vocab.HAEMORRHAGE
    assert known.node("diabetic-retinopathy").coded == vocab.DIABETIC_RETINOPATHY
    assert known.node("icdr-2").coded == vocab.VALUES["dr-grade"]["2"]
    # what the vocabulary does not know is never given a code of another's
    assert known.node("irma").coded.scheme == vocab.LOCAL


def test_grades_are_those_that_the_bundle_gives():
    known = retina()
    for disease, label in (("diabetic-retinopathy", "dr-grade"), ("macular-oedema", "dme-risk")):
        values = [node.value for node in known.onto(disease, "grade-of")]
        assert values == sorted(vocab.VALUES[label])


def test_signs_that_are_measured_are_findings_of_the_retina():
    for node in retina().nodes:
        if node.kind == "sign" and node.measured is not None:
            assert node.measured in vocab.STRUCTURES


def test_the_4_2_1_rule_stands_there():
    known = retina()
    tests = {rule.id: rule.test for rule in known.to("icdr-3", "reached-by")}
    assert (tests["4-haemorrhages"].more_than, tests["4-haemorrhages"].quadrants) == (20, 4)
    assert tests["2-beading"].quadrants == 2
    assert tests["1-irma"].quadrants == 1


def _dangling(said):
    said["edges"].append({"from": "drusen", "to": "retina", "is": "seen-in", "source": ["icdr"]})


def _alone(said):
    said["nodes"].append({"id": "choroid", "kind": "anatomy", "name": "choroid"})


def _unsourced(said):
    said["edges"][0]["source"] = []


def _unlisted(said):
    said["edges"][0]["source"] = ["hearsay"]


def _misfit(said):
    said["edges"].append({"from": "retina", "to": "icdr-0", "is": "sign-of", "source": ["icdr"]})


def _uncoded(said):
    said["nodes"][0]["code"] = "RETINNA"


def _unknown_key(said):
    said["nodes"][0]["colour"] = "red"


def _wrong_test(said):
    rule = next(node for node in said["nodes"] if node["id"] == "4-haemorrhages")
    del rule["test"]["quadrants"]


def _twice(said):
    said["nodes"].append(copy.deepcopy(said["nodes"][0]))


def _same_edge(said):
    said["edges"].append(copy.deepcopy(said["edges"][0]))


def _idle_rule(said):
    said["edges"] = [edge for edge in said["edges"] if edge["from"] != "large-cup"]
    said["edges"] = [edge for edge in said["edges"] if edge["to"] != "cup-to-disc"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_dangling, "names 'drusen', which is no node"),
        (_alone, "'choroid' stands alone"),
        (_unsourced, "at least 1 item"),
        (_unlisted, "'hearsay', which is not listed"),
        (_misfit, "joins a anatomy to a grade"),
        (_uncoded, "no code 'RETINNA'"),
        (_unknown_key, "colour"),
        (_wrong_test, "a test of kind 'quadrants' takes"),
        (_twice, "more than once"),
        (_same_edge, "an edge stands there more than once"),
        (_idle_rule, "asks for nothing"),
    ],
)
def test_a_graph_that_is_not_sound_is_refused(tmp_path, change, message):
    with pytest.raises(RecipeError, match=message):
        load(changed(tmp_path, change))


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="no sound graph"):
        load(tmp_path / "absent.yaml")
