"""Questions about a picture: what is known, what is answered, and what the figures stand beside."""

import numpy as np
import pytest

from osler.errors import InputError, RecipeError
from osler.record import Case, Image, Label, Source, Table, Text
from osler.tasks.catalogue import create

PERSON = Source("person", "cohort")
KEYS = {
    "image": {"items": ["picture"], "size": [8, 8], "colour": True},
    "least_words": 2,
    "least_answers": 2,
}
ASKED = [
    ("Is there a mass?", "Yes"),
    ("Is there fluid?", "no"),
    ("Is there an effusion?", "No"),
    ("Is there a fracture?", "yes."),
    ("Which plane is this?", "axial"),
    ("Which plane is that?", "Axial"),
    ("Which organ?", "spleen"),
]


def case(id, question, answer=None, *, as_text=False):
    pixels = np.full((1, 8, 8), 7, np.uint8)
    items = {"picture": Image("picture", pixels, modality="XR")}
    if as_text:
        items["question"] = Text("question", question)
    elif question is not None:
        items["variables"] = Table("variables", {"question": question})
    made = Case(id, id, items=items)
    if answer is not None:
        made.add(Label(id="a", name="answer", source=PERSON, value=answer))
    return made


@pytest.fixture
def task():
    cases = [case(f"c{n}", *pair) for n, pair in enumerate(ASKED)]
    return create("question-answering", KEYS).planned(lambda: iter(cases))


def test_words_and_answers_are_found_in_teaching_cases(task):
    assert task.settings.answers == ["axial", "no", "yes"]
    assert set(task.settings.words) == {"is", "there", "which", "plane", "a"}
    assert task.settings.by_start["which plane"] == "axial"


def test_a_question_becomes_its_words_from_a_variable_or_a_text(task):
    one = task.encode(case("x", "WHICH plane?"))
    other = task.encode(case("x", "which plane", as_text=True))
    said = {w for w, v in zip(task.settings.words, one.inputs["words"], strict=True) if v}
    assert said == {"which", "plane"}
    assert np.array_equal(one.inputs["words"], other.inputs["words"])


def test_what_is_missing_is_named(task):
    with pytest.raises(InputError, match="has no question"):
        task.encode(case("x", None))
    with pytest.raises(InputError, match="no label 'answer'"):
        task.encode(case("x", "Which plane?"), truth=True)
    with pytest.raises(RecipeError, match="least_answers"):
        create("question-answering", KEYS).planned(lambda: iter([case("a", "b?", "c")]))


def test_an_unknown_answer_teaches_nothing_and_counts_as_wrong(task):
    torch = pytest.importorskip("torch")
    unknown = task.encode(case("x", "Which organ?", "Spleen"), truth=True)
    assert int(unknown.targets["answer"]) == -1
    truth = torch.tensor([-1, 1])
    scores = torch.tensor([[9.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    loss = task.criterion({"scores": scores}, {"answer": truth})
    assert float(loss) == pytest.approx(np.log(np.exp([0, 2, 0]).sum()) - 2, rel=1e-5)
    row = task.judge({"scores": np.array([9.0, 0.0, 0.0])}, unknown)
    assert not row["known"]
    assert task.score([row]) == 0


def test_it_can_say_that_it_cannot_say(task):
    sure = create("question-answering", {**task.settings.model_dump(), "certain": 0.8})
    sample = sure.encode(case("x", "Which plane?"))
    (unsure,) = sure.decode({"scores": np.zeros(3)}, sample, source=Source("bundle", "q"))
    assert unsure.value == "cannot say"
    assert unsure.flags == ("cannot-say",)
    scores = {"scores": np.array([9.0, 0, 0])}
    (known,) = sure.decode(scores, sample, source=Source("bundle", "q"))
    assert (known.value, known.name, known.flags) == ("axial", "Which plane?", ())


def test_figures_stand_beside_two_that_see_no_picture(task):
    samples = [task.encode(case(f"t{n}", *pair), truth=True) for n, pair in enumerate(ASKED)]
    rows = [task.judge({"scores": np.array([0.0, 5.0, 0.0])}, sample) for sample in samples]
    figures = {f.name: f.interval.value for f in task.figures(rows, list("abcdefg"), seed=1)}
    assert figures["exact accuracy"] == pytest.approx(2 / 7)  # always "no"
    assert figures["exact accuracy, closed"] == pytest.approx(2 / 4)
    assert figures["exact accuracy, open"] == 0
    assert figures["always the commonest answer: exact accuracy"] == pytest.approx(2 / 7)
    # "no" to "is there", "axial" to "which plane"
    assert figures["commonest answer to such a question: exact accuracy"] == pytest.approx(5 / 7)
