"""Which item of a case an input takes: by its name, by its side, by the date of a visit."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, TypeVar

from osler.errors import InputError
from osler.record import Case, Image, Item, Signal, Table, Text
from osler.tasks.fusion_settings import (
    SIDES,
    Fused,
    FusedImage,
    FusedOmics,
    FusedSeries,
    FusedSignal,
    FusedText,
    FusedVolume,
)
from osler.tasks.table_input import TableInput, Value, values_of

I = TypeVar("I", Image, Signal, Table, Text)  # noqa: E741 - an item

_KINDS: tuple[tuple[type[Fused], type[Image | Signal | Table | Text]], ...] = (
    (FusedImage, Image), (FusedVolume, Image), (FusedSeries, Image),
    (FusedSignal, Signal), (FusedText, Text), (FusedOmics, Table),
)  # fmt: skip


def item_for(
    case: Case, name: str, inputs: Mapping[str, Fused], kind: type[I], *, visit: int | None = None
) -> I | None:
    """The item that an input takes; None where the case has none.

    An item of the input's name is taken first; then, for a picture with a side, the one of that
    side; and where no other input takes such an item and the case has one only, that one.

    Args:
        case: the case.
        name: of the input.
        inputs: all of them.
        kind: of the item.
        visit: the visit, where another one than the input's own is meant.

    Raises:
        InputError: the item of the name is of another kind, several fit, or a visit is asked for
            and no item says when it was acquired.
    """
    wanted = inputs[name]
    visit = wanted.visit if visit is None else visit
    found = _candidates(case, name, inputs, kind, several=visit is not None)
    if visit is not None:
        return _of_visit(case, found, name, visit)
    if len(found) > 1:
        listed = ", ".join(f"'{one.name}'" for one in found)
        raise InputError(
            f"case '{case.id}': {listed} fit the input '{name}' alike; say which one: "
            f"settings.inputs.{name}.item (or visit, by date)"
        )
    return found[0] if found else None


def _candidates(
    case: Case, name: str, inputs: Mapping[str, Fused], kind: type[I], *, several: bool
) -> list[I]:
    wanted = inputs[name]
    exact = case.items.get(wanted.named)
    if exact is not None and not isinstance(exact, kind):
        if isinstance(exact, Table):  # a table may bear the name of one of its values
            return []
        raise InputError(
            f"case '{case.id}': the item '{exact.name}' is a {type(exact).__name__.lower()}, and "
            f"the input '{name}' takes another kind ({kind.__name__.lower()})"
        )
    there = [item for item in case.items.values() if isinstance(item, kind)]
    numbered = re.compile(rf"{re.escape(wanted.named)}-\d+")
    alike = [one for one in there if numbered.fullmatch(one.name)] if several else []
    if exact is not None or alike:
        return ([exact] if exact is not None else []) + alike
    taken = {one.named for key, one in inputs.items() if key != name}
    free = [one for one in there if one.name not in taken]
    side = _side(name, wanted)
    if side is not None:
        return [one for one in free if isinstance(one, Image) and one.laterality == side]
    rivals = [key for key, one in inputs.items() if _takes(one) is kind]
    return free if len(rivals) == 1 and (several or len(there) == 1) else []


def _side(name: str, wanted: Fused) -> str | None:
    if not isinstance(wanted, FusedImage):
        return None
    return wanted.side or SIDES.get(name)


def _takes(wanted: Fused) -> type | None:
    return next((item for kind, item in _KINDS if isinstance(wanted, kind)), None)


def _of_visit(case: Case, found: Sequence[I], name: str, visit: int) -> I | None:
    """The item of a visit, counted back from the last date of those that fit."""
    if not found:
        return None
    dated = [(one.acquired.date(), one) for one in found if one.acquired is not None]
    if not dated:
        raise InputError(
            f"case '{case.id}': the input '{name}' is chosen by visit, and no item that fits says "
            f"when it was acquired; a cohort says it in a column 'date:{found[0].name}'"
        )
    days = sorted({day for day, _ in dated})
    if -visit >= len(days):
        return None
    day = days[len(days) - 1 + visit]
    return next(one for its, one in dated if its == day)


def interval_of(case: Case, name: str, inputs: Mapping[str, Fused], visit: int) -> float | None:
    """Days from the item of a visit to the item's last one; None where there is none."""
    wanted = inputs[name]
    exact = case.items.get(wanted.named)
    kind: type[Any] = Image if exact is None else type(exact)
    there: Item | None = item_for(case, name, inputs, kind, visit=visit)
    last: Item | None = item_for(case, name, inputs, kind, visit=0)
    if there is None or last is None or there.acquired is None or last.acquired is None:
        return None
    return float((_day(last) - _day(there)).days)


def _day(item: Item) -> date:
    assert item.acquired is not None
    return item.acquired.date()


def values_for(
    case: Case, name: str, inputs: Mapping[str, Fused], table: TableInput
) -> dict[str, Value]:
    """Values of a case, of the tables of one visit where the input says one.

    Raises:
        InputError: a value cannot be used, or no table says when it is of.
    """
    visit = inputs[name].visit
    if visit is None:
        return values_of(case, table)
    tables = [
        one
        for one in case.items.values()
        if isinstance(one, Table) and any(column in one.values for column in table.columns)
    ]
    one = _of_visit(case, tables, name, visit)
    items = {} if one is None else {one.name: one}
    return values_of(Case(case.id, case.patient_id, dict(items)), table)


def text_for(case: Case, name: str, inputs: Mapping[str, Fused]) -> str | None:
    """The words of an input: of a text, or of a value of that name; None where there are none."""
    wanted = inputs[name]
    assert isinstance(wanted, FusedText)
    item = item_for(case, name, inputs, Text)
    if item is not None:
        said = item.text if wanted.section is None else item.sections.get(wanted.section, "")
        return said if said.strip() else None
    for table in case.items.values():
        value = table.values.get(wanted.named) if isinstance(table, Table) else None
        if isinstance(value, str) and value.strip():
            return value
    return None
