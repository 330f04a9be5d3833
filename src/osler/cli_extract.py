"""The command ``osler extract``: the findings that reports state."""

import csv
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from osler.models.text_encoder import TextEncoder
    from osler.record import Case

SOME_FAILED = 3
TABLE = "statements.csv"
COLUMNS = (
    "case", "item", "finding", "name", "status", "side", "value", "unit", "sct", "icd10",
    "start", "stop", "section", "flags", "words",
)  # fmt: skip


class Place(StrEnum):
    """Where words such as "haemorrhage" are, if nothing in the text says it."""

    EYE = "eye"
    CHEST = "chest"
    HEAD = "head"
    ABDOMEN = "abdomen"
    KIDNEY = "kidney"


def extract(
    reports: Annotated[
        list[str],
        typer.Argument(
            metavar="REPORT",
            help="Reports: text, Word, PDF, CDA and FHIR files, folders and globs.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write here  [default: print]"),
    ] = None,
    fhir: Annotated[
        bool, typer.Option("--fhir", help="Also write a FHIR R4 bundle a report (with --out).")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON a statement, not a table.")
    ] = False,
    place: Annotated[
        Place, typer.Option("--place", help="Where findings are, if the text does not say it.")
    ] = Place.EYE,
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder",
            metavar="ENCODER",
            help='Also find other words for a finding, as possible: minilm (extra "text"), or the '
            "folder of a BERT.",
        ),
    ] = "none",
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.")
    ] = False,
) -> None:
    """Say which findings reports in English or Chinese state, deny or doubt, by rule.

    A row for each statement: the finding with its codes, whether it is present, absent, possible,
    past, asked for or a relative's, its side, and the characters that say it; grades, pressures,
    ratios and sizes with their units. With --out each report gets DIR/CASE/findings.json, and
    DIR/statements.csv has the rows of all.

    Exit status: 0 all were read; 3 some failed (each is named); 2 wrong usage.
    """
    from osler.cli import _errors, _say

    with _errors(debug=debug):
        from osler import io
        from osler.errors import InputError, OslerError, OutputError
        from osler.io.searching import REPORTS

        if fhir and out is None:
            raise InputError("--fhir needs --out, the folder to write into")
        opened = _encoder(encoder)
        rows: list[dict[str, Any]] = []
        failed = 0
        paths = io.find_all(reports, formats=REPORTS).paths
        names: dict[str, int] = {}
        for path in paths:
            try:
                case = _read(path, place.value, opened)
            except OutputError:
                raise
            except OslerError as error:
                failed += 1
                _say(f"osler: {path}: {error}")
                continue
            names[case.id] = names.get(case.id, 0) + 1
            if names[case.id] > 1:
                case.id = f"{case.id}-{names[case.id]}"
            rows += rows_of(case)
            if out is not None:
                io.write(case, out, html=False, fhir=fhir and bool(case.findings))
        if out is not None:
            write_rows(rows, out / TABLE)
            _say(f"{len(rows)} statements of {len(paths) - failed} reports in {out}")
        elif as_json:
            for row in rows:
                typer.echo(
                    json.dumps({k: v for k, v in row.items() if v != ""}, ensure_ascii=False)
                )
        else:
            typer.echo(_as_csv(rows), nl=False)
    raise typer.Exit(SOME_FAILED if failed else 0)


def _encoder(said: str) -> "TextEncoder | None":
    if said == "none":
        return None
    from osler.models.text_encoder import open_text_encoder

    return open_text_encoder(said)


def _read(path: Path, place: str, encoder: "TextEncoder | None") -> "Case":
    from osler import io
    from osler.errors import InputError
    from osler.language.stating import state
    from osler.record import Case, Text

    case = io.load_file(path)
    if not isinstance(case, Case) or not any(isinstance(i, Text) for i in case.items.values()):
        raise InputError("it holds no text")
    case.findings.clear()
    state(case, place=place, encoder=encoder)
    return case


def rows_of(case: "Case") -> list[dict[str, Any]]:
    """A row of ``COLUMNS`` for each statement of a case."""
    from osler.language.findings_vocabulary import vocabulary
    from osler.language.stating import GRADES, SOURCE
    from osler.record import Label, Measurement, Text
    from osler.terminal import one_line

    concepts = {c.id: c for c in vocabulary().concepts}
    of_grade: dict[Any, str] = {value: id for id, (value, _) in GRADES.items()}
    rows: list[dict[str, Any]] = []
    for one in case.findings.values():
        text = case.items.get(one.item or "")
        if one.source.name != SOURCE.name or not isinstance(text, Text):
            continue
        if not isinstance(one, Label | Measurement):
            continue
        said = one.id.removeprefix(f"{text.name}.").removesuffix(f".{one.laterality}")
        graded = isinstance(one, Label) and one.code is not None and one.code.value == "icdr-grade"
        concept = concepts.get(of_grade[one.value] if graded else said.partition("-2")[0] or said)
        concept = concept or concepts.get(said)
        section = one.note.partition("of section '")[2].partition("'")[0]
        start, stop = one.span or (0, 0)
        rows.append(
            {
                "case": case.id,
                "item": text.name,
                "finding": said,
                "name": one.name,
                "status": "present" if graded or isinstance(one, Measurement) else one.value,
                "side": one.laterality or "",
                "value": one.value if graded or isinstance(one, Measurement) else "",
                "unit": one.unit if isinstance(one, Measurement) else "",
                "sct": (concept.sct if concept else None) or "",
                "icd10": (concept.icd10 if concept else None) or "",
                "start": start,
                "stop": stop,
                "section": section,
                "flags": "; ".join(one.flags),
                "words": one_line(text.text[start:stop][:200]),
            }
        )
    return rows


def write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Write rows as a CSV file that is safe to open in a spreadsheet."""
    from osler.io.atomic_file import replacing

    with replacing(path) as part:
        Path(part).write_text(_as_csv(rows), encoding="utf-8", newline="")


def _as_csv(rows: list[dict[str, Any]]) -> str:
    import io

    from osler.io.tables import safe

    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({k: safe(v) for k, v in row.items()} for row in rows)
    return out.getvalue()
