"""A case as an HL7 FHIR R4 transaction [1] that a hospital's server can take as it is.

It holds the ImagingStudy of each study that an image comes from, a Device for each model and
algorithm, an Observation for each label, measurement, risk and box, the DiagnosticReport that
gathers them, and a Provenance for each device. Sending it twice changes nothing: every resource is
named by its content's origin, and each request asks for that name first.

1. https://hl7.org/fhir/R4/bundle.html, http.html#transaction.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from osler.errors import InputError
from osler.io import identity
from osler.io.atomic_file import replacing
from osler.io.dicom_context import digest_of, header_of, instances
from osler.io.dicom_photo import reference, side_of, sound, when
from osler.io.fhir_values import (
    Resource,
    answer,
    box,
    chances,
    coding,
    concept,
    date_time,
    instant,
    language_of,
    narrative,
    number,
    prediction_set,
    question,
    risk,
)
from osler.io.html_draft import by_rule
from osler.record import (
    Box,
    Case,
    Code,
    Finding,
    Image,
    Label,
    Measurement,
    Passage,
    Risk,
    Source,
    vocab,
)

FILE = "fhir.json"
_URI = "urn:ietf:rfc:3986"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
_CATEGORY = f"{_TERMINOLOGY}observation-category"
_STUDY = Code("18748-4", "LN", "Diagnostic imaging study")
_REPORT = vocab.local("record-report", "Interpretation of a patient's record")
_AGENT = f"{_TERMINOLOGY}provenance-participant-type"


def write(case: Case, folder: Path, *, item: str | None = None) -> Path:
    """Write the case as ``fhir.json``, a transaction Bundle; as ``write_fhir``."""
    return write_fhir(case, folder / FILE, item=item)


def write_fhir(case: Case, path: str | Path, *, item: str | None = None) -> Path:
    """Write what a case says as a transaction Bundle of FHIR R4 resources.

    Args:
        case: the case.
        path: the file, which appears whole or not at all.
        item: name of the image that the findings are about; all items by default.

    Returns:
        The path.

    Raises:
        InputError: the case has no such image, or says nothing that FHIR could hold.
        OutputError: the file cannot be written.
    """
    text = json.dumps(bundle(case, item=item), ensure_ascii=False, indent=1, allow_nan=False)
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def bundle(case: Case, *, item: str | None = None) -> Resource:
    """The Bundle of ``write_fhir``, as plain values."""
    if item is not None:
        case.image(item)
    writer = _Writer(case, item)
    if not case.items and not writer.observed:
        raise InputError(
            f"case '{case.id}' has no items and no findings, so there is nothing to report; load "
            "an image such as 'photo' first"
        )
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "timestamp": instant(when(case)),
        "entry": list(writer.entries()),
    }


@dataclass
class _Writer:
    case: Case
    item: str | None

    @cached_property
    def images(self) -> dict[str, Image]:
        """The images that the findings are about."""
        found = {n: i for n, i in self.case.items.items() if isinstance(i, Image)}
        found = {n: i for n, i in found.items() if i.modality != "SEG"} or found
        return found if self.item is None else {self.item: found[self.item]}

    @cached_property
    def key(self) -> str:
        """Names the case by what it was made of."""
        first = next(iter(self.images.values()), None)
        if first is not None and (first.origin is None or first.origin.sha256):
            return identity.digest(first)
        if first is not None:
            return digest_of(first)
        parts = [i.origin.sha256 if i.origin else "" for i in self.case.items.values()]
        return hashlib.sha256("\x1f".join([self.case.id, *parts]).encode()).hexdigest()

    @cached_property
    def eye(self) -> bool:
        """Whether the case is about the retina."""
        if any(i.modality in ("OP", "OPT") for i in self.images.values()):
            return True
        known = {*vocab.STRUCTURES, *vocab.LABELS}
        return any(f.id in known and self._about(f) for f in self.case.findings.values())

    def _about(self, finding: Finding) -> bool:
        return self.item is None or finding.item in (self.item, None)

    @cached_property
    def observed(self) -> dict[str, Finding]:
        """The findings that become observations."""
        return {
            f.id: f
            for f in self.case.findings.values()
            if isinstance(f, Box | Label | Measurement | Risk) and self._about(f)
        }

    @cached_property
    def studies(self) -> dict[str, list[str]]:
        """StudyInstanceUID to the images of the study.

        Of a volume that is not from DICOM nothing says which study it belongs to.
        """
        out: dict[str, list[str]] = {}
        for name, image in self.images.items():
            if header_of(image) or len(image.shape) == 2:
                out.setdefault(self._uids(name)["StudyInstanceUID"], []).append(name)
        return out

    def _uids(self, name: str) -> dict[str, str]:
        image = self.images[name]
        if (image.origin is not None and image.origin.sha256) or not header_of(image):
            return reference(self.case, item=name)
        # a series has no digest of its own; its header says all that is needed
        header, key = header_of(image), digest_of(image)
        uids = {k: str(sound(header, k) or "") for k in ("SOPClassUID", "Modality")}
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            uids[keyword] = str(sound(header, keyword) or identity.uid(key, keyword))
        uids["Modality"] = uids["Modality"] or image.modality
        return uids

    @cached_property
    def devices(self) -> tuple[Source, ...]:
        """Everything but people that made a finding."""
        return tuple(s for s in identity.sources(self.case) if s.kind != "person")

    def entries(self) -> Iterator[Resource]:
        # A study may be in the server already, from the archive: it is found, not replaced.
        for uid, names in self.studies.items():
            study = self._study(uid, names)
            yield _entry(self._study_urn(uid), study, create=_query(study["identifier"][0]))
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

    def _times(self, *, started: str, name: str | None = None) -> Resource:
        """When the image was taken, as far as known."""
        one = self.images.get(name) if name else next(iter(self.images.values()), None)
        acquired = one.acquired if one is not None else None
        return {started: date_time(acquired)} if acquired is not None else {}

    def _study_urn(self, uid: str) -> str:
        # the first study keeps the name that it has where there is only one
        first = next(iter(self.studies)) == uid
        return self._urn("study") if first else self._urn("study", uid)

    def _study_references(self, name: str | None = None) -> list[Resource]:
        """The study of an image, or all of them."""
        return [
            {"reference": self._study_urn(uid), "type": "ImagingStudy"}
            for uid, names in self.studies.items()
            if name is None or name in names
        ]

    # Resources

    def _study(self, uid: str, names: list[str]) -> Resource:
        series = [self._series(name) for name in names]
        kinds = {s["modality"]["code"]: s["modality"] for s in series}
        out = self._clinical("ImagingStudy", f"urn:oid:{uid}")
        out["identifier"][0]["system"] = "urn:dicom:uid"
        return {
            **out,
            "status": "available",
            "modality": list(kinds.values()),
            **self._times(started="started", name=names[0]),
            "numberOfSeries": len(series),
            "numberOfInstances": sum(s["numberOfInstances"] for s in series),
            "series": series,
        }

    def _series(self, name: str) -> Resource:
        uids, image = self._uids(name), self.images[name]
        several = instances(image) if header_of(image) else ()
        side = side_of(self.case, item=name) if self.eye else image.laterality
        kind = {"sopClass": {"system": _URI, "code": f"urn:oid:{uids['SOPClassUID']}"}}
        listed = several if len(several) > 1 else (uids["SOPInstanceUID"],)
        return {
            "uid": uids["SeriesInstanceUID"],
            "modality": {"system": vocab.SYSTEM_URLS["DCM"], "code": uids["Modality"]},
            "numberOfInstances": len(listed),
            **({"bodySite": coding(vocab.EYE)} if self.eye else {}),
            **({"laterality": coding(vocab.side(side))} if side else {}),
            "instance": [
                {"uid": uid, **kind, "number": number} for number, uid in enumerate(listed, 1)
            ],
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
            "category": [{"coding": [{"system": _CATEGORY, "code": self._category}]}],
            "code": question(finding),
            **self._times(started="effectiveDateTime", name=finding.item),
            "issued": instant(when(self.case)),
            **self._site(finding),
        }
        behind = [*self._study_references(finding.item), *self._evidence(finding)]
        if behind:
            out["derivedFrom"] = behind
        if finding.source.kind == "person":
            out["performer"] = [{"display": finding.source.name}]
        else:
            out["device"] = {"reference": _device_urn(finding.source), "type": "Device"}
        if isinstance(finding, Measurement):
            out |= number(finding)
            notes += [f"Not computed: {finding.reason}"] if finding.value is None else []
            components: list[Resource] = []
        elif isinstance(finding, Box):
            out |= box(finding)
            components = out.pop("component")
        elif isinstance(finding, Risk):
            out |= risk(finding)
            components = out.pop("component", [])
        else:
            assert isinstance(finding, Label)
            out["valueCodeableConcept"] = answer(finding, finding.value)
            components = [*chances(finding), *prediction_set(finding)]
        components += [
            {"code": concept(vocab.DOUBT), "valueCodeableConcept": concept(vocab.flag(flag))}
            for flag in finding.flags
        ]
        if components:
            out["component"] = components
        if notes:
            out["note"] = [{"text": note} for note in notes]
        return out

    @property
    def _category(self) -> str:
        return "imaging" if self.images else "exam"

    def _site(self, finding: Finding) -> Resource:
        """Where in the body, as far as it is known: of a retina at least the eye."""
        side = finding.laterality
        parts: list[str] = []
        if self.eye:
            name = finding.item if finding.item in self.images else next(iter(self.images), None)
            side = side or (side_of(self.case, item=name) if name else None)
            parts = [{"R": "Right eye", "L": "Left eye", None: "Eye"}[side]]
        place = finding.site or (vocab.eye(side) if self.eye else None)
        if not self.eye and place is not None:
            parts = [{"R": "Right ", "L": "Left ", None: ""}[side] + place.meaning]
        if isinstance(finding, Measurement):
            parts += [p for p in (finding.structure, finding.region) if p and p != "all"]
        if place is None and side is None and not parts:
            return {}
        if place is None and side is not None:
            parts = [{"R": "Right", "L": "Left"}[side], *parts]
        coded = {"coding": [coding(place)]} if place is not None else {}
        return {"bodySite": {**coded, "text": ", ".join(parts)}}

    def _evidence(self, finding: Finding) -> Iterator[Resource]:
        for id in finding.evidence:
            if id in self.observed:
                urn = self._finding_urn(self.observed[id])
                yield {"reference": urn, "type": "Observation"}

    def _report(self) -> Resource:
        # what a language engine worded stays out of what the hospital keeps
        passages = [p for p in self.case.of(Passage) if self._about(p) and by_rule(p)]
        out = self._clinical("DiagnosticReport", self._urn("report"))
        if passages:
            words = {**language_of(passages), "text": narrative(passages)}
            out = {"resourceType": out.pop("resourceType"), **words, **out}
        settled = {f.status.value for f in self.observed.values()}
        out |= {
            "status": settled.pop() if len(settled) == 1 else "preliminary",
            "category": [{"text": "Ophthalmology" if self.eye else "Diagnostic report"}],
            "code": concept(vocab.REPORT if self.eye else _STUDY if self.images else _REPORT),
            **self._times(started="effectiveDateTime"),
            "issued": instant(when(self.case)),
        }
        if self.studies:
            out["imagingStudy"] = self._study_references()
        if self.observed:
            out["result"] = [
                {"reference": self._finding_urn(f), "type": "Observation"}
                for f in self.observed.values()
            ]
        ends = [p for p in passages if p.section == "impression"]
        # what should be done is no conclusion about what is there
        ends = ends or [p for p in passages if p.section != "advice"]
        if ends:
            out["conclusion"] = " ".join(p.text for p in ends)
        grade = self.case.get("dr-grade", Label)
        if grade is not None:
            out["conclusionCode"] = [answer(grade, grade.value)]
        return out

    def _provenance(self, source: Source) -> Resource:
        """Who made what: a model that only drew masks stands behind the report."""
        made = [f for f in self.observed.values() if f.source == source]
        urns = [self._finding_urn(f) for f in made] or [self._urn("report")]
        kind = "Observation" if made else "DiagnosticReport"
        code = str(identity.uuid(self.key, "fhir", "provenance", *_parts(source)))
        read = "photograph" if self.eye else "record"
        return {
            "resourceType": "Provenance",
            "meta": {"tag": [{"system": vocab.LOCAL_URL, "code": code}]},
            "target": [{"reference": urn, "type": kind} for urn in urns],
            "recorded": instant(when(self.case)),
            "activity": {"text": f"Interpretation of a {read} by software"},
            "agent": [
                {
                    "type": {"coding": [{"system": _AGENT, "code": "assembler"}]},
                    "who": {"reference": _device_urn(source), "type": "Device"},
                }
            ],
            **(
                {"entity": [{"role": "source", "what": r} for r in self._study_references()]}
                if self.studies
                else {}
            ),
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
