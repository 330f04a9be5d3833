"""Who was who: original and new identities, encrypted with a passphrase, apart from the copies.

The file is one line of JSON with the parameters, and a Fernet token (AES-128-CBC with HMAC-SHA-256)
whose key comes from the passphrase by scrypt (RFC 7914).
"""

import base64
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from osler.errors import InputError, MissingExtraError, OutputError
from osler.io.deidentification.one import Copied, Setting
from osler.io.hushing import hushed
from osler.io.input_file import opened
from osler.io.record_signatures import is_edf
from osler.io.signatures import is_dicom

PASSPHRASE: Final = "OSLER_PASSPHRASE"
"""The environment variable that holds the passphrase: an argument would show in process lists."""

_SHORTEST: Final = 12  # characters
_N, _R, _P = 1 << 16, 8, 1  # scrypt: 64 MiB


def passphrase() -> str:
    """The passphrase of the environment.

    Raises:
        InputError: there is none, or it is too short.
    """
    words = os.environ.get(PASSPHRASE, "")
    if len(words) < _SHORTEST:
        raise InputError(
            f"a mapping is only written encrypted: put a passphrase of {_SHORTEST} characters or "
            f"more into the environment variable {PASSPHRASE}"
        )
    return words


def collect(copies: list[Copied], setting: Setting) -> dict[str, Any]:
    """Old and new names of files, patients and unique identifiers of a run.

    Args:
        copies: what was copied; the headers of their originals are read once more.
        setting: of the run.
    """
    from osler.io.deidentification import edf_file

    told: dict[str, Any] = {"files": {}, "patients": {}, "uids": {}}
    for copied in copies:
        told["files"][setting.relative(copied.source)] = copied.place
        with hushed(), opened(copied.source) as file:
            if is_dicom(file.head):
                _add_dicom(file, setting, told)
            elif is_edf(file.head):
                identity, pseudonym = edf_file.pseudonym(file, setting.key)
                told["patients"].setdefault(pseudonym, {"id": identity})
    return told


def _add_dicom(file: Any, setting: Setting, told: dict[str, Any]) -> None:
    from osler.io.deidentification import dicom_file, uids

    dataset = dicom_file.read(file)
    patient = dicom_file.patient_of(dataset, setting.options, setting.key)
    told["patients"][patient.pseudonym] = {
        "id": str(dataset.get("PatientID") or ""),
        "name": str(dataset.get("PatientName") or ""),
        "days": patient.offset.days,
        "seconds": patient.offset.seconds,
    }
    for uid in patient.known.uids:
        told["uids"][uid] = uids.replaced(uid, setting.key)


def write(told: Mapping[str, Any], path: Path, words: str) -> None:
    """Encrypt a mapping into a new file that only this user can read.

    Raises:
        OutputError: the file is there already, or cannot be made.
    """
    salt = secrets.token_bytes(16)
    token = _fernet(words, salt, _N).encrypt(json.dumps(told).encode())
    head = {"osler": "mapping", "kdf": "scrypt", "n": _N, "r": _R, "p": _P, "salt": salt.hex()}
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(json.dumps(head).encode() + b"\n" + token + b"\n")
    except OSError as error:
        raise OutputError(f"the mapping '{path}' cannot be made ({error.strerror})") from None


def read(path: Path, words: str) -> dict[str, Any]:
    """Decrypt a mapping.

    Raises:
        InputError: it is damaged, or the passphrase is another.
    """
    from cryptography.fernet import InvalidToken

    try:
        head, token = path.read_bytes().split(b"\n")[:2]
        values = json.loads(head)
        if values["n"] > 1 << 20:
            raise ValueError("n")
        told: dict[str, Any] = json.loads(
            _fernet(words, bytes.fromhex(values["salt"]), values["n"]).decrypt(token)
        )
    except (OSError, ValueError, KeyError, TypeError, InvalidToken):
        raise InputError(
            f"the mapping '{path}' cannot be opened: it is damaged, or the passphrase is another"
        ) from None
    return told


def _fernet(words: str, salt: bytes, n: int) -> Any:
    try:
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError:
        raise MissingExtraError(
            "cryptography", extra="deidentify", purpose="encrypt the mapping"
        ) from None
    key = Scrypt(salt=salt, length=32, n=n, r=_R, p=_P).derive(words.encode())
    return Fernet(base64.urlsafe_b64encode(key))
