"""The sub-commands of ``osler data``: many cases at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.terminal import counted, one_line

if TYPE_CHECKING:
    from osler.data.cohort import Cohort

app = typer.Typer(
    help="Many cases: make a table of them, split it by patient, look for faults.",
    no_args_is_help=True,
)


class Kind(StrEnum):
    """Layouts of other tools that a cohort is written to."""

    NNUNET = "nnunet"
    IMAGEFOLDER = "imagefolder"


Table = Annotated[Path, typer.Argument(metavar="COHORT", help="A table of cases: CSV or Parquet.")]
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="What paths are relative to, if not the table."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an unexpected error came from.")]


def _read(table: Path, root: Path | None, *, strict: bool = True) -> "Cohort":
    from osler.data.cohort import read_cohort

    return read_cohort(table, root=root, strict=strict)


def _say(lines: list[str]) -> None:
    for line in lines:
        typer.echo(one_line(f"note: {line}"), err=True)


def _told(cohort: "Cohort") -> str:
    parts = [f"{counted(len(cohort), 'case')} of {counted(cohort.patients(), 'patient')}"]
    for kind in ("items", "variables", "labels"):
        names = cohort.columns(kind)
        if names:
            shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            parts.append(f"{kind}: {shown}")
    return "; ".join(parts)


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="An nnU-Net, BIDS, DICOM or class folder, a MedMNIST .npz, a COCO .json, a FHIR "
            "bulk export, or the address of a DICOMweb service.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="TABLE", help="The table: CSV or Parquet.")
    ],
    kind: Annotated[
        str | None, typer.Option("--kind", help="What it is, if its look does not tell.")
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(
            "--patient",
            metavar="REGEX",
            help="Which part of a path names the patient, in parentheses, such as '(p\\d+)_'.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Where the pictures lie (COCO, LLaVA)."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="KEY=VALUE", help="A condition of a DICOMweb query."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Make a cohort of another tool's data set, which stays where it is."""
    from osler.cli import _errors

    with _errors(debug=debug):
        from osler.data.locations import is_url

        if is_url(source):
            from osler.data.dicomweb import connect, import_dicomweb

            filters = dict(_pair(text) for text in where or [])
            cohort, notes = import_dicomweb(connect(source), out, filters=filters)
        else:
            from osler.data.importing import import_cohort

            cohort, notes = import_cohort(
                Path(source), out, kind=kind, patient=patient, images=images
            )
        _say(notes)
        typer.echo(f"{out}: {_told(cohort)}")


def _pair(text: str) -> tuple[str, str]:
    from osler.errors import RecipeError

    key, sign, value = text.partition("=")
    if not sign or not key:
        raise RecipeError(f"--where is '{text}'; expected KEY=VALUE, such as Modality=CT")
    return key, value


@app.command()
def export(
    cohort: Table,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder.")],
    kind: Annotated[Kind, typer.Option("--kind", help="The layout.")],
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="The class, or the structures in their order."),
    ] = None,
    item: Annotated[
        list[str] | None, typer.Option("--item", help="The item, or the channels in their order.")
    ] = None,
    missing_is_background: Annotated[
        bool,
        typer.Option("--missing-is-background", help="A structure without a mask is not there."),
    ] = False,
    later_wins: Annotated[
        bool, typer.Option("--later-wins", help="Where structures overlap, the later one stands.")
    ] = False,
    root: Root = None,
    debug: Debug = False,
) -> None:
    """Write a cohort as nnU-Net or as folders of classes."""
    from osler.cli import _errors

    with _errors(debug=debug):
        from osler.data import exporting
        from osler.errors import RecipeError

        cases = _read(cohort, root)
        if kind is Kind.NNUNET:
            notes = exporting.export_nnunet(
                cases,
                out,
                items=item or (),
                labels=label or (),
                missing_is_background=missing_is_background,
                later_wins=later_wins,
            )
        else:
            if len(label or ()) > 1 or len(item or ()) > 1:
                raise RecipeError("a folder of classes has one --label and one --item")
            notes = exporting.export_image_folder(
                cases, out, label=label[0] if label else None, item=item[0] if item else None
            )
        _say(notes)
        typer.echo(f"{out}: {counted(len(cases), 'case')}")


