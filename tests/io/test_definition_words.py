import re

import pytest

from osler.io.definition_words import definition_words, note_words
from osler.io.wording import reason_words
from osler.retina.definitions import MEASURES
from osler.retina.zones import QUADRANTS

ENGLISH = re.compile(r"[A-Za-z]{3,}")
SYMBOLS = {"sqrt", "CRAE", "CRVE", "CVMe", "Knudtson"}


@pytest.mark.parametrize("measure", MEASURES)
def test_every_definition_is_said_in_chinese(measure: str) -> None:
    method = MEASURES[measure].method
    said = definition_words(method, language="zh-CN")
    formula, _, sources = said.partition(" [")
    assert re.search("[\u4e00-\u9fff]", formula)
    assert set(ENGLISH.findall(formula)) <= SYMBOLS
    assert sources == method.partition(" [")[2]  # a source keeps its name
    assert set(re.findall(r"\d+\.\d+", formula)) == set(
        re.findall(r"\d+\.\d+", method.partition(" [")[0])
    )
    assert definition_words(method, language="en") == method


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("now less then (0.4213)", "现在的数值减去当时的数值（0.4213）"),
        ("no earlier one within 8.6 pixels, nor seen faintly", "8.6 像素内先前没有，也未隐约可见"),
        ("no later one within 8.6 pixels, nor seen faintly", "8.6 像素内后来没有，也未隐约可见"),
        ("an earlier one within 8.6 pixels", "8.6 像素内先前已有"),
        (
            "in one photograph, and with a probability of 0.15 or more in the other",
            "见于一张照片，在另一张中的概率不低于 0.15",
        ),
        ("the later grade less the earlier", "较晚的分级减去较早的分级"),
        ("a formula of somebody else [1] A source", "a formula of somebody else [1] A source"),
    ],
)
def test_definitions_with_numbers_keep_them(english: str, chinese: str) -> None:
    assert definition_words(english, language="zh") == chinese


def test_notes_name_the_quadrants() -> None:
    assert note_words(", ".join(QUADRANTS), language="zh") == "颞上、颞下、鼻上、鼻下"
    assert note_words("none of the 4 quadrants", language="zh") == "各象限均无"
    assert note_words("superior-nasal", language="en") == "superior-nasal"
    assert note_words("superior-nasal, and more", language="zh") == "superior-nasal, and more"


@pytest.mark.parametrize(
    "reason", ["a file does not state when it was taken", "there was none then"]
)
def test_reasons_of_a_comparison_are_said_in_chinese(reason: str) -> None:
    assert not ENGLISH.search(reason_words(reason, language="zh"))
