"""The command ``osler deidentify``: copies without anybody's identity."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.errors import InputError

if TYPE_CHECKING:
    from osler.io.deidentification import Options


class Dates(StrEnum):
    """What becomes of dates."""

    REMOVE = "remove"
    SHIFT = "shift"
    KEEP = "keep"


class Keep(StrEnum):
    """What may be kept of a file besides what the Basic Profile keeps."""

    DEVICE = "device"
    INSTITUTION = "institution"
    PATIENT = "patient"
    UIDS = "uids"
    SAFE_PRIVATE = "safe-private"


class CleanKind(StrEnum):
    """What is kept cleaned instead of being removed."""

    DESCRIPTORS = "descriptors"
    STRUCTURED = "structured"
    GRAPHICS = "graphics"


class Pixels(StrEnum):
    """Where text is searched in pixels."""

    ALL = "all"
    LIKELY = "likely"
    RULES = "rules"


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an unexpected error came from.")]


def deidentify(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A folder of files, or one file.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="A new folder for the copies.")
    ] = None,
    dates: Annotated[
        Dates, typer.Option("--dates", help="Remove dates, shift them per patient, or keep them.")
    ] = Dates.REMOVE,
    keep: Annotated[
        list[Keep] | None, typer.Option("--keep", help="Also keep this; may be repeated.")
    ] = None,
    clean: Annotated[
        list[CleanKind] | None,
        typer.Option("--clean", help="Keep this cleaned, not removed; may be repeated."),
    ] = None,
    pixels: Annotated[
        Pixels, typer.Option("--pixels", help="Where text is searched in pixels.")
    ] = Pixels.ALL,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="The secret; random and forgotten without it."),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            "--mapping",
            metavar="FILE",
            help="Write old and new identities, encrypted with $OSLER_PASSPHRASE.",
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Files copied at the same time.")
    ] = 1,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Leave out the second pass over the copies.")
    ] = False,
    verify_only: Annotated[
        bool,
        typer.Option("--verify-only", help="Copy nothing: look through IN, a folder of copies."),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Copy files without anybody's identity: DICOM, photographs, volumes, signals, documents.

    What cannot be cleaned is named and not copied. OUT/deidentification has the report.

    Exit status: 0 all were copied and nothing was found left; 3 some were not copied, or the second
    pass (or --verify-only) found something; 2 wrong usage; 130 interrupted (the same command goes
    on).
    """
    from osler.cli import SOME_FAILED, _errors, _say

    with _errors(debug=debug):
        from osler import console
        from osler.batch import deidentify as work

        options = work.options_of(dates.value, keep or (), clean or (), pixels.value)
        if options.safe_private and not quiet:
            from osler.io.deidentification.profile import safe_private

            _say(
                f"osler: {len(safe_private())} private attributes are taken as safe; compare "
                "safe_private.csv with your edition of PS3.15, table E.3.10-1"
            )
        if verify_only:
            if out is not None:
                raise InputError("--verify-only takes one folder, that of the copies")
            raise typer.Exit(_verified(source, options, jobs=jobs, quiet=quiet))
        if out is None:
            raise InputError("name a new folder for the copies: osler deidentify IN OUT")
        with console.Progress(shown=not quiet) as progress:
            result = work.run(
                source,
                out,
                options=options,
                key=work.Key.load(key) if key else None,
                mapping=mapping,
                jobs=jobs,
                check=not no_verify,
                started=progress.start,
                told=progress.done,  # type: ignore[arg-type]
                stopping=progress.stopping,
            )
        for place, kinds in result.found.items():
            _say(f"osler: second pass: '{place}' still held {', '.join(kinds)}")
        if not quiet:
            _say(result.sentence(out))
    if result.error:
        _say(f"osler: {result.error}")
    if result.signal:
        raise typer.Exit(128 + result.signal)
    raise typer.Exit(0 if result.clean else SOME_FAILED)


def _verified(folder: Path, options: "Options", *, jobs: int, quiet: bool) -> int:
    """Look through copies; the exit status."""
    from osler import console
    from osler.batch import deidentify_verify
    from osler.cli import SOME_FAILED, _say
    from osler.io.deidentification.one import Copied

    with console.Progress(shown=not quiet) as progress:
        result = deidentify_verify.run(
            folder,
            options=options,
            jobs=jobs,
            started=progress.start,
            told=lambda path: progress.done(Copied(path, "copied", place=path.name)),  # type: ignore[arg-type]
            stopping=progress.stopping,
        )
    for place, kinds in result.found.items():
        _say(f"osler: '{place}' still holds {', '.join(kinds)}")
    if not quiet:
        _say(result.sentence())
    if result.signal:
        return 128 + result.signal
    return 0 if result.clean else SOME_FAILED
