"""A DICOM file → a DICOM file without the patient.

The pixels are copied as they are, compressed ones in their bytes, unless something in them was
blacked out.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from osler.errors import UnreadableError, UnsupportedError
from osler.io.deidentification import device_rules, pixels
from osler.io.deidentification.dataset import Cleaner, Patient
from osler.io.deidentification.dates import Offset
from osler.io.deidentification.device_rules import Box
from osler.io.deidentification.frames import SYNTAXES as CAN_DECODE
from osler.io.deidentification.free_text import Model, Scrubber
from osler.io.deidentification.key import Key
from osler.io.deidentification.known import from_dataset
from osler.io.deidentification.options import Options
from osler.io.deidentification.profile import EDITION
from osler.io.dicom_header import refuse_deep
from osler.io.identity import version
from osler.io.input_file import InputFile, decoding
from osler.io.signatures import is_dicomdir

IMPLEMENTATION: Final = "2.25.215366823826404230466172398713086113905"
"""Names Osler as the writer of a file (PS3.7, annex D.3.3.2)."""

_PROVIDERS: Final = ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95")  # JPIP
PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_LARGE: Final = 65_536  # bytes; larger values stay in the file until they are copied

_DOCUMENTS: Final = ("1.2.840.10008.5.1.4.1.1.104.",)  # PDF, CDA, STL, OBJ, MTL
_RAW: Final = ("1.2.840.10008.5.1.4.1.1.66",)  # Raw Data Storage: a maker's own bytes
_VOICES: Final = ("1.2.840.10008.5.1.4.1.1.9.4.1", "1.2.840.10008.5.1.4.1.1.9.4.2")


@dataclass(slots=True)
class Cleaned:
    """A data set that can go out.

    Attributes:
        dataset: with its file meta information, ready to be written.
        patient: whose it is, and what is known of them.
        place: names of the folders and the file it belongs in.
        counts: attribute and what was done to it, how often.
        notes: what a person should know.
        boxes: rectangles where the header tells that this device burns text into its pixels.
        hidden_bits: an overlay may lie in the bits that the pixels leave unused.
    """

    dataset: FileDataset
    patient: Patient
    place: tuple[str, ...]
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    hidden_bits: bool = False


def read(file: InputFile) -> FileDataset:
    """A file's data set; large values stay in the file.

    Raises:
        UnreadableError: it is damaged.
        UnsupportedError: it is a DICOMDIR, or holds a document in a format of its own.
    """
    if is_dicomdir(file.head):
        raise UnsupportedError(
            f"'{file.name}' is a DICOMDIR, the index of a medium, and holds nothing but names; "
            "make a new one from the copies where one is needed"
        )
    with decoding(file, "DICOM"):
        dataset = pydicom.dcmread(file.path, force=True, defer_size=_LARGE)
        _check_length(dataset, file)
        refuse_deep(file.name, dataset)
        sop_class = _whole(dataset, file)
    if sop_class.startswith(_DOCUMENTS):
        raise UnsupportedError(
            f"'{file.name}' is a document inside DICOM, which cannot be searched for identities; "
            "take the text out of it first"
        )
    if sop_class == _RAW[0]:
        raise UnsupportedError(
            f"'{file.name}' is DICOM Raw Data, whose content only its maker can read"
        )
    if sop_class in _VOICES:
        raise UnsupportedError(
            f"'{file.name}' is a sound recording, in which a voice may tell who somebody is"
        )
    if _is_label(dataset):
        raise UnsupportedError(
            f"'{file.name}' is the picture of a slide with its label, whose writing and bar codes "
            "name the specimen (0008,0008) (0048,0010)"
        )
    _refuse_syntax(dataset, file)
    return dataset


def _is_label(dataset: Dataset) -> bool:
    image_type = {str(v) for v in dataset.get("ImageType") or ()}
    return "LABEL" in image_type or str(dataset.get("SpecimenLabelInImage", "")) == "YES"


def _refuse_syntax(dataset: FileDataset, file: InputFile) -> None:
    """Refuse pixels that cannot be looked at, films above all, whatever the options."""
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    syntax = UID(str(meta.get("TransferSyntaxUID", "")))
    if not syntax or syntax in CAN_DECODE:
        return
    if not any(keyword in dataset for keyword in PIXELS) and not syntax.startswith(_PROVIDERS):
        return
    name = syntax.name if syntax.name != syntax else "a syntax of its maker"
    raise UnsupportedError(
        f"the pixels of '{file.name}' are in {name} ({syntax}), in which neither text nor voices "
        "can be searched; write its frames in JPEG or uncompressed first"
    )


def _whole(dataset: FileDataset, file: InputFile) -> str:
    """Give a data set the identifiers that only the file meta information states; its SOP class."""
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        stated = str(dataset.get(keyword) or meta.get(f"MediaStorage{keyword}") or "")
        if not stated:
            raise UnreadableError(
                f"'{file.name}' starts as DICOM but states no {keyword}; "
                "it is damaged or no stored object"
            )
        if not dataset.get(keyword):
            setattr(dataset, keyword, stated)
    return str(dataset.SOPClassUID)


def _check_length(dataset: FileDataset, file: InputFile) -> None:
    """Refuse a file that ends in mid-value: the parser takes what is there for the whole."""
    raws = [raw for raw in dataset._dict.values() if isinstance(raw, RawDataElement)]
    ends = [raw.value_tell + raw.length for raw in raws if raw.length != 0xFFFFFFFF]
    if not dataset._dict:
        raise UnreadableError(f"'{file.name}' ends after its header; copy it again")
    last = dataset._dict[max(dataset._dict)]
    open_end = not isinstance(last, RawDataElement) or last.length == 0xFFFFFFFF
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    end = max(ends, default=0)
    if not deflated and (end > file.size or (end < file.size and not open_end)):
        raise UnreadableError(
            f"'{file.name}' ends early, or holds bytes after its last element; copy it again"
        )


def patient_of(dataset: Dataset, options: Options, key: Key) -> Patient:
    """Whose data set it is: by identifier, else by name and birth, else by study."""
    identifier = str(dataset.get("PatientID") or "").strip()
    if not identifier:
        name, birth = dataset.get("PatientName") or "", dataset.get("PatientBirthDate") or ""
        identifier = f"name:{name}|{birth}" if str(name).strip("^ ") else ""
    if not identifier:
        identifier = f"study:{dataset.get('StudyInstanceUID') or dataset.get('SOPInstanceUID')}"
    known = from_dataset(dataset, dates=options.dates != "keep", uids=not options.uids)
    stated = str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPInstanceUID", ""))
    if stated and not options.uids:
        known.uids.add(stated)
    offset = Offset.of(identifier, key)
    known.offsets.add(offset)
    return Patient(key.name("patient", identifier), offset, known)


def clean(
    file: InputFile, *, options: Options, key: Key, model: Model | None = None, relative: str = ""
) -> Cleaned:
    """A file's data set without the patient; the pixels are not looked at.

    Args:
        file: the original.
        options: what is kept.
        key: the secret of the run.
        model: finds more in free text than the rules do.
        relative: the path below the source folder; two files with one UID stay two by it.

    Raises:
        UnreadableError: it is damaged.
        UnsupportedError: nothing of it could be kept.
    """
    dataset = read(file)
    with decoding(file, "DICOM"):
        patient = patient_of(dataset, options, key)
        place = _place(dataset, patient, key, relative)
        boxes = device_rules.boxes(dataset) + device_rules.outside_regions(dataset)
        hidden_bits = _hides_overlays(dataset)
        had_patient = "PatientID" in dataset or "PatientName" in dataset
        moves = patient.offset if options.dates == "shift" else None
        scrubber = Scrubber(patient.known, model=model, offset=moves)
        cleaner = Cleaner(options, key, patient, scrubber)
        meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
        cleaner.clean(dataset)
        if had_patient or "StudyInstanceUID" in dataset:
            dataset.PatientID = dataset.PatientName = patient.pseudonym
        _say_so(dataset, options)
        syntax = str(meta.get("TransferSyntaxUID", "")) or _stated_syntax(dataset)
        cleaner.counts["file preamble", "zeroed"] += int(any(dataset.preamble or b""))
        for element in meta:
            if element.keyword not in _META:
                cleaner.counts[f"{element.tag} {element.name}", "removed"] += 1
        pixels.tidy(dataset, syntax, cleaner.counts)
        dataset.preamble = b"\0" * 128
        dataset.file_meta = _meta(dataset, syntax)
    return Cleaned(dataset, patient, place, cleaner.counts, boxes=boxes, hidden_bits=hidden_bits)


def _hides_overlays(dataset: Dataset) -> bool:
    """Whether an overlay lies in the pixels' unused bits (PS3.3, C.9.2; retired)."""
    return any(
        tag.group >> 8 == 0x60 and tag.element == 0x0102 and dataset[tag].value
        for tag in list(dataset.keys())
    )


