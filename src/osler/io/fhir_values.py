"""Values of FHIR R4 resources: codes, quantities, answers and times."""

import html
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from osler.io.dicom_codes import slug
from osler.io.html_advice import notice, told
from osler.record import Box, Finding, Label, Measurement, Passage, Risk, vocab
from osler.record.code import Code

_PRESENT = Code("52101004", "SCT", "Present")
_AXES = ("slice", "row", "column")
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"

Resource = dict[str, Any]


def coding(code: Code) -> Resource:
    """A Coding; a scheme that has no URI is left unsaid, not guessed."""
    system = vocab.SYSTEM_URLS.get(code.scheme)
    named = {"system": system} if system else {}
    return {**named, "code": code.value, "display": code.meaning or code.value}


def concept(*codes: Code, text: str = "") -> Resource:
    """A CodeableConcept of codes that mean the same."""
    return {"coding": [coding(c) for c in codes], "text": text or codes[0].meaning}


def question(finding: Finding) -> Resource:
    """What the observation is; a measurement's id says more than the concept that it is one of."""
    if isinstance(finding, Measurement):
        general = finding.code or vocab.measure(finding.id, finding.name)
        words = [w for w in (finding.structure, finding.region) if w]
        text = " ".join([general.meaning, *([f"({', '.join(words)})"] if words else [])])
    else:
        general = finding.code or (
            # boxes of a kind are many, and their ids are numbered
            vocab.structure(slug(finding.name), finding.name).type
            if isinstance(finding, Box)
            else vocab.label(finding.id, finding.name)
        )
        return concept(general, text=finding.name)
    exact = vocab.local(finding.id, text)
    return concept(general, *([exact] if exact.value != general.value else []), text=text)


def number(measurement: Measurement) -> Resource:
    """Method and value of a measurement, or why there is none."""
    out: Resource = {}
    method = vocab.method(measurement.id)
    if measurement.method or method:
        out["method"] = {
            **({"coding": [coding(method)]} if method else {}),
            "text": measurement.method or (method.meaning if method else ""),
        }
    if measurement.value is None:
        absent = {"system": _ABSENT, "code": "not-performed", "display": "Not Performed"}
        out["dataAbsentReason"] = {"coding": [absent], "text": measurement.reason}
    else:
        out["valueQuantity"] = quantity(measurement.value, measurement.unit)
    return out


def quantity(value: float, unit: str) -> Resource:
    """A Quantity; numbers keep seven digits."""
    code = vocab.unit(unit)
    return {
        "value": float(f"{value:.7g}"),
        "unit": code.meaning if code.value != "1" else "1",
        "system": vocab.SYSTEM_URLS["UCUM"],
        "code": code.value,
    }


def answer(label: Label, value: str) -> Resource:
    """One value of a label as a CodeableConcept."""
    words = label.meanings.get(value, value)
    return concept(vocab.value(label.id, value, words), text=words)


def chances(label: Label) -> Iterator[Resource]:
    """The probabilities of a label, a component each."""
    if not label.probabilities and label.probability is not None:
        yield {
            "code": concept(vocab.PROBABILITY),
            "valueQuantity": quantity(label.probability, "1"),
        }
    for value, probability in label.probabilities.items():
        words = f"Probability of {label.meanings.get(value, value)}"
        code = vocab.local(f"p-{label.id}-{value}", words)
        yield {"code": concept(code), "valueQuantity": quantity(probability, "1")}


def prediction_set(label: Label) -> Iterator[Resource]:
    """What cannot be excluded, a component each."""
    level = f" at {label.coverage:.0%}" if label.coverage else ""
    for value in label.prediction_set:
        yield {
            "code": concept(vocab.PREDICTION_SET, text=vocab.PREDICTION_SET.meaning + level),
            "valueCodeableConcept": answer(label, value),
        }


def language_of(passages: Sequence[Passage]) -> Resource:
    """The language of a resource whose words are all in one; nothing where they are in several."""
    spoken = {p.language for p in passages}
    return {"language": spoken.pop()} if len(spoken) == 1 else {}


def narrative(passages: Sequence[Passage]) -> Resource:
    """The words of a report."""
    lines = "".join(
        f'<p lang="{html.escape(p.language)}">{html.escape(told(p))}</p>' for p in passages
    )
    if what_it_is_not := notice(passages):
        lines += f"<p>{html.escape(what_it_is_not)}</p>"
    # FHIR R4, 2.4.4: a resource that says its language says it here again, in both attributes
    spoken = "".join(
        f' {attribute}="{html.escape(language)}"'
        for language in language_of(passages).values()
        for attribute in ("lang", "xml:lang")
    )
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml"{spoken}>{lines}</div>',
    }


def instant(at: datetime) -> str:
    """A FHIR instant; a time of an unknown zone is taken as of this machine's."""
    at = at if at.tzinfo else at.astimezone()
    return at.isoformat(timespec="seconds")


def date_time(at: datetime) -> str:
    """A FHIR dateTime; a time of an unknown zone is not one, so only its date is said."""
    return at.isoformat(timespec="seconds") if at.tzinfo else at.date().isoformat()


def box(finding: Box) -> Resource:
    """That something is present, how likely, and where, in pixels of its image.

    FHIR R4 has no way of its own to name a place in an image, so the sides are components.
    """
    parts: list[Resource] = []
    if finding.probability is not None:
        chance = quantity(finding.probability, "1")
        parts.append({"code": concept(vocab.PROBABILITY), "valueQuantity": chance})
    for axis, first, beyond in zip(
        _AXES[-len(finding.start) :], finding.start, finding.stop, strict=True
    ):
        for side, words, value in (
            ("first", f"First {axis} inside of the bounding box, counted from 0", first),
            ("beyond", f"First {axis} beyond the bounding box, counted from 0", beyond),
        ):
            code = vocab.local(f"box-{side}-{axis}", words)
            parts.append({"code": concept(code), "valueQuantity": quantity(value, "[pix_i]")})
    return {"valueCodeableConcept": concept(_PRESENT), "component": parts}


def risk(finding: Risk) -> Resource:
    """The chance of an event, and within which time."""
    out: Resource = {"valueQuantity": quantity(finding.value, "1")}
    if finding.horizon_days is not None:
        days = {
            "value": finding.horizon_days,
            "unit": "days",
            "system": vocab.SYSTEM_URLS["UCUM"],
            "code": "d",
        }
        out["component"] = [{"code": {"text": "Within"}, "valueQuantity": days}]
    return out
