"""Reading a card: JSON in, a checked `Card` or one sentence for each wrong field out."""

import difflib
import json
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from osler.bundles.card import (
    SCHEMA_VERSION,
    Calibration,
    Card,
    Data,
    File,
    Input,
    Label,
    Metric,
    Output,
    Preprocessing,
    Runtime,
    Training,
)
from osler.errors import BundleError

CARD_BYTES_MAX = 4 * 2**20


def parse(content: bytes, *, where: str) -> Card:
    """Read a card and check all of it.

    Args:
        content: the bytes of ``card.json``.
        where: the path that error messages name.

    Raises:
        BundleError: the card is damaged, of a later version, or wrong; the message has one
            sentence for each wrong field, with its path and its value.
    """
    if len(content) > CARD_BYTES_MAX:
        raise BundleError(
            f"{where}: the card has {len(content)} bytes, the limit is {CARD_BYTES_MAX}; "
            "tables belong in a file of the bundle, not in its card"
        )
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{where}: the card is not JSON ({error}); get the bundle again"
        ) from error
    if not isinstance(document, dict):
        raise BundleError(f"{where}: the card is a JSON {type(document).__name__}, not an object")
    _refuse_future(document, where)
    try:
        return Card.model_validate_json(content)
    except ValidationError as error:
        faults = "\n".join(f"  {_sentence(fault)}" for fault in error.errors(include_url=False))
        name = document.get("name")
        called = f"bundle '{name}'" if isinstance(name, str) and len(name) <= 64 else "the bundle"
        raise BundleError(f"{where}: {called} has a card that cannot be used:\n{faults}") from error


def _refuse_future(document: dict[str, Any], where: str) -> None:
    version = document.get("schema_version")
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{where}: the card has schema_version {version}; this osler reads up to "
            f"{SCHEMA_VERSION}: update osler (pip install --upgrade osler)"
        )


def _sentence(fault: ErrorDetails) -> str:
    """One wrong field in words: its path, its value, what was expected."""
    path = _dotted(fault["loc"])
    value = _short(fault["input"])
    match fault["type"]:
        case "missing":
            return f"'{path}' is missing."
        case "extra_forbidden" | "unexpected_keyword_argument":
            key = str(fault["loc"][-1])
            near = difflib.get_close_matches(key, _all_fields(), n=1, cutoff=0.6)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            return f"'{path}' is not a field of a card{hint}"
        case "value_error":
            reason = str(fault["ctx"]["error"]) if "ctx" in fault else fault["msg"]
            return f"'{path}': {reason}." if path else f"{reason}."
        case _:
            expected = fault["msg"]
            return f"'{path}' is {value}: {expected[0].lower()}{expected[1:]}."


def _dotted(location: tuple[int | str, ...]) -> str:
    out = ""
    for part in location:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _all_fields() -> list[str]:
    parts: tuple[type[BaseModel], ...] = (
        Card, Input, Output, Label, Calibration, Preprocessing, Data, Training, Metric, Runtime,
        File,
    )  # fmt: skip
    return sorted({name for part in parts for name in part.model_fields})
