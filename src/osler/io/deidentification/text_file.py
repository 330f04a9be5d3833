"""Plain text → plain text without people."""

from collections import Counter
from pathlib import Path
from typing import Final

from osler.errors import TooLargeError, UnsupportedError
from osler.io.deidentification.free_text import Scrubber, replace
from osler.io.input_file import InputFile

ENDINGS: Final = frozenset((".txt", ".text"))
_LARGEST: Final = 64 << 20  # bytes


def decoded(file: InputFile) -> str:
    """A file's text: UTF-8, UTF-16 with its mark, or GB 18030.

    Raises:
        TooLargeError: it is longer than 64 MiB.
        UnsupportedError: it is in another encoding.
    """
    if file.size > _LARGEST:
        raise TooLargeError(f"'{file.name}' has {file.size:,} bytes of text; split it first")
    file.stream.seek(0)
    data = file.stream.read()
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if utf16 else ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise UnsupportedError(f"'{file.name}' is text in an unknown encoding; save it as UTF-8")


def clean(file: InputFile, scrubber: Scrubber) -> tuple[str, Counter[tuple[str, str]]]:
    """The text without people, and what was replaced."""
    text = decoded(file)
    passages = scrubber.passages(text)
    counts = Counter((f"text: {p.kind.lower()}", "replaced") for p in passages)
    return replace(text, passages), counts


def write(text: str, path: Path) -> None:
    """Write UTF-8; line ends stay as they are."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write(text)
