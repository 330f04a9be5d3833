"""Asking one host that the user named, and no other: bounded, verified, and without a trace.

Answers have a most of bytes and of seconds; certificates are verified; only requests that change
nothing are asked again; a redirect to another host is refused; credentials come from arguments or
from the environment, for the host they were given for, and stand in no message and in no log.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies
from urllib3.util.retry import Retry

from osler.errors import InputError, OslerError, TooLargeError, UnreadableError
from osler.io.hushing import hushed
from osler.io.web_deadline import PunctualAdapter

MAX_BYTES: Final = 4 << 30
"""Most that one call fetches."""

MAX_JSON: Final = 128 << 20
"""Most bytes of an answer that is taken into memory."""

MOST_VALUES: Final = 12_000_000
"""Most values in an answer in JSON: each takes some sixty bytes, however short it is written."""

THREADS: Final = 4
"""Requests that are under way at once."""

_HARMLESS = ("GET", "HEAD")
_BUSY = (502, 503, 504)
_PAUSES = (0.3, 0.6)  # seconds
_LOGS = ("urllib3.connectionpool", "urllib3.util.retry", "dicomweb_client.web")
_BLOCK = 1 << 16
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Access:
    """How a host is asked.

    Attributes:
        user: for basic authentication.
        password: the user's.
        token: for bearer authentication, instead of a user.
        timeout: seconds that the host may be silent.
        max_bytes: most that one call fetches.
        max_seconds: most that one answer may take.
        plain_credentials: send credentials unencrypted (``http``) to another machine.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    timeout: float = 30.0
    max_bytes: int = MAX_BYTES
    max_seconds: float = 3600.0
    plain_credentials: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # a pickle is written to disks and sent through pipes: no secret goes into it
        return _without_secrets, (self.open_options(),)

    def open_options(self) -> dict[str, Any]:
        """The fields that are no secrets."""
        secret = ("user", "password", "token")
        return {name: getattr(self, name) for name in Access.__slots__ if name not in secret}

    @staticmethod
    def taken_from(options: dict[str, Any]) -> "Access":
        """The options that are about access, taken out of all options."""
        given = {name: options.pop(name) for name in Access.__slots__ if name in options}
        for name, value in given.items():
            kind = type(Access.__dataclass_fields__[name].default)
            taken = (int, float) if kind is float else (kind,)
            if type(value) not in taken or (kind in (int, float) and not 0 < value < 1e15):
                word = {str: "text", bool: "True or False"}.get(kind, "a positive number")
                raise InputError(f"the option '{name}' is {word}")  # its value may be a secret
        return Access(**given)

    def for_host(self, host: str) -> "Access":
        """With the environment's credentials, where none were given and they are for this host.

        ``OSLER_WEB_HOST`` names the host (``name`` or ``name:port``) that ``OSLER_WEB_TOKEN``, or
        ``OSLER_WEB_USER`` and ``OSLER_WEB_PASSWORD``, are for.
        """
        from dataclasses import replace

        meant = os.environ.get("OSLER_WEB_HOST", "").strip().lower()
        if self.user or self.token or not meant or meant not in (host, host.partition(":")[0]):
            return self
        return replace(
            self,
            user=os.environ.get("OSLER_WEB_USER", ""),
            password=os.environ.get("OSLER_WEB_PASSWORD", ""),
            token=os.environ.get("OSLER_WEB_TOKEN", ""),
        )


def _without_secrets(options: dict[str, Any]) -> Access:
    return Access(**options)


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    usual = 443 if parts.scheme == "https" else 80
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or usual


