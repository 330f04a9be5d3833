"""The command ``osler evaluate``: a bundle judged on a cohort."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.errors import BundleError

if TYPE_CHECKING:
    from osler.batch.evaluation import Evaluation
    from osler.batch.evaluation_rows import Judged

FAILED, SOME_FAILED = 1, 3
_SHOWN = 40  # figures and cases on the terminal


def evaluate(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle's name or folder.")],
    cohort: Annotated[
        str,
        typer.Argument(
            metavar="COHORT", help="A table of cases (CSV, Parquet), or a data set's folder."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write into.")
    ],
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Only the part of this name.")
    ] = None,
    fold: Annotated[int | None, typer.Option("--fold", metavar="N", help="Only this fold.")] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="BUNDLE", help="Compare with it on the same cases."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="NAME",
            help="Which answer, of a bundle of the fundus that has several  [default: the first "
            "with a column]",
        ),
    ] = None,
    subgroup: Annotated[
        list[str] | None,
        typer.Option(
            "--subgroup", metavar="COLUMN", help="Tell figures apart by it; may be repeated."
        ),
    ] = None,
    replicates: Annotated[
        int, typer.Option("--replicates", min=1, metavar="N", help="Resamples of each interval.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Of the resamples.")] = 1,
    include_taught: Annotated[
        bool,
        typer.Option("--include-taught", help="Also judge cases that taught or tuned the bundle."),
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="What paths are relative to, if not the table."),
    ] = None,
    no_html: Annotated[bool, typer.Option("--no-html", help="Write no evaluation.html.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but errors.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error came from.")
    ] = False,
) -> None:
    """Judge a bundle on a cohort: every figure with its interval, and all it is computed from.

    Writes evaluation.json, from which every figure can be computed again, and evaluation.html.
    Cases whose files taught or tuned the bundle are told and passed over. The same command goes on
    where it was interrupted.

    Exit status: 0 all were judged; 3 some could not be (each is named); 2 wrong usage; 130
    interrupted.
    """
    from osler.cli import _errors, _say

    with _errors(debug=debug, asked=BundleError):
        from osler import console
        from osler.batch import Outcome
        from osler.batch.evaluation import evaluate as judge

        with console.Progress(shown=not quiet) as progress:

            def told(one: "Judged") -> None:
                case = one.row.case_id
                status = "failed" if one.why else "read"
                progress.done(Outcome(Path(case), case, status, error=one.why))  # type: ignore[arg-type]

            done = judge(
                bundle, cohort, out=out, split=split, fold=fold, against=against,
                output=output, subgroups=subgroup or [], replicates=replicates, seed=seed,
                include_taught=include_taught, root=root, html=not no_html,
                started=progress.start, told=told, stopping=progress.stopping,
            )  # fmt: skip
        if done.left:
            _say(f"osler: interrupted, {done.left} not judged; run the same command again to go on")
            raise typer.Exit(128 + done.signal)
        for line in _doubts(done, include_taught=include_taught):
            _say(line)
        if not quiet:
            _print(done)
            _say(f"written to {out}")
    raise typer.Exit(SOME_FAILED if done.failed else 0)


def _doubts(done: "Evaluation", *, include_taught: bool) -> list[str]:
    from osler.batch.evaluation_html import trained_on

    leaks, out = done.content["leaks"], []
    if done.taught:
        cases = ", ".join(dict(done.taught))[:300]
        verb = "are judged, which flatters it" if include_taught else "are passed over"
        out.append(f"note: {len(dict(done.taught))} cases taught or tuned and {verb}: {cases}")
    for name in leaks["no_record"]:
        known = " and this is the cohort it was taught with" if name in leaks["same_cohort"] else ""
        on = trained_on(done.content, name)
        known += f"; it was trained on {on}: figures on cases of these flatter it" if on else ""
        out.append(f"note: '{name}' keeps no record of which cases taught it{known}")
    for one in (done.content["bundle"], done.content["against"]):
        if one is not None and one["note"]:
            out.append(f"note: of '{one['name']}': {one['note']}")
    if leaks["twice"]:
        pairs = ", ".join(" = ".join(one["cases"]) for one in leaks["twice"])[:300]
        out.append(f"note: pictures that stand under two patients: {pairs}")
    return out


def _print(done: "Evaluation") -> None:
    """The figures, and what the comparison says, on stdout."""
    from osler.batch.evaluation_html import number, span

    figures = done.content["figures"]
    width = max((len(one["name"]) for one in figures), default=0)
    for one in figures[:_SHOWN]:
        typer.echo(f"{one['name']:<{width}}  {number(one['value']):>8}  ({span(one)})")
    for one in done.content.get("comparisons", [])[:_SHOWN]:
        if "p" in one:
            typer.echo(
                f"{one['figure']}: difference {one['difference']:+.3f} ({span(one)}), "
                f"p {one['p']:.3g} ({one['test']})"
            )
