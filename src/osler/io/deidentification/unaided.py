"""The second pass over a copy whose original is not at hand: nothing is known of whom it was about.

What can be told without knowing: whether a copy looks in every place as a cleaned one does, and
whether the rules find anybody in its words.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pydicom

from osler.errors import OslerError
from osler.io.deidentification import verify
from osler.io.deidentification.cells import Cells
from osler.io.deidentification.dataset import is_free_text
from osler.io.deidentification.dummies import dummy
from osler.io.deidentification.free_text import STILL, second_look
from osler.io.deidentification.key import Key
from osler.io.deidentification.kinds import kind_of
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options
from osler.io.deidentification.profile import Action, action_of, row_of
from osler.io.dicom_header import refuse_deep
from osler.io.hushing import hushed
from osler.io.input_file import InputFile, opened
from osler.io.record_signatures import is_zip
from osler.io.signal_wfdb_header import is_wfdb_header
from osler.io.signatures import is_dicom

_NAME: Final = re.compile(r"[A-Z2-7]{12}|[FSEINR][A-Z2-7]{10,12}(\.[A-Za-z0-9.]{1,12})?")
"""What a folder or file is called by ``names_of_files.py`` and ``dicom_file.py``."""

_PSEUDONYM: Final = re.compile(r"[A-Z2-7]{12}|REMOVED|")


def left(path: Path, place: str, options: Options) -> list[str]:
    """What a file still tells of anybody; empty where nothing is found.

    Args:
        path: the file.
        place: its path below the folder that is looked through.
        options: what was to be kept.

    Returns:
        Kinds of things and where, never the things themselves.
    """
    try:
        with hushed(), opened(path) as file:
            found = [] if _names_fit(place) else ["a name that tells what it was called"]
            kind_of(file)
            found += verify.left(path, _anybody(options), options, thorough=True)
            found += sorted(set(_more(file, options)))
    except OslerError as error:
        return [f"a file that cannot be checked ({type(error).__name__})"]
    except Exception as error:  # noqa: BLE001 - what cannot be checked is not clean
        return [f"a file that cannot be checked ({type(error).__name__})"]
    return found


def _anybody(options: Options) -> Known:
    """Nobody; where dates were moved, somebody's may have been, by an amount that nobody knows."""
    known = Known()
    if options.dates == "shift":
        known.offsets.add(STILL)
    return known


def _names_fit(place: str) -> bool:
    return all(_NAME.fullmatch(part) for part in place.split("/"))


def _more(file: InputFile, options: Options) -> Iterator[str]:
    """What the ordinary second pass leaves to what it knows of the original."""
    from osler.io.deidentification import (
        excel_file,
        json_file,
        table_file,
        wfdb_header,
        xml_file,
    )

    if is_dicom(file.head):
        dataset = pydicom.dcmread(file.path, force=True, defer_size=65536)
        refuse_deep(file.name, dataset)
        if dataset.get("PatientIdentityRemoved") != "YES":
            yield "no statement that the identity was removed (0012,0062)"
        for element in _elements(dataset):
            yield from _in_element(element, options)
    elif file.path.suffix.lower() in table_file.ENDINGS:
        yield from table_file.left(file, options)
    elif is_zip(file.head) and excel_file.accepts(file):
        yield from excel_file.left_unaided(file, options)
    elif xml_file.accepts(file):
        yield from xml_file.left_unaided(file, _cells(file, options), options)
    elif json_file.accepts(file):
        yield from json_file.left_unaided(file, _cells(file, options), options)
    elif is_wfdb_header(file.head):
        yield from wfdb_header.left(file, options)


def _cells(file: InputFile, options: Options) -> Cells:
    """What cleans values once more: in a copy that is clean it finds nothing to do."""
    scrubber, nobody = second_look(Known(), dates=options.dates, offsets=False), Key(bytes(32))
    return Cells(options, nobody, scrubber, relative=file.name, source=file.path.parent)


def _elements(dataset: Any) -> Iterator[Any]:
    stack = [dataset]
    while stack:
        for element in stack.pop():
            if element.tag.group != 0x7FE0:
                yield element
            if element.VR == "SQ":
                stack.extend(element.value or ())


def _in_element(element: Any, options: Options) -> Iterator[str]:
    scrubber = second_look(Known(), dates=options.dates, offsets=False)
    row = row_of(element.tag)
    action = Action.KEEP if row is None else action_of(row, options)
    values = element.value if hasattr(element.value, "append") else [element.value]
    texts = [str(value) for value in values if value is not None]
    name = f"({element.tag.group:04X},{element.tag.element:04X})"
    if element.VR == "PN" or element.keyword == "PatientID":
        if not all(_PSEUDONYM.fullmatch(text) for text in texts):
            yield f"somebody in {name}"
    elif element.VR in ("DA", "DT") and options.dates == "remove":
        if not set(texts) <= {"", str(dummy(element.VR))}:
            yield f"a date in {name}"
    elif action in (Action.DUMMY, Action.EMPTY) and element.VR in ("LO", "SH", "ST", "LT", "UT"):
        if not set(texts) <= {"", str(dummy(element.VR))}:
            yield f"something in {name}, which is to be empty"
    elif (
        action is Action.CLEAN
        and is_free_text(element.VR)
        and any(scrubber.passages(text) for text in texts)
    ):
        yield f"something of somebody in {name}"
