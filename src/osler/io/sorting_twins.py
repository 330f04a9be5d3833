"""Which of many DICOM files are the same, byte by byte."""

import hashlib

from osler.io.dicom_scan import Scan
from osler.io.partial_file import need


class Twins:
    """Remembers the files of a folder; reads only those that may be the same as another."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[str, str]] = {}

    def of(self, path: str, study: str, found: Scan, size: int) -> str | None:
        """A file that came before and is the same.

        Args:
            path: the file.
            study: its StudyInstanceUID, or what stands for it.
            found: what was read of its header.
            size: bytes.
        """
        instance = found.text("SOPInstanceUID")
        # those without one may be the same where all else that was read of them is
        alike = instance or f"{size} {sorted(found.values.items(), key=repr)!r}"
        before = self._known.setdefault((study, alike), {})
        if not before:
            before[""] = path  # most are alone, and need no digest
            return None
        if "" in before:
            first = before.pop("")
            before[_digest(first)] = first
        twin = before.setdefault(_digest(path), path)
        return None if twin == path else twin


def _digest(path: str) -> str:
    """Of the content of a file; of one that cannot be read, its name, which no other has."""
    try:
        need(path)
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return path
