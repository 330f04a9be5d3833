"""A coded concept: what a name means, in a vocabulary that others share."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One concept of a published vocabulary.

    Attributes:
        value: the code, for example ``"5665001"``.
        scheme: the DICOM coding scheme designator: ``"SCT"`` (SNOMED CT), ``"LN"`` (LOINC),
            ``"RADLEX"``, ``"DCM"``, ``"UCUM"``, or ``"99OSLER"`` where no standard code exists.
        meaning: the name in English, as the vocabulary gives it.
    """

    value: str
    scheme: str
    meaning: str
