"""What the outputs of a network are called: by the user, by the checkpoint, or by its card."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from osler.errors import RecipeError


def read_names(said: object) -> tuple[str, ...]:
    """Names as ``class_names`` is given: a list, or a text with commas between them.

    Raises:
        RecipeError: one is empty or said twice, or cannot be a part of a file's name.
    """
    if isinstance(said, str):
        said = said.split(",")
    if not isinstance(said, Sequence) or not all(isinstance(one, str | int) for one in said):
        raise RecipeError(
            f"class_names is a list of names, such as [background, cup], not {said!r}"
        )
    names = tuple("-".join(str(one).split()) for one in said)
    for name in names:
        if not re.fullmatch(r"\w[\w.()+-]*", name):
            raise RecipeError(f"'{name}' cannot name a class: letters, digits and '-' can")
    folded = [name.casefold() for name in names]
    twice = next((name for name in names if folded.count(name.casefold()) > 1), None)
    if twice is not None:
        raise RecipeError(f"two classes are called '{twice}'")
    return names


def published_names(config: Mapping[str, Any]) -> list[str] | None:
    """Names in the ``config.json`` of transformers (``id2label``); None where it has none."""
    said = config.get("id2label")
    if not isinstance(said, Mapping) or not said:
        return None
    try:
        names = [str(said[key]) for key in sorted(said, key=int)]
    except (TypeError, ValueError):
        return None
    if all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        return None
    # a name that a file cannot bear is no reason to refuse the weights
    names = [re.sub(r"[^\w.()+-]+", "-", name).strip("-") for name in names]
    return names if all(names) and len({name.casefold() for name in names}) == len(names) else None


def fitting_names(net: Any, count: int) -> tuple[str, ...] | None:
    """Names of so many outputs; None where nobody has said them.

    Raises:
        RecipeError: the names that were said are more or fewer.
    """
    said: Sequence[str] | None = getattr(net, "options", {}).get("class_names")
    if said is None:
        card = getattr(net, "card", None)
        known = tuple(card.classes) if card is not None else ()
        return known if len(known) == count else None
    if len(said) != count:
        raise RecipeError(
            f"class_names has {len(said)} names ({', '.join(said)}) and the network {count} classes"
        )
    return tuple(said)
