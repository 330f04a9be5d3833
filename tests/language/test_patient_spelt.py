"""Values of patients as people write them: what is understood, what is not, and what it changes."""

import json
from pathlib import Path
from typing import Any

import pytest

from osler.batch.advising import with_patient
from osler.language.advice import advise
from osler.language.patient_data import Patient, patient_of
from osler.record import Case, Label, Passage, Source

BUNDLE = Source("bundle", "retina-dr", "1.0.0")


def given(values: dict[str, Any], folder: Path) -> Patient:
    (folder / "patient.json").write_text(json.dumps(values, ensure_ascii=False), "utf-8")
    return patient_of(with_patient(Case("c"), folder / "patient.json"))


def advised(values: dict[str, Any], folder: Path) -> Case:
    case = Case("c")
    said = {"photograph": "fundus photograph", "quality": "good", "dr-grade": "2", "dme-risk": "0"}
    for name, value in said.items():
        case.add(Label(id=name, name=name, source=BUNDLE, value=value))
    (folder / "patient.json").write_text(json.dumps(values, ensure_ascii=False), "utf-8")
    advise(with_patient(case, folder / "patient.json"))
    return case


def text(case: Case) -> str:
    return " ".join(one.text for one in case.of(Passage))


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"diabetes": "Type 2 diabetes"}, "diabetes", "type 2"),
        ({"diabetes": "type I"}, "diabetes", "type 1"),
        ({"糖尿病": "2型，病程10年"}, "diabetes_years", 10),
        ({"diabetes": "T1DM x 12 years"}, "diabetes_years", 12),
        ({"HbA1c (%)": 8.2}, "hba1c", 8.2),
        ({"pregnant": "12 weeks"}, "pregnant", "yes"),
        ({"孕周": 30}, "pregnant", "yes"),
        ({"妊娠": "备孕"}, "pregnant", "planned"),
        ({"visual_acuity": "0.3 OD, 0.8 OS"}, "visual_acuity", 0.3),
        ({"visual_acuity": {"right": "6/12", "left": "6/60"}}, "visual_acuity", 0.1),
        ({"视力": "右眼4.5 左眼5.0"}, "visual_acuity", pytest.approx(0.316, abs=1e-3)),
        ({"visual_acuity": "0.3 logMAR"}, "visual_acuity", pytest.approx(0.501, abs=1e-3)),
        ({"视力": "右眼数指，左眼0.8"}, "low_vision", "yes"),
    ],
)
def test_what_people_write_is_understood(
    values: dict[str, Any], name: str, expected: Any, tmp_path: Path
) -> None:
    patient = given(values, tmp_path)
    assert patient.given[name].value == expected
    assert not patient.not_used


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"diabetes": "no type 2 diabetes"}, "diabetes"),
        ({"diabetes": "mother has type 2"}, "diabetes"),
        ({"diabetes": "type 1 or type 2"}, "diabetes"),
        ({"pregnant": "60 weeks"}, "pregnant"),
        ({"pregnant": "yes", "age": 70}, "pregnant"),
        ({"visual_acuity": "0.3 or 0.4 or 0.5"}, "visual_acuity"),
        ({"visual_acuity": "not blind"}, "visual_acuity"),
        ({"visual_acuity": "6/0"}, "visual_acuity"),
        ({"糖化": "8.2%"}, "糖化"),
    ],
)
def test_what_is_not_understood_is_told(values: dict[str, Any], name: str, tmp_path: Path) -> None:
    patient = given(values, tmp_path)
    assert name not in patient.given
    assert name in [one.name for one in patient.not_used]


def test_names_of_a_person_are_passed_over(tmp_path: Path) -> None:
    assert not given({"name": "A B", "patient_id": "7", "出生日期": "1960"}, tmp_path).not_used


@pytest.mark.parametrize(
    ("values", "urgency", "words"),
    [
        ({"pregnant": "20 weeks", "blood_pressure": "165/100"}, "emergency", "severe hypertension"),
        ({"blood_pressure": "185/100"}, "routine", "look for damage of organs"),
        ({"pregnant": "planning", "diabetes": "type 1", "drugs": "ramipril"}, "routine",
         "before pregnancy or as soon as it is known"),
        ({"uacr": "3 mg/mmol"}, "routine", "3.0 mg/mmol"),
        ({"visual_acuity": "CF"}, "routine", "counting fingers or less"),
    ],
)  # fmt: skip
def test_what_they_say_is_advised_on(
    values: dict[str, Any], urgency: str, words: str, tmp_path: Path
) -> None:
    case = advised(values, tmp_path)
    said = case["advice-urgency"]
    assert isinstance(said, Label)
    assert said.value == urgency
    assert words in text(case)


def test_a_value_just_within_asks_for_nothing(tmp_path: Path) -> None:
    said = text(advised({"uacr": "2.9 mg/mmol", "blood_pressure": "179/119"}, tmp_path))
    assert "albumin" not in said
    assert "organs" not in said
