"""Flat grades that a set leaves open, levels of risk, and lesions said to be the only ones."""

import pytest
from checked_case import checked_case

from osler.language.checking import check
from osler.language.facts import facts

TOLD = facts(checked_case(side="R"))
"""Of grade 2, where 1 and 3 are not excluded, and of a risk of oedema of 2."""


def problems(text):
    report = check(text, TOLD, cited=False)
    return [p.kind for one in report.sentences for p in one.problems]


def test_a_number_in_another_unit_than_any_is_held_against_nothing():
    report = check("IOP 18 mmHg.", TOLD, cited=False)
    (number,) = [p for one in report.sentences for p in one.problems if p.kind == "number"]
    assert number.said == "18 mmHg"
    assert number.found == ""


@pytest.mark.parametrize(
    "text",
    [
        "The right eye shows severe non-proliferative diabetic retinopathy.",
        "There is severe NPDR in the right eye.",
        "Retinopathy of ICDR grade 3 is seen.",
        "There is no moderate NPDR in the right eye.",
        "右眼为重度非增殖期糖尿病视网膜病变。",
    ],
)
def test_a_grade_that_is_not_excluded_is_not_the_grade(text):
    assert {"severity", "grade", "negation"} & set(problems(text))


@pytest.mark.parametrize(
    "text",
    [
        "Severe NPDR cannot be excluded in the right eye.",
        "Moderate NPDR of the right eye; severe NPDR is not excluded.",
    ],
)
def test_a_grade_may_be_said_not_to_be_excluded(text):
    assert problems(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "Only microaneurysms are present.",
        "There are only microaneurysms.",
        "The disease is limited to microaneurysms.",
        "Microaneurysms are the sole abnormality.",
        "The right fundus shows microaneurysms only.",
        "仅有微血管瘤。",
        "病变局限于微血管瘤。",
        "Haemorrhages are lacking.",
        "Haemorrhages, none.",
        "Haemorrhages were sought but not found.",
        "Retinopathy can be excluded.",
        "可除外糖尿病视网膜病变。",
    ],
)
def test_what_leaves_a_lesion_out_denies_it(text):
    assert "negation" in problems(text)


@pytest.mark.parametrize(
    "text",
    [
        "Not only microaneurysms but also haemorrhages are present.",
        "The haemorrhages are not the only lesions.",
        "不仅有微血管瘤，还有出血。",
        "Only 8 haemorrhages were found.",
    ],
)
def test_only_is_no_denial_beside_a_number_or_a_not(text):
    assert problems(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "The risk of macular oedema is low.",
        "There is only a slight risk of macular edema.",
        "Risk of macular edema is negligible.",
        "黄斑水肿风险低。",
        "黄斑水肿的风险较小。",
    ],
)
def test_another_level_of_risk_falls(text):
    assert "severity" in problems(text)


@pytest.mark.parametrize("text", ["The risk of macular oedema is high.", "黄斑水肿风险高。"])
def test_the_level_of_risk_stands(text):
    assert problems(text) == []
