"""Files that belong to another one beside them and are no case by themselves."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from osler.errors import InputError
from osler.io.input_file import decoding, opened

COMPANIONS: Final = {
    "hea": ("dat", "mat", "atr", "ecg", "qrs", "ari"),
    "hdr": ("img",),
    "mhd": ("raw", "zraw"),
    "nhdr": ("raw", "raw.gz", "gz"),
}
"""Extension of a header to those of the files that hold its data and are no case by themselves."""


def companions(folder: str, names: Iterable[str]) -> set[str]:
    """The files of a folder that hold the data of a header beside them.

    What a WFDB header names belongs to it: files of samples by any name, the headers of its
    segments with theirs, and the files of its annotators.

    Args:
        folder: where the files lie.
        names: of all of them.
    """
    there = set(names)
    found: set[str] = set()
    records = []
    for name in there:
        stem, dot, extension = name.rpartition(".")
        if dot:
            found.update(f"{stem}.{other}" for other in COMPANIONS.get(extension.lower(), ()))
            if extension.lower() == "hea":
                records.append(stem)
    for stem in records:
        found.update(_named(os.path.join(folder, f"{stem}.hea")))
    if records:
        found.update(_annotations(set(records), there))
    return found & there


def _named(path: str) -> set[str]:
    """The files that a WFDB header names; none where it is no such header."""
    from osler.io.signal_wfdb_header import is_wfdb_header, parse_header

    if not os.path.isfile(path):  # a pipe would be waited for
        return set()
    try:
        with opened(path) as file, decoding(file, "wfdb"):
            if not is_wfdb_header(file.head):
                return set()
            header = parse_header(file)
    except InputError:
        return set()  # whoever reads it says what is wrong
    own = Path(path).name
    segments = {f"{name}.hea" for name, _ in header.segments} - {own}
    return {channel.file for channel in header.channels} | segments


def _annotations(records: set[str], names: set[str]) -> set[str]:
    from osler.io.signal_wfdb_markers import ANNOTATORS

    found = set()
    for name in names:
        stem, dot, extension = name.rpartition(".")
        if dot and stem in records and ANNOTATORS.fullmatch(extension):
            found.add(name)
    return found
