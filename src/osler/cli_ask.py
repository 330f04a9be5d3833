"""The command ``osler ask``: questions about a case, and their answers with evidence."""

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osler.errors import BundleError
from osler.terminal import one_line

if TYPE_CHECKING:
    from osler.language.answers import Answer

MOST_QUESTIONS = 1000
"""Most lines that are read from a stream."""


def ask(
    case: Annotated[
        str,
        typer.Argument(
            metavar="CASE",
            help="A file, a folder of one case, or a folder that 'osler read' wrote.",
        ),
    ],
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION", help="In English or Chinese; without it, lines of the input."
        ),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option("--before", metavar="CASE", help="The same eye at an earlier visit."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--source", metavar="FILE", help="The photograph that CASE was written of."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="ENGINE",
            help="none, transformers:FOLDER, llama.cpp:FILE.gguf or "
            "openai:http://host:port/v1#MODEL",
        ),
    ] = "none",
    engine_timeout: Annotated[
        float,
        typer.Option(
            "--engine-timeout",
            "--timeout",  # as it was called before
            metavar="SECONDS",
            min=0.1,
            help="Seconds an engine may take for each report or answer.",
        ),
    ] = 120.0,
    bundle: Annotated[
        str | None,
        typer.Option(
            "--bundle", metavar="BUNDLE", help="A bundle of question answering, which answers."
        ),
    ] = None,
    certain: Annotated[
        float,
        typer.Option(
            "--certain",
            min=0,
            max=1,
            help="Probability below which a bundle cannot say.",
        ),
    ] = 0.5,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            metavar="DIR",
            help="An index, from 'osler index', to look in for what is alike.",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", metavar="en|zh", help="Of the answers  [default: as asked]"),
    ] = None,
    identity: Annotated[
        bool,
        typer.Option("--identity", help="Quote texts with the names, numbers and dates in them."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON an answer, with its evidence.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.")
    ] = False,
) -> None:
    """Answer questions about a case, from its findings and by measuring in it.

    Every answer names the findings that it stands on. What no finding and no tool supports is
    answered with "I cannot see that". Without --engine the answers are by rule; an engine's
    numbers, sides, grades and evidence are checked, and where they do not hold the answer is by
    rule and says so. Exit status 0, also for what cannot be seen.
    """
    from osler.cli import _errors, _say

    with _errors(debug=debug, asked=BundleError):
        from osler import bundles
        from osler.batch.case_opening import follow, open_case
        from osler.errors import RecipeError
        from osler.language.conversation import Conversation
        from osler.language.engine import open_engine
        from osler.language.tools import Toolbox

        if language not in (None, "en", "zh"):
            raise RecipeError("--language is en or zh")
        model = bundles.load(bundle) if bundle else None
        opened = open_engine(engine, timeout=engine_timeout)
        interpret = model is None
        spoken = language or "en"
        now = open_case(case, source=source, interpret=interpret, language=spoken)
        then = open_case(before, language=spoken) if before else None
        search = None
        if index is not None:
            from osler.batch.case_searching import search_of

            search = search_of(index)
        tools = Toolbox(
            now, then, search, language=spoken, identity=identity,
            follow=partial(follow, language=spoken),
        )  # fmt: skip
        talk = Conversation(tools, engine=opened, bundle=model, certain=certain, language=language)
        try:
            for text in _questions(question):
                _print(talk.ask(text), text, as_json=as_json)
        finally:
            if opened is not None:
                opened.close()
        if talk.turns or question is not None:
            return
        _say("osler: no question was asked")


def _questions(question: str | None) -> Iterator[str]:
    """The one that was given, or the lines of the input until it ends."""
    if question is not None:
        yield question
        return
    talking = sys.stdin.isatty()
    for _ in range(MOST_QUESTIONS):
        if talking:
            typer.echo("? ", nl=False, err=True)
        line = sys.stdin.readline(20_000)
        if not line or line.strip().casefold() in ("quit", "exit", "退出"):
            return
        if line.strip():
            yield line.strip()


def _print(said: "Answer", text: str, *, as_json: bool) -> None:
    if as_json:
        document: dict[str, Any] = {"question": one_line(text[:600]), **said.as_document()}
        typer.echo(json.dumps(document, ensure_ascii=False, default=str))
        return
    typer.echo(one_line(said.text))
    if said.evidence:
        typer.echo(one_line(f"  [{', '.join(said.evidence[:8])}]"))
    if said.note:
        typer.echo(one_line(f"osler: {said.note}"), err=True)
