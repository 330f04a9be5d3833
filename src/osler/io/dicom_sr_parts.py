"""Small parts of a structured report: chances, doubts, remarks, and who said so."""

from typing import Any

from osler.io import identity
from osler.io.dicom_seg import coded
from osler.record import Label, Measurement, Source, vocab


def chances(label: Label) -> list[tuple[str, float]]:
    """Value to probability, as far as the label says them."""
    if label.probabilities:
        return list(label.probabilities.items())
    return [] if label.probability is None else [(label.value, label.probability)]


def doubt(flag: str) -> Any:
    """A named doubt as a qualitative evaluation."""
    from highdicom.sr import QualitativeEvaluation

    return QualitativeEvaluation(coded(vocab.DOUBT), coded(vocab.flag(flag)))


def remark(measurement: Measurement, text: str) -> Any:
    """Words about a measurement, named by what it measures; its number stands without them."""
    from highdicom.sr import TextContentItem

    code = measurement.code or vocab.measure(measurement.id, measurement.name)
    return TextContentItem(
        name=coded(code), value=f"{measurement.id} {text}", relationship_type="CONTAINS"
    )


def algorithm(source: Source) -> Any:
    """The program that said so."""
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        name=source.name, version=source.version or identity.version(), manufacturer="Osler"
    )
