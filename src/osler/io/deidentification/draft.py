"""What a run does to every file, and a copy that is about to be written."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from osler.io.deidentification.free_text import Model
from osler.io.deidentification.key import Key
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for every file of a run.

    Attributes:
        source: the folder (or file) that the copies are made of.
        out: the folder they go into.
        options: what is kept.
        key: the secret that replacements are derived from.
        model: finds more in free text than the rules do.
    """

    source: Path
    out: Path
    options: Options
    key: Key
    model: Model | None = None

    def relative(self, path: Path) -> str:
        """The path below the source folder."""
        return os.path.relpath(path, self.source if self.source.is_dir() else self.source.parent)

    def id_of(self, path: Path) -> str:
        """Stands for a file of the source; it tells nothing without the key."""
        return self.key.name("path", self.relative(path), length=16)


@dataclass(slots=True)
class Draft:
    """A copy that is about to be written.

    Attributes:
        place: names of the folders and the file, below the output folder.
        write: writes the file.
        counts: what was done to what, how often.
        notes: what a person should know.
        known: what must not be found in the copy.
    """

    place: tuple[str, ...]
    write: Callable[[Path], None]
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    known: Known = field(default_factory=Known)


@dataclass(slots=True)
class Cleaned:
    """What a file became: it can go out, but has no place yet.

    Attributes:
        ending: of its name, with the dot.
        write: writes it.
        counts: what was done to what, how often.
        notes: what a person should know.
    """

    ending: str
    write: Callable[[Path], None]
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def draft(self, place: tuple[str, ...], known: Known) -> Draft:
        """The copy, with its place and with what must not be found in it."""
        return Draft(place, self.write, self.counts, self.notes, known)
