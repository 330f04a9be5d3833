"""The kinds of files that are cleaned, in the order in which they are tried."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from osler.errors import OslerError, UnsupportedError
from osler.io.deidentification.cells import Cells
from osler.io.deidentification.draft import Draft, Setting
from osler.io.deidentification.free_text import Scrubber
from osler.io.deidentification.known import Known
from osler.io.deidentification.names_of_files import names_in, place
from osler.io.input_file import InputFile, opened
from osler.io.record_signatures import is_edf, is_hl7, is_pdf, is_zip
from osler.io.signal_wfdb_header import is_wfdb_header
from osler.io.signatures import (
    describe,
    is_bmp,
    is_dicom,
    is_dicomdir,
    is_jpeg,
    is_metaimage,
    is_nrrd,
    is_png,
    is_tiff,
)

_NEIGHBOURS: Final = 200
"""So many files of a folder tell whom the other files there may be about."""

_EACH: Final = 8  # files of each of the folders around it
_MOST_SEEN: Final = 5_000

Told = Callable[[InputFile, Setting], Known]


class Kind(NamedTuple):
    """A kind of files.

    Attributes:
        format: its name in the report.
        accepts: whether a file is of this kind.
        make: makes the copy.
        told: what a file's own header tells of somebody; None where it has none to ask.
    """

    format: str
    accepts: Callable[[InputFile], bool]
    make: Callable[[InputFile, Setting], Draft]
    told: Told | None = None


def kind_of(file: InputFile) -> Kind:
    """The kind of a file.

    Raises:
        UnsupportedError: it is of none.
    """
    for kind in KINDS:
        if kind.accepts(file):
            return kind
    raise UnsupportedError(
        f"'{file.name}' is {_described(file)}, which is not cleaned, so it was not copied"
    )


def _described(file: InputFile) -> str:
    """What a file is that is not cleaned, with the way out where there is one."""
    from osler.io.readers import READERS

    for reader in READERS:
        if reader.format in _READ_ONLY and reader.accepts(file.head):
            return _READ_ONLY[reader.format]
    said = describe(file.head)
    return "text that is not named .txt (give its copy that name)" if said == "text" else said


_CONVERT: Final = "convert it first: osler convert IN OUT"
_READ_ONLY: Final = {
    "heyex-vol": f"an OCT export of Heidelberg (.vol: its header names the patient; {_CONVERT})",
    "heyex-e2e": f"an OCT container of Heidelberg (.e2e: it names the patient often; {_CONVERT})",
    "topcon": f"an OCT container of Topcon (it names the patient; {_CONVERT})",
    "parquet": "a table in Parquet (export it as CSV: osler convert IN OUT.csv)",
    "hl7": "a message of HL7 version 2 (take its text out first: osler convert IN OUT.txt)",
    "h5ad": "an HDF5 file (export it as CSV: osler convert IN OUT.csv)",
}


def known_of(file: InputFile, setting: Setting) -> Known:
    """What must not be found in the copy of a file: its own header's words and its folder's."""
    kind = kind_of(file)
    known = Known()
    if kind.format != "dicom":
        known.update(_nearby(file, setting))
    if kind.told is not None:
        known.update(kind.told(file, setting))
    return known


def _nearby(file: InputFile, setting: Setting) -> Known:
    """What the files around a file tell of their patients: of its folder, and of those around it.

    A report lies beside its pictures, above them, or in a folder beside theirs.
    """
    known = Known()
    here = _of_folder(str(file.path.parent), setting)
    known.update(here)
    first = Path(setting.relative(file.path)).parts[0]
    top = setting.source / first if setting.source.is_dir() else setting.source.parent
    if setting.source.is_dir():
        known.update(_of_tree(str(top if top.is_dir() else setting.source), setting))
    if here.offsets:  # whose pictures lie beside a text, its dates are about
        known.offsets = set(here.offsets)
    return known


def _scrubber(file: InputFile, setting: Setting, known: Known) -> Scrubber:
    """What cleans words: it also knows whom the names of the file and of its folders may be about.

    Those are no more than likely, so that a copy is not refused for them.
    """
    likely = names_in(setting.relative(file.path))
    moves = setting.options.dates == "shift" and len(known.offsets) == 1
    offset = next(iter(known.offsets)) if moves else None
    return Scrubber(known, model=setting.model, offset=offset).knowing(likely)


@lru_cache(maxsize=64)
def _of_folder(folder: str, setting: Setting) -> Known:
    known, looked = Known(), 0
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if looked >= _NEIGHBOURS:
            break
        looked += entry.is_file() and _tell(Path(entry.path), setting, known)
    known.uids.clear()
    return known


@lru_cache(maxsize=64)
def _of_tree(top: str, setting: Setting) -> Known:
    """What some files of each folder below one tell."""
    known, looked, seen = Known(), 0, 0
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        here = 0
        for name in sorted(names):
            seen += 1
            if here >= _EACH or looked >= _NEIGHBOURS or seen > _MOST_SEEN:
                break
            here += _tell(Path(folder, name), setting, known)
        looked += here
        if looked >= _NEIGHBOURS or seen > _MOST_SEEN:
            break
    known.uids.clear()
    return known


def _tell(path: Path, setting: Setting, known: Known) -> bool:
    """Add what a file's header tells; whether it has one."""
    with contextlib.suppress(OslerError), opened(path) as file:
        told = next((k.told for k in KINDS if k.told and k.accepts(file)), None)
        if told is not None and not is_dicomdir(file.head):
            known.update(told(file, setting))
            return True
    return False


