"""FHIR R4 resources in JSON or XML: Observations as tables, DiagnosticReports as text.

A file is one resource, a Bundle, or a line a resource (NDJSON, as bulk export writes it).

Sources: HL7 FHIR R4 4.0.1, Observation, DiagnosticReport, Bundle.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, Final

from osler.errors import InputError, TooLargeError, UnreadableError, UnsupportedError
from osler.io.content import Content
from osler.io.fhir_xml import resource
from osler.io.input_file import InputFile, decoding
from osler.io.table_units import ucum
from osler.io.text_fhir import report
from osler.io.text_xml import parsed
from osler.record import Code, Item, Origin, Table

MAX_BYTES: Final = 256_000_000
_UCUM: Final = "http://unitsofmeasure.org"
_SCHEMES: Final = {
    "http://loinc.org": "LN", "http://snomed.info/sct": "SCT", _UCUM: "UCUM",
    "http://dicom.nema.org/resources/ontology/DCM": "DCM",
}  # fmt: skip
_NOT_SAID: Final = {"entered-in-error", "cancelled", "registered"}

Resource = Mapping[str, Any]


def read_fhir(file: InputFile, format: str, *, max_pixels: int, case: str | None = None) -> Content:
    """Read one patient's observations and reports.

    Observations of one time are one item, ``"table"``, ``"table-2"`` and so on by time; a variable
    is named by its code's text, and its code stands in the item's header. A component is named
    ``"parent: component"``. Sex is in the item ``"variables"``.

    Args:
        file: the opened file.
        format: ``"fhir"``.
        max_pixels: refuse more values than this.
        case: the patient's id, where the file holds several.

    Raises:
        UnreadableError: it is no sound JSON or XML.
        UnsupportedError: it holds no such resource, or several patients' and ``case`` is not given.
        InputError: it has no such patient.
        TooLargeError: more than 256 MB, or too many values.
    """
    with decoding(file, format):
        resources = list(_resources(file))
        patient, chosen = _of_one(file, resources, case)
        origin = file.origin(format)
        observations = [r for r in chosen if r.get("resourceType") == "Observation"]
        if len(observations) > max_pixels:
            raise TooLargeError(f"'{file.name}' holds {len(observations):,} observations; split it")
        items: list[Item] = [*tables(observations, origin)]
        people = [r for r in chosen if r.get("resourceType") == "Patient"]
        if people and people[0].get("gender") in ("male", "female"):
            items.append(Table("variables", {"sex": people[0]["gender"]}, origin=origin))
        reports = [r for r in chosen if r.get("resourceType") == "DiagnosticReport"]
        texts = [text for one in reports if (text := report(file, one, origin))]
        counts: dict[str, int] = {}
        for text in texts:
            counts[text.name] = counts.get(text.name, 0) + 1
            if counts[text.name] > 1:
                text.name = f"{text.name}-{counts[text.name]}"
        items += texts
        if not items:
            kinds = sorted({str(r.get("resourceType"))[:40] for r in resources})[:5]
            raise UnsupportedError(
                f"'{file.name}' holds no Observation with a value and no DiagnosticReport with "
                f"words, but {', '.join(kinds) or 'nothing'}"
            )
        return Content(items, patient_id=patient)


def _resources(file: InputFile) -> Iterator[Resource]:
    if file.size > MAX_BYTES:
        raise TooLargeError(f"'{file.name}' has {file.size:,} bytes of JSON; split it")
    if file.head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        yield from _flat(resource(parsed(file)))
        return
    file.stream.seek(0)
    try:
        text = file.stream.read().decode("utf-8-sig")
        try:
            documents = [json.loads(text)]
        except json.JSONDecodeError:
            documents = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise UnreadableError(
            f"'{file.name}' starts as FHIR but is no sound JSON; it is incomplete: copy it again"
        ) from None
    for document in documents:
        yield from _flat(document)


def _flat(document: Any) -> Iterator[Resource]:
    if not isinstance(document, dict):
        return
    if document.get("resourceType") == "Bundle":
        for entry in _list(document, "entry"):
            if isinstance(entry, dict):
                yield from _flat(entry.get("resource"))
        return
    yield document
    for inner in _list(document, "contained"):
        if isinstance(inner, dict) and inner.get("resourceType") == "Observation":
            # it has no subject of its own, or the same
            yield {"subject": document.get("subject"), **inner}


def _of_one(
    file: InputFile, resources: Sequence[Resource], case: str | None
) -> tuple[str | None, list[Resource]]:
    patients = {p for r in resources if (p := subject(r)) is not None}
    if case is not None:
        if case not in patients:
            raise InputError(f"'{file.name}' has no patient of the id that case= gives")
        return case, [r for r in resources if subject(r) == case]
    if len(patients) > 1:
        raise UnsupportedError(
            f"'{file.name}' holds resources of {len(patients)} patients; say case= with the id of "
            "one"
        )
    return (next(iter(patients)) if patients else None), list(resources)


def subject(resource: Resource) -> str | None:
    """The id of the patient that a resource is about, or is."""
    if resource.get("resourceType") == "Patient":
        return str(resource["id"]) if resource.get("id") else None
    reference = _dict(resource, "subject").get("reference")
    if not isinstance(reference, str) or reference.startswith("#"):
        return None
    return reference.removeprefix("urn:uuid:").rpartition("/")[2] or None


def tables(observations: Sequence[Resource], origin: Origin) -> list[Table]:
    """Observations as tables, one for each time; those that were withdrawn are left out."""
    by_time: dict[datetime | None, list[Resource]] = {}
    for one in observations:
        if one.get("status") not in _NOT_SAID:
            by_time.setdefault(effective(one), []).append(one)
    tables: list[Table] = []
    # zones are kept, and times with and without one have an order only as text
    for when in sorted(by_time, key=lambda w: w.isoformat() if w else ""):
        table = _table(by_time[when], origin)
        if table.values:
            table.acquired = when
            table.name = "table" if not tables else f"table-{len(tables) + 1}"
            tables.append(table)
    return tables


def _table(observations: Sequence[Resource], origin: Origin) -> Table:
    values: dict[str, Any] = {}
    units: dict[str, str] = {}
    codes: dict[str, Code] = {}
    flags: set[str] = set()
    counts: dict[str, int] = {}
    for one in observations:
        name, code = named(one.get("code"))
        pieces = [(name, code, one)]
        for component in _list(one, "component"):
            if isinstance(component, dict):
                inner, inner_code = named(component.get("code"))
                pieces.append((f"{name}: {inner}", inner_code, component))
        for key, coded, holder in pieces:
            value, unit, doubts = valued(holder)
            flags |= doubts
            if value is None:
                continue
            counts[key] = counts.get(key, 0) + 1
            if counts[key] > 1:
                flags.add("repeated-code")
            unique = key if counts[key] == 1 else f"{key} ({counts[key]})"
            values[unique] = value
            if unit:
                units[unique] = unit
            if coded:
                codes[unique] = coded
    return Table(
        "table", values, units, origin=origin, flags=tuple(sorted(flags)), header={"codes": codes}
    )


def named(concept: Any) -> tuple[str, Code | None]:
    """A concept's name for a person, and its first code."""
    if not isinstance(concept, dict):
        return "unnamed", None
    codings = [c for c in _list(concept, "coding") if isinstance(c, dict) and c.get("code")]
    text = concept.get("text") or next((c["display"] for c in codings if c.get("display")), None)
    name = str(text or (codings[0]["code"] if codings else "unnamed"))
    if not codings:
        return name, None
    system = str(codings[0].get("system", ""))
    scheme = _SCHEMES.get(system, system)
    return name, Code(str(codings[0]["code"]), scheme, str(codings[0].get("display") or name))


