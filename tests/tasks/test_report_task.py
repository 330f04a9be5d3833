"""Keywords of a picture: what is said, on what evidence, and how it is scored."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import InputError, RecipeError
from osler.record import Case, Image, Label, Passage, Source
from osler.tasks.catalogue import create

PERSON = Source("person", "cohort")


def case(id, text, level=100):
    pixels = np.full((3, 16, 16), level, np.uint8)
    made = Case(id, id, items={"photo": Image("photo", pixels, modality="OP")})
    if text is not None:
        made.add(Label(id="text", name="keywords", source=PERSON, value=text))
    return made


TEXTS = ["Drusen， glaucoma", "drusen", "normal fundus", "normal fundus", "normal  fundus", "rare"]
KEYS = {"image": {"items": ["photo"], "size": [16, 16], "colour": True}, "target": "keywords"}


@pytest.fixture
def task():
    cases = [case(f"c{n}", text) for n, text in enumerate(TEXTS)]
    return create("report", {**KEYS, "least": 2}).planned(lambda: iter(cases))


def test_keywords_are_found_in_teaching_cases(task):
    assert task.settings.vocabulary == ["normal fundus", "drusen"]
    assert task.settings.counts == [3, 2]
    assert task.settings.commonest == "normal fundus"
    assert task.keywords("A; b，a ,, C") == ["a", "b", "c"]


def test_too_few_keywords_are_refused():
    with pytest.raises(RecipeError, match=r"lower settings\.least"):
        create("report", {**KEYS, "least": 9}).planned(lambda: iter([case("a", "x")]))


def test_a_case_without_a_text_is_named(task):
    with pytest.raises(InputError, match="'empty' has no text 'keywords'"):
        task.encode(case("empty", None), truth=True)


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=7))
@settings(max_examples=40, deadline=None)
def test_what_is_said_has_the_greatest_expected_f1(values):
    task = create("report", KEYS)
    p = np.array(values)

    def expected(chosen):
        return 2 * p[list(chosen)].sum() / (len(chosen) + p.sum())

    places = range(len(p))
    best = max(expected(c) for k in range(1, len(p) + 1) for c in combinations(places, k))
    assert expected(task.chosen(p)) == pytest.approx(best)


def test_every_word_of_a_report_has_its_evidence(task):
    sample = task.encode(case("new", None))
    found = task.decode({"scores": np.array([-3.0, 2.0])}, sample, source=Source("bundle", "x"))
    label, passage = found
    assert isinstance(label, Label)
    assert label.name == "drusen"
    assert label.probability == pytest.approx(1 / (1 + np.exp(-2)))
    assert isinstance(passage, Passage)
    assert passage.text == "drusen"
    assert passage.evidence == (label.id,)
    made = case("new", None)
    for one in found:
        made.add(one)  # the evidence is there


def test_figures_stand_beside_those_of_the_commonest_text(task):
    truths = [task.encode(case(f"t{n}", text), truth=True) for n, text in enumerate(TEXTS[:4])]
    right = [{"scores": np.where(s.targets["keywords"] > 0, 6.0, -6.0)} for s in truths]
    rows = [task.judge(o, s) for o, s in zip(right, truths, strict=True)]
    assert rows[0]["said"] == "drusen"
    assert rows[0]["reference"] == "drusen, glaucoma"
    figures = {f.name: f for f in task.figures(rows, list("abcd"), seed=1, replicates=50)}
    assert figures["keyword F1"].interval.value == pytest.approx((2 / 3 + 3) / 4)
    assert figures["all keywords right"].interval.value == 0.75
    assert figures["always the commonest text: keyword F1"].interval.value == 0.5
    assert task.score(rows) == pytest.approx((2 / 3 + 3) / 4)


def test_the_loss_falls_towards_the_truth(task):
    torch = pytest.importorskip("torch")
    truth = {"keywords": torch.tensor([[1.0, 0.0]])}
    near = task.criterion({"scores": torch.tensor([[3.0, -3.0]])}, truth)
    far = task.criterion({"scores": torch.tensor([[-3.0, 3.0]])}, truth)
    assert near < 0.1 < far
    exact = -np.log(1 / (1 + np.exp(-3)))
    assert float(near) == pytest.approx(exact, rel=1e-5)
