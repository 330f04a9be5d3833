"""Names of cases: taken from file names, safe as folder names on any file system."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

MAX_BYTES = 120
"""Longest case id in UTF-8 bytes; leaves room for what a writer adds within the usual 255."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_EXTENSION = re.compile(r"(?:\.nii(?=\.gz\Z))?\.(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{1,5}\Z")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?\Z", re.IGNORECASE)


def case_id(path: str | os.PathLike[str]) -> str:
    """The id of the case in a file: the file's name without its extension, made safe.

    Unicode is kept (NFC). Separators, control and bidirectional control characters, undecodable
    bytes and leading dots become ``_``; a name beyond 120 bytes is cut and ends in a hash of the
    whole, so that it stays unique. An extension has a letter in it: ``1.2.840.5`` has none.
    """
    name = Path(path).name
    return safe_name(_EXTENSION.sub("", name) or name)


def safe_name(text: str) -> str:
    """Any text as one folder name of 1 to 120 bytes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    safe = unicodedata.normalize("NFC", text).replace("�", "_")
    safe = _FORBIDDEN.sub("_", safe).strip()
    safe = re.sub(r"\A\.+", "_", safe)
    # Windows drops trailing dots and spaces, so two names could become one
    safe = re.sub(r"[. ]+\Z", "_", safe)
    if _RESERVED.match(safe):
        safe = f"_{safe}"
    if not safe:
        return "case"
    return safe if len(safe.encode()) <= MAX_BYTES else _shortened(safe, key=text)


def name_cases(paths: Iterable[Path]) -> dict[Path, str]:
    """An id for each file of a batch, no two alike, not even on a file system that ignores case.

    A file alone with its name has ``case_id``; files that share one (``left/1.jpg`` and
    ``right/1.jpg``, or ``1.jpg`` and ``1.png``) get a hash of their path added. An id does not
    depend on the order of the paths.
    """
    ids = {path: case_id(path) for path in paths}
    counts: dict[str, int] = {}
    for id in ids.values():
        counts[id.casefold()] = counts.get(id.casefold(), 0) + 1
    return {
        path: id if counts[id.casefold()] == 1 else _shortened(id, key=str(path))
        for path, id in ids.items()
    }


def _shortened(text: str, *, key: str) -> str:
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    start = text.encode()[: MAX_BYTES - 9].decode("utf-8", "ignore").rstrip(". ")
    return f"{start}-{digest}"
