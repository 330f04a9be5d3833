"""Cases of several parts, from Python and from a row of a table."""

from datetime import datetime

import numpy as np
import pytest
from PIL import Image as Pillow

import osler
from osler.data.composing import case_of_row, composed, row_of
from osler.errors import InputError, UnreadableError
from osler.record import Image, Table, Text


@pytest.fixture
def eye(tmp_path):
    def make(name, grey):
        path = tmp_path / name
        Pillow.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(path)
        return path

    return make


def test_parts_by_name_are_one_case(eye):
    left = eye("a.png", 10)
    case = osler.load({
        "left": left, "right": str(eye("b.png", 20)), "note": Text("old", "no oedema"),
        "age": np.int64(61), "sex": "female", "hba1c": None,
    })  # fmt: skip
    assert list(case.items) == ["left", "right", "note", "variables"]
    assert all(item.name == name for name, item in case.items.items())
    assert case.image("right").array.max() == 20
    assert case["variables"].values == {"age": 61, "sex": "female"}


def test_an_item_that_is_given_keeps_its_own_name(eye):
    photo = osler.load(eye("a.png", 10))["photo"]
    assert composed({"left": photo})["left"].name == "left"
    assert photo.name == "photo"


def test_visits_are_dated(eye):
    first, last = eye("a.png", 10), eye("b.png", 20)
    case = composed({"photo": {"2024-05-31": last, "2021-01-02": first}, "age": {"2020-01-01": 5}})
    assert [item.acquired for item in case.items.values()] == [
        datetime(2021, 1, 2), datetime(2024, 5, 31), datetime(2020, 1, 1),
    ]  # fmt: skip
    assert list(case.items) == ["photo", "photo-2", "age"]
    with pytest.raises(InputError, match="no date"):
        composed({"photo": {"last year": first}})


def test_what_is_no_part_is_refused(eye, tmp_path):
    with pytest.raises(InputError, match="'left' is a list"):
        composed({"left": [1, 2]})
    with pytest.raises(InputError, match="every part"):
        composed({"left": None})
    with pytest.raises(InputError, match="no parts"):
        composed({})
    with pytest.raises((InputError, UnreadableError), match=r"nowhere\.jpg"):
        composed({"left": tmp_path / "nowhere.jpg"})
    with pytest.raises((InputError, UnreadableError), match=r"nowhere\.jpg"):
        composed({"left": str(tmp_path / "nowhere.jpg")})


@pytest.mark.parametrize(
    "text",
    [
        "x" * 5000,
        "a\0b",
        "two\nlines",
        "\u202egpj.exe",
        "../" * 300,
        "/",
        "https://host.invalid/x.jpg",
        "dicomweb+https://host.invalid/x",
    ],
)
def test_hostile_words_are_values(text):
    assert composed({"note": text})["variables"].values["note"] == text


def test_a_row_of_a_table_is_a_case_and_cells_may_be_empty(eye, tmp_path):
    eye("a.png", 10)
    eye("b.png", 20)
    table = tmp_path / "eyes.csv"
    table.write_text(
        "case_id,patient_id,left,right,date:left,age,label:ill\n"
        "c1,p1,a.png,b.png,2021-01-02,61,1\nc2,p2,,b.png,,,0\n"
    )
    assert row_of("eyes.csv#c1") is None
    path, name = row_of(f"{table}#c2")
    case = case_of_row(path, name)
    assert list(case.items) == ["right"]
    assert not case.findings
    case = case_of_row(table, "c1")
    assert isinstance(case["left"], Image)
    assert case["left"].acquired == datetime(2021, 1, 2)
    assert case["right"].acquired is None
    assert isinstance(case["variables"], Table)
    assert case["variables"].values == {"age": 61}
    with pytest.raises(InputError, match="no case 'c3'"):
        case_of_row(table, "c3")
