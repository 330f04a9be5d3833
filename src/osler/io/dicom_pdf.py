"""Documents in DICOM: Encapsulated PDF and CDA read as text, and written [1].

1. DICOM PS3.3, A.45 and C.24.
"""

import hashlib
import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from osler.errors import (
    MissingExtraError,
    OutputError,
    TooLargeError,
    UnreadableError,
    UnsupportedError,
)
from osler.io import dicom_header as header
from osler.io.atomic_file import replacing
from osler.io.dicom_context import new_object, write_dataset
from osler.io.dicom_whole import read_whole
from osler.io.input_file import InputFile, decoding, opened
from osler.io.pdf_typeset import typeset
from osler.record import Item, Text

PDF = "1.2.840.10008.5.1.4.1.1.104.1"
CDA = "1.2.840.10008.5.1.4.1.1.104.2"
ITEM = "report"


def read_document(file: InputFile, format: str) -> tuple[Text, str | None]:
    """The text of an encapsulated PDF, and the patient's id.

    Where ``pypdf`` is not installed, or the document is no PDF, is damaged, locked or a scan, the
    item is empty and its flag says why.

    Raises:
        UnreadableError: the object is damaged or holds no document.
    """
    with decoding(file, format):
        dataset = read_whole(file)
        content = dataset.get("EncapsulatedDocument")
        if not isinstance(content, bytes) or not content:
            raise UnreadableError(
                f"'{file.name}' holds no document (0042,0011); it is incomplete: copy it again "
                "from its source"
            )
        read, flags = _words(content, file.name)
        item = Text(
            name=ITEM,
            text=read.text if read else "",
            language=read.language if read else "en",
            sections=read.sections if read else {},
            acquired=header.acquired(dataset),
            origin=file.origin(format, header.as_json(dataset)),
            flags=flags,
        )
        return item, header.patient_id(dataset)


def _words(content: bytes, name: str) -> tuple[Text | None, tuple[str, ...]]:
    """What the reader of PDF files makes of the document, or why nothing."""
    from osler.io.text_pdf import read_pdf

    if not content.lstrip(b"\0\r\n\t ").startswith(b"%PDF"):
        return None, ("document-not-pdf",)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "document.pdf")
        path.write_bytes(content)
        try:
            with opened(path) as inner:
                read = read_pdf(replace(inner, name=name), "pdf", max_pixels=0).items[0]
        except MissingExtraError:
            return None, ("document-needs-pypdf",)
        except TooLargeError:
            return None, ("document-too-large",)
        except UnsupportedError:
            return None, ("document-without-text",)
        except UnreadableError:
            return None, ("document-damaged",)
    assert isinstance(read, Text)
    return read, read.flags


def write_document(
    document: str | Path | Text,
    path: str | Path,
    *,
    about: Item | None = None,
    title: str = "Report",
    patient_id: str | None = None,
    at: datetime | None = None,
) -> Path:
    """Write a PDF file, or a text set as PDF, as an Encapsulated PDF.

    Args:
        document: a PDF file, or a text. Text is set in fonts that readers have: European and East
            Asian letters (see ``pdf_typeset``).
        path: the file, which appears whole or not at all.
        about: the item whose patient and study it belongs to.
        title: what the document is.
        patient_id: the patient, where ``about`` names none.
        at: when it was made; now by default.

    Returns:
        The path.

    Raises:
        OutputError: the file is no PDF, the text has letters that the fonts lack, or the file
            cannot be written.
    """
    at = at or datetime.now().astimezone()
    content = typeset(document.text) if isinstance(document, Text) else _pdf_file(Path(document))
    key = hashlib.sha256(content).hexdigest()
    item = about or (document if isinstance(document, Text) else Text(ITEM, ""))
    ds = new_object(item, PDF, "DOC", key=key, patient_id=patient_id, at=at)
    ds.SeriesNumber, ds.SeriesDescription = 104, "Osler document"
    ds.ConversionType, ds.BurnedInAnnotation = "WSD", "YES"
    ds.AcquisitionDateTime = None
    ds.DocumentTitle = title
    ds.ConceptNameCodeSequence = []
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    ds.EncapsulatedDocumentLength = len(content)
    write_dataset(ds, Path(path))
    return Path(path)


def _pdf_file(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OutputError(f"'{path}' cannot be read ({error.strerror}); check the path") from error
    if not content.startswith(b"%PDF"):
        raise OutputError(f"'{path}' is no PDF document; give one, or a Text")
    return content


def copy_object(item: Item, path: str | Path) -> Path:
    """Copy the DICOM file that an item came from, untouched: waveforms above all.

    Raises:
        OutputError: it came from no DICOM file of its own, or the file has changed since.
    """
    origin = item.origin
    if origin is None or not origin.format.startswith("dicom") or origin.files:
        raise OutputError(
            f"item '{item.name}' came from no single DICOM file that could be copied; a recording "
            "from elsewhere is written as .hea (WFDB) or .csv"
        )
    try:
        content = Path(origin.path).read_bytes()
    except OSError as error:
        raise OutputError(
            f"'{origin.path}' cannot be read any more ({error.strerror}); put it back"
        ) from error
    if origin.sha256 and hashlib.sha256(content).hexdigest() != origin.sha256:
        raise OutputError(f"'{origin.path}' has changed since it was opened; load it again")
    with replacing(path) as part:
        part.write_bytes(content)
    return Path(path)