def valued(holder: Resource) -> tuple[Any, str, set[str]]:
    """The value of an Observation or a component, its unit and doubts about it."""
    quantity = _dict(holder, "valueQuantity")
    if quantity:
        return _quantity(quantity)
    for key in ("valueString", "valueBoolean", "valueInteger"):
        if isinstance(holder.get(key), str | bool | int):
            return holder[key], "", set()
    if "valueCodeableConcept" in holder:
        return named(holder["valueCodeableConcept"])[0], "", set()
    if isinstance(holder.get("valueDateTime"), str):
        moment = _moment(holder["valueDateTime"])
        return (moment if moment is not None else holder["valueDateTime"]), "", set()
    if isinstance(holder.get("valueTime"), str):
        return holder["valueTime"], "", set()
    for key, words in (
        ("valueRange", ("low", "high")),
        ("valueRatio", ("numerator", "denominator")),
    ):
        inner = _dict(holder, key)
        if inner:
            pieces = [_quantity(_dict(inner, word))[:2] for word in words]
            joined = ("/" if key == "valueRatio" else " - ").join(
                f"{value} {unit}".strip() for value, unit in pieces if value is not None
            )
            return joined or None, "", {"value-as-text"}
    known = any(key.startswith("value") for key in holder)
    return None, "", ({"value-not-read"} if known else set())


def _quantity(quantity: Resource) -> tuple[Any, str, set[str]]:
    value = quantity.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, "", set()
    flags: set[str] = set()
    code, words = quantity.get("code"), str(quantity.get("unit") or quantity.get("code") or "")
    if quantity.get("system") == _UCUM and isinstance(code, str):
        unit = code
    else:
        unit = ucum(words) or ""
        if words and not unit:
            # a unit that nobody can compute with is still better kept than lost
            unit, flags = f"{{{words[:40]}}}", {"unit-not-ucum"}
    if quantity.get("comparator"):
        return f"{quantity['comparator']}{value}", unit, {*flags, "value-as-text"}
    return value, unit, flags


def effective(resource: Resource) -> datetime | None:
    """When it holds, if the day is stated: a year or a month is no moment."""
    stated = (
        resource.get("effectiveDateTime")
        or resource.get("effectiveInstant")
        or _dict(resource, "effectivePeriod").get("start")
    )
    moment = _moment(stated) if isinstance(stated, str) else None
    if moment is None or isinstance(moment, datetime):
        return moment
    return datetime.combine(moment, time())


def _moment(text: str) -> date | datetime | None:
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        return None


def _list(holder: Resource, key: str) -> list[Any]:
    value = holder.get(key)
    return value if isinstance(value, list) else []


def _dict(holder: Resource, key: str) -> dict[str, Any]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}
