"""What a person said of a case in words, and the ids of findings that names become."""

from osler.errors import InputError
from osler.record import Case, Label


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


def identifier(name: str) -> str:
    """The id of a finding of this name: lower case, with hyphens for all but letters and digits."""
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") or "finding"
