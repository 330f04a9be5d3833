"""What a URL names: a study of a DICOMweb service, a patient of a FHIR server, or a file.

    dicomweb+https://HOST/dicom-web/studies/UID[/series/UID[/instances/UID]]
    fhir+https://HOST/fhir?patient=ID       or  fhir+https://HOST/fhir/Patient/ID
    https://HOST/scan.nii.gz                    s3://BUCKET/KEY

A plain ``https`` URL whose path ends as DICOMweb's do is one of DICOMweb (DICOM PS3.18, 8.2).
"""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from osler.errors import InputError, MissingExtraError, UnsupportedError

STORES: Final = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
"""Schemes of object stores that go through fsspec."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_UID = r"[0-9]+(?:\.[0-9]+)*"
_DICOM = re.compile(rf"(.*)/studies/({_UID})(?:/series/({_UID})(?:/instances/({_UID}))?)?/?\Z")
_PATIENT = re.compile(r"(.*)/Patient/([A-Za-z0-9\-.]{1,64})/?\Z")
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_KNOWN: Final = "dicomweb+https://, fhir+https://, https:// and s3://"


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, understood.

    Attributes:
        kind: of what answers.
        base: the service, or the whole URL of a file, without a fragment.
        shown: scheme, host and path alone, as messages may say it.
        study: StudyInstanceUID.
        series: SeriesInstanceUID; empty for a whole study.
        instance: SOPInstanceUID; empty for a whole series.
        patient: logical id of a FHIR patient.
    """

    kind: Literal["dicomweb", "fhir", "file", "store"]
    base: str
    shown: str
    study: str = ""
    series: str = ""
    instance: str = ""
    patient: str = ""


def is_url(path: object) -> bool:
    """Whether a path is text that names its scheme, as ``https://host/file`` does."""
    return isinstance(path, str) and bool(_URL.match(path))


def address_of(url: str) -> Address:
    """What a URL names.

    Raises:
        InputError: it is no sound URL, lacks what its kind needs, or holds a password.
        UnsupportedError: another scheme.
    """
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        raise InputError("the URL is damaged (its host or port); check it") from None
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"the URL of host '{host}' has a user or a password in it, which ends up in logs; pass "
            "user= and password=, or set OSLER_WEB_USER, OSLER_WEB_PASSWORD and OSLER_WEB_HOST"
        )
    if not host:
        raise InputError("the URL names no host; write it as https://HOST/PATH")
    kind, plus, carrier = scheme.rpartition("+")
    shown = f"{carrier}://{parts.netloc}{parts.path}"
    if scheme in STORES:
        return Address("store", urlunsplit((scheme, parts.netloc, parts.path, "", "")), shown)
    if carrier not in ("http", "https") or (plus and kind not in ("dicomweb", "fhir")):
        raise UnsupportedError(
            f"URLs of scheme '{scheme[:20]}' are not opened; those that start with {_KNOWN} are"
        )
    root = f"{carrier}://{parts.netloc}"
    if kind == "fhir":
        return _fhir(root, parts.path, parts.query)
    found = _DICOM.match(parts.path)
    if found:
        study, series, instance = (uid or "" for uid in found.groups()[1:])
        for uid in (study, series, instance):
            if len(uid) > 64:
                raise InputError("the URL has a UID of more than 64 characters; check it")
        return Address("dicomweb", root + found[1], shown, study, series, instance)
    if kind == "dicomweb":
        raise InputError(
            f"'{shown}' names no study; write it as .../studies/UID, as osler.io.search gives it"
        )
    query = f"?{parts.query}" if parts.query else ""
    return Address("file", f"{root}{parts.path}{query}", shown)


def _fhir(root: str, path: str, query: str) -> Address:
    found = _PATIENT.match(path)
    named = dict(parse_qsl(query))
    patient = unquote(found[2]) if found else named.get("patient", named.get("subject", ""))
    base = root + (found[1] if found else path.rstrip("/"))
    patient = patient.removeprefix("Patient/")
    if not _FHIR_ID.match(patient):
        raise InputError(
            f"the FHIR URL of '{base}' names no patient; write it as fhir+https://HOST/PATH?patient"
            "=ID with the server's own id of the patient"
        )
    return Address("fhir", base, base, patient=patient)


def shown(path: str) -> str:
    """A URL as it may be shown, without the query, which may name a patient; a path as it is."""
    return path.partition("?")[0].partition("#")[0] if is_url(path) else path


def service_of(url: str) -> str:
    """The address of a DICOMweb service itself, with or without ``dicomweb+`` before it.

    Raises:
        InputError: as ``address_of``.
        UnsupportedError: another scheme.
    """
    plain = url.removeprefix("dicomweb+").rstrip("/")
    if not plain.lower().startswith(("http://", "https://")):
        raise UnsupportedError("a DICOMweb service has a URL that starts with http:// or https://")
    found = address_of(plain)
    return found.base if found.kind == "dicomweb" else plain.partition("?")[0]


def need_network(package: str = "requests", *, purpose: str = "open URLs") -> None:
    """Raise where the packages of the extra ``network`` are absent.

    Raises:
        MissingExtraError: it is.
    """
    if find_spec(package) is None:
        raise MissingExtraError(package, extra="network", purpose=purpose)