def session_for(url: str, access: Access) -> requests.Session:
    """A session that asks the host of a URL, and no other.

    Raises:
        InputError: credentials would travel unencrypted.
    """
    scheme, host, _ = origin_of(url)
    access = access.for_host(urlsplit(url).netloc.lower())
    session = _Session()
    session.trust_env = False  # no passwords from .netrc
    session.max_redirects = 5
    session.stream = True  # else whole answers would be taken into memory at once
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
    session.proxies = dict(get_environ_proxies(url))
    session.headers["Accept-Encoding"] = "identity"
    if access.user or access.token:
        if scheme == "http" and host not in _LOCAL and not access.plain_credentials:
            raise InputError(
                f"credentials for '{host}' would travel unencrypted over http; use https, or pass "
                "plain_credentials=True where the line is safe"
            )
        session.auth = _Credentials(access)
    guard = _Guard(origin_of(url), access)
    session.mount("http://", guard)
    session.mount("https://", guard)
    return session


class _Credentials(requests.auth.AuthBase):
    """Puts credentials into requests."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._access.token:
            request.headers["Authorization"] = f"Bearer {self._access.token}"
            return request
        # as UTF-8, which requests itself does not take for text
        user, password = self._access.user.encode(), self._access.password.encode()
        requests.auth.HTTPBasicAuth(user, password)(request)
        return request


class _Session(requests.Session):
    """Follows redirects of requests that change nothing."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where to, if the request may be sent there."""
        # a POST that is redirected would come out as a GET, and store nothing
        return super().get_redirect_target(resp) if resp.request.method in ("GET", "HEAD") else None


