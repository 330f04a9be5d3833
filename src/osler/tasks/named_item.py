"""One item of a case, by its name."""

from typing import TypeVar

from osler.errors import InputError
from osler.record import Case, Image, Signal

I = TypeVar("I", Image, Signal)  # noqa: E741 - an item


def named_item(case: Case, name: str, kind: type[I]) -> I:
    """An item of a kind; where the case has one of it only, its name does not matter.

    That one does not stand for an item which the case is known to lack (`Case.absent`), such as T1
    for the FLAIR of whom there is none.

    Raises:
        InputError: it is missing; the message names those there are.
    """
    found = {item.name: item for item in case.items.values() if isinstance(item, kind)}
    if name in found:
        return found[name]
    if len(found) == 1 and name not in case.absent:
        return next(iter(found.values()))
    what, known = kind.__name__.lower(), ", ".join(f"'{one}'" for one in found) or "none"
    raise InputError(f"case '{case.id}' lacks the {what} '{name}'; its {what}s: {known}")
