"""One patient of a FHIR R4 server: observations, reports, and which studies there are.

Source: HL7 FHIR R4 4.0.1, Search (3.1.1), Bundle, ImagingStudy.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

from osler.errors import InputError, TooLargeError, UnreadableError, UnsupportedError
from osler.io.naming import safe_name
from osler.io.reading import read_file
from osler.io.table_fhir import subject
from osler.io.web_address import Address
from osler.io.web_folder import Fetched
from osler.record import Case, Origin, Table

if TYPE_CHECKING:
    from osler.io.web_session import Access

Resource = Mapping[str, Any]

KINDS: Final = ("Observation", "DiagnosticReport", "ImagingStudy")
"""What is searched for, besides the patient."""

MOST_PAGES: Final = 1000
_PAGE = "200"
_JSON = ("application/fhir+json", "application/json")
_DICOM_UID = "urn:dicom:uid"


def load_fhir(address: Address, *, access: "Access", max_pixels: int) -> Case:
    """Search a server for what it has about a patient.

    Observations become tables, reports text, as in a file (see ``table_fhir``). Each ImagingStudy
    is a table ``"imaging-study"``: its UID, modalities and numbers, and the URL of its DICOMweb
    service where the server says one. The images themselves are not fetched.

    Args:
        address: with the server's own id of the patient.
        access: how it is asked.
        max_pixels: refuse more values.

    Raises:
        InputError: the server cannot be asked, or has no such patient.
        UnreadableError: it answers with something else, or about another patient.
        UnsupportedError: it has nothing about the patient that is read.
    """
    with closing(_Server(address, access)) as server:
        resources = list(server.everything())
    imaging = [one for one in resources if one.get("resourceType") == "ImagingStudy"]
    folder = Fetched(address.shown, access.max_bytes)
    words = json.dumps(
        {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": one} for one in resources if one not in imaging],
        }
    ).encode()
    path = folder.write("patient.json", [words])
    case = Case(safe_name(f"patient-{address.patient}"), address.patient)
    try:
        with folder.named():
            content = read_file(path, max_pixels=max_pixels)
        case.items = {item.name: item for item in content.items}
    except UnsupportedError:
        if not imaging:
            raise
    folder.keep(case)
    for table in _studies(imaging, Origin(address.shown, "", "fhir")):
        case.items[table.name] = table
    return case


class _Server:
    """A FHIR server, asked about one patient."""

    def __init__(self, address: Address, access: "Access") -> None:
        from osler.io.web_session import MAX_JSON, session_for

        self._address = address
        self._session = session_for(address.base, access)
        self._left = self._most = min(access.max_bytes, MAX_JSON)  # all of it is in memory

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def everything(self) -> Iterator[Resource]:
        """The patient, then all that is about them."""
        base, patient = self._address.base, self._address.patient
        person = self._get(f"{base}/Patient/{patient}", {})
        if person.get("resourceType") != "Patient":
            raise UnreadableError(f"'{base}' does not answer with a FHIR Patient; check the URL")
        yield {**person, "id": patient}
        for kind in KINDS:
            yield from self._search(kind)

    def _search(self, kind: str) -> Iterator[Resource]:
        base, patient = self._address.base, self._address.patient
        query = {"patient": patient, "_count": _PAGE}
        url, asked, ids = f"{base}/{kind}", set[str](), set[str]()
        for _ in range(MOST_PAGES):
            page = self._get(url, query)
            if page.get("resourceType") != "Bundle":
                raise UnreadableError(f"'{base}/{kind}' does not answer with a FHIR Bundle")
            for one in _resources(page):
                self._refuse(one)
                id = str(one.get("id"))
                if one.get("resourceType") != kind or (one.get("id") and id in ids):
                    continue  # what the server adds to a search, and pages that overlap
                if subject(one) != patient:
                    raise UnreadableError(
                        f"'{base}/{kind}' answers with something about another patient; it may "
                        "not know the search parameter 'patient'"
                    )
                ids.add(id)
                yield one
            following = _next(page)
            if following is None:
                return
            url, query = self._inside(urljoin(f"{base}/", following)), {}
            if url in asked:
                raise UnreadableError(f"'{base}/{kind}' gives the same page again and again")
            asked.add(url)
        raise TooLargeError(f"'{base}/{kind}' has more than {MOST_PAGES:,} pages")

    def _inside(self, url: str) -> str:
        """The URL of a next page, if it is one of the same server."""
        from osler.io.web_session import origin_of

        here, there = origin_of(self._address.base), origin_of(url)
        if here != there:
            raise InputError(
                f"'{self._address.base}' sends on to '{there[0]}://{there[1]}:{there[2]}' for its "
                "next page, which was not named and is not asked; have its keepers correct the "
                "server's own address"
            )
        return url

    def _get(self, url: str, query: dict[str, str]) -> Resource:
        from osler.io.web_session import asking, checked, json_of

        kind = urlsplit(url).path.removeprefix(urlsplit(self._address.base).path)
        shown = self._address.base + ("" if "/Patient/" in kind else kind)
        with asking(shown, what="FHIR in JSON"):
            headers = {"Accept": "application/fhir+json"}
            with self._session.get(url, params=query, headers=headers) as response:
                if response.status_code == 404 and "/Patient/" in kind:
                    raise InputError(
                        f"'{self._address.base}' has no patient of the id that the URL gives; give "
                        "the server's own id, not a number of the hospital"
                    )
                checked(response, shown, *_JSON)
                found = json_of(response, shown)
                self._left -= len(response.content)
        if self._left < 0:
            raise TooLargeError(
                f"'{self._address.base}' answers with more than {self._most:,} bytes about one "
                "patient; ask for less"
            )
        if not isinstance(found, dict):
            raise UnreadableError(f"'{shown}' does not answer with a FHIR resource")
        return found

    def _refuse(self, resource: Resource) -> None:
        if resource.get("resourceType") != "OperationOutcome":
            return
        issues = resource.get("issue")
        severe = [
            one
            for one in (issues if isinstance(issues, list) else [])
            if isinstance(one, dict) and one.get("severity") in ("fatal", "error")
        ]
        if severe:
            raise InputError(
                f"'{self._address.base}' could not answer the whole search (OperationOutcome); ask "
                "its keepers"
            )


def _resources(page: Resource) -> Iterator[Resource]:
    entries = page.get("entry")
    for entry in entries if isinstance(entries, list) else []:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict):
            yield resource


def _next(page: Resource) -> str | None:
    links = page.get("link")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("relation") == "next" and link.get("url"):
            return str(link["url"])
    return None


def _studies(resources: Sequence[Resource], origin: Origin) -> Iterator[Table]:
    """A table each: which study, and where it is."""
    count = 0
    for one in resources:
        if one.get("status") in ("entered-in-error", "cancelled"):
            continue
        values: dict[str, Any] = {}
        identifiers = [i for i in _list(one, "identifier") if i.get("system") == _DICOM_UID]
        for identifier in identifiers[:1]:
            values["study_uid"] = str(identifier.get("value", "")).removeprefix("urn:oid:")
        codes = [str(code["code"]) for code in _list(one, "modality") if code.get("code")]
        if codes:
            values["modalities"] = " ".join(codes)
        for key, name in (("numberOfSeries", "series"), ("numberOfInstances", "instances")):
            number = one.get(key)
            if isinstance(number, int) and not isinstance(number, bool):
                values[name] = number
        url = _service(one)
        if url and values.get("study_uid"):
            values["url"] = f"dicomweb+{url.rstrip('/')}/studies/{values['study_uid']}"
        if not values:
            continue
        count += 1
        name = "imaging-study" if count == 1 else f"imaging-study-{count}"
        table = Table(name, values, origin=origin)
        with suppress(ValueError, TypeError):
            table.acquired = datetime.fromisoformat(str(one.get("started")))
        yield table


def _service(study: Resource) -> str | None:
    """The DICOMweb service that a contained Endpoint names."""
    for one in _list(study, "contained"):
        kind = one.get("connectionType")
        dicom = isinstance(kind, dict) and str(kind.get("code", "")).startswith("dicom-wado-rs")
        address = str(one.get("address", ""))
        if one.get("resourceType") == "Endpoint" and dicom:
            plain = address.startswith(("http://", "https://")) and "@" not in address
            return address if plain else None
    return None


def _list(holder: Resource, key: str) -> list[dict[str, Any]]:
    value = holder.get(key)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
