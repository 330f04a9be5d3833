"""The command ``osler mcp``: cases for agents, over the Model Context Protocol."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer


def mcp(
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root",
            metavar="DIR",
            help="A folder that may be read; may be repeated  [default: the current folder]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="A folder that reports may be written into."
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option("--index", metavar="DIR", help="An index, from 'osler index', to search."),
    ] = None,
    identity: Annotated[
        bool,
        typer.Option(
            "--identity", help="Answers may tell who the patient is, and show pieces of images."
        ),
    ] = False,
    language: Annotated[
        str, typer.Option("--language", metavar="en|zh", help="Of the sentences of reports.")
    ] = "en",
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=1, help="That one call may take before it is ended."),
    ] = 300.0,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.")
    ] = False,
) -> None:
    """Serve read, measure, ask, search and report to an agent, over standard input and output.

    An agent starts this command and may read what lies under --root, links that lead out of it
    excepted, and write under --out only. A call that takes too long is ended. It listens on no
    port. Needs the extra "mcp".
    """
    from osler.cli import _errors

    with _errors(debug=debug):
        from osler.errors import RecipeError
        from osler.serve.calls import calls_of
        from osler.serve.mcp import server
        from osler.serve.worker import Worker
        from osler.serve.workplace import Workplace

        if language not in ("en", "zh"):
            raise RecipeError("--language is en or zh")
        place = Workplace(root or [Path.cwd()], out=out, identity=identity, language=language)
        if index is not None:
            from osler.batch.case_searching import search_of

            search_of(index)  # better said before the first call than at it
        make = partial(
            calls_of, place.roots, out=out, identity=identity, language=language, index=index
        )
        worker = Worker(make, seconds)
        try:
            server(place, worker, searches=index is not None).run("stdio")
        finally:
            worker.close()
