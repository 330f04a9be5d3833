"""A JSON file → a JSON file without people: values by their keys, every other text as text."""

import json
from collections.abc import Iterator
from typing import Any, Final

from osler.errors import UnreadableError, UnsupportedError
from osler.io.deidentification.cells import Cells, Row
from osler.io.deidentification.free_text import Scrubber
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options
from osler.io.deidentification.text_file import decoded
from osler.io.deidentification.trees import Leaves, kind_of_key, learn
from osler.io.input_file import InputFile

ENDINGS: Final = frozenset((".json", ".ndjson", ".jsonl"))
_LINES: Final = frozenset((".ndjson", ".jsonl"))
_DICOM: Final = frozenset(("00080005", "00080016", "00080018", "00100010", "00100020", "0020000D"))
_DEEPEST: Final = 200


def accepts(file: InputFile) -> bool:
    """Whether a file is JSON, by its name and its first bytes; a copy in the making has no name."""
    start = file.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    named = file.path.suffix.lower() in (*ENDINGS, ".part")
    return named and start.startswith((b"{", b"["))


class Tree:
    """Cleans a document of objects, lists and values.

    Args:
        leaves: cleans the values.
    """

    def __init__(self, leaves: Leaves) -> None:
        self.leaves = leaves

    def clean(self, document: Any) -> Any:
        """The document without people."""
        known = Known()
        self.learn(document, known)
        self.leaves.cells.learn(known)
        return self._value(document, "", self.leaves.cells.about(_identity(document)))

    def learn(self, value: Any, known: Known, kind: str = "") -> None:
        """Know whom the document names."""
        if isinstance(value, dict):
            for key, one in value.items():
                self.learn(one, known, kind_of_key(key, kind))
        elif isinstance(value, list):
            for one in value:
                self.learn(one, known, kind)
        elif isinstance(value, str | int) and not isinstance(value, bool):
            learn(known, kind, str(value))

    def _value(self, value: Any, kind: str, row: Row) -> Any:
        if isinstance(value, dict):
            return self._object(value, kind, row)
        if isinstance(value, list):
            return [self._value(one, kind, row) for one in value]
        return self._leaf(value, kind, row)

    def _object(self, value: dict[str, Any], kind: str, row: Row) -> dict[str, Any]:
        if identity := _identity(value):
            row = self.leaves.cells.about(identity)
        new: dict[str, Any] = {}
        for key, one in value.items():
            name = plain = self.leaves.key(key)
            number = 1
            while name in new:  # two persons may have been keys
                number += 1
                name = f"{plain}-{number}"
            new[name] = self._value(one, kind_of_key(key, kind), row)
        return new

    def _leaf(self, value: Any, kind: str, row: Row) -> Any:
        if value is None or isinstance(value, bool):
            return value
        text = str(value)
        new = self.leaves.clean(text, kind, row)
        if new == text:
            return value
        if isinstance(value, str):
            return new
        return int(new) if new.isdigit() and len(new) < 4 else new or None  # a number: an age


def _identity(value: Any) -> str:
    """The number of the patient that an object states, whose dates move together."""
    if not isinstance(value, dict):
        return ""
    found = (
        one
        for key, one in value.items()
        if isinstance(one, str | int) and key.casefold() != "id" and kind_of_key(key) == "patient"
    )
    return str(next(found, ""))


def parsed(file: InputFile) -> list[Any]:
    """The documents of a file: one, or one a line.

    Raises:
        UnreadableError: it is no JSON, or nested too deep.
        TooLargeError: it is longer than 64 MiB.
    """
    text = decoded(file)
    try:
        try:
            found = [json.loads(text)]
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise UnreadableError(
            f"'{file.name}' holds JSON that cannot be read: it is damaged, incomplete or nested "
            "too deep; export it again"
        ) from None
    if any(_depth(one) > _DEEPEST for one in found):
        raise UnreadableError(f"'{file.name}' is nested more than {_DEEPEST} levels deep")
    return found


def _depth(document: Any) -> int:
    level, depth = [document], 0
    while level and depth <= _DEEPEST:
        depth += 1
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
    return depth


def tree_for(file: InputFile, documents: list[Any], leaves: Leaves) -> Tree:
    """What cleans the documents: by the rules of FHIR for its resources."""
    from osler.io.deidentification.json_fhir import Resources, is_resource

    if all(is_resource(one) for one in documents):
        return Resources(file.name, leaves)
    parts = [part for one in documents for part in (one if isinstance(one, list) else [one])]
    if any(is_resource(part) for part in parts):
        raise UnsupportedError(
            f"'{file.name}' has FHIR resources in a list or between other lines; give a Bundle, or "
            "one resource a line (.ndjson)"
        )
    if any(isinstance(part, dict) and _DICOM.intersection(part) for part in parts):
        raise UnsupportedError(f"'{file.name}' is DICOM in JSON; give the DICOM files themselves")
    return Tree(leaves)


def clean(file: InputFile, cells: Cells) -> str:
    """The file without people, in UTF-8.

    Raises:
        UnreadableError: it is no JSON, or nested too deep.
        UnsupportedError: it is FHIR with a modifier that cannot be understood.
    """
    documents = parsed(file)
    tree = tree_for(file, documents, Leaves(cells))
    whole = [tree.clean(one) for one in documents]
    lines = len(whole) > 1 or file.path.suffix.lower() in _LINES
    texts = [json.dumps(one, ensure_ascii=False, indent=None if lines else 2) for one in whole]
    return "".join(f"{text}\n" for text in texts)


def left(file: InputFile, known: Known) -> Iterator[str]:
    """What a copy still tells of people who are known."""
    scrubber = Scrubber(known)
    for text in _strings(parsed(file)):
        if scrubber.known_only(text) != text:
            yield "something of a patient in its values"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
    elif isinstance(value, str):
        yield value


def left_unaided(file: InputFile, cells: Cells, options: Options) -> Iterator[str]:
    """What a copy still tells, by its keys and by the rules."""
    documents, leaves = parsed(file), Leaves(cells)
    tree = tree_for(file, documents, leaves)
    for one in documents:
        tree.clean(one)
    yield from leaves.unclean(options)
