"""The command ``osler advise``: management advice for primary care, by a guideline table."""

import json
from pathlib import Path
from typing import Annotated

import typer

from osler.cli_open import Language
from osler.cli_report import EngineTimeout

Follow = Annotated[
    str,
    typer.Option(
        "--follow",
        metavar="GUIDELINE",
        help="Whose intervals hold: ico, ico-low, ada-statement or cds; the others are told where "
        "they differ.",
    ),
]
Patient = Annotated[
    Path | None,
    typer.Option(
        "--patient",
        metavar="FILE",
        help="The patient's values: JSON of names and values, FHIR observations, a CSV row, or a "
        "report.",
    ),
]


def advise(
    cases: Annotated[
        list[str],
        typer.Argument(
            metavar="CASE",
            help="What 'osler read' wrote of one eye, or of both; or photographs; or reports.",
            show_default=False,
        ),
    ],
    patient: Patient = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Also write the case with its advice."),
    ] = None,
    fhir: Annotated[
        bool, typer.Option("--fhir", help="Also write a FHIR R4 bundle (with --out).")
    ] = False,
    follow: Follow = "ico",
    language: Annotated[
        Language, typer.Option("--language", help="Language of the advice.")
    ] = Language.EN,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="ENGINE",
            help="Puts the words otherwise: transformers:FOLDER, llama.cpp:FILE.gguf or "
            "openai:http://host:port/v1#MODEL; what it changes in substance is not taken.",
        ),
    ] = "none",
    engine_timeout: EngineTimeout = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.")
    ] = False,
) -> None:
    """Say what guidelines advise for what was found in an eye and for the patient's values.

    Referral and its urgency, the next examination, pregnancy, and the treatment goals that slow
    retinopathy, each with its source. Every statement is of a table of rules that a person can
    read; no model decides. No medical device: a clinician who knows the patient decides.

    Exit status: 0 there is advice; 2 wrong usage, or a file that cannot be used.
    """
    from osler.cli import _errors, _say

    with _errors(debug=debug):
        from osler import io
        from osler.batch.advising import advise_on
        from osler.errors import InputError
        from osler.io.html_advice import WORDS
        from osler.language.engine import open_engine
        from osler.language.phrasing import FAILED, REJECTED
        from osler.terminal import one_line

        if fhir and out is None:
            raise InputError("--fhir needs --out, the folder to write into")
        case, passages = advise_on(
            cases,
            patient=patient,
            language=language.value,
            follow=follow,
            engine=open_engine(engine, timeout=engine_timeout),
        )
        if out is not None:
            io.write(case, out, fhir=fhir)
        label = case.findings["advice-urgency"]
        words = WORDS[language.value]
        for flag in (FAILED, REJECTED):
            if count := sum(flag in p.flags for p in passages):
                said = WORDS["en"][flag]
                _say(f"osler: {count} of {len(passages)} passages: {said}")
        if as_json:
            document = {
                "case": case.id,
                "urgency": getattr(label, "value", ""),
                "guidelines": {"name": label.source.name, "version": label.source.version},
                "advice": [
                    {
                        "id": p.id,
                        "rule": p.code.value.removeprefix("advice-") if p.code else "",
                        "topic": p.name.removeprefix("Advice: "),
                        "text": p.text,
                        "sources": p.note,
                        "evidence": list(p.evidence),
                        "flags": list(p.flags),
                    }
                    for p in passages
                ],
                "notice": words["notice"],
            }
            typer.echo(json.dumps(document, ensure_ascii=False, indent=1))
            return
        typer.echo(f"{words['urgency']}: {getattr(label, 'meaning', '')}\n")
        for p in passages:
            typer.echo(f"- {one_line(p.text)}")
            if p.note:
                typer.echo(f"  [{one_line(p.note)}]")
        typer.echo(f"\n{label.source.name} {label.source.version}. {words['notice']}")
