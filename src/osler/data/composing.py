"""One case from several parts: files, values and items by name, or a row of a cohort's table."""

import copy
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from osler.data.locations import is_url, looks_like_path
from osler.data.opening import load_case, open_row
from osler.errors import InputError, RecipeError
from osler.record import Case, Image, Item, Signal, Table, Text

VARIABLES: Final = "variables"
_ITEMS = (Image, Signal, Table, Text)
_LONGEST = 1000  # characters of a path
_TABLES = (".csv", ".parquet")


def composed(parts: Mapping[str, Any], *, id: str = "case", patient_id: str | None = None) -> Case:
    """A case made of parts by name.

    Args:
        parts: name to a file (a ``Path``, or a text that ends as files of medicine do, such as
            ``"left.jpg"``; a folder is a ``Path``), an item, a value (number, word, date), or None
            for what is missing; or, of several visits, a mapping of dates (or texts such as
            ``"2024-05-31"``) to one of those. Values become the table ``"variables"``.
        id: of the case.
        patient_id: of the case.

    Raises:
        InputError: a file cannot be used, or a part is of no known kind.
    """
    if not parts:
        raise InputError("a case of no parts; give at least one file or value by its name")
    case, values = Case(id, patient_id), dict[str, Any]()
    for name, part in parts.items():
        if isinstance(part, Mapping):
            _add_visits(case, name, part)
        elif (item := _item(name, part)) is not None:
            case.items[name] = item
        elif part is not None:
            values[name] = _value(name, part)
    if values:
        table = VARIABLES if VARIABLES not in case else f"{VARIABLES}-2"
        case.items[table] = Table(table, values)
    if not case.items:
        raise InputError(f"every part of the case is missing: {', '.join(parts)}")
    return case


def _add_visits(case: Case, name: str, visits: Mapping[Any, Any]) -> None:
    dated = sorted((_date(name, when), part) for when, part in visits.items())
    for number, (when, part) in enumerate(dated):
        own = name if number == 0 else f"{name}-{number + 1}"
        item = _item(own, part)
        if item is None:
            item = Table(own, {name: _value(name, part)})
        item.acquired = when
        case.items[own] = item


def _date(name: str, when: Any) -> datetime:
    if isinstance(when, datetime):
        return when
    if isinstance(when, date):
        return datetime(when.year, when.month, when.day)  # a day, of no zone
    try:
        return datetime.fromisoformat(str(when))
    except ValueError:
        raise InputError(
            f"a visit of '{name}' is at '{when}', which is no date; write it as 2024-05-31"
        ) from None


def _item(name: str, part: Any) -> Item | None:
    """A part as an item of this name; None for what is a value."""
    if isinstance(part, _ITEMS):
        item: Item = copy.copy(part)
        item.name = name
        return item
    path = (
        Path(part) if isinstance(part, Path) or (isinstance(part, str) and _named(part)) else None
    )
    if path is None:
        return None
    opened = load_case(path)
    first = next(iter(opened.items.values()), None)
    if first is None:
        raise InputError("; ".join(why for _, why in opened.left_out) or f"nothing is in '{path}'")
    first.name = name
    return first


def _named(text: str) -> bool:
    """Whether a text names a file: it ends as one. No URL: words of a record are never fetched."""
    return (
        len(text) <= _LONGEST and not is_url(text) and text.isprintable() and looks_like_path(text)
    )


def _value(name: str, part: Any) -> Any:
    if isinstance(part, np.generic):
        part = part.item()
    if part is None or isinstance(part, str | int | float | bool | date):
        return part
    raise InputError(
        f"'{name}' is a {type(part).__name__}; a part of a case is a file, an item of "
        "osler.record, a number, a word or a date"
    )


def row_of(place: str) -> tuple[Path, str] | None:
    """Table and case of a text such as ``cohort.csv#CASE``; None where it is something else."""
    before, mark, case = place.rpartition("#")
    if not mark or not case or Path(place).exists():
        return None
    path = Path(before)
    return (path, case) if path.suffix.lower() in _TABLES and path.is_file() else None


def case_of_row(path: Path, case_id: str) -> Case:
    """One row of a cohort as a case, without its labels.

    Raises:
        InputError: the table has no such case, or a file of it cannot be used.
    """
    from osler.data.cohort import read_cohort

    try:
        cohort = read_cohort(path)
    except RecipeError as error:
        raise InputError(str(error)) from error
    row = next((one for one in cohort.rows if one.case_id == case_id), None)
    if row is None:
        raise InputError(f"the cohort '{path}' has no case '{case_id}'")
    return open_row(row, cohort, labels=False)
