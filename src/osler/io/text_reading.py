"""Reports as items: plain text, and what every reader of text shares."""

from datetime import datetime
from typing import Final

from osler.errors import TooLargeError, UnreadableError, UnsupportedError
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.io.table_csv import decoded
from osler.io.text_sections import language, sections
from osler.record import Origin, Text

MAX_CHARACTERS: Final = 4_000_000
"""Longer texts are no report; a long novel has a million or two."""


def text_item(
    text: str,
    origin: Origin,
    *,
    known: dict[str, str] | None = None,
    said_language: str = "",
    flags: tuple[str, ...] = (),
    acquired: datetime | None = None,
) -> Text:
    """An item ``"report"`` where the text has sections, else ``"text"``.

    Args:
        text: the whole text.
        origin: where it came from.
        known: its sections, where the format names them; otherwise by their headings.
        said_language: where the format says it.
        flags: named doubts.
        acquired: the document's time.
    """
    found = known or sections(text)
    name = "report" if found else "text"
    return Text(name, text, said_language or language(text), found, acquired, origin, flags)


def read_plain(
    file: InputFile, format: str, *, max_pixels: int, encoding: str | None = None
) -> Content:
    """Read a text file; line ends become line feeds and nothing else changes.

    Args:
        file: the opened file.
        format: ``"text"``.
        max_pixels: not used.
        encoding: by default UTF-8, or what the file's first bytes or its Chinese say.

    Raises:
        UnreadableError: it holds zero bytes or nothing but spaces.
        UnsupportedError: its encoding cannot be told.
        TooLargeError: it has more than 4 million characters.
    """
    del max_pixels
    with decoding(file, format):
        if file.size > 4 * MAX_CHARACTERS:
            raise too_long(file)
        text, flags = decoded(file, encoding=encoding)
        if "\0" in text:
            raise UnreadableError(f"'{file.name}' is named as text but holds zero bytes")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        return Content([text_item(checked(file, text), file.origin(format), flags=flags)])


def checked(file: InputFile, text: str) -> str:
    """The text, if there is any and not too much.

    Raises:
        UnsupportedError: it is empty.
        TooLargeError: more than 4 million characters.
    """
    if not text.strip():
        raise UnsupportedError(f"'{file.name}' holds no text")
    if len(text) > MAX_CHARACTERS:
        raise too_long(file)
    return text


def too_long(file: InputFile) -> TooLargeError:
    """What to tell of a text that is too long."""
    return TooLargeError(
        f"'{file.name}' holds more than {MAX_CHARACTERS:,} characters, which no report has; split "
        "it"
    )
