"""FHIR resources without people [1, 2].

What identifies and may be absent goes; identifiers, ids and references become pseudonyms that fit
one another; codes, quantities and structure stay.

1. HL7 FHIR R4, https://hl7.org/fhir/R4.
2. Its security page, "De-identification, pseudonymization, anonymization".
"""

import base64
import re
from typing import Any, Final

from osler.errors import UnsupportedError
from osler.io.deidentification.cells import Row
from osler.io.deidentification.json_file import Tree
from osler.io.deidentification.known import Known
from osler.io.deidentification.trees import Leaves
from osler.io.deidentification.uids import is_standard, replaced

_GONE: Final = frozenset((
    "text", "photo", "extension", "telecom", "address", "contact", "birthDate", "link",
    "maritalStatus", "communication", "assigner", "source", "ifNoneExist", "response",
    "multipleBirthBoolean", "multipleBirthInteger", "serialNumber", "lotNumber", "udiCarrier",
    "distinctIdentifier", "deviceIdentifier", "position", "alias",
))  # fmt: skip
"""Members that are left out wherever they stand; none is required but for ``text`` of a concept."""

_CODES: Final = frozenset((
    "resourceType", "code", "unit", "status", "use", "intent", "priority", "gender", "type",
    "mode", "versionId", "language", "contentType", "comparator", "severity", "criticality",
    "fhirVersion", "format", "kind", "valueCode",
))  # fmt: skip
"""Members that hold a code or a fixed word, if they are strings."""

_CODED: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9./_:%\[\]{}^*()'+-]{0,40}( [A-Za-z0-9.-]{1,20}){0,2}"
)
_STANDARD: Final = re.compile(
    r"(https?://(hl7\.org|terminology\.hl7\.org|loinc\.org|snomed\.info|unitsofmeasure\.org|"
    r"dicom\.nema\.org|radlex\.org|www\.radlex\.org|www\.nlm\.nih\.gov|www\.whocc\.no|"
    r"www\.ama-assn\.org)(/[\w./|#-]*)?|urn:(iso|ietf)[\w.:-]*|"
    r"urn:oid:(1\.2\.840\.10008|2\.16\.840\.1\.113883\.[1456])[\d.]*)\Z"
)
_DATE: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?\Z"
)
_DATED: Final = re.compile(
    r"(date|time|period|issued|recorded|start|end|updated|timestamp|onset|abatement|authored\w*|"
    r"created|sent|received|performed|effective)$",
    re.I,
)
_REQUIRED: Final = {
    ("Provenance", "recorded"): "1900-01-01T00:00:00Z",
    ("AuditEvent", "recorded"): "1900-01-01T00:00:00Z",
    ("Composition", "date"): "1900-01-01",
    ("Immunization", "occurrenceDateTime"): "1900-01-01",
    ("MedicationAdministration", "effectiveDateTime"): "1900-01-01",
}
"""Dates that must be there, and what stands for them."""

_URI: Final = "urn:ietf:rfc:3986"
_NOWHERE: Final = "https://removed.invalid/"
_PSEUDONYM: Final = re.compile(r"[A-Z2-7]{12}")
_DROPPED: Final[Any] = object()


def is_resource(document: Any) -> bool:
    """Whether a JSON document is a FHIR resource."""
    return isinstance(document, dict) and isinstance(document.get("resourceType"), str)


