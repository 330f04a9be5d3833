"""Identifiers for what is written: the same case gives the same ones every time.

A result that is written again replaces itself instead of standing beside itself. Identifiers are
name-based UUIDs [1] under one namespace of Osler; in DICOM they stand under the root 2.25 [2].

1. RFC 9562, section 5.5 (UUID version 5).
2. DICOM PS3.5, annex B.2 (UUID derived UIDs).
"""

import hashlib
import uuid as _uuid
from importlib import metadata

import numpy as np

from osler.record import Case, Image, Source

_NAMESPACE = _uuid.uuid5(_uuid.NAMESPACE_URL, "osler")


def uuid(*parts: str) -> _uuid.UUID:
    """The UUID of a thing that is named by these parts."""
    return _uuid.uuid5(_NAMESPACE, "\x1f".join(parts))


def uid(*parts: str) -> str:
    """The DICOM UID of a thing that is named by these parts."""
    return f"2.25.{uuid(*parts).int}"


def digest(image: Image) -> str:
    """Hexadecimal SHA-256 of the image's file, or of its pixels where there is no file."""
    if image.origin is not None and image.origin.sha256:
        return image.origin.sha256
    pixels = np.ascontiguousarray(image.array)
    head = f"{pixels.dtype.str}{pixels.shape}".encode()
    return hashlib.sha256(head + pixels.tobytes()).hexdigest()


def sources(case: Case) -> tuple[Source, ...]:
    """Everyone who made a finding of this case, each once, in order."""
    return tuple(dict.fromkeys(f.source for f in case.findings.values()))


def version() -> str:
    """The version of Osler that is running."""
    try:
        return metadata.version("osler")
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "0+unknown"
