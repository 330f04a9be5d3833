"""An input file, opened once: what it is called, how long it is, how it starts, and its digest."""

import hashlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.errors import InputError, OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io.hushing import hushed
from osler.io.partial_file import PartialReader, need, partial_of
from osler.io.signatures import EXTENSIONS, HEAD_BYTES
from osler.record import Origin

MAX_PIXELS = 200_000_000
"""Images of more pixels than this are refused before they are decoded."""

MOST_PIXELS_A_JPEG_BYTE = 512
"""One component has every 8 x 8 block, and a block takes at least one bit (ITU-T T.81 F, G)."""


class BoundedReader(io.BufferedReader):
    """A reader that never allocates beyond the end of its file.

    A plain reader allocates what is asked for first; damaged files ask for gigabytes.
    """

    def __init__(self, raw: io.FileIO, size: int) -> None:
        super().__init__(raw)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes, fewer at the end of the file."""
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file from outside, open for reading.

    Attributes:
        path: as the user named it.
        name: the path as it can be printed and written to JSON.
        stream: the bytes.
        size: length in bytes.
        head: the first bytes, for the signatures.
    """

    path: Path
    name: str
    stream: BoundedReader
    size: int
    head: bytes

    def sha256(self) -> str:
        """The hexadecimal digest of the file's bytes, read in blocks."""
        self.stream.seek(0)
        return hashlib.file_digest(self.stream, "sha256").hexdigest()

    def whole(self) -> None:
        """Have all of it here, for what does not read through ``stream``."""
        need(self.path)

    def origin(self, format: str, dicom: Mapping[str, Any] | None = None) -> Origin:
        """Where an item read from this file came from."""
        partial = partial_of(self.path)
        digest = self.sha256() if partial is None or partial.complete else ""
        return Origin(path=self.name, sha256=digest, format=format, dicom=dicom or {})

    def extension_flags(self, format: str) -> tuple[str, ...]:
        """``"wrong-extension"`` where the name claims another of the formats that are read."""
        claimed = self.path.suffix[1:].lower()
        other = any(claimed in known for name, known in EXTENSIONS.items() if name != format)
        return ("wrong-extension",) if other else ()


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that any UTF-8 stream takes: bytes that are no text become U+FFFD."""
    return os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[InputFile]:
    """Open a file for the readers.

    Raises:
        InputError: it does not exist, is a folder, may not be read, or the disk fails.
        UnreadableError: it is empty.
        UnsupportedError: it is a device, pipe or socket.
    """
    name = printable(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(
                f"'{name}' is a folder; give one file of it, or use find() to list its images"
            )
        if not stat.S_ISREG(mode):
            raise UnsupportedError(
                f"'{name}' is a device, pipe or socket; save its content to a file first"
            )
        partial = partial_of(path)
        with io.FileIO(path, "rb") if partial is None else PartialReader(partial) as raw:
            size = os.fstat(raw.fileno()).st_size
            stream = BoundedReader(raw, size)
            head = stream.read(HEAD_BYTES)
            if not head:
                raise UnreadableError(f"'{name}' is empty; copy it again from its source")
            yield InputFile(Path(path), name, stream, size, head)
    except (OSError, ValueError) as error:
        raise unopenable(name, error) from None


def unopenable(name: str, error: OSError | ValueError) -> InputError:
    """What to tell a person about a path that the operating system refuses."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return InputError(f"'{name}' does not exist; check the path")
    if isinstance(error, PermissionError):
        return InputError(f"'{name}' may not be read by this user; grant read permission on it")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"'{name}' cannot be opened ({reason}); check the path and the disk")


@contextmanager
def decoding(file: InputFile, format: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged bytes into one of our errors, and hush it.

    The decoder's own words are left out of the message, and its log is silent meanwhile: for
    DICOM they quote values of the header, and so perhaps the patient.

    Raises:
        UnreadableError: the decoder failed.
        TooLargeError: memory ran out.
    """
    try:
        with hushed():
            yield
    except OslerError:
        raise
    except MemoryError:
        raise TooLargeError(
            f"'{file.name}' needs more memory than there is; read it on a larger machine or "
            "export it smaller"
        ) from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged bytes
        raise UnreadableError(
            f"'{file.name}' starts as {format} but cannot be decoded ({type(error).__name__}): it "
            "is damaged or incomplete; copy it again from its source or export it again"
        ) from None


def check_size(file: InputFile, *, width: int, height: int, max_pixels: int) -> None:
    """Refuse an image before it is decoded if it is empty or too large.

    Raises:
        UnreadableError: a side is less than 1 pixel.
        TooLargeError: it has more than ``max_pixels`` pixels.
    """
    if width < 1 or height < 1:
        raise UnreadableError(
            f"'{file.name}' states a size of {width} x {height} pixels; export it again"
        )
    if width * height > max_pixels:
        raise TooLargeError(
            f"'{file.name}' has {width} x {height} pixels, more than the limit of {max_pixels:,}; "
            "export it smaller, or raise max_pixels"
        )


def check_length(file: InputFile, *, pixels: int, length: int, most: float) -> None:
    """Refuse compressed pixels that so few bytes cannot hold: decoders would make up the rest.

    Args:
        file: the file, for the message.
        pixels: how many are stated.
        length: bytes that they are compressed to.
        most: pixels that a byte can hold at most.

    Raises:
        UnreadableError: there are fewer bytes than the best compression needs.
    """
    if pixels > length * most:
        raise UnreadableError(
            f"'{file.name}' states {pixels:,} pixels but has only {length:,} bytes; it is "
            "incomplete: copy it again from its source"
        )
