"""What a reader gives: all that one file holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from osler.record import Finding, Item


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds.

    Attributes:
        items: its items, each with a name of its own.
        findings: what the file says about them, evidence before what stands on it.
        patient_id: the patient, where the file says one.
    """

    items: Sequence[Item]
    findings: Sequence[Finding] = ()
    patient_id: str | None = None
