"""A PDF document → a new one that holds its text without people, and nothing else.

A PDF keeps words in a dozen places (fonts, forms, attachments, earlier versions of itself), so it
is not edited but set anew from its cleaned text: layout and pictures are lost, and the report says
so.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from osler.errors import MissingExtraError, OutputError, UnsupportedError
from osler.io.deidentification.draft import Cleaned
from osler.io.deidentification.free_text import Scrubber, replace, second_look
from osler.io.deidentification.known import Known
from osler.io.deidentification.options import Options
from osler.io.input_file import MAX_PIXELS, InputFile, opened
from osler.record import Text


def clean(file: InputFile, scrubber: Scrubber) -> Cleaned:
    """The document's text as a new document; as plain text where the fonts of PDF lack letters.

    Raises:
        UnsupportedError: it is a scan, has pages without text, or needs a password; or what reads
            it is not installed.
        UnreadableError: it is damaged.
    """
    from osler.io import pdf_typeset

    text, blank = _text(file)
    if blank:
        raise UnsupportedError(
            f"'{file.name}' has pages without text, which are scans; recognise their text first, "
            "for instance with 'ocrmypdf IN OUT'"
        )
    passages = scrubber.passages(text)
    new = replace(text, passages)
    document = Cleaned(".pdf", lambda _: None)
    document.counts.update((f"text: {p.kind.lower()}", "replaced") for p in passages)
    document.notes.append("set anew from its text: layout, pictures and attachments were left out")
    try:
        data = pdf_typeset.typeset(new)
    except OutputError:
        document.ending, data = ".txt", new.replace("\f", "\n\f").encode()
        document.notes.append("plain text, as the fonts of every PDF reader lack some letters")
    document.write = lambda path: _save(data, path)
    return document


def _save(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _text(file: InputFile) -> tuple[str, bool]:
    """A document's text, and whether some of its pages have none."""
    from osler.io.text_pdf import read_pdf

    try:
        content = read_pdf(file, "pdf", max_pixels=MAX_PIXELS)
    except MissingExtraError:
        raise UnsupportedError(
            f"'{file.name}' is a PDF document, and 'pypdf' is not installed; to clean it, run: "
            "pip install 'osler[pdf]'"
        ) from None
    (item,) = content.items
    if not isinstance(item, Text):
        raise UnsupportedError(f"'{file.name}' holds no text")
    return item.text, "pages-without-text" in item.flags


def left(path: Path, known: Known, options: Options) -> Iterator[str]:
    """What a copy still tells: in its text, or because it is no document of ours."""
    with opened(path) as file:
        text, _ = _text(file)
        file.stream.seek(0)
        data = file.stream.read()
    scrubber = second_look(known, dates=options.dates)
    # lines were broken where they were too long, perhaps within a name
    for one in (text, re.sub(r"\s*\n\s*", " ", text)):
        if scrubber.known_only(one) != one:
            yield "something of a patient in its text"
            break
    if scrubber.passages(text):
        yield "something of somebody in its text"
    if re.search(rb"/(?:Info|Metadata|EmbeddedFiles?|AcroForm|XObject|JavaScript|Annots)\b", data):
        yield "parts of a PDF document besides its text"
