"""The ordered list of importers: data sets of other tools to a cohort's table.

An importer reads names and headers, never pixels that it need not, and leaves the files where they
lie; what has no file of its own (an image inside an archive, an outline inside a JSON) is written
beside the table.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osler.data.cohort import Cohort, Row
from osler.errors import InputError, RecipeError, UnreadableError, UnsupportedError
from osler.io.naming import safe_name

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".dcm"})
"""What the names of single pictures end with."""

UNKNOWN_PATIENTS = (
    "the source does not say who the patients are, so every case counts as a patient of its own; "
    "state a rule with --patient, or look for leaks with 'osler data check'"
)
_SPLITS = {
    "train": "train", "training": "train", "tr": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "ts": "test",
}  # fmt: skip


@dataclass(slots=True)
class Imported:
    """What an importer made of a source.

    Attributes:
        root: the folder that the labels' paths are relative to.
        rows: the cases.
        notes: what the source does not say, and what was left out, in words.
    """

    root: Path
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Options:
    """What a person can state about a source.

    Attributes:
        files: the folder for files that an importer has to make.
        patient: a regular expression on a path relative to the source, whose first group is the
            patient; None where the source's own rule holds.
        images: the folder of the pictures, for sources that name them without it.
    """

    files: Path
    patient: re.Pattern[str] | None = None
    images: Path | None = None


@dataclass(frozen=True, slots=True)
class Importer:
    """One kind of data set that is imported.

    Attributes:
        name: as ``--kind`` takes it.
        accepts: whether a source is of the kind; looks at names and a few bytes.
        read: makes the rows.
        words: what it is, as it fits after "a".
    """

    name: str
    accepts: Callable[[Path], bool]
    read: Callable[[Path, Options], Imported]
    words: str


def importers() -> tuple[Importer, ...]:
    """What is imported, in the order in which it is tried."""
    from osler.data import (
        bids,
        coco,
        dicom_folder,
        fhir_bulk,
        image_folder,
        llava,
        medmnist,
        nnunet,
    )

    return (
        Importer("nnunet", nnunet.accepts, nnunet.read, "folder in nnU-Net's layout"),
        Importer("bids", bids.accepts, bids.read, "BIDS data set"),
        Importer("medmnist", medmnist.accepts, medmnist.read, "MedMNIST archive (.npz)"),
        Importer("llava", llava.accepts, llava.read, "file of conversations (.json, .jsonl)"),
        Importer("coco", coco.accepts, coco.read, "COCO file of instances (.json)"),
        Importer("fhir", fhir_bulk.accepts, fhir_bulk.read, "FHIR bulk export (.ndjson)"),
        Importer("dicom", dicom_folder.accepts, dicom_folder.read, "folder of DICOM series"),
        Importer("imagefolder", image_folder.accepts, image_folder.read, "folder of class folders"),
    )


def import_cohort(
    source: Path,
    table: Path,
    *,
    kind: str | None = None,
    patient: str | None = None,
    images: Path | None = None,
) -> tuple[Cohort, list[str]]:
    """Make a cohort of another tool's data set.

    Args:
        source: its folder or file.
        table: where the cohort's table is written (CSV or Parquet by its name); files that have to
            be made go into the folder ``STEM-files`` beside it.
        kind: the importer's name; by default the first that accepts the source.
        patient: a regular expression on the path of a case's first file, relative to the source,
            whose first group is the patient.
        images: the folder of the pictures, where the source names them without it.

    Returns:
        The cohort, and what the source does not say or was left out.

    Raises:
        InputError: the source cannot be used.
        RecipeError: there is no such kind, or the rule for patients does not fit.
        OutputError: the table cannot be written.
    """
    if not source.exists():
        raise InputError(f"'{source}' does not exist; check the path")
    importer = _importer(source, kind)
    source = Path(os.path.abspath(source))
    made = Path(os.path.abspath(table.parent)) / f"{table.stem}-files"
    imported = importer.read(source, Options(made, _rule(patient), images))
    if not imported.rows:
        raise UnsupportedError(f"'{source}' is a {importer.words} without any case")
    cohort = Cohort(table, imported.root, tuple(imported.rows))
    written = cohort.write(table)
    # read again: what was written must be a cohort
    from osler.data.cohort import read_cohort

    read_cohort(table, root=written.root, strict=False)
    return written, imported.notes


def _importer(source: Path, kind: str | None) -> Importer:
    known = importers()
    if kind is None:
        found = next((importer for importer in known if importer.accepts(source)), None)
        if found is None:
            words = ", ".join(importer.words for importer in known)
            raise UnsupportedError(f"'{source}' is none of what is imported: {words}")
        return found
    found = next((importer for importer in known if importer.name == kind), None)
    if found is None:
        names = ", ".join(importer.name for importer in known)
        raise RecipeError(f"kind is '{kind}'; it is one of {names}")
    return found


def _rule(patient: str | None) -> re.Pattern[str] | None:
    if patient is None:
        return None
    try:
        rule = re.compile(patient)
    except re.error as error:
        raise RecipeError(f"patient is '{patient}', no regular expression: {error}") from None
    if rule.groups < 1:
        raise RecipeError(
            f"patient is '{patient}'; put what names the patient in parentheses, as in '(p\\d+)_'"
        )
    return rule


def patient_of(path: Path, source: Path, options: Options, otherwise: str) -> str:
    """The patient of a file by the rule that was stated, else ``otherwise``.

    Raises:
        RecipeError: the rule does not fit the path.
    """
    if options.patient is None:
        return otherwise
    name = path.relative_to(source).as_posix()
    found = options.patient.search(name)
    if not found or not found[1]:
        raise RecipeError(f"the rule patient='{options.patient.pattern}' does not fit '{name}'")
    return found[1]


def split_of(name: str) -> str | None:
    """``"train"``, ``"val"`` or ``"test"`` for the usual names of such folders."""
    return _SPLITS.get(name.lower())


def inside(folder: Path, name: str, source: Path) -> Path:
    """A file that a source names, which must lie within its folder.

    Raises:
        UnreadableError: it lies elsewhere.
    """
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(os.path.normpath(folder)) or not _can_be(path):
        raise UnreadableError(
            f"'{source}' names a file outside its folder, or one that no disk can hold, so it is "
            "not believed; correct the name"
        )
    return path


def _can_be(path: Path) -> bool:
    """Whether a file system can hold such a name: no zero byte, each part up to 255 bytes."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return b"\0" not in name and all(len(part) < 256 for part in name.split(os.sep.encode()))


