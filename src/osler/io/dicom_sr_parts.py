"""Small parts of a structured report: chances, doubts, remarks, and who said so."""

from collections.abc import Sequence
from typing import Any

from osler.io import identity
from osler.io.dicom_seg import coded
from osler.io.html_advice import told
from osler.record import Case, Code, Label, Measurement, Passage, Source, vocab

UNITS = Code("246514001", "SCT", "Units")
"""What a missing number would be in. A NUM item has no place for a unit without a value (PS3.3
C.18.1), and highdicom reads no report with such an item: it stands under the words that say why."""

ENGLISH = "en"
"""The language of a report's codes, and of its words where they do not say another."""
_SECTIONS = {"impression": vocab.IMPRESSION, "findings": vocab.FINDING}
_LANGUAGES = {ENGLISH: "English", "zh": "Chinese"}


def chances(label: Label) -> list[tuple[str, float]]:
    """Value to probability, as far as the label says them."""
    if label.probabilities:
        return list(label.probabilities.items())
    return [] if label.probability is None else [(label.value, label.probability)]


def chance(name: Code, probability: float) -> Any:
    """A probability as a measurement; it keeps seven digits."""
    from highdicom.sr import Measurement as Number

    return Number(name=coded(name), value=float(f"{probability:.7g}"), unit=coded(vocab.unit("1")))


def doubt(flag: str) -> Any:
    """A named doubt as a qualitative evaluation."""
    from highdicom.sr import QualitativeEvaluation

    return QualitativeEvaluation(coded(vocab.DOUBT), coded(vocab.flag(flag)))


def remark(measurement: Measurement, text: str, *, unit: str = "") -> Any:
    """Words about a measurement, named by what it measures; its number stands without them.

    Args:
        measurement: the measurement.
        text: the words.
        unit: what it would be in, where it has no number to say so.
    """
    from highdicom.sr import CodeContentItem, ContentSequence, TextContentItem

    code = measurement.code or vocab.measure(measurement.id, measurement.name)
    item = TextContentItem(
        name=coded(code), value=f"{measurement.id} {text}", relationship_type="CONTAINS"
    )
    if unit:
        modifier = CodeContentItem(
            name=coded(UNITS), value=coded(vocab.unit(unit)), relationship_type="HAS CONCEPT MOD"
        )
        item.ContentSequence = ContentSequence([modifier])
    return item


def spoken(language: str) -> Any:
    """What language an item and all under it are in (TID 1204), as a sequence of one item.

    Args:
        language: BCP 47 tag.
    """
    from highdicom.sr import CodedConcept, LanguageOfContentItemAndDescendants

    meaning = _LANGUAGES.get(language, language)
    return LanguageOfContentItemAndDescendants(CodedConcept(language, "RFC5646", meaning))


def words(passages: Sequence[Passage]) -> Any:
    """Sentences as the qualitative evaluations of a report, in the language that each is in."""
    from highdicom.sr import ContainerContentItem, ContentSequence, TextContentItem

    box = ContainerContentItem(
        name=coded(vocab.QUALITATIVE_EVALUATIONS), relationship_type="CONTAINS"
    )
    language = passages[0].language
    items = list(spoken(language) if language != ENGLISH else ())
    for passage in passages:
        item = TextContentItem(
            name=coded(_SECTIONS.get(passage.section, vocab.COMMENT)),
            value=told(passage),
            relationship_type="CONTAINS",
        )
        if passage.language != language:
            item.ContentSequence = ContentSequence(spoken(passage.language))
        items.append(item)
    box.ContentSequence = ContentSequence(items)
    return box


def algorithm(source: Source) -> Any:
    """The program that said so."""
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        name=source.name, version=source.version or identity.version(), manufacturer="Osler"
    )


def observer(case: Case) -> Any:
    """The device that observed: Osler, with every model that took part."""
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    bundles = [s for s in identity.sources(case) if s.kind == "bundle"]
    parts = ", ".join(f"{s.name} {s.version}".strip() for s in bundles)
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=identity.uid("device", identity.version()),
                name="Osler",
                manufacturer_name="Osler",
                model_name=f"osler {identity.version()}" + (f" with {parts}" if parts else ""),
            ),
        )
    )