class _Guard(PunctualAdapter):
    """Lets requests to one host through, and bounds what it answers."""

    def __init__(self, origin: tuple[str, str, int], access: Access) -> None:
        # only where nothing was answered: what was answered would be read to its end, however long
        again = Retry(
            total=2,
            redirect=0,
            status=0,
            backoff_factor=0.3,
            allowed_methods=_HARMLESS,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        super().__init__(2 * access.timeout, max_retries=again, pool_maxsize=2 * THREADS)
        self._origin, self._access = origin, access

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Send it, if it is for the host."""
        asked = origin_of(request.url or "")
        if asked != self._origin:
            here, there = (f"{scheme}://{host}:{port}" for scheme, host, port in
                           (self._origin, asked))  # fmt: skip
            raise InputError(
                f"'{here}' sends on to '{there}', which was not named and is not asked; name it "
                "in the URL if it may be asked"
            )
        kwargs["timeout"] = (min(10.0, self._access.timeout), self._access.timeout)
        kwargs["stream"] = True
        response = self._asked(request, *args, **kwargs)
        if response.is_redirect:
            # what stands in it is of no use, and would be read to its end, however long
            response.close()
            response._content = b""
            return response
        in_memory = "json" in str(request.headers.get("Accept", "")) or request.method == "POST"
        most = min(MAX_JSON, self._access.max_bytes) if in_memory else self._access.max_bytes
        blocks = _bounded(
            response.raw, most=most, seconds=self._access.max_seconds, host=self._origin[1]
        )
        setattr(response.raw, "stream", blocks)  # noqa: B010 - a method of this answer alone
        return response

    def _asked(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Asked again where the host is busy, and nothing changes by it."""
        for pause in (*_PAUSES, None):
            with hushed(*_LOGS):  # queries name patients
                response = super().send(request, *args, **kwargs)
            if pause is None or response.status_code not in _BUSY:
                break
            if request.method not in _HARMLESS:
                break
            response.close()
            time.sleep(pause)
        return response


def _bounded(raw: Any, *, most: int, seconds: float, host: str) -> Callable[..., Iterator[bytes]]:
    """A stream of blocks that ends with an error beyond so many bytes or seconds."""

    def blocks(amt: int = _BLOCK, decode_content: bool | None = None) -> Iterator[bytes]:
        count, end = 0, time.monotonic() + seconds
        # what is there by now: to wait for whole blocks would be to wait for who sends drops
        while block := raw.read1(_BLOCK, decode_content=decode_content):
            count += len(block)
            if count > most:
                raise TooLargeError(
                    f"'{host}' answers with more than {most:,} bytes; ask for less, or raise "
                    "max_bytes"
                )
            if time.monotonic() > end:
                raise InputError(
                    f"'{host}' has not finished its answer after {seconds:,.1f} seconds; raise "
                    "max_seconds if its line is that slow"
                )
            yield block

    return blocks


@contextmanager
def asking(shown: str, *, what: str = "an answer that can be read") -> Iterator[None]:
    """Turn whatever goes wrong with a server into one of our errors.

    Args:
        shown: the address as messages may say it: without a query.
        what: was asked for.

    Raises:
        InputError: the host cannot be reached, refuses, or has no such thing.
        UnreadableError: its answer is something else.
    """
    try:
        yield
    except OslerError:
        raise
    except requests.exceptions.SSLError:
        raise InputError(
            f"the certificate of '{shown}' is not trusted; set REQUESTS_CA_BUNDLE to the file of "
            "your hospital's certificates"
        ) from None
    except requests.exceptions.Timeout:
        raise _silence(shown) from None
    except requests.exceptions.TooManyRedirects:
        raise InputError(f"'{shown}' sends on in a circle; check the URL") from None
    except requests.exceptions.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        raise refused(shown, status) from None
    except requests.exceptions.JSONDecodeError:
        raise _nonsense(shown, what) from None
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(reason, urllib3.exceptions.ReadTimeoutError):
            raise _silence(shown) from None
        raise _broken(shown) from None
    except urllib3.exceptions.ReadTimeoutError:
        raise _silence(shown) from None
    except urllib3.exceptions.HTTPError:
        raise _broken(shown) from None
    except requests.exceptions.RequestException as error:
        raise InputError(f"'{shown}' cannot be asked ({type(error).__name__})") from None
    except MemoryError:
        raise TooLargeError(f"'{shown}' answers with more than fits into memory") from None
    except Exception:  # noqa: BLE001 - what a client makes of a hostile answer may be anything
        raise _nonsense(shown, what) from None


def _silence(shown: str) -> InputError:
    return InputError(f"'{shown}' does not answer in time; try again, or raise timeout")


def _broken(shown: str) -> InputError:
    return InputError(f"'{shown}' cannot be reached, or breaks off; check the URL and the network")


def _nonsense(shown: str, what: str) -> UnreadableError:
    return UnreadableError(
        f"'{shown}' does not give {what}; check that the URL is that of the service and not of a "
        "page"
    )


def refused(shown: str, status: int) -> InputError:
    """What to say about an answer of status 300 or more."""
    if status in (401, 403):
        return InputError(
            f"'{shown}' wants other credentials (status {status}); pass token=, or user= and "
            "password=, or set OSLER_WEB_HOST and OSLER_WEB_TOKEN"
        )
    if status in (404, 410):
        return InputError(f"'{shown}' does not exist (status {status}); check the URL")
    return InputError(f"'{shown}' refuses or fails (status {status}); ask its keepers")


def checked(response: requests.Response, shown: str, *kinds: str) -> requests.Response:
    """The answer, if it is one and of a kind that was asked for.

    Raises:
        InputError: the host refuses.
        UnreadableError: it answers with something else, such as a page.
    """
    if response.status_code != 200:
        raise refused(shown, response.status_code)
    stated = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kinds and stated not in kinds:
        kind = stated if stated in ("text/html", "text/plain", "application/json") else "another"
        raise UnreadableError(
            f"'{shown}' answers with content of type {kind}, not {' or '.join(kinds)}; check that "
            "the URL is that of the service and not of a page"
        )
    return response


def json_of(response: requests.Response, shown: str) -> Any:
    """An answer in JSON.

    Raises:
        TooLargeError: it holds more values than fit into memory.
        ValueError: it is no JSON.
    """
    words = response.content
    if sum(words.count(mark) for mark in (b"[", b"{", b",")) > MOST_VALUES:
        raise TooLargeError(
            f"'{shown}' answers with more than {MOST_VALUES:,} values in JSON; ask for less"
        )
    return json.loads(words)
