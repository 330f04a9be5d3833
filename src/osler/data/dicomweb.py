"""A DICOMweb query to a cohort: a case for each study, an item for each series, as its URL.

Nothing but the query's answer is fetched; the URLs are opened when a case is.

Source: DICOM PS3.18, 10.6 (QIDO-RS) and 10.4 (WADO-RS).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from osler.data.cohort import Cohort, Row
from osler.data.importing import Names
from osler.data.tables import Value
from osler.errors import RecipeError, UnreadableError, UnsupportedError
from osler.terminal import counted

_STUDY, _SERIES, _PATIENT, _MODALITY = "0020000D", "0020000E", "00100020", "00080060"
_DATE, _SEX = "00080020", "00100040"
_NAMES: Final = {"CT": "ct", "MR": "mr", "PT": "pt", "US": "us", "OPT": "oct", "ECG": "ecg"}
_LEFT_OUT: Final = {"PR", "KO", "SEG", "SR", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "DOC"}
PAGE: Final = 100
"""Series asked for at a time."""


class Client(Protocol):
    """What is used of ``dicomweb_client.DICOMwebClient``."""

    @property
    def base_url(self) -> str:
        """Address of the service."""

    @property
    def search_for_series(self) -> Callable[..., Sequence[Mapping[str, Any]]]:
        """QIDO-RS: series in the DICOM JSON model."""


def connect(url: str) -> Client:
    """A client for a service, with the environment's credentials where they are for its host.

    Raises:
        InputError: the URL is none of a service.
        MissingExtraError: ``dicomweb-client`` is not installed.
    """
    from osler.io.web_dicom import client

    made: Client = client(url)
    return made


def import_dicomweb(
    client: Client,
    table: Path,
    *,
    filters: Mapping[str, str] | None = None,
    limit: int = 10_000,
) -> tuple[Cohort, list[str]]:
    """Make a cohort of what a query finds.

    Args:
        client: connected to the service, such as ``dicomweb_client.DICOMwebClient(url)``.
        table: where the cohort's table is written.
        filters: DICOM keyword to value, as QIDO-RS takes them: ``{"Modality": "CT"}``.
        limit: most series that are taken.

    Returns:
        The cohort, and what was left out.

    Raises:
        UnsupportedError: the query finds nothing.
        UnreadableError: the answer lacks an identifier.
        RecipeError: the limit is not positive.
    """
    if limit < 1:
        raise RecipeError(f"limit is {limit}; it is at least 1")
    found, notes = _search(client, filters or {}, limit)
    studies: dict[str, list[Mapping[str, Any]]] = {}
    left = 0
    for series in found:
        if _text(series, _MODALITY) in _LEFT_OUT:
            left += 1
            continue
        if not _text(series, _STUDY) or not _text(series, _SERIES):
            raise UnreadableError("the service answered with a series that has no UID")
        studies.setdefault(_text(series, _STUDY), []).append(series)
    if not studies:
        raise UnsupportedError(f"the query at '{client.base_url}' finds no series of images")
    if left:
        notes.append(f"{left} series of findings, reports and presentation states were left out")
    names, unknown = Names(), 0
    rows = []
    for uid, listed in sorted(studies.items()):
        patient = next((p for p in (_text(s, _PATIENT) for s in listed) if p), "")
        unknown += not patient
        rows.append(_row(client.base_url, uid, listed, patient or uid, names))
    if unknown:
        notes.append(
            f"{counted(unknown, 'study', 'studies')} of no stated patient, each counted as one"
        )
    return Cohort(table, table.parent, tuple(rows)).write(table), notes


def _search(
    client: Client, filters: Mapping[str, str], limit: int
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """All pages of an answer; a service that repeats itself ends it."""
    found: dict[str, Mapping[str, Any]] = {}
    offset = 0
    while len(found) < limit:
        page = client.search_for_series(
            limit=PAGE,
            offset=offset,
            fields=["PatientID", "PatientSex", "StudyDate", "SeriesDescription"],
            search_filters=dict(filters),
        )
        before = len(found)
        for series in page:
            found.setdefault(_text(series, _SERIES) or f"#{len(found)}", series)
        if len(found) == before:
            return list(found.values()), []
        offset += len(page)
    return list(found.values())[:limit], [f"only the first {limit} series were taken"]


def _row(
    base: str, uid: str, series: Sequence[Mapping[str, Any]], patient: str, names: Names
) -> Row:
    items: dict[str, Any] = {}
    for one in sorted(series, key=lambda s: (_text(s, _MODALITY), _text(s, _SERIES))):
        name = _NAMES.get(_text(one, _MODALITY), "photo")
        number = sum(item.partition("-")[0] == name for item in items)
        key = name if not number else f"{name}-{number + 1}"
        items[key] = f"{base.rstrip('/')}/studies/{uid}/series/{_text(one, _SERIES)}"
    variables: dict[str, Value] = {"study_uid": uid}
    for name, tag in (("sex", _SEX), ("study_date", _DATE)):
        text = next((t for t in (_text(s, tag) for s in series) if t), "")
        if text:
            dashed = name == "study_date" and len(text) == 8
            variables[name] = f"{text[:4]}-{text[4:6]}-{text[6:]}" if dashed else text
    return Row(names.new(uid), patient, None, items, {}, None, variables)


def _text(data: Mapping[str, Any], tag: str) -> str:
    value = (data.get(tag) or {}).get("Value") or [""]
    return str(value[0]) if not isinstance(value[0], dict) else ""
