"""Documents in DICOM: Encapsulated PDF and CDA read as text, and written [1].

1. DICOM PS3.3, A.45 and C.24.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from osler.errors import MissingExtraError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import dicom_header as header
from osler.io.input_file import InputFile, decoding, opened
from osler.record import Text

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
    import pydicom

    with decoding(file, format):
        file.stream.seek(0)
        dataset = pydicom.dcmread(file.stream, force=True)
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
