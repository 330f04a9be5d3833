"""Files behind HTTP(S) and in object stores: fetched, bounded, and read as any other file.

A file of which a reader needs parts only, such as a header or some slices, is fetched by parts
where its host gives parts.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from osler.errors import InputError, UnreadableError
from osler.io.naming import safe_name
from osler.io.readers import reader_for
from osler.io.reading import load_file
from osler.io.signatures import HEAD_BYTES
from osler.io.sorting import COMPANIONS, Cases, load_folder
from osler.io.web_address import Address, address_of
from osler.io.web_folder import Again, Fetched
from osler.io.web_store import FIRST, Answer, Store, in_turn
from osler.record import Case

if TYPE_CHECKING:
    from osler.io.web_session import Access

_PARTS: Final = (
    "nifti", "nrrd", "metaimage", "tiff", "heyex-vol", "heyex-e2e", "topcon", "zeiss-img", "h5ad",
)  # fmt: skip
"""Formats whose readers ask for parts, besides DICOM."""

_VOXELS: Final = (".raw", ".img", ".zraw", ".raw.gz", ".img.gz")
_IMAGES: Final = re.compile(  # SOP classes of images (PS3.4 B.5), in their file meta information
    rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(?:1\.|2|3\.1|4|6\.|7|12\.|20|77\.1\.|128|130|13\.1\.)"
)


def load_remote(
    address: Address, *, access: "Access", max_pixels: int, at_once: bool = True, **options: Any
) -> Case | Cases:
    """Fetch a file, and open it; in an object store also a folder, whose URL ends in ``/``.

    The files that hold the data of a header (``.mhd``, ``.nhdr``, ``.hdr``, ``.hea``) are looked
    for beside it under the same name.

    Args:
        address: of kind ``"file"`` or ``"store"``.
        access: how it is asked.
        max_pixels: refuse an image of more pixels.
        at_once: as in ``reading.load``.
        options: of the readers; for an object store also ``endpoint`` (the address of a service
            that is not Amazon's, else ``AWS_ENDPOINT_URL``) and ``anonymous``.

    Raises:
        InputError: it cannot be had or read; the message names the URL without its query.
        TooLargeError: it has more than ``access.max_bytes`` bytes.
    """
    folder = Fetched(address.shown, access.max_bytes)
    again = _again(address, access, max_pixels, options)
    place = _Web(address, access) if address.kind == "file" else Store(address, access, options)
    if address.kind == "store" and address.base.endswith("/"):
        for name in place.names():
            _fetch(folder, name, place.ask(name))
        place.close()
        with folder.named():
            found = load_folder(folder.path, max_pixels=max_pixels, **options)
        if isinstance(found, Case):
            return folder.keep(found)
        return _Fetched(found.studies, tuple(folder.told(found.skipped)), found.options, folder)
    name = safe_name(unquote(PurePosixPath(urlsplit(address.base).path).name)) or "file"
    with closing(place):
        path = _fetch(folder, name, place.ask(""))
        _fetch_companions(folder, place, path)
    with folder.named():
        case = load_file(path, max_pixels=max_pixels, at_once=at_once, **options)
        return folder.keep(case, again)


@contextmanager
def fetched_file(url: str, options: dict[str, Any]) -> Iterator[Path]:
    """Within, a file behind a URL lies on the disk, all of it.

    Args:
        url: of one file.
        options: how it is asked, as ``load_remote`` takes them; they are taken out of it.

    Raises:
        InputError: it cannot be had, or is no single file; errors within name the URL.
    """
    from osler.io.web_session import Access

    address, access = address_of(url), Access.taken_from(options)
    if address.kind not in ("file", "store") or address.base.endswith("/"):
        raise InputError(f"'{address.shown}' is no single file")
    folder = Fetched(address.shown, access.max_bytes)
    name = safe_name(unquote(PurePosixPath(urlsplit(address.base).path).name)) or "file"
    place = _Web(address, access) if address.kind == "file" else Store(address, access, options)
    with closing(place):
        path = _fetch(folder, name, place.ask(""), whole=True)
    with folder.named():
        yield path


def _again(
    address: Address, access: "Access", max_pixels: int, options: dict[str, Any]
) -> Again | None:
    """How another process opens the same; None where the URL itself holds a secret."""
    if "?" in address.base or "@" in str(options.get("endpoint", "")):
        return None
    given = access.open_options() | options
    return Again(partial(_load_again, address.base, max_pixels, given))


def _load_again(url: str, max_pixels: int, options: dict[str, Any]) -> Case:
    from osler.io.web import load_url

    found = load_url(url, max_pixels=max_pixels, **options)
    assert isinstance(found, Case)  # a folder is never opened again
    return found


def _fetch(folder: Fetched, name: str, answer: Answer, *, whole: bool = False) -> Path:
    """The file, or one with holes where its reader asks for parts of it."""
    with closing(answer):
        if not whole and answer.fetch is not None and answer.size > len(answer.begin):
            reader = reader_for(answer.begin[:HEAD_BYTES], PurePosixPath(name).suffix[1:].lower())
            if name.lower().endswith(_VOXELS) or (reader and _by_parts(reader.format, answer)):
                return folder.partial(name, answer.size, answer.fetch, answer.begin)
        return folder.write(name, chain([answer.begin], answer.rest))


def _by_parts(format: str, answer: Answer) -> bool:
    if format != "dicom":
        return format in _PARTS
    # segmentations, reports and plans are read as a whole, and deflated files from their start
    found = _IMAGES.search(answer.begin[:HEAD_BYTES])
    return found is not None and b"1.2.840.10008.1.2.1.99" not in answer.begin[:HEAD_BYTES]


@dataclass(frozen=True, slots=True)
class _Fetched(Cases):
    """Cases whose files lie in a private folder, which they keep."""

    folder: Fetched | None = None

    def __iter__(self) -> Iterator[Case]:
        for at in range(len(self)):
            yield self._kept(self.studies[at].load(allow_empty=True, **self.options))

    def __getitem__(self, index: int) -> Case:
        return self._kept(Cases.__getitem__(self, index))

    def _kept(self, case: Case) -> Case:
        assert self.folder is not None
        return self.folder.keep(case)


def _fetch_companions(folder: Fetched, place: "_Web | Store", path: Path) -> None:
    for extension in COMPANIONS.get(path.suffix[1:].lower(), ()):
        name = f"{path.stem}.{extension}"
        with suppress(InputError):
            _fetch(folder, name, place.ask(name, beside=True))
            continue
        (folder.path / f"{name}.part").unlink(missing_ok=True)


class _Web:
    """A file behind HTTP(S)."""

    def __init__(self, address: Address, access: "Access") -> None:
        from osler.io.web_session import session_for

        self._address = address
        self._session = session_for(address.base, access)

    def close(self) -> None:
        self._session.close()

    def names(self) -> list[str]:
        raise InputError(f"'{self._address.shown}' is no folder; name a file of it")

    def ask(self, name: str, *, beside: bool = False) -> Answer:
        """The file that the URL names, or one beside it."""
        if not beside:
            return self._ask(self._address.base, self._address.shown)
        url, _, query = self._address.base.partition("?")
        url = f"{url.rpartition('/')[0]}/{name}"
        return self._ask(f"{url}?{query}" if query else url, url)

    def _ask(self, url: str, shown: str) -> Answer:
        """The beginning, and how the rest is had: by parts where the host gives parts."""
        from osler.io.web_session import asking, checked

        with asking(shown):
            response = self._session.get(url, headers={"Range": f"bytes=0-{FIRST - 1}"})
            if response.status_code == 416:  # of an empty file there is no part
                response.close()
                response = self._session.get(url)
        with ExitStack() as failed:
            failed.callback(response.close)
            if response.status_code != 206:
                checked(response, shown)
            if response.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise UnreadableError(
                    f"'{shown}' answers with a page and not with a file; take the URL of the file "
                    "itself"
                )
            if response.status_code != 206:
                failed.pop_all()
                return Answer(b"", 0, None, _blocks(response, shown), response.close)
            size = _total(response, 0, FIRST, shown)
            begin = _exactly(response, min(size, FIRST), shown)
        version = response.headers.get("ETag", "")
        version = "" if version.startswith("W/") else version

        def fetch(start: int, stop: int) -> bytes:
            headers = {"Range": f"bytes={start}-{stop - 1}"}
            headers |= {"If-Range": version} if version else {}
            with asking(shown), self._session.get(url, headers=headers) as part:
                if part.status_code != 206:
                    checked(part, shown)
                    raise _changed(shown)
                if _total(part, start, stop, shown) != size:
                    raise _changed(shown)
                return _exactly(part, stop - start, shown)

        return Answer(begin, size, fetch, in_turn(fetch, len(begin), size))


def _blocks(response: Any, shown: str) -> Iterator[bytes]:
    from osler.io.web_session import asking

    with asking(shown):
        yield from response.iter_content(1 << 16)


def _total(response: Any, start: int, stop: int, shown: str) -> int:
    """The length of the whole file, if the answer is the part that was asked for (RFC 9110)."""
    stated = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", stated.strip())
    first, last, total = (int(number) for number in found.groups()) if found else (-1, -1, -1)
    if first != start or last + 1 != min(stop, total):
        raise UnreadableError(f"'{shown}' answers with another part than was asked for")
    return total


def _exactly(response: Any, count: int, shown: str) -> bytes:
    """The content of an answer, which must have this length."""
    from osler.io.web_session import asking

    data = bytearray()
    with asking(shown):
        # as it is stored: some servers call a file that ends in .gz an encoding of another
        for block in response.raw.stream(1 << 16, decode_content=False):
            data += block
            if len(data) > count:
                break
    if len(data) != count:
        raise UnreadableError(f"'{shown}' breaks off, or answers with more than was asked for")
    return bytes(data)


def _changed(shown: str) -> UnreadableError:
    return UnreadableError(f"'{shown}' has changed since it was opened; load it again")
