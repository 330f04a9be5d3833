"""The secret of a run: all that replaces an identity is derived from it, and nothing leads back.

Every replacement is a keyed hash (HMAC-SHA-256, RFC 2104): the same key gives the same replacement
in every file and every run, and without the key nobody can try out names or numbers.
"""

import base64
import hmac
import os
import secrets
from pathlib import Path

from osler.errors import InputError, OutputError

_BYTES = 32


class Key:
    """A secret of 32 bytes; it is neither printed nor written to a report.

    Args:
        secret: the bytes; random where None is given.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secrets.token_bytes(_BYTES) if secret is None else secret

    def __repr__(self) -> str:
        return "Key(...)"

    def digest(self, purpose: str, text: str) -> bytes:
        """32 bytes that depend on the key, on what they are for, and on the text."""
        message = f"{purpose}\0{text}".encode("utf-8", "surrogateescape")
        return hmac.digest(self._secret, message, "sha256")

    def number(self, purpose: str, text: str, *, below: int) -> int:
        """A number from 0 to ``below - 1``."""
        return int.from_bytes(self.digest(purpose, text)) % below

    def name(self, purpose: str, text: str, *, length: int = 12) -> str:
        """So many capital letters and digits; 12 of them make 60 bits."""
        return base64.b32encode(self.digest(purpose, text)).decode("ascii")[:length]

    def save(self, path: Path) -> None:
        """Write the secret to a new file that only this user can read.

        Raises:
            OutputError: the file cannot be made.
        """
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(self._secret.hex() + "\n")
        except OSError as error:
            raise OutputError(f"the key cannot be written to '{path}' ({error.strerror})") from None

    @classmethod
    def load(cls, path: Path) -> "Key":
        """Read a secret: 64 hexadecimal digits, or any 32 bytes and more.

        Raises:
            InputError: the file cannot be read, or is too short to be a secret.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"the key file '{path}' cannot be read ({error.strerror})") from None
        try:
            secret = bytes.fromhex(data.decode("ascii"))
        except ValueError:
            secret = data
        if len(secret) < _BYTES:
            raise InputError(
                f"the key file '{path}' holds {len(secret)} bytes; a key has {_BYTES} at least: "
                "make one with: openssl rand -hex 32"
            )
        return cls(secret)
