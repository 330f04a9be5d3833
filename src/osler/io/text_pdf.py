"""PDF documents that hold text."""

from typing import Any, Final, cast

from osler.errors import MissingExtraError, TooLargeError, UnsupportedError
from osler.io.content import Content
from osler.io.hushing import hushed
from osler.io.input_file import InputFile, decoding
from osler.io.text_reading import MAX_CHARACTERS, text_item, too_long

MAX_PAGES: Final = 2_000
MAX_BYTES: Final = 512_000_000


def read_pdf(file: InputFile, format: str, *, max_pixels: int) -> Content:
    """Read the text of every page; pages are parted by a form feed.

    Pages without text among others give the flag ``pages-without-text``.

    Args:
        file: the opened file.
        format: ``"pdf"``.
        max_pixels: not used.

    Raises:
        UnreadableError: it is damaged.
        UnsupportedError: it is a scan, without any text, or needs a password.
        TooLargeError: more than 2,000 pages or 4 million characters.
        MissingExtraError: ``pypdf`` is not installed.
    """
    del max_pixels
    try:
        import pypdf
        from pypdf.errors import DependencyError, FileNotDecryptedError, WrongPasswordError
    except ImportError:
        raise MissingExtraError("pypdf", extra="pdf", purpose="read PDF") from None
    if file.size > MAX_BYTES:
        raise TooLargeError(f"'{file.name}' has {file.size:,} bytes, too many for a report")
    with hushed("pypdf"), decoding(file, format):
        file.stream.seek(0)
        try:
            reader = pypdf.PdfReader(cast("Any", file.stream))
            # most "encrypted" reports only forbid printing and open without a password
            if reader.is_encrypted and not reader.decrypt(""):
                raise _locked(file)
            pages = _pages(file, reader)
        except (DependencyError, FileNotDecryptedError, WrongPasswordError):
            raise _locked(file) from None
        if not any(page.strip() for page in pages):
            raise UnsupportedError(
                f"'{file.name}' has {len(pages)} pages and no text: it is a scan. Recognise its "
                "text first, for instance with 'ocrmypdf IN OUT'"
            )
        blank = any(not page.strip() for page in pages)
        flags = ("pages-without-text",) if blank else ()
        return Content([text_item("\f".join(pages), file.origin(format), flags=flags)])


def _pages(file: InputFile, reader: Any) -> list[str]:
    count = len(reader.pages)
    if count > MAX_PAGES:
        raise TooLargeError(f"'{file.name}' has {count:,} pages, more than {MAX_PAGES:,}; split it")
    pages: list[str] = []
    total = 0
    for page in reader.pages:
        # lone surrogates come out of damaged fonts, and no UTF-8 file could hold them
        text = page.extract_text().encode("utf-8", "replace").decode("utf-8")
        pages.append(text.replace("\f", "\n"))
        total += len(text)
        if total > MAX_CHARACTERS:
            raise too_long(file)
    return pages


def _locked(file: InputFile) -> UnsupportedError:
    return UnsupportedError(f"'{file.name}' needs a password; save it without one")
