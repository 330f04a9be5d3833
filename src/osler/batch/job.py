"""What a batch is asked for, and what comes of each case."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Options:
    """What to write for each case.

    Attributes:
        html: write ``report.html``.
        dicom: write a DICOM segmentation and a structured report.
        fhir: write an HL7 FHIR R4 transaction bundle.
        language: of the sentences, ``"en"`` or ``"zh"``.
        patient: file of the patient's values, for advice; empty for none.
        follow: the guideline whose intervals the advice follows.
        engine: what words a second report, as ``osler.language.engine.open_engine`` takes it.
        engine_timeout: seconds that it may take for each.
    """

    html: bool = True
    dicom: bool = False
    fhir: bool = False
    language: str = "en"
    patient: str = ""
    follow: str = "ico"
    engine: str = "none"
    engine_timeout: float = 120.0


@dataclass(frozen=True, slots=True)
class Job:
    """One case to read.

    Attributes:
        source: the input file, as the user named it.
        case_id: names the case and its folder; unique in the output folder.
        done: the folder already holds this very case, read by the same bundles and options.
    """

    source: Path
    case_id: str
    done: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case.

    Attributes:
        source: the input file, as the user named it.
        case_id: the case, and the name of its folder.
        status: ``"read"``, ``"skipped"`` (already there), or ``"failed"``.
        row: the case's row of the summary; empty where it failed.
        error: one sentence without patient data; empty unless it failed.
        trace: where an unexpected error came from; empty unless asked for.
        seconds: how long it took.
        draft: flag of what a language engine wrote; empty where none was asked.
        disk_full: the case failed because there is no space left, so that others would too.
    """

    source: Path
    case_id: str
    status: Literal["read", "skipped", "failed"]
    row: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    trace: str = ""
    seconds: float = 0.0
    draft: str = ""
    disk_full: bool = False
