"""Values of a table as arrays: scales of the teaching cases, words, and what is missing."""

import math
from datetime import date

import numpy as np
import pytest

from osler.errors import InputError, RecipeError
from osler.record import Case, Table
from osler.tasks.table_input import (
    Scale,
    TableInput,
    encoded_table,
    planned_table,
    values_of,
)


def case(**values):
    return Case("c1", "p1", {"variables": Table("variables", values)})


WANTED = TableInput(columns=["age", "sex", "stage"])
ROWS = [
    {"age": 60, "sex": "f", "stage": "II"},
    {"age": 70, "sex": "m"},
    {"age": None, "sex": "f", "stage": "III"},
    {"age": 80, "sex": "m", "stage": "II"},
]


@pytest.fixture
def planned():
    return planned_table(WANTED, [values_of(case(**row), WANTED) for row in ROWS])


def test_the_scale_is_that_of_the_known_values(planned):
    known = [60.0, 70.0, 80.0]
    mean = sum(known) / 3
    deviation = math.sqrt(sum((one - mean) ** 2 for one in known) / 3)
    assert planned.numbers == {"age": Scale(mean=mean, deviation=deviation)}
    assert planned.categories == {"sex": ["f", "m"], "stage": ["II", "III"]}
    assert planned.channels == ("age", "sex=f", "sex=m", "stage=II", "stage=III")


def test_a_missing_value_is_told_from_one_that_is_zero(planned):
    mean = planned.numbers["age"].mean
    at_mean = encoded_table(values_of(case(age=mean, sex="f"), planned), planned, case="c1")
    missing = encoded_table(values_of(case(sex="f"), planned), planned, case="c1")
    np.testing.assert_array_equal(at_mean[0], missing[0])
    np.testing.assert_array_equal(at_mean[1], [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(missing[1], [0, 1, 1, 0, 0])


@pytest.mark.parametrize("word", ["", "NA", "n/a", "?", float("nan"), None])
def test_words_for_missing_are_missing(planned, word):
    assert values_of(case(age=word), planned)["age"] is None


def test_what_is_encoded_is_the_standardised_value(planned):
    array, known = encoded_table(
        values_of(case(age="75", sex="m", stage="III"), planned), planned, case="c1"
    )
    np.testing.assert_allclose(array, [(75 - 70) / math.sqrt(200 / 3), 0, 1, 0, 1], rtol=1e-6)
    assert known.all()
    assert array.dtype == known.dtype == np.float32


def test_numbers_are_words_where_their_categories_are_named():
    wanted = planned_table(
        TableInput(columns=["grade"], categories={"grade": ["1", "2", "3"]}), [{"grade": 2.0}]
    )
    array, _ = encoded_table({"grade": 2.0}, wanted, case="c1")
    np.testing.assert_array_equal(array, [0, 1, 0])


def test_an_unseen_category_is_refused_or_missing(planned):
    values = values_of(case(age=70, sex="x"), planned)
    with pytest.raises(InputError, match=r"'sex' is 'x', and the categories are f, m"):
        encoded_table(values, planned, case="c1")
    lenient = planned.model_copy(update={"unseen": "missing"})
    _, known = encoded_table(values, lenient, case="c1")
    np.testing.assert_array_equal(known[1:3], [0, 0])


def test_a_constant_column_is_divided_by_one():
    wanted = planned_table(TableInput(columns=["x"]), [{"x": 5.0}, {"x": 5.0}])
    assert wanted.numbers["x"] == Scale(mean=5.0, deviation=1.0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"x": None}], "no teaching case has a value of 'x'"),
        ([{"x": 1.0}, {"x": "many"}], "both numbers and words such as 'many'"),
        ([{"x": f"word {k}"} for k in range(60)], "60 categories"),
    ],
)
def test_a_column_that_cannot_be_planned_is_named(rows, message):
    with pytest.raises(RecipeError, match=message):
        planned_table(TableInput(columns=["x"]), rows)


@pytest.mark.parametrize(
    ("value", "message"),
    [(math.inf, "infinite"), ("inf", "infinite"), (date(2020, 1, 1), "date"), ([1], "list")],
)
def test_a_value_that_is_no_value_is_refused(value, message):
    with pytest.raises(InputError, match=message):
        values_of(case(age=value), WANTED)


def test_a_word_among_numbers_is_refused(planned):
    with pytest.raises(InputError, match="'age' is 'old'; a number"):
        encoded_table(values_of(case(age="old"), planned), planned, case="c1")


def test_tables_are_looked_through_in_the_order_named():
    both = Case("c1", "p1", {"a": Table("a", {"x": 1}), "b": Table("b", {"x": 2})})
    assert values_of(both, TableInput(columns=["x"]))["x"] == 1
    assert values_of(both, TableInput(columns=["x"], items=["b", "a"]))["x"] == 2