_META: Final = (
    "FileMetaInformationGroupLength",
    "FileMetaInformationVersion",
    "MediaStorageSOPClassUID",
    "MediaStorageSOPInstanceUID",
    "TransferSyntaxUID",
    "ImplementationClassUID",
    "ImplementationVersionName",
)


def write(cleaned: Cleaned, path: Path) -> None:
    """Write the copy; the caller renames it to its place."""
    cleaned.dataset.save_as(path, enforce_file_format=True)


def _meta(dataset: Dataset, syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax or ExplicitVRLittleEndian)
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    meta.ImplementationVersionName = f"OSLER {version()}"[:16]
    return meta


def _stated_syntax(dataset: FileDataset) -> str:
    """The syntax that a file without meta information was read by."""
    implicit, little = dataset.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"


def _place(dataset: Dataset, patient: Patient, key: Key, relative: str) -> tuple[str, ...]:
    """Folders by patient, study and series, and a name for the file: all of them keyed hashes."""

    def name(initial: str, keyword: str, more: str = "") -> str:
        return initial + key.name(keyword, f"{dataset.get(keyword) or ''}{more}", length=10)

    study, series = name("S", "StudyInstanceUID"), name("E", "SeriesInstanceUID")
    return patient.pseudonym, study, series, name("I", "SOPInstanceUID", f"|{relative}") + ".dcm"


def _say_so(dataset: Dataset, options: Options) -> None:
    """Write into the data set what was done to it (PS3.15, E.1.1)."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [
        f"Osler {version()}"[:64],
        f"DICOM PS3.15 {EDITION} Basic Application Confidentiality"[:64],
    ]
    dataset.DeidentificationMethodCodeSequence = [_code(*c) for c in options.codes()]
    said = {"remove": "REMOVED", "shift": "MODIFIED", "keep": "UNMODIFIED"}
    dataset.LongitudinalTemporalInformationModified = said[options.dates]


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