def files_under(folder: Path, suffixes: Sequence[str] | frozenset[str]) -> Iterator[Path]:
    """The files below a folder whose names end so, hidden ones left out, sorted."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(tuple(suffixes)):
                yield Path(place, name)


def column_name(text: str) -> str:
    """Any text as a column's name: without ``:``, and none of a cohort's own."""
    name = re.sub(r"\s+", " ", text.replace(":", "-")).strip() or "unnamed"
    return f"{name}-value" if name in ("case_id", "patient_id", "split", "fold") else name


class Names:
    """Case ids that are safe as file names, no two alike even where case is ignored."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, text: str) -> str:
        """An id made of ``text``; a number is added where it is taken."""
        base = name = safe_name(text.replace("/", "-"))
        number = 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{base}-{number}"
        self._taken.add(name.casefold())
        return name


def read_json(path: Path, *, limit: int = 1 << 30) -> object:
    """A JSON file of at most ``limit`` bytes.

    Raises:
        InputError: it cannot be read, is larger, or is no JSON.
    """
    import json

    from osler.errors import TooLargeError

    try:
        if path.stat().st_size > limit:
            raise TooLargeError(f"'{path}' is larger than {limit:,} bytes; split it")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UnreadableError(f"'{path}' is no JSON; export it again") from None
