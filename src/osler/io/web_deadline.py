"""Connections whose answers must begin in time.

``urllib3`` bounds the silence between two bytes. A host that drips its headers, or says "continue"
again and again, is never silent and never done: after so many seconds its line is cut here.
"""

import os
import socket
import threading
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class _Cut:
    """Cuts the line of a connection that takes too long to begin its answer."""

    seconds: float
    sock: Any

    def getresponse(self) -> Any:
        """The head of an answer.

        Raises:
            TimeoutError: it took too long.
        """
        late = threading.Event()
        timer = threading.Timer(self.seconds, _shut, (self.sock, late))
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()  # type: ignore[misc]
        except Exception:
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()


class _Plain(_Cut, HTTPConnection):
    pass


class _Secure(_Cut, HTTPSConnection):
    pass


def _shut(sock: Any, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class PunctualAdapter(HTTPAdapter):
    """An adapter whose hosts must begin each answer within so many seconds."""

    def __init__(self, seconds: float, **options: Any) -> None:
        self._seconds, self._process = seconds, os.getpid()
        super().__init__(**options)

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As the parent's; a forked process makes connections of its own."""
        if self._process != os.getpid():
            # two processes that read from one connection would take each other's answers
            self._process = os.getpid()
            self.proxy_manager = {}
            self.init_poolmanager(*self._pool_of)
        return super().send(*args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As the parent's, with our connections."""
        self._pool_of = args
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools()

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """As the parent's, with our connections."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools()
        return manager

    def _pools(self) -> dict[str, Any]:
        seconds = {"seconds": self._seconds}
        plain = type("_PlainTimed", (_Plain,), seconds)
        secure = type("_SecureTimed", (_Secure,), seconds)
        return {
            "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("_SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }
