"""A server with the OpenAI interface, such as vLLM, Ollama or llama-server: the one that is named.

One request an answer, over the standard library's client, so that nothing stands between: no
proxy, no redirect, no second host, no cookie. The time of an answer is bounded from the first
packet to the last, and so is its size.
"""

import base64
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from osler.errors import RecipeError
from osler.language.engine import Engine, EngineError, Message

KEY: Final = "OSLER_ENGINE_KEY"
"""The environment variable that holds a server's key."""

MOST_BYTES: Final = 4 << 20
"""Most bytes of an answer."""

_BLOCK: Final = 1 << 16
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_CONNECT: Final = 10.0  # seconds


class ServerEngine(Engine):
    """A model behind ``POST /chat/completions``.

    Args:
        where: ``"http://host:port/v1#MODEL"``.
        timeout: seconds of one answer in all.
        sees_images: whether the model takes images.

    Raises:
        RecipeError: it is no such address, or the key would travel unencrypted.
    """

    def __init__(self, where: str, *, timeout: float, sees_images: bool = False) -> None:
        address, _, self._model = where.partition("#")
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            raise RecipeError("the address of a language server cannot be read") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RecipeError(
                "a language server has an address such as openai:http://localhost:11434/v1#MODEL"
            )
        if parts.username or parts.password or parts.query:
            raise RecipeError(
                f"the address of a language server holds no password and no query; put a key "
                f"into the environment as {KEY}"
            )
        if not self._model:
            raise RecipeError("name the server's model after '#', as in .../v1#qwen2.5:7b")
        if not all(33 <= ord(c) < 127 for c in parts.netloc + parts.path):
            raise RecipeError("the address of a language server is of plain letters")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, port
        self._path = parts.path.rstrip("/") + "/chat/completions"
        self._shown = f"{parts.scheme}://{parts.netloc}"
        self._timeout = timeout
        self.sees_images = sees_images
        self.name = f"{self._model} at {parts.netloc}"
        self._key()

    def _key(self) -> str:
        key = os.environ.get(KEY, "").strip()
        if key and not all(33 <= ord(c) < 127 for c in key):
            raise RecipeError(f"{KEY} holds characters that no key has")
        if key and not self._secure and self._host not in _LOCAL:
            raise RecipeError(
                f"the key for '{self._host}' would travel unencrypted over http; use https"
            )
        return key

    def _write(
        self,
        messages: Sequence[Message],
        *,
        images: Sequence[NDArray[np.uint8]],
        limit: int,
        seed: int,
    ) -> str:
        turns: list[dict[str, Any]] = [{"role": m.role, "content": m.text} for m in messages]
        if images:
            shown = [{"type": "image_url", "image_url": {"url": _data_url(i)}} for i in images]
            turns[-1]["content"] = [{"type": "text", "text": messages[-1].text}, *shown]
        asked = {
            "model": self._model,
            "messages": turns,
            "max_tokens": limit,
            "temperature": 0,
            "seed": seed,
            "stream": False,
        }
        return self._content_of(self._post(json.dumps(asked).encode()))

    def _post(self, body: bytes) -> bytes:
        """What the server answers, whole and in time."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "osler",
        }
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        connection = self._connection()
        end, late = time.monotonic() + self._timeout, threading.Event()
        timer = threading.Timer(self._timeout, _cut, (connection, late))
        timer.daemon = True
        timer.start()
        try:
            connection.connect()
            connection.sock.settimeout(max(0.01, end - time.monotonic()))
            connection.request("POST", self._path, body=body, headers=headers)
            with closing(connection.getresponse()) as answer:
                self._look_at(answer.status)
                whole = self._read(answer, end)
            if late.is_set():  # a line that was cut looks like the end of an answer
                raise self._too_slow()
            return whole
        except EngineError:
            raise
        except ssl.SSLCertVerificationError:
            raise EngineError(
                f"the certificate of '{self._shown}' is not trusted; set SSL_CERT_FILE to the "
                "file of your hospital's certificates"
            ) from None
        except (OSError, HTTPException, ValueError) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise self._too_slow() from None
            raise EngineError(
                f"the language server '{self._shown}' cannot be reached, or breaks off; check "
                "that it runs"
            ) from None
        finally:
            timer.cancel()
            connection.close()

    def _connection(self) -> HTTPConnection:
        wait = min(_CONNECT, self._timeout)
        if self._secure:
            return HTTPSConnection(
                self._host, self._port, timeout=wait, context=ssl.create_default_context()
            )
        return HTTPConnection(self._host, self._port, timeout=wait)

    def _look_at(self, status: int) -> None:
        if status == 200:
            return
        if 300 <= status < 400:
            raise EngineError(
                f"'{self._shown}' sends on to another address, which is not asked; name that one"
            )
        hint = {
            401: f"set {KEY} in the environment",
            403: f"set {KEY} in the environment",
            404: "check the address, which often ends with /v1, and the model's name",
        }.get(status, "see its log")
        raise EngineError(f"'{self._shown}' refuses or fails (status {status}); {hint}")

    def _read(self, answer: HTTPResponse, end: float) -> bytes:
        blocks, count = [], 0
        while block := answer.read1(_BLOCK):
            count += len(block)
            if count > MOST_BYTES:
                raise EngineError(
                    f"'{self._shown}' answers with more than {MOST_BYTES:,} bytes; it is cut off"
                )
            if time.monotonic() > end:
                raise self._too_slow()
            blocks.append(block)
        if answer.length:  # promised, and not sent
            raise HTTPException
        return b"".join(blocks)

    def _too_slow(self) -> EngineError:
        return EngineError(
            f"'{self._shown}' has not answered within {self._timeout:g} seconds; allow it more "
            "time, or take a smaller model"
        )

    def _content_of(self, body: bytes) -> str:
        """The words of the first choice."""
        try:
            content = json.loads(body)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise EngineError(
                f"'{self._shown}' does not answer as the OpenAI interface does; check the address"
            ) from None
        if isinstance(content, list):  # parts, of which those in words are taken
            parts = (part.get("text") for part in content if isinstance(part, dict))
            content = "".join(text for text in parts if isinstance(text, str))
        if not isinstance(content, str):
            raise EngineError(f"the engine '{self.name}' wrote nothing")
        return content


def _data_url(image: NDArray[np.uint8]) -> str:
    import io

    from PIL import Image as Picture

    file = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _cut(connection: HTTPConnection, late: threading.Event) -> None:
    """Ends a connection whose time is over, whatever it waits for."""
    late.set()
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            # not of the SSL layer, which another thread may be reading from
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
