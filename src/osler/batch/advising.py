"""Advice on a case that was read, from a patient's values: what joins reading and guidelines."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osler.errors import InputError, RecipeError
from osler.record import Case, Passage, Table, Text

if TYPE_CHECKING:
    from osler.batch.job import Options
    from osler.language.engine import Engine


def check(patient: str | Path | None, follow: str) -> None:
    """Refuse what would fail for every case of a batch, before the first is read.

    Raises:
        InputError: the patient's file cannot be used.
        RecipeError: no such document can be followed, or there is no patient to follow it for.
    """
    from osler.language.guidelines.table import diabetic_eye

    if follow not in (known := diabetic_eye().followable()):
        raise RecipeError(f"'{follow[:40]}' cannot be followed; say one of {', '.join(known)}")
    if patient is None:
        raise RecipeError("--follow is for advice, which needs --patient FILE; see 'osler advise'")
    _items(Path(patient))


def with_patient(case: Case, path: str | Path) -> Case:
    """Add a patient's values to a case, as tables, and what reports of the file state.

    Args:
        case: what was read.
        path: a JSON object of names and values, or whatever ``osler.load`` opens as tables and
            texts: FHIR observations, a row of CSV, a report.

    Raises:
        InputError: the file cannot be used, or holds neither a table nor a text.
    """
    from osler.language.stating import state

    for item in _items(Path(path)):
        name, number = item.name, 1
        while name in case:
            number += 1
            name = f"{item.name}-{number}"
        item.name = name
        case.items[name] = item
        if isinstance(item, Text):
            state(case, item=name)
    return case


def _items(path: Path) -> list[Table | Text]:
    from osler import io
    from osler.language.patient_data import patient_table

    if path.suffix.lower() == ".json" and not _is_fhir(path):
        return [patient_table(path)]
    found = io.load_file(path)
    items = [i for i in found.items.values() if isinstance(i, Table | Text)]
    if not items:
        raise InputError(f"'{path}' holds no values of a patient: give a table, or a report")
    return items


def _is_fhir(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b'"resourceType"' in file.read(4096)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror})") from None


def advised(case: Case, options: "Options") -> None:
    """Add the patient's values and the advice to a case of a batch."""
    from osler.language.advice import advise
    from osler.language.engine import open_engine

    with_patient(case, options.patient)
    engine = open_engine(options.engine, timeout=options.engine_timeout)
    advise(case, language=options.language, follow=options.follow, engine=engine)


def advise_on(
    paths: Sequence[str | Path],
    *,
    patient: str | Path | None = None,
    language: str = "en",
    follow: str = "ico",
    engine: "Engine | None" = None,
) -> tuple[Case, list[Passage]]:
    """Open cases of one patient, such as the two eyes, and advise on them together.

    Args:
        paths: folders that ``osler read`` wrote, photographs, or reports.
        patient: the patient's values, as `with_patient` takes them.
        language: of the advice.
        follow: the document whose intervals hold.
        engine: puts the words otherwise.

    Returns:
        The case, and the advice in it.

    Raises:
        InputError: a path cannot be used.
    """
    from osler.batch.case_opening import open_case
    from osler.language.advice import SECTION, advise, together
    from osler.language.stating import state

    cases = []
    for path in paths:
        case = open_case(path)
        for id in [p.id for p in case.of(Passage) if p.section == SECTION]:
            del case.findings[id]  # it is given anew
        case.findings.pop("advice-urgency", None)
        if not any(f.source.name == "osler.language.extraction" for f in case.findings.values()):
            state(case)
        cases.append(case)
    case = together(cases)
    if patient is not None:
        with_patient(case, patient)
    return case, advise(case, language=language, follow=follow, engine=engine)
