"""A DICOMweb service: searching, fetching headers and instances, and sending.

Source: DICOM PS3.18, 10.4 (WADO-RS), 10.5 (STOW-RS), 10.6 (QIDO-RS).
"""

import mmap
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from osler.errors import InputError, OutputError, UnreadableError
from osler.io.input_file import decoding, opened
from osler.io.web_address import Address, need_network, service_of
from osler.io.web_folder import Fetched

Json = Mapping[str, Any]

PAGE: Final = 100
"""Studies asked for at a time."""

_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_FIELDS: Final = {
    "patient_id": "PatientID",
    "modality": "ModalitiesInStudy",
    "study_date": "StudyDate",
    "accession_number": "AccessionNumber",
    "study_uid": "StudyInstanceUID",
}
"""Criteria of ``search`` and the keywords that they are."""

_FAILED, _STORED, _WARNED = "00081198", "00081199", "00081196"
_UID = re.compile(r"[0-9][0-9.]{0,63}\Z")
_BOUNDARY = re.compile(r'boundary="?([^";\s]{1,200})"?', re.IGNORECASE)
_HEAD_MOST = 65_536


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study that a search found.

    Attributes:
        url: opens it with ``osler.load``.
        study_uid: StudyInstanceUID.
        patient_id: PatientID; empty where it is not told.
        date: StudyDate as ``YYYYMMDD``; empty where it is not told.
        modalities: DICOM modality codes.
        description: StudyDescription.
    """

    url: str
    study_uid: str
    patient_id: str
    date: str
    modalities: tuple[str, ...]
    description: str


class Service:
    """One DICOMweb service.

    Args:
        base: its address, such as ``https://pacs/dicom-web``.
        access: how it is asked; an ``Access``.

    Raises:
        MissingExtraError: the extra ``network`` is not installed.
    """

    def __init__(self, base: str, access: Any = None) -> None:
        need_network(purpose="ask a DICOMweb service")
        from osler.io.web_session import Access, session_for

        self.base = base.rstrip("/")
        self.access: Access = access or Access()
        self.session = session_for(self.base, self.access)

    def close(self) -> None:
        """Close its connections."""
        self.session.close()

    def series(self, study: str, series: str = "") -> list[Json]:
        """The headers of a study's or a series' instances, in the DICOM JSON model.

        Raises:
            InputError: it cannot be had.
            UnreadableError: the answer is something else, or of another study.
        """
        shown = f"{self.base}/studies/{study}" + (f"/series/{series}" if series else "")
        found = self._json(f"{shown}/metadata")
        seen: set[str] = set()
        for one in found:
            uid = value(one, _INSTANCE)
            wrong = value(one, _STUDY) != study or (series and value(one, _SERIES) != series)
            # a UID becomes the name of a file, and part of a URL
            sound = _UID.match(uid) and _UID.match(value(one, _SERIES))
            if wrong or not sound or uid in seen:
                reason = (
                    "another study or series" if wrong else "no sound UID, or an instance twice"
                )
                raise UnreadableError(
                    f"'{shown}' answers with the header of {reason}; ask its keepers"
                )
            seen.add(uid)
        if not found:
            raise InputError(f"'{shown}' has no instances; check the UIDs")
        return found

    def _json(self, url: str, **query: str) -> list[Json]:
        from osler.io.web_session import asking, checked, json_of

        kinds = ("application/dicom+json", "application/json")
        with asking(url, what="DICOM in JSON"):
            accept = {"Accept": "application/dicom+json"}
            with self.session.get(url, params=query, headers=accept) as response:
                if response.status_code == 204:
                    return []
                found = json_of(checked(response, url, *kinds), url)
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise UnreadableError(f"'{url}' does not give a list of DICOM data sets in JSON")
        return found

    def instance(self, folder: Fetched, study: str, series: str, instance: str) -> Path:
        """Fetch one instance as it is stored.

        Raises:
            InputError: it cannot be had.
            TooLargeError: the folder would hold more than its most.
            UnreadableError: the answer is something else, or another instance.
        """
        from osler.io.web_session import asking, checked

        url = f"{self.base}/studies/{study}/series/{series}/instances/{instance}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        name = f"{instance}.dcm"
        with asking(url, what="a DICOM instance"):
            with self.session.get(url, headers={"Accept": accept}) as response:
                checked(response, url, "multipart/related", "application/dicom")
                stated = response.headers.get("Content-Type", "")
                whole = folder.write(f"{name}.answer", response.iter_content(1 << 16))
            if stated.lower().startswith("multipart"):
                path = folder.write(name, _only_part(whole, stated, url))
                folder.drop(whole)
            else:
                path = whole.replace(folder.path / name)
        _check_instance(path, instance, url)
        return path

    def studies(self, criteria: Mapping[str, str], limit: int) -> Iterator[FoundStudy]:
        """Search for studies, a page at a time."""
        count, seen = 0, set[str]()
        fields = "ModalitiesInStudy,StudyDescription,StudyDate,PatientID"
        while count < limit:
            page = self._json(
                f"{self.base}/studies",
                **criteria,
                includefield=fields,
                limit=str(min(PAGE, limit - count)),
                offset=str(len(seen)),
            )
            new = [one for one in page if value(one, _STUDY) not in seen]
            if not new:
                return
            for one in new[: limit - count]:
                uid = value(one, _STUDY)
                if not _UID.match(uid):
                    raise UnreadableError(f"'{self.base}' finds a study without a sound UID")
                seen.add(uid)
                count += 1
                yield FoundStudy(
                    url=f"dicomweb+{self.base}/studies/{uid}",
                    study_uid=uid,
                    patient_id=value(one, "00100020"),
                    date=value(one, "00080020"),
                    modalities=tuple(str(code) for code in values(one, "00080061")),
                    description=value(one, "00081030"),
                )

    def store(self, paths: Sequence[Path]) -> tuple[str, ...]:
        """Send files, and be told that each was stored.

        Raises:
            InputError: a file cannot be used, or the service cannot be reached.
            OutputError: the service did not take all of them.
        """
        from osler.io.web_session import asking

        wanted: dict[str, Path] = {}
        for path in paths:
            wanted[_instance_of(path, placed=True)] = path
        url = f"{self.base}/studies"
        boundary = f"osler-{os.urandom(16).hex()}"
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        }
        with asking(url, what="what became of the instances"):
            body = _Parts(list(wanted.values()), boundary)
            # sent once only: nobody knows whether a failed request has stored something
            with self.session.post(url, data=body, headers=headers) as response:
                answer = _answer(response, url)
        stored = {value(one, "00081155") for one in values(answer, _STORED)}
        reasons = {
            value(one, "00081155"): value(one, "00081197") for one in values(answer, _FAILED)
        }
        lacking = [uid for uid in wanted if uid not in stored]
        if lacking:
            first = lacking[0]
            reason = reasons.get(first, "")
            words = f"failure reason {int(reason):#06x}" if reason.isdigit() else "no reason given"
            raise OutputError(
                f"'{url}' did not store {len(lacking)} of {len(wanted)} files, the first "
                f"'{wanted[first].name}' ({words}); ask its keepers, then send those again"
            )
        return tuple(wanted)


def client(url: str, **access: Any) -> Any:
    """A ``dicomweb_client.DICOMwebClient`` whose requests are as bounded as ours.

    Args:
        url: of the service.
        access: fields of ``Access``, such as ``token``.

    Raises:
        InputError: the URL is none of a service.
        MissingExtraError: the extra ``network`` is not installed.
    """
    need_network("dicomweb_client", purpose="query a DICOMweb service")
    from dicomweb_client.api import DICOMwebClient

    service = Service(service_of(url), _access(access))
    made = DICOMwebClient(
        service.base, session=service.session, timeout=service.access.timeout, permissive_uid=True
    )
    made.set_http_retry_params(False)  # it would send again what was refused
    return made


def search(
    url: str,
    *,
    patient_id: str = "",
    modality: str = "",
    study_date: str = "",
    accession_number: str = "",
    study_uid: str = "",
    limit: int = 1000,
    **access: Any,
) -> list[FoundStudy]:
    """Search a DICOMweb service for studies.

    Args:
        url: of the service, such as ``https://pacs/dicom-web``.
        patient_id: PatientID.
        modality: a modality that the study has, such as ``"CT"``.
        study_date: ``YYYYMMDD``, or a range ``YYYYMMDD-YYYYMMDD``.
        accession_number: AccessionNumber.
        study_uid: StudyInstanceUID.
        limit: most studies.
        access: fields of ``Access``, such as ``token``.

    Returns:
        Studies, each with the URL that ``osler.load`` opens.

    Raises:
        InputError: the service cannot be asked.
        UnreadableError: it answers with something else.
        MissingExtraError: the extra ``network`` is not installed.
    """
    given = (patient_id, modality, study_date, accession_number, study_uid)
    criteria = {
        keyword: text for keyword, text in zip(_FIELDS.values(), given, strict=True) if text
    }
    with closing(Service(service_of(url), _access(access))) as service:
        return list(service.studies(criteria, limit))


def send(
    files: "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]", url: str, **access: Any
) -> tuple[str, ...]:
    """Send DICOM files to a DICOMweb service, such as a segmentation and a report.

    Args:
        files: DICOM files, or a folder whose ``.dcm`` files are sent.
        url: of the service, such as ``https://pacs/dicom-web``.
        access: fields of ``Access``, such as ``token``.

    Returns:
        The SOPInstanceUIDs, each of which the service says it has stored.

    Raises:
        InputError: a file is no DICOM, or the service cannot be reached.
        OutputError: the service did not take all of them.
        MissingExtraError: the extra ``network`` is not installed.
    """
    if isinstance(files, str | os.PathLike):
        one = Path(files)
        paths = sorted(one.rglob("*.dcm")) if one.is_dir() else [one]
    else:
        paths = [Path(file) for file in files]
    if not paths:
        raise InputError("there are no DICOM files to send; name them, or the folder they are in")
    with closing(Service(service_of(url), _access(access))) as service:
        return service.store(paths)


def _access(given: dict[str, Any]) -> Any:
    need_network(purpose="ask a DICOMweb service")
    from osler.io.web_session import Access

    access = Access.taken_from(given)
    if given:
        raise InputError(
            f"no option '{next(iter(given))}' is known; there are {', '.join(Access.__slots__)}"
        )
    return access


def values(data: Any, tag: str) -> list[Any]:
    """All values of an element in the DICOM JSON model."""
    element = data.get(tag) if isinstance(data, dict) else None
    found = element.get("Value") if isinstance(element, dict) else None
    return found if isinstance(found, list) else []


def value(data: Any, tag: str) -> str:
    """The first value as text; empty where there is none."""
    found = values(data, tag)
    return str(found[0]) if found and isinstance(found[0], str | int | float) else ""


def url_of(address: Address, header: Json) -> str:
    """The URL of an instance by its header."""
    return (
        f"{address.base}/studies/{address.study}/series/{value(header, _SERIES)}/instances/"
        f"{value(header, _INSTANCE)}"
    )


def _only_part(path: Path, stated: str, url: str) -> Iterator[bytes]:
    """The content of the one part of a multipart answer (RFC 2046, 5.1)."""
    found = _BOUNDARY.search(stated)
    boundary = b"--" + found[1].encode() if found else b""
    with open(path, "rb") as stream:
        if path.stat().st_size < 8 or not boundary:
            raise _no_part(url)
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = data.find(boundary, 0, _HEAD_MOST)
            head = data.find(b"\r\n\r\n", max(0, start), _HEAD_MOST)
            end = data.find(b"\r\n" + boundary, max(0, head))
            if min(start, head, end) < 0 or head + 4 > end:
                raise _no_part(url)
            if data[end + 2 + len(boundary) : end + 4 + len(boundary)] != b"--":
                raise UnreadableError(f"'{url}' answers with several instances; one was asked for")
            for at in range(head + 4, end, 1 << 20):
                yield data[at : min(end, at + (1 << 20))]


def _no_part(url: str) -> UnreadableError:
    return UnreadableError(
        f"'{url}' breaks off, or answers with a message that has no part; try again"
    )


def _check_instance(path: Path, instance: str, url: str) -> None:
    if _instance_of(path, shown=url) != instance:
        raise UnreadableError(
            f"'{url}' answers with another instance than was asked for; ask its keepers"
        )


def _instance_of(path: Path, *, shown: str = "", placed: bool = False) -> str:
    """SOPInstanceUID of a file; with ``placed`` it must name its study and series too.

    Raises:
        InputError: the file cannot be used, or is no DICOM.
    """
    from osler.io.dicom_layout import DEFLATED
    from osler.io.dicom_scan import scan
    from osler.io.signatures import is_dicom

    uids = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    with opened(path) as file, decoding(file, "dicom"):
        if not is_dicom(file.head):
            raise UnreadableError(f"'{shown or file.name}' is no DICOM instance")
        found = scan(cast(Any, file.stream), uids)
        if found.syntax == DEFLATED:  # the file meta information says it
            return _by_pydicom(file.stream)
        lacking = [keyword for keyword in uids[: 3 if placed else 1] if not found.text(keyword)]
        if lacking:
            raise UnreadableError(
                f"'{shown or file.name}' has no {' and no '.join(lacking)}, so no archive can keep "
                "it; export it again"
            )
        return found.text(uids[0])


def _by_pydicom(stream: Any) -> str:
    from pydicom.filereader import read_partial

    stream.seek(0)
    header = read_partial(stream, stop_when=lambda tag, _vr, _n: tag.group > 2, force=True)
    return str(header.file_meta.get("MediaStorageSOPInstanceUID") or "")


class _Parts:
    """Files as the body of a STOW request, read while they are sent."""

    def __init__(self, paths: Sequence[Path], boundary: str) -> None:
        self._paths, self._boundary = paths, boundary.encode()
        self._head = b"--%b\r\nContent-Type: application/dicom\r\n\r\n" % self._boundary

    def __len__(self) -> int:
        each = len(self._head) + 2
        return sum(path.stat().st_size + each for path in self._paths) + len(self._boundary) + 6

    def __iter__(self) -> Iterator[bytes]:
        for path in self._paths:
            yield self._head
            with open(path, "rb") as stream:
                while block := stream.read(1 << 20):
                    yield block
            yield b"\r\n"
        yield b"--%b--\r\n" % self._boundary


def _answer(response: Any, url: str) -> Json:
    """What a service says became of the files (PS3.18, 10.5.3)."""
    from osler.io.web_session import json_of, refused

    status = response.status_code
    stated = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    told = stated in ("application/dicom+json", "application/json")
    if status not in (200, 202, 409) or (status == 409 and not told):
        raise refused(url, status)
    found = json_of(response, url) if told else None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise UnreadableError(
            f"'{url}' does not say what became of the files; search for them before you send again"
        )
    return found
