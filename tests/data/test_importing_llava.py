"""Conversations in LLaVA's JSON: each answer a case, and what is refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing_files import FUZZ, only_our_errors, picture, take, write_json

from osler.errors import InputError, UnreadableError
from osler.record import Label, Table


def said(*turns):
    return [
        {"from": "human" if n % 2 == 0 else "gpt", "value": text} for n, text in enumerate(turns)
    ]


ENTRIES = [
    {
        "id": "a/1", "image": "one.png",
        "conversations": said(
            "<image>\nIs there a mass?", "No.", "Sure?\nLook again.", "Yes, I am: \"no\" mass."
        ),
    },
    {"id": "b", "image": "one.png", "conversations": said("What is it?\n<image>", "未见出血。")},
    {"id": "c", "conversations": said("What is a cup-to-disc ratio?", "A ratio.\nOf diameters.")},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "ds/one.png", 1, (10, 12))
    return tmp_path / "ds"


def rows(entries, folder, tmp_path, **options):
    return take(write_json(folder / "talk.json", entries), tmp_path / "out", **options)


def test_each_answer_is_a_case_with_what_was_said_before(folder, tmp_path):
    cohort, notes = rows(ENTRIES, folder, tmp_path)
    one, two, three, four = cohort.cases()
    assert [row.patient_id for row in cohort.rows] == ["one", "one", "one", "c"]
    assert one["variables"].values["question"] == "Is there a mass?"
    assert one.get("answer", Label).value == "No."
    assert two["variables"].values["question"] == "Sure?\nLook again."
    assert json.loads(two["variables"].values["history"]) == [
        ["user", "Is there a mass?"], ["assistant", "No."],
    ]  # fmt: skip
    assert two.get("answer", Label).value == 'Yes, I am: "no" mass.'
    assert three.get("answer", Label).value == "未见出血。"
    assert three["picture"].shape == (10, 12)
    assert "picture" not in four
    assert four.get("answer", Label).value == "A ratio.\nOf diameters."
    assert any("patients" in note for note in notes)


def test_lines_and_messages_say_the_same(folder, tmp_path):
    lines = [
        {
            "images": ["one.png"],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Sex?"}]},
                {"role": "assistant", "content": "unknown"},
            ],
        }
    ]
    file = folder / "talk.jsonl"
    file.write_text("\n\n".join(json.dumps(one) for one in lines) + "\n", encoding="utf-8")
    cohort, _ = take(file, tmp_path / "out")
    (case,) = cohort.cases()
    assert isinstance(case["variables"], Table)
    assert case["variables"].values["question"] == "Sex?"
    assert json.loads(case["variables"].values["history"]) == [["system", "Be brief."]]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"image": "one.png"}, "entry 0: has no list of conversations"),
        ({"conversations": ["x"]}, "entry 0: a turn is not a mapping"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "entry 0: a turn lacks who"),
        ({"conversations": [{"from": "gpt"}]}, "entry 0: a turn lacks who"),
        ({"image": "two.png", "conversations": said("a", "b")}, "does not exist; name the folder"),
        ({"image": "../x.png", "conversations": said("a", "b")}, "outside its folder"),
        ({"image": "/etc/passwd", "conversations": said("a", "b")}, "outside its folder"),
        ({"image": 5, "conversations": said("a", "b")}, "neither a path nor a list"),
        ({"conversations": said(*["a"] * 202)}, "has 202 turns"),
        ({"conversations": said("a" * 100_001, "b")}, "more than 100,000 characters"),
    ],
)
def test_what_is_wrong_is_named_by_its_number(folder, tmp_path, entry, message):
    with pytest.raises(InputError) as caught:
        rows([entry], folder, tmp_path, kind="llava")
    assert message in str(caught.value)


def test_what_is_no_list_is_refused(folder, tmp_path):
    with pytest.raises(UnreadableError, match="no list of conversations"):
        rows({"conversations": []}, folder, tmp_path, kind="llava")
    file = folder / "talk.jsonl"
    file.write_text('{"conversations": []}\n{"conversa', encoding="utf-8")
    with pytest.raises(UnreadableError, match="line 2"):
        take(file, tmp_path / "out")


def test_an_answer_that_looks_like_a_place_is_left_out(folder, tmp_path):
    entries = [
        {"conversations": said("where?", "12;13", "which file?", "masks/1.png", "so?", "no")}
    ]
    cohort, notes = rows(entries, folder, tmp_path)
    (row,) = cohort.rows
    assert row.labels["answer"] == "no"
    assert notes[0].startswith("2 answers were left out")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("one.png"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["from", "value", "role", "content", "text"]), inner)
    ),
    max_leaves=8,
)


@settings(FUZZ, max_examples=40)
@given(st.sampled_from(["id", "image", "conversations", "messages"]), VALUES)
def test_damaged_entries_give_our_errors_only(tmp_path_factory, key, value):
    base = tmp_path_factory.mktemp("fuzz")
    picture(base / "ds/one.png", 1, (4, 4))
    entry = {**ENTRIES[0], key: value}
    only_our_errors(write_json(base / "ds/talk.json", [entry]), base, kind="llava")