class Resources(Tree):
    """Cleans FHIR resources.

    Args:
        name: of the file, for messages.
        leaves: cleans the texts.
    """

    def __init__(self, name: str, leaves: Leaves) -> None:
        super().__init__(leaves)
        self._name = name
        self._patients: dict[str, str] = {}

    def learn(self, value: Any, known: Known, kind: str = "") -> None:
        """Know the persons of a resource and of what it contains, and each patient's number."""
        if isinstance(value, list):
            for one in value:
                self.learn(one, known, kind)
        if not isinstance(value, dict):
            return
        if value.get("resourceType") == "Patient":
            numbers = [i.get("value") for i in _objects(value.get("identifier"))]
            number = next((str(n) for n in numbers if n), "")
            for at in (f"Patient/{value.get('id')}", str(value.get("id"))):
                self._patients[at] = number
        for name in _objects(value.get("name")):
            parts = [*_strings(name.get("given")), *_strings(name.get("family"))]
            for text in (" ".join(parts), *parts, *_strings(name.get("text"))):
                known.add_name(text)
        for one in _objects(value.get("identifier")):
            for text in _strings(one.get("value")):
                known.add_id(text)
        for text in _strings(value.get("display")) if "reference" in value else ():
            known.add_name(text)
        for text in _strings(value.get("birthDate")):
            known.add_birth(text)
        for one in value.values():
            self.learn(one, known)

    def clean(self, document: Any) -> Any:
        """The resource without people."""
        known = Known()
        self.learn(document, known)
        self.leaves.cells.learn(known)
        return self._resource(document, self.leaves.cells.about())

    def _resource(self, value: dict[str, Any], row: Row) -> dict[str, Any]:
        kind = value["resourceType"]
        identity = self._identity(value)
        row = self.leaves.cells.about(identity) if identity else row
        new = {"resourceType": kind}
        if isinstance(value.get("id"), str):
            new["id"] = self._pseudonym(f"{kind}/{value['id']}", value["id"])
        rest = {key: one for key, one in value.items() if key not in new and key != "id"}
        return {**new, **self._members(rest, kind, row)}

    def _identity(self, value: dict[str, Any]) -> str:
        """Whom a resource is about: the patient's number where it is known, else the reference."""
        if value["resourceType"] == "Patient":
            at = f"Patient/{value.get('id')}"
        else:
            about = next((value[k] for k in ("subject", "patient") if k in value), None)
            at = str(about.get("reference", "")) if isinstance(about, dict) else ""
            at = "/".join(at.split("/")[-2:])
        return self._patients.get(at) or at

    def _members(self, value: dict[str, Any], kind: str, row: Row) -> dict[str, Any]:
        if "modifierExtension" in value:
            raise UnsupportedError(
                f"'{self._name}' has a modifierExtension, which may turn what it says round and "
                "cannot be taken out; export it without"
            )
        data = None
        if "contentType" in value and ("data" in value or "url" in value):
            value, data = self._attachment(value, row)
        inner = {key: self._member(value, key, one, kind, row) for key, one in value.items()}
        if data is not None:
            inner["data"] = data
        return {
            key: one for key, one in inner.items() if one is not _DROPPED and one not in ({}, [])
        }

    def _member(self, owner: dict[str, Any], key: str, one: Any, kind: str, row: Row) -> Any:
        concept = key == "text" and isinstance(one, str)
        if (key in _GONE and not concept) or key.startswith("_"):
            return self._gone(key, one)
        if key == "name":
            return self._gone(key, one, "[NAME]" if isinstance(one, str) else _DROPPED)
        if key in ("identifier", "requisition") or key.endswith("Identifier"):
            return self._identifiers(one, kind, row)
        if key == "contained":
            return [self._contained(each, row) for each in _objects(one)]
        if key == "id":
            return self._gone(key, one)  # of a part; that of a resource is set by its owner
        if key == "display" and not {"system", "code"} & owner.keys():  # of a reference
            return self._gone(key, one)
        if key in ("reference", "fullUrl", "url") and isinstance(one, str):
            return self._reference(one)
        if isinstance(one, dict):
            inner = self._resource(one, row) if is_resource(one) else self._members(one, kind, row)
            return inner or _DROPPED
        if isinstance(one, list):
            whole = [self._member(owner, key, each, kind, row) for each in one]
            return [each for each in whole if each is not _DROPPED]
        return self._string(key, one, kind, row) if isinstance(one, str) else one

    def _contained(self, value: dict[str, Any], row: Row) -> dict[str, Any]:
        new = self._resource(value, row) if is_resource(value) else {}
        if isinstance(value.get("id"), str):
            new["id"] = self._pseudonym(value["id"], value["id"], "contained")
        return new

    def _string(self, key: str, text: str, kind: str, row: Row) -> Any:
        if key in ("system", "profile", "valueSet"):
            return text if _STANDARD.match(text) else self._gone("system", text)
        if key in _CODES and _CODED.fullmatch(text):
            return self.leaves.cells.scrubber.known_only(text)
        match = _DATE.match(text)
        if match and (match[2] or _DATED.search(key)):
            return self._date(match, key, kind, row)
        if key == "uid" or text.startswith("urn:oid:"):
            return self._uid(text)
        return self.leaves.clean(text, "", row)

    def _date(self, match: re.Match[str], key: str, kind: str, row: Row) -> Any:
        options = self.leaves.cells.options
        if options.dates == "keep":
            return match[0]
        stand_in = _REQUIRED.get((kind, key), _DROPPED)
        if match[0] == stand_in:
            return stand_in
        if options.dates == "remove":
            return self._gone("date", match[0], stand_in)
        clock = "".join((match[4] or "", match[5] or "", match[6] or ""))
        moved = row.offset.datetime("".join((match[1], match[2] or "", match[3] or "", clock)))
        if moved is None:
            return self._gone("date", match[0], stand_in)
        self.leaves.cells.counts["dates", "shifted"] += 1
        day = "-".join(part for part in (moved[:4], moved[4:6], moved[6:8]) if part)
        if not clock:
            return day
        time = ":".join(moved[i : i + 2] for i in range(8, len(moved), 2))
        return f"{day}T{time}{match[7] or ''}{match[8] or ''}"

    def _identifiers(self, value: Any, kind: str, row: Row) -> Any:
        purpose = "patient" if kind == "Patient" else "number"
        out = []
        for one in _objects(value):
            new = {"use": one["use"]} if "use" in one else {}
            if isinstance(one.get("type"), dict):
                new["type"] = self._members(one["type"], kind, row)
            if text := next(iter(_strings(one.get("value"))), ""):
                if text.startswith("urn:oid:"):
                    new["system"], new["value"] = _URI, self._uid(text)
                else:
                    new["value"] = self._pseudonym(text, text, purpose)
            if set(one) - {"use", "value", "type"} and one.get("system") != _URI:
                self._gone("identifier system", one)
            out.append(new)
        return (out if isinstance(value, list) else (out or [{}])[0]) or _DROPPED

    def _reference(self, text: str) -> str:
        """A reference, or a full URL, to what has another id now."""
        if _STANDARD.match(text) and not text.startswith("urn:"):
            return text
        before, _, last = text.partition("/_history/")[0].rpartition("/")
        kind = before.rpartition("/")[2]
        if text.startswith("#"):
            return "#" + self._pseudonym(text[1:], text[1:], "contained")
        if text.startswith("urn:"):
            return "urn:uuid:" + self._uuid(text)
        if not kind.isalpha():
            return self._gone("url", text, _NOWHERE) if text != _NOWHERE else text
        base = _NOWHERE if "://" in text else ""
        return f"{base}{kind}/{self._pseudonym(f'{kind}/{last}', last)}"

    def _uuid(self, text: str) -> str:
        digits = self.leaves.cells.key.digest("uuid", text)[:16].hex()
        return "-".join(
            (digits[:8], digits[8:12], f"8{digits[13:16]}", f"8{digits[17:20]}", digits[20:])
        )

    def _uid(self, text: str) -> str:
        """A unique identifier, replaced as in DICOM."""
        uid = text.removeprefix("urn:oid:")
        if self.leaves.cells.options.uids or is_standard(uid):
            return text
        if not uid.startswith("2.25."):
            self.leaves.changed.append(("uid", uid))
        return text[: len(text) - len(uid)] + replaced(uid, self.leaves.cells.key)

    def _pseudonym(self, text: str, shown: str, purpose: str = "fhir") -> str:
        self.leaves.cells.counts["identifier", "replaced"] += 1
        if not _PSEUDONYM.fullmatch(shown):
            self.leaves.changed.append(("number", shown))
        return self.leaves.cells.key.name(purpose, text)

    def _attachment(self, value: dict[str, Any], row: Row) -> tuple[dict[str, Any], str | None]:
        """An attachment without its content, and that, cleaned, where it is plain text."""
        told = ("resourceType", "id", "contentType", "language", "title")
        kept = {key: one for key, one in value.items() if key in told}
        data = value.get("data")
        if str(value["contentType"]).startswith("text/plain") and isinstance(data, str):
            try:
                text = base64.b64decode(data, validate=True).decode("utf-8")
            except ValueError:
                pass  # in another encoding, or damaged: left out
            else:
                new = self.leaves.clean(text, "", row)
                return kept, base64.b64encode(new.encode()).decode("ascii")
        self._gone("attachment", str(data or value.get("url")))
        return kept, None

    def _gone(self, key: str, value: Any, instead: Any = _DROPPED) -> Any:
        """Leave a member out, or put something in its place."""
        if value != instead:
            self.leaves.cells.counts[key.lstrip("_") or "member", "removed"] += 1
            self.leaves.changed.append((f"member {key}", str(value)))
        return instead


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _strings(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
