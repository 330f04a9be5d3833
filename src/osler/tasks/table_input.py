"""How named values of a case become an array: numbers on one scale, categories as yes or no.

A value that is missing is 0 in the array and 0 in a second one that says what is known, so that a
network can tell it from a value that is 0. What the scale is, and which categories there are, is
found in the teaching cases only and stands in the settings from then on.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from osler.errors import InputError, RecipeError
from osler.record import Case, Table
from osler.tasks.task import Settings

_LEAST_SPREAD = 1e-6
_MOST_CATEGORIES = 50
_MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "?"})

Value = float | str | None
"""A value of a table as it is used: a number, a category, or None where it is missing."""


class Scale(Settings):
    """What a column of numbers has taken off and is divided by.

    Attributes:
        mean, deviation: of the known values of the teaching cases.
    """

    mean: float = 0.0
    deviation: Annotated[float, Field(gt=0)] = 1.0


class TableInput(Settings):
    """Which values of a case a network takes and how they are made alike.

    Attributes:
        columns: names of the values, each a variable of the cohort or of a table item.
        items: the table items in which they are looked for, in this order; empty for all.
        numbers: scale of each column that holds numbers; found by itself.
        categories: the categories of each column that holds words, each of which becomes a channel
            of 0 and 1. Found by itself, sorted; name those of a column of numbers here to have them
            taken as words.
        unseen: a category that is not named: ``refuse`` the case, or take it as ``missing``.
    """

    columns: Annotated[list[str], Field(min_length=1)]
    items: list[str] = []
    numbers: dict[str, Scale] = {}
    categories: dict[str, list[str]] = {}
    unseen: Literal["refuse", "missing"] = "refuse"

    @property
    def channels(self) -> tuple[str, ...]:
        """What each place of the array holds, once it is planned."""
        names: list[str] = []
        for column in self.columns:
            found = self.categories.get(column)
            names += [column] if found is None else [f"{column}={one}" for one in found]
        return tuple(names)


def values_of(case: Case, wanted: TableInput) -> dict[str, Value]:
    """The wanted values of a case; those that it lacks are None.

    Raises:
        InputError: a value is no number and no word, or is infinite.
    """
    tables = [item for item in case.items.values() if isinstance(item, Table)]
    if wanted.items:
        tables = [table for name in wanted.items for table in tables if table.name == name]
    out: dict[str, Value] = {}
    for column in wanted.columns:
        raw = next((t.values[column] for t in tables if column in t.values), None)
        out[column] = _value(raw, column, case.id)
    return out


def _value(raw: Any, column: str, case: str) -> Value:
    if raw is None or isinstance(raw, bool | np.bool_):
        return None if raw is None else float(raw)
    if isinstance(raw, int | float | np.integer | np.floating):
        number = float(raw)
        if math.isinf(number):
            raise InputError(f"case '{case}': '{column}' is infinite")
        return None if math.isnan(number) else number
    if isinstance(raw, date):
        raise InputError(f"case '{case}': '{column}' is a date; give the days since another one")
    if not isinstance(raw, str):
        raise InputError(f"case '{case}': '{column}' is a {type(raw).__name__}, not one value")
    word = raw.strip()
    if word.lower() in _MISSING:
        return None
    try:
        number = float(word)
    except ValueError:
        return word
    if math.isinf(number):
        raise InputError(f"case '{case}': '{column}' is infinite")
    return number


def planned_table(wanted: TableInput, rows: Iterable[Mapping[str, Value]]) -> TableInput:
    """The input with the scales and categories of its columns.

    Args:
        wanted: as the recipe says it.
        rows: `values_of` the teaching cases.

    Raises:
        RecipeError: a column has no value in any case, mixes numbers and words, or has more
            categories than fit.
    """
    table = list(rows)
    numbers, categories = dict(wanted.numbers), dict(wanted.categories)
    for column in wanted.columns:
        if column in numbers or column in categories:
            continue
        known = [row[column] for row in table if row.get(column) is not None]
        if not known:
            raise RecipeError(
                f"settings.table.columns: no teaching case has a value of '{column}'; columns of "
                "the cohort that begin with 'label:' are no input"
            )
        words = sorted({one for one in known if isinstance(one, str)})
        if not words:
            values = np.array(known, np.float64)
            spread = float(values.std())
            numbers[column] = Scale(
                mean=float(values.mean()), deviation=spread if spread > _LEAST_SPREAD else 1.0
            )
        elif len(words) > _MOST_CATEGORIES:
            raise RecipeError(
                f"settings.table.columns: '{column}' has {len(words)} categories (at most "
                f"{_MOST_CATEGORIES}): is it an identifier or free text?"
            )
        elif any(not isinstance(one, str) for one in known):
            raise RecipeError(
                f"settings.table.columns: '{column}' holds both numbers and words such as "
                f"'{words[0]}'; name its categories in settings.table.categories, or mend it"
            )
        else:
            categories[column] = words
    return wanted.model_copy(update={"numbers": numbers, "categories": categories})


def encoded_table(
    values: Mapping[str, Value], wanted: TableInput, *, case: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Values of a case as an array, and which of them are known.

    Args:
        values: of `values_of`.
        wanted: planned.
        case: its id, for messages.

    Returns:
        ``(N,)`` the values, 0 where missing, and ``(N,)`` 1 where known, 0 where missing.

    Raises:
        InputError: a column of numbers holds a word, or a category is not one of those named.
    """
    array: list[float] = []
    known: list[float] = []
    for column in wanted.columns:
        value = values.get(column)
        named = wanted.categories.get(column)
        if named is not None:
            word = _word(value, column, wanted, case)
            array += [float(word == one) for one in named]
            known += [float(word is not None)] * len(named)
            continue
        if isinstance(value, str):
            raise InputError(f"case '{case}': '{column}' is '{value}'; a number was expected")
        scale = wanted.numbers.get(column, Scale())
        array.append(0.0 if value is None else (value - scale.mean) / scale.deviation)
        known.append(float(value is not None))
    return np.array(array, np.float32), np.array(known, np.float32)


def _word(value: Value, column: str, wanted: TableInput, case: str) -> str | None:
    if value is None:
        return None
    named = wanted.categories[column]
    word = value if isinstance(value, str) else f"{value:g}"
    if word in named:
        return word
    if wanted.unseen == "missing":
        return None
    raise InputError(
        f"case '{case}': '{column}' is '{word}', and the categories are {', '.join(named)}; "
        "settings.table.unseen: missing takes it as missing"
    )