def _dicom(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import burnt_in, dicom_file

    cleaned = dicom_file.clean(
        file,
        options=setting.options,
        key=setting.key,
        model=setting.model,
        relative=setting.relative(file.path),
    )
    burnt_in.clean(cleaned, file, setting.options)
    return Draft(
        cleaned.place,
        lambda path: dicom_file.write(cleaned, path),
        cleaned.counts,
        cleaned.notes,
        cleaned.patient.known,
    )


def _dicom_told(file: InputFile, setting: Setting) -> Known:
    from osler.io.deidentification import dicom_file

    dataset = dicom_file.read(file)
    return dicom_file.patient_of(dataset, setting.options, setting.key).known


def _raster(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import raster_file

    picture = raster_file.clean(file, setting.options)
    where = place(setting.relative(file.path), picture.ending, setting.key)
    return picture.draft(where, _nearby(file, setting))


def _nifti(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import nifti_file

    counts: Counter[tuple[str, str]] = Counter()
    relative = setting.relative(file.path)
    where = nifti_file.place_of(file, relative, setting.key)
    known = _nearby(file, setting)
    return Draft(where, lambda path: nifti_file.write(file, path, counts), counts, known=known)


def _volume(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import volume_file

    volume = volume_file.clean(file)
    where = place(setting.relative(file.path), volume.ending, setting.key)
    return volume.draft(where, _nearby(file, setting))


def _edf(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import edf_file

    known = known_of(file, setting)
    recording = edf_file.clean(file, setting.options, setting.key, _scrubber(file, setting, known))
    where = place(setting.relative(file.path), recording.ending, setting.key)
    return recording.draft(where, known)


def _edf_told(file: InputFile, setting: Setting) -> Known:
    from osler.io.deidentification import edf_file

    return edf_file.told(file, dates=setting.options.dates != "keep")


def _wfdb(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import wfdb_header

    known = known_of(file, setting)
    header = wfdb_header.Cleaner(
        setting.options,
        setting.key,
        _scrubber(file, setting, known),
        relative=setting.relative(file.path),
    )
    text = header.clean(file)
    where = wfdb_header.place_of(setting.relative(file.path), setting.key)
    return Draft(where, lambda path: _put(text, path), header.counts, header.notes, known)


def _wfdb_told(file: InputFile, setting: Setting) -> Known:
    from osler.io.deidentification import wfdb_header

    return wfdb_header.told(file, dates=setting.options.dates != "keep")


def _wfdb_part(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import wfdb_header, wfdb_parts

    known = _nearby(file, setting)
    counts: Counter[tuple[str, str]] = Counter()
    write = wfdb_parts.clean(file, _scrubber(file, setting, known), counts)
    where = wfdb_header.place_of(setting.relative(file.path), setting.key)
    return Draft(where, write, counts, known=known)


def _is_wfdb_part(file: InputFile) -> bool:
    from osler.io.deidentification import wfdb_parts

    return wfdb_parts.role_of(file.path) is not None


def _docx(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import docx_file

    known = _nearby(file, setting)
    document = docx_file.clean(file, setting.options, _scrubber(file, setting, known))
    where = place(setting.relative(file.path), ".docx", setting.key)
    return Draft(where, document.write, document.counts, document.notes, known)


def _is_docx(file: InputFile) -> bool:
    from osler.io.deidentification import docx_file

    return is_zip(file.head) and docx_file.accepts(file)


def _pdf(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import pdf_file

    known = _nearby(file, setting)
    document = pdf_file.clean(file, _scrubber(file, setting, known))
    where = place(setting.relative(file.path), document.ending, setting.key)
    return document.draft(where, known)


def _text(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import text_file

    known = _nearby(file, setting)
    text, counts = text_file.clean(file, _scrubber(file, setting, known))
    where = place(setting.relative(file.path), ".txt", setting.key)
    return Draft(where, lambda path: _put(text, path), counts, known=known)


def _cells(file: InputFile, setting: Setting, known: Known) -> Cells:
    """What cleans the values of a file, by the names that they stand under."""
    return Cells(
        setting.options,
        setting.key,
        _scrubber(file, setting, known),
        relative=setting.relative(file.path),
        source=file.path.parent,
    )


def _table(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import table_file

    known, relative = _nearby(file, setting), setting.relative(file.path)
    table = table_file.Table(_cells(file, setting, known))
    text = table.clean(file)
    where = place(relative, file.path.suffix.lower(), setting.key)
    return Draft(where, lambda path: _put(text, path), table.counts, known=known)


def _excel(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import excel_file

    known = _nearby(file, setting)
    book = excel_file.clean(file, _cells(file, setting, known))
    where = place(setting.relative(file.path), ".xlsx", setting.key)
    return Draft(where, book.write, book.counts, book.notes, known)


def _is_excel(file: InputFile) -> bool:
    from osler.io.deidentification import excel_file

    return is_zip(file.head) and excel_file.accepts(file)


def _json(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import json_file

    known = _nearby(file, setting)
    cells = _cells(file, setting, known)
    text = json_file.clean(file, cells)
    ending = file.path.suffix.lower()
    ending = ending if ending in json_file.ENDINGS else ".json"
    where = place(setting.relative(file.path), ending, setting.key)
    return Draft(where, lambda path: _put(text, path), cells.counts, known=known)


def _is_json(file: InputFile) -> bool:
    from osler.io.deidentification import json_file

    return json_file.accepts(file)


def _xml(file: InputFile, setting: Setting) -> Draft:
    from osler.io.deidentification import xml_file

    known = _nearby(file, setting)
    cells = _cells(file, setting, known)
    data = xml_file.clean(file, cells)
    where = place(setting.relative(file.path), xml_file.ENDING, setting.key)
    return Draft(where, lambda path: xml_file.write(data, path), cells.counts, known=known)


def _is_xml(file: InputFile) -> bool:
    from osler.io.deidentification import xml_file

    return xml_file.accepts(file)


def _put(text: str, path: Path) -> None:
    from osler.io.deidentification import text_file

    text_file.write(text, path)


def _has_ending(*endings: str) -> Callable[[InputFile], bool]:
    def accepts(file: InputFile) -> bool:
        # rules for prose do not find the names in the fields of a message
        return file.path.suffix.lower() in endings and not is_hl7(file.head)

    return accepts


def _is_raster(file: InputFile) -> bool:
    head = file.head
    return is_jpeg(head) or is_png(head) or is_tiff(head) or is_bmp(head)


def _is_nifti(file: InputFile) -> bool:
    from osler.io.deidentification import nifti_file

    return nifti_file.accepts(file)


KINDS: Final[list[Kind]] = [
    Kind("dicom", lambda file: is_dicom(file.head), _dicom, _dicom_told),
    Kind("raster", _is_raster, _raster),
    Kind("nifti", _is_nifti, _nifti),
    Kind("volume", lambda file: is_nrrd(file.head) or is_metaimage(file.head), _volume),
    Kind("edf", lambda file: is_edf(file.head), _edf, _edf_told),
    Kind("docx", _is_docx, _docx),
    Kind("xlsx", _is_excel, _excel),
    Kind("pdf", lambda file: is_pdf(file.head), _pdf),
    Kind("xml", _is_xml, _xml),
    Kind("json", _is_json, _json),
    Kind("table", _has_ending(".csv", ".tsv"), _table),
    Kind("text", _has_ending(".txt", ".text"), _text),
    Kind("wfdb", lambda file: is_wfdb_header(file.head), _wfdb, _wfdb_told),
    Kind("wfdb", _is_wfdb_part, _wfdb_part),
]
"""Any other is not copied."""
