"""The command ``osler compare``: what changed between two photographs of one eye."""

from pathlib import Path
from typing import Annotated

import typer

from osler.cli_open import Language
from osler.errors import BundleError


def compare(
    before: Annotated[
        Path, typer.Argument(metavar="BEFORE", help="The earlier photograph of the fundus.")
    ],
    after: Annotated[
        Path, typer.Argument(metavar="AFTER", help="The later photograph, of the same eye.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write into.")
    ],
    days: Annotated[
        float | None,
        typer.Option(
            "--days",
            min=0,
            metavar="N",
            help="Days between the two  [default: by the dates that the files state]",
        ),
    ] = None,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Also write a DICOM segmentation and report.")
    ] = False,
    fhir: Annotated[bool, typer.Option("--fhir", help="Also write a FHIR R4 bundle.")] = False,
    language: Annotated[
        Language, typer.Option("--language", help="Language of the sentences.")
    ] = Language.EN,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but errors.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.")
    ] = False,
) -> None:
    """Read two photographs of one eye and say what changed: lesions, measures, the grade.

    Writes what 'osler read' writes of the later photograph, with the change in it, into
    DIR/CASE. Two photographs that do not come to lie on each other are refused.
    """  # fmt: skip
    from osler.cli import _errors, _say

    with _errors(debug=debug, asked=BundleError):
        from osler import io, retina
        from osler.record import Passage
        from osler.retina.change import compare as changes

        cases = [
            retina.interpret(io.load_file(path), language=language.value)
            for path in (before, after)
        ]
        found = changes(*cases, days=days, language=language.value)
        folder = io.write(cases[1], out, dicom=dicom, fhir=fhir)
        if not quiet:
            for one in found:
                if isinstance(one, Passage):
                    typer.echo(one.text)
            _say(f"written to {folder}")
