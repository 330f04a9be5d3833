"""Word documents: the text of the body, in order.

Read with the standard zip and a guarded XML parser rather than python-docx, which parses XML with
lxml before anybody can look at it, and passes over text boxes and content controls.

Source: ECMA-376-1, 17.3 (paragraphs and runs), 17.4 (tables).
"""

from typing import Final
from xml.etree.ElementTree import Element

from osler.errors import UnreadableError
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.io.office_zip import archive, part
from osler.io.text_reading import checked, text_item, too_long

MAX_TAGS: Final = 3_000_000
"""A hundred pages have two hundred thousand."""

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_STRICT: Final = "{http://purl.oclc.org/ooxml/wordprocessingml/main}"
_FALLBACK: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def read_docx(file: InputFile, format: str, *, max_pixels: int) -> Content:
    """Read a Word document.

    Text that was deleted with changes tracked is left out and inserted text kept, with the flag
    ``tracked-changes``. Headers, footers and notes are left out, with the flag ``notes-left-out``
    where they hold text.

    Args:
        file: the opened file.
        format: ``"docx"``.
        max_pixels: not used.

    Raises:
        UnreadableError: damaged, or XML with entities.
        UnsupportedError: it holds no text, or is encrypted.
        TooLargeError: a bomb, or more than 4 million characters.
    """
    from defusedxml.ElementTree import fromstring

    del max_pixels
    with decoding(file, format):
        with archive(file) as source:
            raw = part(file, source, "word/document.xml")
            if raw.count(b"<") > MAX_TAGS:
                raise too_long(file)
            body: Element = fromstring(raw, forbid_dtd=True)
            others = [
                name
                for name in source.namelist()
                if name.startswith(("word/header", "word/footer", "word/footnotes",
                                    "word/endnotes", "word/comments"))
                and name.endswith(".xml")
            ]  # fmt: skip
            left_out = any(
                _text(fromstring(part(file, source, name), forbid_dtd=True)).strip()
                for name in others
            )
        if not body.tag.endswith("}document"):
            raise UnreadableError(f"'{file.name}' has no document in it; save it again")
        flags = ("notes-left-out",) if left_out else ()
        if any(_plain(e) in ("ins", "del", "moveFrom") for e in body.iter()):
            flags = (*flags, "tracked-changes")
        text = checked(file, _text(body))
        return Content([text_item(text, file.origin(format), flags=flags)])


def _plain(element: Element) -> str:
    tag = element.tag if isinstance(element.tag, str) else ""
    for space in (_W, _STRICT):
        if tag.startswith(space):
            return tag[len(space) :]
    return ""


_WORDS: Final = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": ""}
_AFTER: Final = {"p": "\n", "tc": "\t", "tr": "\n"}


def _text(root: Element) -> str:
    """All text in reading order, without recursion: documents may be nested as deep as they like.

    A table's cells end in a tab and its rows in a line break.
    """
    pieces: list[str] = []
    stack: list[Element | str] = [root]
    while stack:
        element = stack.pop()
        if isinstance(element, str):
            _append(pieces, element)
            continue
        name = _plain(element)
        if element.tag == _FALLBACK or name in ("delText", "instrText", "moveFrom", "pPr", "rPr"):
            continue  # the same again for old programs; what is no longer text
        if name == "t":
            pieces.append(element.text or "")
        elif name in _WORDS:
            pieces.append(_WORDS[name])
        else:
            if name in _AFTER:
                stack.append(_AFTER[name])
            stack.extend(reversed(element))
    return "".join(pieces)


def _append(pieces: list[str], end: str) -> None:
    """A paragraph within a cell ends with the cell, and a cell at a row's end with the row."""
    if end != "\n" and pieces and pieces[-1] == "\n":
        pieces.pop()
    if end == "\n" and pieces and pieces[-1] == "\t":
        pieces.pop()
    pieces.append(end)
