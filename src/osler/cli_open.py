"""The sub-commands that open anything: ``osler info``, ``osler convert`` and ``osler view``."""

import json
from typing import Annotated, Any

import typer

SOME_FAILED = 3
"""Exit status where something was not understood or not written, and the rest was."""

Source = Annotated[
    str, typer.Argument(metavar="PATH", help="A file of any kind, a folder, or a URL.")
]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-O",
        metavar="NAME=VALUE",
        help="An option of the reader, such as prefer=sform, allow_tilt=true or rate=500; may be "
        "repeated.",
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        "--pattern", help="How paths in a folder name what they are: '{patient}/{eye}.jpg'."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an unexpected error came from.")]


def options_of(texts: list[str] | None, pattern: str | None) -> dict[str, Any]:
    """The readers' options, typed: ``true``, ``false``, numbers, or words.

    Raises:
        InputError: one is no ``NAME=VALUE``.
    """
    from osler.errors import InputError

    out: dict[str, Any] = {} if pattern is None else {"pattern": pattern}
    for text in texts or ():
        name, sign, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not name.isidentifier():
            raise InputError(f"--option is '{text}'; write NAME=VALUE, such as prefer=sform")
        out[name] = (*value.split(","),) if name == "missing" else _typed(value)
    return out


def _typed(value: str) -> bool | int | float | str:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value.strip("'\"")


def info(
    path: Source,
    identity: Annotated[
        bool, typer.Option("--identity", help="Also say whose it is and when it was made.")
    ] = False,
    as_json: AsJson = False,
    option: Option = None,
    pattern: Pattern = None,
    debug: Debug = False,
) -> None:
    """Say what is in a file or folder, without interpreting it.

    Volumes and films stay in their files. Nobody's identity is shown unless it is asked for.

    Exit status: 0 all of it was understood; 3 some of it was not (the reasons are told); 2 wrong
    usage, or it cannot be opened.
    """
    from osler.cli import _errors

    with _errors(debug=debug):
        from osler import console_open
        from osler.io import inventory

        found = inventory.inventory(path, identity=identity, **options_of(option, pattern))
        if as_json:
            typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
        else:
            console_open.print_inventory(found)
    raise typer.Exit(SOME_FAILED if inventory.incomplete(found) else 0)
