"""The command ``osler``: the verbs, on files.

Heavy modules are imported inside the commands, so that ``osler --help`` answers at once.
"""

import json
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import osler
from osler import (
    cli_advise,
    cli_ask,
    cli_compare,
    cli_data,
    cli_deidentify,
    cli_evaluate,
    cli_explain,
    cli_extract,
    cli_fit,
    cli_mcp,
    cli_models,
    cli_open,
    cli_register,
    cli_report,
    cli_search,
)
from osler.cli_open import Language
from osler.errors import BundleError, InputError, OslerError, OutputError, RecipeError
from osler.terminal import one_line

if TYPE_CHECKING:
    from osler.batch import Batch, Outcome

FAILED, USAGE, SOME_FAILED = 1, 2, 3
"""Exit status: the program could not do its work; was asked wrongly; some cases failed."""

app = typer.Typer(
    name="osler",
    help="Read medical images, show the evidence, and answer in the hospital's own formats. "
    "Not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bundles_app = typer.Typer(help="The models that came with Osler.", invoke_without_command=True)
app.add_typer(bundles_app, name="bundles")
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_models.app, name="models")


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT", help="Photographs, cases: files, folders and globs.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write into.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an unexpected error came from.")]


def main() -> None:
    """Entry of the command line."""
    for stream in (sys.stdout, sys.stderr):
        # a file name that the terminal's encoding lacks must not end the run
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app()


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"osler {osler.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@contextmanager
def _errors(*, debug: bool, asked: type[OslerError] = RecipeError) -> Iterator[None]:
    """Turn an error into one sentence on stderr and an exit status.

    Args:
        debug: show the trace.
        asked: what comes of wrong usage, besides inputs, outputs and options that cannot be used.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, KeyboardInterrupt, BrokenPipeError):
        raise
    except OslerError as error:
        if debug:
            traceback.print_exc()
        _say(f"osler: {error}")
        asked_wrongly = isinstance(error, InputError | OutputError | RecipeError | asked)
        raise typer.Exit(USAGE if asked_wrongly else FAILED) from None
    except Exception as error:
        from osler.batch.one import sentence

        if type(error).__module__.startswith("typer"):
            raise
        if debug:
            traceback.print_exc()
        _say(f"osler: {sentence(error)}")
        raise typer.Exit(FAILED) from None


def _say(line: str) -> None:
    typer.echo(one_line(line, keep="\n\t"), err=True)


@app.command()
def read(
    inputs: Inputs,
    out: Out,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Also write a DICOM segmentation and report.")
    ] = False,
    fhir: Annotated[bool, typer.Option("--fhir", help="Also write a FHIR R4 bundle.")] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Cases read at the same time.")
    ] = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Read again what lies there already.")
    ] = False,
    no_html: Annotated[bool, typer.Option("--no-html", help="Write no report.html.")] = False,
    language: Annotated[
        Language, typer.Option("--language", help="Language of the sentences.")
    ] = Language.EN,
    patient: cli_advise.Patient = None,
    follow: cli_advise.Follow = "ico",
    engine: cli_report.EngineNamed = "none",
    engine_timeout: cli_report.EngineTimeout = 120.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON a case on stdout.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Read fundus photographs: a report, findings and standard files for each.

    A case that was already read by the same bundles is skipped.

    Exit status: 0 all were read; 3 some failed (each is named, the others are complete);
    2 wrong usage; 130 interrupted.
    """
    with _errors(debug=debug):
        from osler import batch, console

        options = batch.Options(
            html=not no_html,
            dicom=dicom,
            fhir=fhir,
            language=language.value,
            engine=engine,
            engine_timeout=engine_timeout,
        )
        if patient is not None or follow != "ico":
            from osler.batch.advising import check

            check(patient, follow)
            options = replace(options, patient=str(patient), follow=follow)
        with console.Progress(shown=not quiet) as progress:

            def told(outcome: "Outcome") -> None:
                if as_json:
                    typer.echo(json.dumps(console.as_line(outcome, out)))
                progress.done(outcome)

            result = batch.run(
                inputs,
                out,
                options=options,
                jobs=jobs,
                force=force or patient is not None,  # the values may have changed
                trace=debug,
                started=progress.start,
                told=told,
                stopping=progress.stopping,
            )
        if not (quiet or as_json):
            console.print_summary(result, out)
        if line := cli_report.failed_drafts(result.outcomes):
            _say(f"osler: {line}")
    raise typer.Exit(_status(result))


