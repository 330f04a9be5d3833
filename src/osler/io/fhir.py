"""A case as an HL7 FHIR R4 transaction [1] that a hospital's server can take as it is.

It holds the ImagingStudy of the photograph, a Device for each model and algorithm, an Observation
for each label and measurement, the DiagnosticReport that gathers them, and a Provenance for each
device. Sending it twice changes nothing: every resource is named by its content's origin, and
each request asks for that name first.

1. https://hl7.org/fhir/R4/bundle.html, http.html#transaction.
"""

import html
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from osler.io import identity
from osler.io.dicom_photo import reference, side_of, when
from osler.record import Case, Finding, Label, Measurement, Passage, Source, vocab
from osler.record.code import Code

FILE = "fhir.json"
_URI = "urn:ietf:rfc:3986"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
_CATEGORY = f"{_TERMINOLOGY}observation-category"
_ABSENT = f"{_TERMINOLOGY}data-absent-reason"
_AGENT = f"{_TERMINOLOGY}provenance-participant-type"

Resource = dict[str, Any]


def write(case: Case, folder: Path, *, item: str = "photo") -> Path:
    """Write the case as ``fhir.json``, a transaction Bundle.

    Args:
        case: the case.
        folder: an existing folder.
        item: name of the image that the findings are about.

    Raises:
        InputError: the case has no such image.
    """
    path = folder / FILE
    text = json.dumps(bundle(case, item=item), ensure_ascii=False, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def bundle(case: Case, *, item: str = "photo") -> Resource:
    """The Bundle of ``write``, as plain values."""
    case.image(item)
    writer = _Writer(case, item)
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "timestamp": _instant(when(case)),
        "entry": list(writer.entries()),
    }


