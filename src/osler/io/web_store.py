"""Object stores such as S3, through fsspec: what a folder holds, and files by parts."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from osler.errors import InputError, MissingExtraError, OslerError, TooLargeError, UnreadableError
from osler.io.partial_file import Fetch
from osler.io.web_address import Address, need_network

if TYPE_CHECKING:
    from osler.io.web_session import Access

MOST_FILES: Final = 10_000
"""Of one folder of an object store."""

FIRST: Final = 1 << 20
"""Bytes that are asked for first; a file of no more is fetched as a whole."""

_BLOCK = 8 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A file that a host has.

    Attributes:
        begin: its first bytes.
        size: its length in bytes; 0 where the host does not give parts.
        fetch: gives a part; None where the host does not.
        rest: what comes after ``begin``.
        close: ends what is under way.
    """

    begin: bytes
    size: int
    fetch: Fetch | None
    rest: Iterable[bytes]
    close: Callable[[], object] = bool


def in_turn(fetch: Fetch, start: int, stop: int) -> Iterator[bytes]:
    """One part after another."""
    for at in range(start, stop, _BLOCK):
        yield fetch(at, min(at + _BLOCK, stop))


class Store:
    """A file or folder of an object store, through fsspec."""

    def __init__(self, address: Address, access: "Access", options: dict[str, Any]) -> None:
        need_network("fsspec", purpose="open object stores")
        scheme = urlsplit(address.base).scheme
        self._shown, self._root = address.shown, address.base.partition("://")[2]
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
        """Close what can be closed."""
        pass  # fsspec keeps its loop for the whole process

    def names(self) -> list[str]:
        """The files below a folder, relative to it."""
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

    def ask(self, name: str, *, beside: bool = False) -> Answer:
        """A file of the folder, the one that the URL names, or one beside it."""
        path = f"{self._root.rpartition('/')[0]}/{name}" if beside else self._root + name
        with self._asking():
            size = int(self._files.info(path).get("size") or 0)
            # without a cache: what is asked for is fetched, of the version that was opened
            stream = self._files.open(path, "rb", cache_type="none")
            begin = self._part(stream, 0, min(size, FIRST))

        def fetch(start: int, stop: int) -> bytes:
            with self._asking():
                return self._part(stream, start, stop)

        return Answer(begin, size, fetch, in_turn(fetch, len(begin), size))

    def _part(self, stream: Any, start: int, stop: int) -> bytes:
        if start >= stop:
            return b""
        stream.seek(start)
        data: bytes = stream.read(stop - start)
        if len(data) != stop - start:
            raise UnreadableError(f"'{self._shown}' changed while it was fetched; try again")
        return data

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
            if name == "FileExpired":
                raise UnreadableError(
                    f"'{self._shown}' has changed since it was opened; load it again"
                ) from None
            raise InputError(
                f"'{self._shown}' cannot be had ({name}); check the endpoint and the network"
            ) from None

    def _refused(self) -> InputError:
        return InputError(
            f"'{self._shown}' wants other credentials; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or pass anonymous=True"
        )
