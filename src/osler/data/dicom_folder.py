"""A folder of DICOM series: sorted by patient, study and series from the headers."""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from osler.data.cohort import Row
from osler.data.importing import UNKNOWN_PATIENTS, Imported, Names, Options, patient_of
from osler.errors import InputError
from osler.io import sort
from osler.io.input_file import printable
from osler.io.signatures import HEAD_BYTES, is_dicom
from osler.io.sorting import Cases, Series
from osler.terminal import counted

_LOOKED_AT = 200  # files that tell whether it is worth sorting the folder
_SPEAK_OF_IMAGES = frozenset({"SEG", "SR", "RTSTRUCT", "PR", "KO", "REG"})


def accepts(source: Path) -> bool:
    """Whether it holds slices of a series, which are no pictures by themselves."""
    if not source.is_dir() or not any(map(_is_dicom, islice(_files(source), _LOOKED_AT))):
        return False
    return any(
        sum(file.placed for file in series.files) > 1
        for study in sort(source).studies
        for series in study.series
    )


def read(source: Path, options: Options) -> Imported:
    """A case for each study, an item for each series.

    A cell of a table names one file or one folder, so a series of several files must have a folder
    to itself.

    Raises:
        InputError: no series of images lies there by itself.
    """
    found = sort(source)
    names, rows, left = Names(), [], Counter[str]()
    unknown = False
    for study in found.studies:
        items: dict[str, Path] = {}
        for series in study.series:
            place = _place(series, left)
            if place is not None:
                kind = series.modality.lower() or "image"
                count = sum(name.split("-")[0] == kind for name in items)
                items[kind if count == 0 else f"{kind}-{count + 1}"] = place
        left["file"] += len(study.files)
        if not items:
            continue
        case = names.new(study.id)
        unknown |= study.patient_id is None
        first = next(iter(items.values()))
        patient = patient_of(first, source, options, study.patient_id or case)
        rows.append(Row(case, patient, None, items, {}))
    if not rows:
        raise InputError(
            f"'{source}' holds no DICOM series in a folder of its own, which is what a cell of a "
            "table can name; put the files of each series into one folder"
        )
    return Imported(source, rows, _notes(found, left, unknown=unknown and not options.patient))


def _notes(found: Cases, left: Counter[str], *, unknown: bool) -> list[str]:
    notes = ["patient_id is PatientID as the files have it: keep the table as you keep the files"]
    if unknown:
        notes.append(UNKNOWN_PATIENTS)
    if others := left.pop("file", 0):
        notes.append(f"{counted(others, 'other file')} left out: no DICOM images")
    notes += [f"{count} {what} left out" for what, count in left.items() if count]
    if found.skipped:
        path, reason = found.skipped[0]
        notes.append(
            f"{counted(len(found.skipped), 'file')} not understood, such as '{printable(path)}': "
            f"{reason}"
        )
    return notes


def _place(series: Series, left: Counter[str]) -> Path | None:
    """The file or folder that holds nothing but the series."""
    paths = [file.path for file in series.files]
    if series.modality in _SPEAK_OF_IMAGES or not any(file.image for file in series.files):
        left["series without images of their own"] += 1
        return None
    if len(paths) == 1:
        return Path(paths[0])
    folders = {os.path.dirname(path) for path in paths}
    if len(folders) == 1:
        (folder,) = folders
        if len([name for name in os.listdir(folder) if not name.startswith(".")]) == len(paths):
            return Path(folder)
    left["series that share a folder with other files, or lie in several,"] += 1
    return None


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(place, name)


def _is_dicom(path: Path) -> bool:
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(HEAD_BYTES))
    except OSError:
        return False
