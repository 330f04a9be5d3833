"""What a cohort holds, as one number: the same content has the same digest, wherever it lies."""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from osler.data.cohort import Cohort, Row
from osler.data.locations import Location, marked
from osler.errors import InputError


def location_digest(location: Location) -> str:
    """SHA-256 of a file, or of the names and contents of a folder, or of a URL's text.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if isinstance(location, str):
            return hashlib.sha256(location.encode()).hexdigest()
        if location.is_dir():
            inside = {
                p.relative_to(location).as_posix(): _file_digest(p)
                for p in sorted(location.rglob("*"))
                if p.is_file()
            }
            return hashlib.sha256(json.dumps(inside, sort_keys=True).encode()).hexdigest()
        return _file_digest(location)
    except OSError as error:
        raise InputError(f"'{location}' cannot be read: {error.strerror}") from None


def _file_digest(path: Path) -> str:
    state = os.stat(path)
    return _digest(str(path), state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=100_000)
def _digest(path: str, _size: int, _changed: int, _inode: int) -> str:
    # size, time and inode are here so that a changed file is read again
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cohort_digest(cohort: Cohort, *, threads: int = 4) -> str:
    """SHA-256 over the cases: who, which contents, which values and labels.

    Neither the order of rows and columns, nor the table's format, nor where files lie changes it,
    nor the splits and folds, so that a split can say of what it is one.

    Args:
        cohort: the cases.
        threads: files read at the same time.

    Raises:
        InputError: a file cannot be read.
    """
    with ThreadPoolExecutor(threads, "osler-digest") as pool:
        lines = list(pool.map(lambda row: _line(row, cohort.root), cohort.rows))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def row_digest(row: Row, root: Path) -> str:
    """SHA-256 of one case: who, which contents, which values and labels; not its split or fold.

    Args:
        row: the case.
        root: the folder that its paths are relative to.

    Raises:
        InputError: a file cannot be read.
    """
    return hashlib.sha256(_line(row, root).encode()).hexdigest()


def _line(row: Row, root: Path) -> str:
    labels: dict[str, Any] = {}
    for name, text in row.labels.items():
        mark = marked(text, root)
        labels[name] = [_of(row, mark.location, "mask "), *mark.values] if mark else text
    items: Mapping[str, Location] = row.items
    content = [
        row.case_id,
        row.patient_id,
        {name: _of(row, item) for name, item in items.items()},
        {name: str(value) for name, value in row.variables.items()},
        labels,
    ]
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


def _of(row: Row, location: Location, kind: str = "") -> str:
    try:
        return location_digest(location)
    except InputError as error:
        raise InputError(f"case '{row.case_id}': {'the ' if kind else ''}{kind}{error}") from None