@dataclass
class _Writer:
    case: Case
    item: str

    @cached_property
    def key(self) -> str:
        return identity.digest(self.case.image(self.item))

    @cached_property
    def observed(self) -> dict[str, Finding]:
        """The findings that become observations."""
        return {
            f.id: f
            for f in self.case.findings.values()
            if isinstance(f, Label | Measurement) and f.item in (self.item, None)
        }

    @cached_property
    def devices(self) -> tuple[Source, ...]:
        """Everything but people that made a finding."""
        return tuple(s for s in identity.sources(self.case) if s.kind != "person")

    def entries(self) -> Iterator[Resource]:
        # The study may be in the server already, from the archive: it is found, not replaced.
        study = self._study()
        yield _entry(self._urn("study"), study, create=_query(study["identifier"][0]))
        for source in self.devices:
            device = self._device(source)
            yield _entry(_device_urn(source), device, create=_query(device["identifier"][0]))
        for finding in self.observed.values():
            observation = self._observation(finding)
            yield _entry(
                self._finding_urn(finding), observation, update=_query(observation["identifier"][0])
            )
        report = self._report()
        yield _entry(self._urn("report"), report, update=_query(report["identifier"][0]))
        for source in self.devices:
            # a Provenance has no identifier to be found by, so it is found by its tag
            provenance = self._provenance(source)
            tag = provenance["meta"]["tag"][0]
            yield _entry(
                self._urn("provenance", *_parts(source)),
                provenance,
                create=f"_tag={tag['system']}|{tag['code']}",
            )

    # Names

    def _urn(self, *parts: str) -> str:
        return f"urn:uuid:{identity.uuid(self.key, 'fhir', *parts)}"

    def _finding_urn(self, finding: Finding) -> str:
        return self._urn("observation", finding.id, *_parts(finding.source))

    # What all clinical resources share

    def _clinical(self, kind: str, urn: str) -> Resource:
        """A resource with its identifier and its subject.

        Nothing is said of a patient but the identifier; one who is not known is an anonymous
        Patient inside the resource, which no server stores as a person.
        """
        out: Resource = {"resourceType": kind}
        if self.case.patient_id is None:
            out["contained"] = [{"resourceType": "Patient", "id": "patient"}]
            subject: Resource = {"reference": "#patient", "display": "Unknown patient"}
        else:
            subject = {"type": "Patient", "identifier": {"value": self.case.patient_id}}
        out["identifier"] = [{"system": _URI, "value": urn}]
        out["subject"] = subject
        return out

    def _times(self, *, started: str = "") -> Resource:
        """When the photograph was taken, as far as known, and when this was said."""
        acquired = self.case.image(self.item).acquired
        return {started: _date_time(acquired)} if acquired is not None else {}

    def _study_reference(self) -> Resource:
        return {"reference": self._urn("study"), "type": "ImagingStudy"}

    # Resources

    def _study(self) -> Resource:
        uids = reference(self.case, item=self.item)
        side = side_of(self.case, item=self.item)
        modality = {"system": vocab.SYSTEM_URLS["DCM"], "code": uids["Modality"]}
        out = self._clinical("ImagingStudy", f"urn:oid:{uids['StudyInstanceUID']}")
        out["identifier"][0]["system"] = "urn:dicom:uid"
        series: Resource = {
            "uid": uids["SeriesInstanceUID"],
            "modality": modality,
            "numberOfInstances": 1,
            "bodySite": _coding(vocab.EYE),
            **({"laterality": _coding(vocab.side(side))} if side else {}),
            "instance": [
                {
                    "uid": uids["SOPInstanceUID"],
                    "sopClass": {"system": _URI, "code": f"urn:oid:{uids['SOPClassUID']}"},
                    "number": 1,
                }
            ],
        }
        return {
            **out,
            "status": "available",
            "modality": [modality],
            **self._times(started="started"),
            "numberOfSeries": 1,
            "numberOfInstances": 1,
            "series": [series],
        }

    def _device(self, source: Source) -> Resource:
        kinds = {"bundle": "Trained model", "algorithm": "Published algorithm"}
        return {
            "resourceType": "Device",
            "identifier": [{"system": _URI, "value": _device_urn(source)}],
            "status": "active",
            "manufacturer": "Osler",
            "deviceName": [{"name": source.name, "type": "model-name"}],
            "type": {"text": f"Software: {kinds.get(source.kind, source.kind)}"},
            "version": [{"value": source.version or identity.version()}],
        }

    def _observation(self, finding: Finding) -> Resource:
        out = self._clinical("Observation", self._finding_urn(finding))
        notes = [finding.note] if finding.note else []
        out |= {
            "status": finding.status.value,
            "category": [{"coding": [{"system": _CATEGORY, "code": "imaging"}]}],
            "code": _question(finding),
            **self._times(started="effectiveDateTime"),
            "issued": _instant(when(self.case)),
            "bodySite": self._site(finding),
            "derivedFrom": [self._study_reference(), *self._evidence(finding)],
        }
        if finding.source.kind == "person":
            out["performer"] = [{"display": finding.source.name}]
        else:
            out["device"] = {"reference": _device_urn(finding.source), "type": "Device"}
        if isinstance(finding, Measurement):
            out |= _number(finding)
            notes += [f"Not computed: {finding.reason}"] if finding.value is None else []
            components: list[Resource] = []
        else:
            assert isinstance(finding, Label)
            out["valueCodeableConcept"] = _answer(finding, finding.value)
            components = [*_chances(finding), *_set(finding)]
        components += [
            {"code": _concept(vocab.DOUBT), "valueCodeableConcept": _concept(vocab.flag(flag))}
            for flag in finding.flags
        ]
        if components:
            out["component"] = components
        if notes:
            out["note"] = [{"text": note} for note in notes]
        return out

    def _site(self, finding: Finding) -> Resource:
        side = finding.laterality or side_of(self.case, item=self.item)
        place = finding.site or vocab.eye(side)
        words = {"R": "Right eye", "L": "Left eye", None: "Eye"}[side]
        parts = [words]
        if isinstance(finding, Measurement):
            parts += [p for p in (finding.structure, finding.region) if p and p != "all"]
        return {"coding": [_coding(place)], "text": ", ".join(parts)}

    def _evidence(self, finding: Finding) -> Iterator[Resource]:
        for id in finding.evidence:
            if id in self.observed:
                urn = self._finding_urn(self.observed[id])
                yield {"reference": urn, "type": "Observation"}

    def _report(self) -> Resource:
        passages = [p for p in self.case.of(Passage) if p.item in (self.item, None)]
        out = self._clinical("DiagnosticReport", self._urn("report"))
        if passages:
            out = {"resourceType": out.pop("resourceType"), "text": _narrative(passages), **out}
        settled = {f.status.value for f in self.observed.values()}
        out |= {
            "status": settled.pop() if len(settled) == 1 else "preliminary",
            "category": [{"text": "Ophthalmology"}],
            "code": _concept(vocab.REPORT),
            **self._times(started="effectiveDateTime"),
            "issued": _instant(when(self.case)),
            "imagingStudy": [self._study_reference()],
        }
        if self.observed:
            out["result"] = [
                {"reference": self._finding_urn(f), "type": "Observation"}
                for f in self.observed.values()
            ]
        ends = [p for p in passages if p.section == "impression"] or passages
        if ends:
            out["conclusion"] = " ".join(p.text for p in ends)
        grade = self.case.get("dr-grade", Label)
        if grade is not None:
            out["conclusionCode"] = [_answer(grade, grade.value)]
        return out

    def _provenance(self, source: Source) -> Resource:
        """Who made what: a model that only drew masks stands behind the report."""
        made = [f for f in self.observed.values() if f.source == source]
        urns = [self._finding_urn(f) for f in made] or [self._urn("report")]
        kind = "Observation" if made else "DiagnosticReport"
        code = str(identity.uuid(self.key, "fhir", "provenance", *_parts(source)))
        return {
            "resourceType": "Provenance",
            "meta": {"tag": [{"system": vocab.LOCAL_URL, "code": code}]},
            "target": [{"reference": urn, "type": kind} for urn in urns],
            "recorded": _instant(when(self.case)),
            "activity": {"text": "Interpretation of a photograph by software"},
            "agent": [
                {
                    "type": {"coding": [{"system": _AGENT, "code": "assembler"}]},
                    "who": {"reference": _device_urn(source), "type": "Device"},
                }
            ],
            "entity": [{"role": "source", "what": self._study_reference()}],
        }


