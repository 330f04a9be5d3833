"""Folders of classes, in and out: ``[train/]CLASS/picture.jpg``.

Source: the layout of ``torchvision.datasets.ImageFolder``.
"""

from pathlib import Path

from osler.data.cohort import Row
from osler.data.importing import (
    PICTURES,
    UNKNOWN_PATIENTS,
    Imported,
    Names,
    Options,
    files_under,
    patient_of,
    split_of,
)
from osler.errors import InputError
from osler.io.dicom_scan import TAGS
from osler.io.sorting_files import look
from osler.terminal import counted

LABEL = "class"
_MASKS = ("image", "images", "mask", "masks", "label", "labels", "annotations", "segmentations")


def accepts(source: Path) -> bool:
    """Whether every folder in it, or in its folders of splits, holds pictures."""
    return source.is_dir() and bool(_classes(source))


def read(source: Path, options: Options) -> Imported:
    """A case for each picture; its folder is its class. Of DICOM pictures PatientID is the patient.

    Raises:
        InputError: it is no such folder.
    """
    classes = _classes(source)
    if not classes:
        raise InputError(
            f"'{source}' holds no folders of pictures; expected CLASS/picture or "
            "train/CLASS/picture"
        )
    names, rows, notes = Names(), [], []
    unknown = 0
    for split, folder in classes:
        pictures = list(files_under(folder, PICTURES))
        if not pictures:
            notes.append(f"the folder '{folder.relative_to(source)}' holds no picture")
        for file in pictures:
            within = file.relative_to(folder).with_suffix("").as_posix()
            case = names.new("-".join(p for p in (split, folder.name, within) if p))
            stated = None if options.patient else _patient_of_header(file)
            unknown += not options.patient and stated is None
            patient = stated or patient_of(file, source, options, case)
            rows.append(Row(case, patient, None, {"photo": file}, {LABEL: folder.name}, split))
    if unknown == len(rows):
        notes.insert(0, UNKNOWN_PATIENTS)
    elif unknown:
        notes.insert(0, f"{counted(unknown, 'picture')} of no stated patient, each counted as one")
    if any(folder.name.casefold() in _MASKS for _, folder in classes):
        named = ", ".join(dict.fromkeys(folder.name for _, folder in classes))
        notes.append(
            f"the folders {named} became classes; if some hold masks of the others, write the "
            "table yourself: a case a row, with its picture and a column label:NAME of each mask"
        )
    loose = [f for f in source.iterdir() if f.suffix.lower() in PICTURES]
    if loose:
        notes.append(
            f"{counted(len(loose), 'picture')} beside the folders left out, without a class"
        )
    return Imported(source, rows, notes)


def _patient_of_header(file: Path) -> str | None:
    """PatientID of a DICOM picture; None where the file does not say."""
    if file.suffix.lower() != ".dcm":
        return None
    tags = {keyword: TAGS[keyword] for keyword in ("SpecificCharacterSet", "PatientID")}
    scan = look(str(file), tags, tags["PatientID"][0] + 1).scan
    return scan.text("PatientID") or None if scan else None


def _classes(source: Path) -> list[tuple[str | None, Path]]:
    """Split and folder of each class."""
    folders = _folders(source)
    split = [(split_of(folder.name), folder) for folder in folders]
    if folders and all(name for name, _ in split):
        return [(name, one) for name, folder in split for one in _folders(folder)]
    has = any(next(files_under(folder, PICTURES), None) for folder in folders)
    return [(None, folder) for folder in folders] if has else []


def _folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
