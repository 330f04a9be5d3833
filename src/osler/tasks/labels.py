"""What a person said of a case in words, and the ids of findings that names become."""

import difflib
from collections.abc import Iterable
from typing import Final

from osler.errors import InputError
from osler.record import Case, Label

NONE: Final = "none"
"""The word of a cell that says that a structure is not there."""


def label_of(case: Case, name: str) -> str | None:
    """The value of a label by a person; None where the case has none of that name."""
    for one in case.of(Label):
        if one.name == name and one.source.kind == "person":
            return one.value
    return None


def needed_label(case: Case, name: str) -> str:
    """As `label_of`.

    Raises:
        InputError: there is none; the message names those there are.
    """
    value = label_of(case, name)
    if value is None:
        known = ", ".join(sorted({one.name for one in case.of(Label)})) or "none"
        raise InputError(f"case '{case.id}' has no label '{name}'; its labels: {known}")
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest, as the end of a message; empty where there is none."""
    by_fold = {one.lower(): one for one in sorted(known)}
    found = difflib.get_close_matches(name.lower(), list(by_fold), n=1, cutoff=0.0)
    return f"; the nearest it has is '{by_fold[found[0]]}'" if found else ""


def unknown_without(case: Case, name: str, *, absent: str | None, what: str) -> bool:
    """Whether nothing is known of a structure that no finding marks; else there is none.

    A label ``none`` by a person, such as that word in a cell of a cohort, says that there is none.

    Args:
        case: without a finding of that name that marks a place.
        name: of the structure.
        absent: of the settings: ``"none"``, ``"unknown"``, or None where they do not say.
        what: would mark it, such as ``"mask"``.

    Raises:
        InputError: neither the case nor the settings say what it means.
    """
    word = label_of(case, name)
    if word is not None and word.strip().lower() == NONE:
        return False
    if word is not None:
        raise InputError(
            f"case '{case.id}': its '{name}' is a word, not a {what}; the file it names may not "
            f"exist (the word '{NONE}' says that there is none)"
        )
    if absent is None:
        raise InputError(
            f"case '{case.id}' has no {what} '{name}'; write '{NONE}' in its cell where nothing is "
            "there, or say what empty cells mean: settings.absent: none (nothing is there) or "
            "unknown (nobody looked)"
        )
    return absent == "unknown"


def identifier(name: str) -> str:
    """The id of a finding of this name: lower case, with hyphens for all but letters and digits."""
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") or "finding"
