"""The commands ``osler fit`` and ``osler tune``: training by a recipe."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import osler
from osler.errors import RecipeError

Debug = Annotated[bool, typer.Option("--debug", help="Show where an unexpected error came from.")]


def fit(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Folder of the run  [default: runs/NAME]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in DIR.")
    ] = False,
    folds: Annotated[
        bool,
        typer.Option("--folds", help="Leave out each fold in turn, into DIR/fold-K."),
    ] = False,
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="With --folds: also one bundle, the mean of the folds'."),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds",
            min=1,
            help="Train so often, each time with the cases too that the run before it chose.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Open all cases, time a few steps, say what would be done; keep nothing.",
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Train a bundle by a recipe. Needs the extra "train".

    With --folds every case is judged by the run that never saw it; the figures of all together
    stand in DIR/cross-validation.json. With --rounds the recipe's strategy "active" chooses which
    labels are revealed next; the curve stands in DIR/rounds.json.

    Exit status: 0 it was done; 2 the recipe or its cohort is wrong; 130 or 143 interrupted.
    """
    from osler.cli import _errors

    with _errors(debug=debug), _resumed_later():
        from osler import console

        if ensemble and not folds:
            raise RecipeError("--ensemble is the mean of what --folds trains; give both")
        if rounds is not None and folds:
            raise RecipeError("--rounds trains on one division of the cases; leave out --folds")
        if dry_run:
            if resume or folds or rounds is not None or out is not None:
                raise RecipeError("--dry-run writes nothing: leave out the other options")
            from osler.learn import rehearse

            console.print_rehearsal(rehearse(recipe))
            return
        if rounds is not None:
            from osler.learn import learn_in_rounds

            console.print_rounds(learn_in_rounds(recipe, rounds=rounds, out=out, resume=resume))
            return
        if folds:
            from osler.learn import cross_fit

            done = cross_fit(recipe, out=out, resume=resume, ensemble=ensemble)
            if _speaks():
                console.print_folds(done, ensemble=ensemble)
            return
        if resume and _speaks():
            _say_if_anew(recipe, out)
        run = osler.fit(recipe, out=out, resume=resume)
        if _speaks():
            console.print_run(run)


def tune(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help='A YAML file with a section "tune:".')
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder of the trials  [default: runs/NAME-tuned]"
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the trials in DIR.")] = False,
    debug: Debug = False,
) -> None:
    """Try values of a recipe's keys and write the best as a recipe. Needs the extra "tune"."""
    from osler.cli import _errors

    with _errors(debug=debug):
        from osler.learn import tune as run

        found = run(recipe, out=out, resume=resume)
        typer.echo(
            f"the best validation score of {len(found.trials)} trials is {found.best.score:.5g}"
        )
        for key, value in found.best.values.items():
            typer.echo(f"  {key}: {value}")
        typer.echo(f"written to {found.recipe}; to fit it: osler fit {found.recipe}")


def _speaks() -> bool:
    """Whether this is the first of the processes that torchrun started: the others write nothing.

    They are done while it still judges and exports.
    """
    return os.environ.get("RANK", "0") == "0"


def _say_if_anew(recipe: Path, out: Path | None) -> None:
    """Say that there is nothing to go on with, which may be the wrong folder."""
    from osler.cli import _say
    from osler.learn.recipe import read_yaml

    folder = out if out is not None else Path("runs") / str(read_yaml(recipe).get("name", ""))
    if not any(folder.glob("**/checkpoint.pt")):
        _say(f"osler: no checkpoint in '{folder}', so the training begins with its first step")


@contextmanager
def _resumed_later() -> Iterator[None]:
    """Say how an interrupted training goes on; the status is that of a shell."""
    from osler.cli import _say

    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stopped:  # Ctrl-C, or SIGTERM
        _say("osler: interrupted; the same command with --resume goes on from the last checkpoint")
        number = signal.SIGINT if isinstance(stopped, KeyboardInterrupt) else signal.SIGTERM
        raise typer.Exit(128 + number) from None
