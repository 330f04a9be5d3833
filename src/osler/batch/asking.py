"""A bundle of any general task and cases: what it finds, and what is written of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osler.errors import InputError

if TYPE_CHECKING:
    from osler.bundles import Bundle
    from osler.record import Case
    from osler.tasks.task import Task


def ask(bundle: "Bundle", case: "Case", *, tasks: "Sequence[type[Task]]" = ()) -> "Case":
    """The case with what the bundle finds in it."""
    from osler.bundles.answering import answer

    answer(bundle, case, tasks=tasks)
    return case


def one_case(source: "str | Path | Case") -> "Case":
    """The one case that lies at a path.

    Raises:
        InputError: it cannot be used, or several lie there.
    """
    from osler import io
    from osler.record import Case

    if isinstance(source, Case):
        return source
    opened = io.load(source)
    if isinstance(opened, Case):
        return opened
    found = list(opened)
    if len(found) != 1:
        raise InputError(f"'{source}' holds {len(found)} cases; name one of them, or use a loop")
    return found[0]