@app.command()
def split(
    cohort: Table,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="TABLE", help="The new table, with its parts.")
    ],
    parts: Annotated[
        str | None,
        typer.Option(
            "--parts", metavar="NAME=SHARE,...", help="Such as train=0.7,val=0.1,test=0.2."
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="So many folds instead.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another split.")] = 0,
    stratify: Annotated[
        list[str] | None,
        typer.Option("--stratify", help="A label or variable to balance; may be repeated."),
    ] = None,
    together: Annotated[
        list[str] | None,
        typer.Option("--together", help="What is not parted besides patients, such as a site."),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", help="A part that stays as it is, such as test.")
    ] = None,
    root: Root = None,
    debug: Debug = False,
) -> None:
    """Split a cohort by patient; TABLE.split.json says how, with the seed and a digest."""
    from osler.cli import _errors

    with _errors(debug=debug):
        from osler.data.splitting import split_cohort

        if parts is None and folds is None:
            parts = "train=0.7,val=0.1,test=0.2"
        done = split_cohort(
            _read(cohort, root, strict=False),
            parts=None if parts is None else dict(_share(text) for text in parts.split(",")),
            folds=folds,
            seed=seed,
            stratify=stratify or (),
            together=together or (),
            keep=keep or (),
        )
        done.write(out)
        for name, patients in done.record["patients"].items():
            found = dict(done.record["cases"][name])
            values = "".join(f"; {value}: {n}" for value, n in found.items() if value != "cases")
            cases = counted(found["cases"], "case")
            typer.echo(f"{name}: {counted(patients, 'patient')}, {cases}{values}")


@app.command()
def harmonise(
    cohort: Table,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="TABLE", help="The new table.")],
    by: Annotated[
        str | None, typer.Option("--by", help="The variable that names the site.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", help="A variable to make comparable; may be repeated."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", help="A variable whose effect stays, such as age; may be repeated."),
    ] = None,
    fit_on: Annotated[
        str | None, typer.Option("--fit-on", metavar="PART", help="The part that is fitted.")
    ] = None,
    using: Annotated[
        Path | None,
        typer.Option("--with", metavar="FILE", help="What was fitted before (TABLE.combat.json)."),
    ] = None,
    root: Root = None,
    debug: Debug = False,
) -> None:
    """Take from measurements what their site adds (ComBat); TABLE.combat.json keeps the fit."""
    from osler.cli import _errors

    with _errors(debug=debug):
        from osler.data.harmonised_cohort import harmonise as fitted
        from osler.data.harmonised_cohort import read_harmonised
        from osler.errors import RecipeError
        from osler.io.atomic_file import replacing

        table = _read(cohort, root)
        if using is not None:
            if by or columns or keep or fit_on:
                raise RecipeError(
                    "--with takes everything from its file; leave --by, --columns, --keep and "
                    "--fit-on out"
                )
            way = read_harmonised(using)
        else:
            if by is None:
                raise RecipeError("name the variable of the site with --by, or a file with --with")
            part = fit_on or ("train" if "train" in table.splits else None)
            if part is not None and part not in table.splits:
                there = ", ".join(table.splits) or "none"
                raise RecipeError(f"the table has no part '{part}'; there are: {there}")
            teach = table if part is None else table.part(part)
            way = fitted(teach, by=by, columns=columns or (), keep=keep or ())
            if part is None:
                _say([f"fitted on all {counted(len(table), 'case')}, those that shall test too"])
        way.apply(table).write(out)
        if using is None:
            with replacing(out.with_name(f"{out.name}.combat.json")) as place:
                place.write_text(way.as_json() + "\n", encoding="utf-8")
        sites = ", ".join(way.combat.sites)
        typer.echo(
            f"{counted(len(table), 'case')}, {counted(len(way.columns), 'column')}; fitted on "
            f"{counted(way.fitted, 'case')} of the sites {sites}"
        )


def _share(text: str) -> tuple[str, float]:
    from osler.errors import RecipeError

    name, _, share = text.partition("=")
    try:
        return name.strip(), float(share)
    except ValueError:
        raise RecipeError(f"--parts has '{text}'; expected NAME=SHARE, such as train=0.7") from None


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal; what advances it by one."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("looking", total=total)
        yield lambda: progress.advance(task)


@app.command()
def check(
    cohort: Table,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder  [default: COHORT-check]"),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", "-j", min=1, help="Images read at the same time.")
    ] = 4,
    root: Root = None,
    debug: Debug = False,
) -> None:
    """Look at every image of a cohort: check.html and check.json say what is there and wrong.

    Sizes, spacings, values, what is missing, labels by part, the same picture twice, patients in
    two parts, and pictures of what stands out.

    Exit status: 0 no fault; 3 faults were found; 2 wrong usage.
    """
    from osler.cli import SOME_FAILED, _errors

    with _errors(debug=debug):
        from osler.data.fingerprint import fingerprint
        from osler.data.fingerprint_html import write_fingerprint

        cases = _read(cohort, root, strict=False)
        with _bar(sum(len(row.items) for row in cases.rows)) as advance:
            found = fingerprint(cases, threads=threads, told=advance)
        page = write_fingerprint(found, out or cohort.with_name(f"{cohort.stem}-check"))
        for warning in found.warnings:
            typer.echo(one_line(f"{warning.level}: {warning.text}"))
            for case in warning.cases[:3]:
                typer.echo(one_line(f"       {case}"))
        typer.echo(f"{_told(found.cohort)}\nreport: {page}")
    if any(warning.level == "fault" for warning in found.warnings):
        raise typer.Exit(SOME_FAILED)
