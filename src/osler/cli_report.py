"""The command ``osler check-report``, and how a language engine is named."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli_open import Language
from osler.terminal import counted, one_line

if TYPE_CHECKING:
    from osler.batch import Outcome
    from osler.record import Case

EngineNamed = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="Have a language model word a second, checked report: transformers:FOLDER, "
        "llama.cpp:FILE.gguf, or openai:http://HOST:PORT/v1#MODEL (vLLM, Ollama, llama-server).",
    ),
]
EngineTimeout = Annotated[
    float,
    typer.Option(
        "--engine-timeout",
        metavar="SECONDS",
        min=0.1,
        help="Seconds an engine may take for each report or answer.",
    ),
]


def failed_drafts(outcomes: "Sequence[Outcome]") -> str:
    """A line about the drafts that did not pass; empty where all did."""
    asked = [o for o in outcomes if o.draft]
    missing = sum(o.draft == "draft-missing" for o in asked)
    failed = sum(o.draft == "draft-failed-check" for o in asked)
    unread = sum(o.draft == "words-unread" for o in asked)
    parts = [
        f"{counted(failed, 'drafted report')} failed the check" if failed else "",
        f"{counted(unread, 'drafted report')} with words that were not checked" if unread else "",
        f"{counted(missing, 'report')} could not be drafted" if missing else "",
    ]
    said = " and ".join(part for part in parts if part)
    return f"{said}, of {len(asked)}; the rule-based reports are whole" if said else ""


def check_report(
    report: Annotated[
        str, typer.Argument(metavar="REPORT", help="The report: a text, PDF or Word file.")
    ],
    case: Annotated[
        str,
        typer.Argument(metavar="CASE", help="A folder that 'osler read' wrote, or a photograph."),
    ],
    cited: Annotated[
        bool | None,
        typer.Option(
            "--cited/--not-cited",
            help="Whether every sentence must cite findings as [id]  [default: if one does]",
            show_default=False,
        ),
    ] = None,
    language: Annotated[
        Language, typer.Option("--language", help="Of what a finding is called.")
    ] = Language.EN,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.")
    ] = False,
) -> None:
    """Hold a report against the findings of a case: what it says rightly, wrongly, and leaves out.

    Numbers with their units, sides, grades, negations and citations of each sentence, in English or
    Chinese, are compared with the findings by rule.

    Exit status: 0 every sentence agrees; 3 some do not; 2 wrong usage.
    """
    import json

    from osler.cli import SOME_FAILED, _errors

    with _errors(debug=debug):
        from osler.batch.case_opening import open_case
        from osler.errors import InputError
        from osler.language.checking import check, citations
        from osler.language.facts import facts
        from osler.record import Text

        opened = _opened(report)
        texts = [i.text for i in opened.items.values() if isinstance(i, Text)]
        if not texts:
            raise InputError(f"'{Path(report).name}' holds no text that could be checked")
        told = facts(open_case(case, language=language.value), language=language.value)
        text = "\n\n".join(texts)
        if cited is None:
            cited = bool(citations(text, [fact.id for fact in told])[1])
        result = check(text, told, cited=cited)
        if as_json:
            typer.echo(json.dumps(result.as_document(), ensure_ascii=False))
        else:
            for sentence in result.sentences:
                mark = "ok " if sentence.stands else "NO "
                typer.echo(mark + one_line(sentence.text))
                for problem in sentence.problems:
                    found = f"; found: {problem.found}" if problem.found else ""
                    said = f" “{problem.said}”" if problem.said else ""
                    typer.echo(one_line(f"     {problem.kind}{said}{found}"))
                if sentence.stands and sentence.unread:
                    typer.echo(one_line(f"     not read: {', '.join(sentence.unread)}"))
            wrong = sum(not s.stands for s in result.sentences)
            typer.echo(
                f"{counted(len(result.sentences), 'sentence')}, {wrong} not confirmed; "
                f"{len(result.stated)} of {len(result.stated) + len(result.missed)} findings stated"
            )
            if result.missed:
                typer.echo(one_line(f"not stated: {', '.join(result.missed)}"))
    raise typer.Exit(0 if result.passed else SOME_FAILED)


def _opened(path: str) -> "Case":
    import osler
    from osler.errors import InputError
    from osler.record import Case

    opened = osler.load(path)
    if not isinstance(opened, Case):
        raise InputError(f"'{path}' holds several cases; name one report")
    return opened
