"""Files behind HTTP(S) and in object stores: fetched, bounded, and read as any other file."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from osler.errors import InputError, MissingExtraError, OslerError, TooLargeError, UnreadableError
from osler.io.naming import safe_name
from osler.io.reading import load_file
from osler.io.sorting import COMPANIONS, Cases, load_folder
from osler.io.web_address import Address, need_network
from osler.io.web_folder import Fetched
from osler.record import Case

if TYPE_CHECKING:
    from osler.io.web_session import Access

MOST_FILES: Final = 10_000
"""Of one folder of an object store."""

_BLOCK = 4 << 20


def load_remote(
    address: Address, *, access: "Access", max_pixels: int, **options: Any
) -> Case | Cases:
    """Fetch a file, and open it; in an object store also a folder, whose URL ends in ``/``.

    The files that hold the data of a header (``.mhd``, ``.nhdr``, ``.hdr``, ``.hea``) are looked
    for beside it under the same name.

    Args:
        address: of kind ``"file"`` or ``"store"``.
        access: how it is asked.
        max_pixels: refuse an image of more pixels.
        options: of the readers; for an object store also ``endpoint`` (the address of a service
            that is not Amazon's, else ``AWS_ENDPOINT_URL``) and ``anonymous``.

    Raises:
        InputError: it cannot be had or read; the message names the URL without its query.
        TooLargeError: it has more than ``access.max_bytes`` bytes.
    """
    folder = Fetched(address.shown, access.max_bytes)
    place = _Web(address, access) if address.kind == "file" else _Store(address, access, options)
    if address.kind == "store" and address.base.endswith("/"):
        for name in place.names():
            folder.write(name, place.blocks(name))
        place.close()
        with folder.named():
            found = load_folder(folder.path, max_pixels=max_pixels, **options)
        if isinstance(found, Case):
            return folder.keep(found)
        return _Fetched(found.studies, found.skipped, found.options, folder)
    name = safe_name(unquote(PurePosixPath(urlsplit(address.base).path).name)) or "file"
    with closing(place):
        path = folder.write(name, place.blocks(""))
        _fetch_companions(folder, place, path)
    with folder.named():
        return folder.keep(load_file(path, max_pixels=max_pixels, **options))


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


class _Place(Protocol):
    """Where files are fetched from."""

    def names(self) -> list[str]:
        """The files below a folder, relative to it."""

    def blocks(self, name: str) -> Iterator[bytes]:
        """A file; of its folder, or the one that the URL names where ``name`` is empty."""

    def beside(self, name: str) -> Iterator[bytes]:
        """A file beside the one that the URL names."""

    def close(self) -> None:
        """Close its connections."""


def _fetch_companions(folder: Fetched, place: _Place, path: Path) -> None:
    for extension in COMPANIONS.get(path.suffix[1:].lower(), ()):
        name = f"{path.stem}.{extension}"
        with suppress(InputError):
            folder.write(name, place.beside(name))
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

    def blocks(self, name: str) -> Iterator[bytes]:
        return self._blocks(self._address.base, self._address.shown)

    def beside(self, name: str) -> Iterator[bytes]:
        url, _, query = self._address.base.partition("?")
        url = f"{url.rpartition('/')[0]}/{name}"
        return self._blocks(f"{url}?{query}" if query else url, url)

    def _blocks(self, url: str, shown: str) -> Iterator[bytes]:
        from osler.io.web_session import asking, checked

        with asking(shown), self._session.get(url) as response:
            checked(response, shown)
            if response.headers.get("Content-Type", "").lower().startswith("text/html"):
                raise UnreadableError(
                    f"'{shown}' answers with a page and not with a file; take the URL of the file "
                    "itself"
                )
            yield from response.iter_content(1 << 16)


class _Store:
    """A file or folder of an object store, through fsspec."""

    def __init__(self, address: Address, access: "Access", options: dict[str, Any]) -> None:
        need_network("fsspec", purpose="open object stores")
        scheme = urlsplit(address.base).scheme
        self._shown, self._root = address.shown, address.base.partition("://")[2]
        self._max = access.max_bytes
        endpoint = options.pop("endpoint", "") or os.environ.get("AWS_ENDPOINT_URL", "")
        given: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if scheme in ("s3", "s3a"):
            if find_spec("s3fs") is None:
                raise MissingExtraError("s3fs", extra="network", purpose="open s3:// URLs")
            seconds = {"connect_timeout": 10, "read_timeout": access.timeout}
            given |= {"anon": bool(options.pop("anonymous", False)), "config_kwargs": seconds}
            given |= {"endpoint_url": endpoint} if endpoint else {}
            given |= {"key": access.user, "secret": access.password} if access.user else {}
        with self._asking():
            import fsspec  # type: ignore[import-untyped]

            try:
                self._files = fsspec.filesystem(scheme, **given)
            except ImportError as error:
                package = "gcsfs" if scheme in ("gs", "gcs") else "adlfs"
                raise InputError(
                    f"URLs of scheme '{scheme}' need a package of their own; run: pip install "
                    f"{package}"
                ) from error

    def close(self) -> None:
        pass  # fsspec keeps its loop for the whole process

    def names(self) -> list[str]:
        with self._asking():
            found = self._files.find(self._root.rstrip("/"))
        if not found:
            raise InputError(f"'{self._shown}' holds no files; check the URL")
        if len(found) > MOST_FILES:
            raise TooLargeError(
                f"'{self._shown}' holds {len(found):,} files, more than {MOST_FILES:,}; name a "
                "folder in it"
            )
        names = [str(path).removeprefix(self._root) for path in found]
        if any(PurePosixPath(name).is_absolute() or ".." in name.split("/") for name in names):
            raise UnreadableError(f"'{self._shown}' holds a name that leads out of its folder")
        return names

    def blocks(self, name: str) -> Iterator[bytes]:
        return self._blocks(self._root + name)

    def beside(self, name: str) -> Iterator[bytes]:
        return self._blocks(f"{self._root.rpartition('/')[0]}/{name}")

    def _blocks(self, path: str) -> Iterator[bytes]:
        with self._asking():
            size = int(self._files.info(path).get("size") or 0)
            if size > self._max:
                raise TooLargeError(
                    f"'{self._shown}' has {size:,} bytes, more than the limit of {self._max:,}; "
                    "raise max_bytes"
                )
            count = 0
            with self._files.open(path, "rb", block_size=_BLOCK, cache_type="readahead") as stream:
                while block := stream.read(_BLOCK):
                    count += len(block)
                    yield block
            if count != size:
                raise UnreadableError(f"'{self._shown}' changed while it was fetched; try again")

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except (OslerError, GeneratorExit):
            raise
        except FileNotFoundError:
            raise InputError(f"'{self._shown}' does not exist; check bucket and key") from None
        except PermissionError:
            raise self._refused() from None
        except Exception as error:  # noqa: BLE001 - each store has errors of its own
            name = type(error).__name__
            if name in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError"):
                raise self._refused() from None
            raise InputError(
                f"'{self._shown}' cannot be had ({name}); check the endpoint and the network"
            ) from None

    def _refused(self) -> InputError:
        return InputError(
            f"'{self._shown}' wants other credentials; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or pass anonymous=True"
        )