def _entry(urn: str, resource: Resource, *, create: str = "", update: str = "") -> Resource:
    kind = resource["resourceType"]
    request = (
        {"method": "PUT", "url": f"{kind}?{update}"}
        if update
        else {"method": "POST", "url": kind, "ifNoneExist": create}
    )
    return {"fullUrl": urn, "resource": resource, "request": request}


def _query(identifier: Resource) -> str:
    return f"identifier={identifier['system']}|{identifier['value']}"


def _parts(source: Source) -> tuple[str, str, str]:
    return source.kind, source.name, source.version


def _device_urn(source: Source) -> str:
    return f"urn:uuid:{identity.uuid('fhir', 'device', *_parts(source))}"


def _coding(code: Code) -> Resource:
    system = vocab.SYSTEM_URLS.get(code.scheme, vocab.LOCAL_URL)
    return {"system": system, "code": code.value, "display": code.meaning}


def _concept(*codes: Code, text: str = "") -> Resource:
    return {"coding": [_coding(c) for c in codes], "text": text or codes[0].meaning}


def _question(finding: Finding) -> Resource:
    """What the observation is; a measurement's id says more than the concept that it is one of."""
    if isinstance(finding, Measurement):
        general = finding.code or vocab.measure(finding.id, finding.name)
        words = [w for w in (finding.structure, finding.region) if w]
        text = " ".join([general.meaning, *([f"({', '.join(words)})"] if words else [])])
    else:
        general = finding.code or vocab.label(finding.id, finding.name)
        return _concept(general, text=finding.name)
    exact = vocab.local(finding.id, text)
    return _concept(general, *([exact] if exact.value != general.value else []), text=text)


def _number(measurement: Measurement) -> Resource:
    out: Resource = {}
    method = vocab.method(measurement.id)
    if measurement.method or method:
        out["method"] = {
            **({"coding": [_coding(method)]} if method else {}),
            "text": measurement.method or (method.meaning if method else ""),
        }
    if measurement.value is None:
        absent = {"system": _ABSENT, "code": "not-performed", "display": "Not Performed"}
        out["dataAbsentReason"] = {"coding": [absent], "text": measurement.reason}
    else:
        out["valueQuantity"] = _quantity(measurement.value, measurement.unit)
    return out


def _quantity(value: float, unit: str) -> Resource:
    code = vocab.unit(unit)
    return {
        "value": float(f"{value:.7g}"),
        "unit": code.meaning if code.value != "1" else "1",
        "system": vocab.SYSTEM_URLS["UCUM"],
        "code": code.value,
    }


def _answer(label: Label, value: str) -> Resource:
    words = label.meanings.get(value, value)
    return _concept(vocab.value(label.id, value, words), text=words)


def _chances(label: Label) -> Iterator[Resource]:
    if not label.probabilities and label.probability is not None:
        yield {
            "code": _concept(vocab.PROBABILITY),
            "valueQuantity": _quantity(label.probability, "1"),
        }
    for value, probability in label.probabilities.items():
        words = f"Probability of {label.meanings.get(value, value)}"
        code = vocab.local(f"p-{label.id}-{value}", words)
        yield {"code": _concept(code), "valueQuantity": _quantity(probability, "1")}


def _set(label: Label) -> Iterator[Resource]:
    level = f" at {label.coverage:.0%}" if label.coverage else ""
    for value in label.prediction_set:
        yield {
            "code": _concept(vocab.PREDICTION_SET, text=vocab.PREDICTION_SET.meaning + level),
            "valueCodeableConcept": _answer(label, value),
        }


def _narrative(passages: Iterable[Passage]) -> Resource:
    lines = "".join(
        f'<p lang="{html.escape(p.language)}">{html.escape(p.text)}</p>' for p in passages
    )
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{lines}</div>',
    }


def _instant(at: datetime) -> str:
    at = at if at.tzinfo else at.astimezone()
    return at.isoformat(timespec="seconds")


def _date_time(at: datetime) -> str:
    """A FHIR dateTime; a time of an unknown zone is not one, so only its date is said."""
    return at.isoformat(timespec="seconds") if at.tzinfo else at.date().isoformat()
