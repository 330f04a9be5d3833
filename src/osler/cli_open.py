"""The sub-commands that open anything: ``osler info``, ``osler convert`` and ``osler view``."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

USAGE, SOME_FAILED = 2, 3
"""Exit status where something was not understood or not written, and the rest was."""

_NUMBERS: dict[str, type[int] | type[float]] = {
    "rate": float, "bscans": int, "max_pixels": int, "timeout": float, "max_seconds": float,
    "max_bytes": int,
}  # fmt: skip
_OF_URLS = ("timeout", "max_seconds", "max_bytes", "anonymous", "endpoint", "plain_credentials")


class Language(StrEnum):
    """Languages of the sentences."""

    EN = "en"
    ZH = "zh"


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
    """The readers' options, typed: truths, numbers, or words.

    Raises:
        InputError: one is no ``NAME=VALUE``, or no number where one is needed.
    """
    from osler.errors import InputError

    out: dict[str, Any] = {} if pattern is None else {"pattern": pattern}
    for text in texts or ():
        name, sign, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not name.isidentifier():
            raise InputError(f"--option is '{text}'; write NAME=VALUE, such as prefer=sform")
        out[name] = _typed(name, value)
    return out


def _typed(name: str, value: str) -> bool | float | str | tuple[str, ...]:
    from osler.errors import InputError

    if name == "missing":
        return tuple(value.split(","))
    if name in _NUMBERS:
        try:
            return _NUMBERS[name](value)
        except ValueError:
            raise InputError(f"--option {name} is '{value}', which is no number") from None
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value.strip("'\"")


@contextmanager
def _errors(*, debug: bool) -> Iterator[None]:
    """Errors as everywhere; an option that a message names is also said as it is written here."""
    from osler import cli
    from osler.errors import InputError
    from osler.io.readers import READERS

    with cli._errors(debug=debug):
        try:
            yield
        except InputError as error:
            known = {
                "split_by",
                "max_pixels",
                *_OF_URLS,
                *(name for reader in READERS for name in reader.options),
            }
            named = dict.fromkeys(re.findall(r"\b([a-z_]+)=", str(error)))
            given = [f"-O {name}=..." for name in named if name in known]
            if not given or debug:
                raise
            raise type(error)(f"{error} (here: {', '.join(given)})") from None


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
    with _errors(debug=debug):
        from osler import console_open
        from osler.io import inventory

        found = inventory.inventory(path, identity=identity, **options_of(option, pattern))
        if as_json:
            typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
        else:
            console_open.print_inventory(found)
    raise typer.Exit(SOME_FAILED if inventory.incomplete(found) else 0)


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A file of any kind, a folder, or a URL.")
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="A file, whose extension decides the format; or a folder: a path without one.",
        ),
    ],
    item: Annotated[
        str, typer.Option("--item", help="The item to write, where there are several.")
    ] = "",
    case: Annotated[
        str | None, typer.Option("--case", help="The case to take, where there are several.")
    ] = None,
    masks: Annotated[
        bool,
        typer.Option(
            "--masks",
            help="Write the masks: as a DICOM segmentation, or as one volume of labels. An image "
            "without masks is taken for such a volume.",
        ),
    ] = False,
    findings: Annotated[
        str,
        typer.Option(
            "--findings",
            metavar="KIND",
            help="Write what was found instead of the image: seg, sr, rtstruct or gsps, a DICOM "
            "object each. With --masks, structure sets and presentation states outline masks too.",
        ),
    ] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="EXT", help="The format in a folder, for what it fits.")
    ] = "",
    lossy: Annotated[
        bool,
        typer.Option(
            "--lossy", help="Let values change: write them as displayed where nothing else fits."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what lies there.")
    ] = False,
    option: Option = None,
    pattern: Pattern = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but errors.")] = False,
    debug: Debug = False,
) -> None:
    """Write a file or folder in another format; what the new one has no place for is said.

    A file appears whole or not at all, and replaces nothing unless that is asked for. Values are
    never changed without --lossy.

    Exit status: 0 all was written; 3 some of it could not be read or written (each is named); 2
    wrong usage, or nothing could be.
    """
    with _errors(debug=debug):
        from osler import console_open
        from osler.io.conversion import Plan, convert

        plan = Plan(item, masks, lossy, overwrite, to, findings)
        done = convert(source, target, plan, case=case, **options_of(option, pattern))
        console_open.print_conversion(done, quiet=quiet)
    if done.failed:
        raise typer.Exit(SOME_FAILED if done.written else USAGE)


def view(
    path: Source,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The page; a temporary file without it."),
    ] = None,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Only write the page, open no browser.")
    ] = False,
    case: Annotated[
        str | None, typer.Option("--case", help="The case to show, where there are several.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what lies there.")
    ] = False,
    option: Option = None,
    pattern: Pattern = None,
    debug: Debug = False,
) -> None:
    """Show what is in a file or folder as one HTML page, which needs no network.

    Volumes in three planes with windows, photographs, films, signals on paper, tables and text,
    with the findings that lie beside them. A quick look, made smaller; not for diagnosis.

    Exit status: 0 it was written; 3 something was left out (the page says what); 2 wrong usage, or
    it cannot be opened.
    """
    with _errors(debug=debug):
        from osler.io.conversion import one_case
        from osler.io.view import page_path, write_view

        shown = one_case(path, case, **options_of(option, pattern))
        page = write_view(shown, page_path(shown, out, overwrite=overwrite))
        typer.echo(str(page))
        if not no_open:
            import webbrowser

            if not webbrowser.open(page.resolve().as_uri()):
                typer.echo("osler: no browser could be started; open the page yourself", err=True)
    raise typer.Exit(SOME_FAILED if shown.left_out else 0)
