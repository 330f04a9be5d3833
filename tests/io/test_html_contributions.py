"""The report prints what each input contributed."""

import re

import pytest

from osler.io import html
from osler.io.html_contributions import answers_of, sentences
from osler.record import Case, Label, Passage, Risk, Source

ME = Source("bundle", "eyes", "1.0.0")


def fused(name="left"):
    case = Case("c1", None)
    case.add(
        Label(
            id="ill", name="Ill", source=ME, value="yes", probability=0.83,
            probabilities={"yes": 0.83, "no": 0.17},
            contributions={"age": -0.125, name: 0.25}, without={"age": 0.9, name: 0.4},
        )
    )  # fmt: skip
    case.add(
        Risk(id="r", name="Death", source=ME, value=0.2, horizon_days=365, contributions={"a": 0.1})
    )
    return case


def test_the_strongest_input_comes_first_with_its_sign():
    ill, death = answers_of(fused(), language="en")
    assert [(row.name, row.by, row.without) for row in ill.rows] == [
        ("left", "+0.25", "0.40"), ("age", "\u22120.12", "0.90"),
    ]  # fmt: skip
    assert (ill.rows[0].start, ill.rows[0].width) == ("50.0%", "50.0%")
    assert (ill.rows[1].start, ill.rows[1].width) == ("25.0%", "25.0%")
    assert death.value == "within 365 days"
    assert death.rows[0].without == ""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_prints_them_and_no_grade(language):
    case = fused()
    text = "Two eyes." if language == "en" else "双眼。"
    case.add(Passage(id="p", name="P", source=ME, text=text, language=language))
    page = html.report(case)
    assert ("What each input contributed" if language == "en" else "各输入的贡献") in page
    assert page.count('class="moved"') == 2
    assert "+0.25" in page
    assert "Fundus photograph" not in page
    assert "numeral" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_a_hostile_name_stays_words():
    page = html.report(fused("<script>alert(1)</script>"))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_plain_text_is_a_line_an_input():
    case = fused()
    assert sentences(case.findings["ill"]) == [
        "left  +0.250  without it 0.400", "age   -0.125  without it 0.900",
    ]  # fmt: skip
    assert sentences(case.findings["r"]) == ["a  +0.100"]
