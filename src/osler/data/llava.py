"""Conversations about pictures as LLaVA writes them: JSON, or JSON Lines, of turns.

Each answer becomes a case: the picture, the question before it, and the turns before that. All
answers about a picture have one patient, since a network that has seen it has seen it.

Source: Liu et al. 2023, "Visual instruction tuning", NeurIPS; its files of ``id``, ``image`` and
``conversations`` of ``from`` (human, gpt) and ``value``. ``messages`` of ``role`` and ``content``,
as chat services write them, are read too.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from osler.data.cohort import Row
from osler.data.importing import (
    UNKNOWN_PATIENTS,
    Imported,
    Names,
    Options,
    inside,
    patient_of,
    read_json,
)
from osler.data.locations import boxes, marked, place
from osler.errors import InputError, TooLargeError, UnreadableError

MOST_TEXT: Final = 100_000
"""Most characters of one turn."""

MOST_TURNS: Final = 200
"""Most turns of one conversation."""

_MOST_BYTES: Final = 1 << 30
_ROLES: Final = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "model": "assistant", "system": "system",
}  # fmt: skip
_PICTURE = re.compile(r"\s*<(?:image|img|video)>\s*", re.IGNORECASE)

Turn = tuple[str, str]


def accepts(source: Path) -> bool:
    """Whether it is a JSON or JSON Lines file whose beginning holds conversations."""
    if source.is_dir() or source.suffix.lower() not in (".json", ".jsonl"):
        return False
    with source.open("rb") as stream:
        head = stream.read(1 << 20)
    return b'"conversations"' in head or (b'"messages"' in head and b'"role"' in head)


def read(source: Path, options: Options) -> Imported:
    """A case for each answer.

    Raises:
        UnreadableError: an entry is damaged; the message says which, by its number from 0.
        InputError: a picture is not found.
    """
    folder = options.images or source.parent
    imported = Imported(source.parent, [])
    names = Names()
    left_out = 0
    for number, entry in enumerate(_entries(source)):
        where = f"'{source}', entry {number}"
        turns = _turns(entry, where)
        items = _pictures(entry, folder, source, where)
        id = str(entry.get("id", "")).strip()[:80] or str(number)
        first = next(iter(items.values()), None)
        patient = id if first is None else first.relative_to(folder).with_suffix("").as_posix()
        if first is not None:
            patient = patient_of(first, folder, options, patient)
        for row in _answers(turns, id, patient, items, names):
            if _is_a_place(row.labels["answer"], imported.root):
                left_out += 1
            else:
                imported.rows.append(row)
    if left_out:
        imported.notes.append(
            f"{left_out} answers were left out: a cohort would take them for a place or a file"
        )
    if options.patient is None:
        imported.notes.append(UNKNOWN_PATIENTS)
    return imported


def _entries(source: Path) -> Sequence[Mapping[str, Any]]:
    if source.suffix.lower() == ".jsonl":
        entries: Any = _lines(source)
    else:
        entries = read_json(source)
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise UnreadableError(f"'{source}' is no list of conversations")
    return entries


def _lines(source: Path) -> list[Any]:
    if source.stat().st_size > _MOST_BYTES:
        raise TooLargeError(f"'{source}' is larger than {_MOST_BYTES:,} bytes; split it")
    try:
        lines = source.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UnreadableError(f"'{source}' is no text in UTF-8; export it again") from None
    except OSError as error:
        raise InputError(f"'{source}' cannot be read: {error.strerror}") from None
    out = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                out.append(json.loads(line))
        except (ValueError, RecursionError):
            raise UnreadableError(
                f"'{source}', line {number}, is no JSON; export it again"
            ) from None
    return out


def _turns(entry: Mapping[str, Any], where: str) -> list[Turn]:
    """Who says what, marks of pictures taken out."""
    said = entry.get("conversations", entry.get("messages"))
    if not isinstance(said, list):
        raise UnreadableError(f"{where}: has no list of conversations")
    if len(said) > MOST_TURNS:
        raise TooLargeError(f"{where}: has {len(said)} turns; at most {MOST_TURNS} are read")
    turns = []
    for one in said:
        if not isinstance(one, dict):
            raise UnreadableError(f"{where}: a turn is not a mapping of 'from' and 'value'")
        who = _ROLES.get(str(one.get("from", one.get("role", ""))).lower())
        text = _text(one.get("value", one.get("content")))
        if who is None or text is None:
            raise UnreadableError(
                f"{where}: a turn lacks who says it (human, gpt or system) or its text"
            )
        if len(text) > MOST_TEXT:
            raise TooLargeError(f"{where}: a turn has more than {MOST_TEXT:,} characters")
        turns.append((who, _PICTURE.sub(" ", text).replace("\0", " ").strip()))
    return turns


def _text(value: Any) -> str | None:
    """A text, or the texts of a list of parts as chat services write them."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, list):
        parts = [one.get("text", "") for one in value if isinstance(one, dict)]
        if not all(isinstance(one, str) for one in parts):
            return None
        text = "\n".join(one for one in parts if one)
    else:
        return None
    return text.encode("utf-8", errors="replace").decode()


def _pictures(entry: Mapping[str, Any], folder: Path, source: Path, where: str) -> dict[str, Path]:
    """The pictures by the names of their items."""
    named = entry.get("image", entry.get("images"))
    if named is None or named in ("", []):
        return {}
    files = named if isinstance(named, list) else [named]
    if not all(isinstance(one, str) and one for one in files):
        raise UnreadableError(f"{where}: 'image' is neither a path nor a list of paths")
    out = {}
    for k, name in enumerate(files, 1):
        path = inside(folder, name, source)
        if not path.is_file():
            raise InputError(f"{where}: '{path}' does not exist; name the folder with --images")
        out["picture" if k == 1 else f"picture-{k}"] = path
    return out


def _answers(
    turns: Sequence[Turn], id: str, patient: str, items: Mapping[str, Path], names: Names
) -> list[Row]:
    rows = []
    for n, (who, text) in enumerate(turns):
        if who != "assistant" or not text or n == 0 or turns[n - 1][0] != "user":
            continue
        variables: dict[str, str] = {"question": turns[n - 1][1]}
        if before := list(turns[: n - 1]):
            variables["history"] = json.dumps(before, ensure_ascii=False)
        rows.append(
            Row(names.new(id), patient, None, dict(items), {"answer": text}, None, variables)
        )
    return rows


def _is_a_place(text: str, root: Path) -> bool:
    return marked(text, root) is not None or boxes(text) is not None or place(text) is not None