def _status(result: "Batch") -> int:
    """The exit status of a batch; says on stderr why it ended early."""
    if result.error:
        _say(f"osler: {result.error}")
    if result.signal:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient key must not change the status
        _say(f"osler: interrupted, {result.left} not read; run the same command again to go on")
        return 128 + result.signal
    failed = any(o.status == "failed" for o in result.outcomes)
    return SOME_FAILED if failed or result.error else 0


@app.command()
def predict(
    bundle: Annotated[
        str,
        typer.Argument(metavar="BUNDLE", help="A bundle's or a network's name, or its folder."),
    ],
    inputs: Inputs,
    out: Out,
    dicom: Annotated[
        bool,
        typer.Option("--dicom", help="A general bundle: also a DICOM segmentation and report."),
    ] = False,
    fhir: Annotated[
        bool, typer.Option("--fhir", help="A general bundle: also a FHIR R4 bundle.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write STEM.npz with probabilities.")
    ] = False,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="A network's published weights; several, if its parts were published apart.",
        ),
    ] = None,
    set_: cli_models.Set = None,
    task: cli_models.TaskSet = None,
    features: Annotated[
        bool, typer.Option("--features", help="A network's features, as features.parquet.")
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="A,B,…", help="Names to tell apart without training."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="TEXT",
            help="Sentence around each name, with {}; what a network that writes is asked.",
        ),
    ] = None,
    knowledge: Annotated[
        bool, typer.Option("--knowledge", help="Also say of each name what it looks like.")
    ] = False,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="DIR", help="If it is not beside the checkpoint."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            "--box",
            metavar="X0,Y0,X1,Y1",
            help="What to outline, in pixels (of a volume X0,Y0,Z0,X1,Y1,Z1); may be repeated.",
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            "--point", metavar="X,Y", help="A pixel inside of it (X,Y,Z); may be repeated."
        ),
    ] = None,
    background: Annotated[
        list[str] | None,
        typer.Option(
            "--background", metavar="X,Y", help="A bundle: a pixel outside of it; may be repeated."
        ),
    ] = None,
    contributions: Annotated[
        bool,
        typer.Option(
            help="A bundle of several inputs: say what each contributed, at a run for every subset."
        ),
    ] = True,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures at a time.")] = 8,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="NAME", help="Such as cpu or cuda  [default: a GPU, if any]"
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option("--precision", metavar="NAME", help="Of a network: float32 or bfloat16."),
    ] = "float32",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run one bundle alone, or a published network.

    A bundle of the fundus writes masks as STEM.LABEL.png, or predictions.csv. A bundle of any other
    task takes files, folders such as DICOM series, and tables of cases, and writes findings.json
    and masks (PNG, NIfTI of volumes) into DIR/CASE, and predictions.csv. One that is told what to
    mark takes --box or --point, for each input, or columns label:NAME of a table.

    A network needs its weights (--checkpoint, or a folder from 'osler models import') and the
    extra "train". One of volumes, signals or tables is told by --task, in the words of a recipe's
    settings, how they are made alike (plans.json of nnU-Net says it for its weights); one that
    registers takes FIXED MOVING; parts of one case are NAME=FILE.

    Exit status: 0 all were read; 3 some failed (each is named); 2 wrong usage; 130 interrupted.
    """
    with _errors(debug=debug, asked=BundleError):
        from osler import console
        from osler.batch import asking, network_tasks, networks, predictions

        network = bool(checkpoint) or networks.is_network(bundle)
        if network and (dicom or fhir):
            raise RecipeError(f"'{bundle}' is a network; --dicom and --fhir are for bundles")
        if network and background:
            raise RecipeError(f"'{bundle}' is a network; --background is for bundles")
        general = None if network else asking.general(bundle)
        if not network and (features or set_ or task):
            raise RecipeError(
                f"'{bundle}' is a bundle; --features, --set and --task are for networks ('osler "
                "models list')"
            )
        if not network and precision != "float32":
            raise RecipeError(f"'{bundle}' is a bundle; --precision is for networks")
        names = tuple(one.strip() for one in (labels or "").split(",") if one.strip())
        if (knowledge or (prompt and not network)) and not names:
            raise RecipeError("--prompt and --knowledge go with --labels")
        with console.Progress(shown=not quiet) as progress:
            told: dict[str, Any] = {
                "trace": debug,
                "started": progress.start,
                "told": progress.done,
                "stopping": progress.stopping,
            }
            if network:
                result = networks.run(
                    bundle,
                    inputs,
                    out,
                    ask=networks.Ask(
                        features=features,
                        labels=names,
                        prompt=prompt,
                        knowledge=knowledge,
                        boxes=tuple(cli_models.numbers(one, "--box", 4) for one in box or []),
                        points=tuple(cli_models.numbers(one, "--point", 2) for one in point or []),
                        probabilities=probabilities,
                        tokenizer=tokenizer,
                        batch=batch,
                        device=device,
                        precision=precision,
                        task=network_tasks.settings_of(task or []),
                    ),
                    checkpoints=checkpoint or (),
                    options=cli_models.options(set_),
                    **told,
                )
            elif general:
                if probabilities:
                    raise RecipeError("--probabilities is for bundles of the fundus")
                if names:
                    from osler.bundles.image_text import asked

                    general = asked(general, names, caption=prompt, knowledge=knowledge)
                prompts = cli_models.prompts(box, point, background)
                result = asking.run(
                    general, inputs, out, dicom=dicom, fhir=fhir, prompts=prompts,
                    contributions=contributions, **told,
                )  # fmt: skip
            elif box or point or background:
                raise RecipeError(f"'{bundle}' reads the fundus; it is not told what to mark")
            elif dicom or fhir:
                raise RecipeError(
                    f"'{bundle}' reads the fundus; 'osler read' writes DICOM and FHIR of it"
                )
            elif names:
                raise RecipeError(f"'{bundle}' reads the fundus; it has no text for --labels")
            else:
                result = predictions.run(bundle, inputs, out, probabilities=probabilities, **told)
        if not quiet:
            count = sum(o.status == "read" for o in result.outcomes)
            _say(f"{count} of {len(result.outcomes)} read into {out}")
    raise typer.Exit(_status(result))


@bundles_app.callback()
def bundles_list(context: typer.Context) -> None:
    """List the models that came with Osler."""
    if context.invoked_subcommand is None:
        with _errors(debug=False):
            from osler import console

            console.print_bundles()


@bundles_app.command("show")
def bundles_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A bundle's name or folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole card.")] = False,
) -> None:
    """Show a bundle's card: what it is for, its limits, its data and its figures."""
    with _errors(debug=False, asked=BundleError):
        from osler import bundles, console

        card = bundles.load(name).card
        if as_json:
            typer.echo(card.model_dump_json(indent=2))
        else:
            console.print_card(card)


# In the order in which a person meets them; --help lists them so.
app.command()(cli_compare.compare)
app.command()(cli_ask.ask)
app.command()(cli_advise.advise)
app.command(name="check-report")(cli_report.check_report)
app.command()(cli_explain.explain)
app.command()(cli_evaluate.evaluate)
app.command()(cli_extract.extract)
app.command()(cli_search.index)
app.command()(cli_search.search)
app.command()(cli_open.info)
app.command()(cli_open.convert)
app.command()(cli_open.view)
app.command()(cli_register.register)
app.command()(cli_deidentify.deidentify)
app.command()(cli_fit.fit)
app.command()(cli_fit.tune)
app.command()(cli_mcp.mcp)
