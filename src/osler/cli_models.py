"""The sub-commands of ``osler models``: published networks and their checkpoints."""

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osler.errors import OutputError, RecipeError

if TYPE_CHECKING:
    from osler.batch.prompting import Prompts

app = typer.Typer(
    help="Published networks: what there is, what a checkpoint is, and how to use one.",
    no_args_is_help=True,
)


class Format(StrEnum):
    """Formats that an imported network is written in."""

    HUGGINGFACE = "huggingface"
    SAFETENSORS = "safetensors"
    MONAI = "monai"
    ONNX = "onnx"


Debug = Annotated[bool, typer.Option("--debug", help="Show where an unexpected error came from.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An option of the network; may be repeated."),
]

TaskSet = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="KEY=VALUE",
        help="A network of volumes, signals or tables: a setting of the task that asks it, such as "
        "patch=[96,96,96] or image.spacing=[1,1,1]; may be repeated.",
    ),
]


def options(said: list[str] | None) -> dict[str, Any]:
    """``--set KEY=VALUE`` as options; values are read as YAML, so ``5`` is a number.

    Raises:
        RecipeError: one of them has no ``=``.
    """
    import yaml

    out: dict[str, Any] = {}
    for one in said or []:
        key, mark, value = one.partition("=")
        if not mark or not key.isidentifier():
            raise RecipeError(f"'--set {one}' is not KEY=VALUE, such as --set num_classes=5")
        try:
            out[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"the value in '--set {one}' cannot be read") from error
    return out


def numbers(said: str, option: str, *counts: int) -> tuple[float, ...]:
    """``--box 10,20,200,180`` as numbers, of which there may be so many.

    Raises:
        RecipeError: they are not so many numbers.
    """
    try:
        values = tuple(float(part) for part in said.split(","))
    except ValueError:
        values = ()
    if len(values) not in counts or not all(map(math.isfinite, values)):
        many = " or ".join(map(str, counts))
        raise RecipeError(f"'{option} {said}' is not {many} numbers with commas between them")
    return values


def prompts(
    box: list[str] | None, point: list[str] | None, background: list[str] | None
) -> "Prompts":
    """``--box``, ``--point`` and ``--background`` for a bundle that is told what to mark.

    Raises:
        RecipeError: one of them is not as many numbers as it must be.
    """
    from osler.batch.prompting import Prompts

    return Prompts(
        boxes=[numbers(one, "--box", 4, 6) for one in box or []],
        points=[numbers(one, "--point", 2, 3) for one in point or []],
        background=[numbers(one, "--background", 2, 3) for one in background or []],
    )


@app.command("list")
def list_(
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help="Such as '*fundus*' or segmentation.")
    ] = "*",
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards, one a line.")] = False,
) -> None:
    """List the networks: what each takes, what it answers, and whose its weights are."""
    from osler.cli import _errors

    with _errors(debug=False):
        from osler import models

        cards = models.list(pattern)
        if not cards:
            raise RecipeError(f"no network matches '{pattern}'; 'osler models list' shows all")
        if as_json:
            for card in cards:
                typer.echo(card.model_dump_json(exclude_none=True))
            return
        from osler import console_models

        console_models.print_cards(cards)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As 'osler models list' shows it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Show a network's card: paper, licences, inputs, preprocessing, options, official mistakes."""
    from osler.cli import _errors

    with _errors(debug=False):
        from osler import models

        card = models.find(name).card
        if as_json:
            typer.echo(card.model_dump_json(indent=2, exclude_none=True))
            return
        from osler import console_models

        console_models.print_card(card)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint, or its folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Say what a checkpoint is, without running anything in it. Needs the extra "train"."""
    from osler.cli import _errors

    with _errors(debug=debug):
        from dataclasses import asdict

        from osler import models

        found = models.inspect(file)
        typer.echo(json.dumps(asdict(found), indent=2, default=str) if as_json else str(found))


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="A checkpoint or its folder; several, if its parts were published apart.",
        ),
    ],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The network it is for.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="A new folder  [default: ./NAME]"),
    ] = None,
    set_: Set = None,
    format_: Annotated[
        Format, typer.Option("--format", help="What it is written as.")
    ] = Format.HUGGINGFACE,
    partial: Annotated[
        bool, typer.Option("--partial", help="Accept nine tenths of the encoder or more.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Read a published checkpoint, say what became of each tensor, and keep it safely.

    The folder holds no pickle and says what it is: 'osler predict DIR INPUT...' uses it. Needs the
    extra "train".
    """
    from osler.cli import _errors

    with _errors(debug=debug):
        from osler import models

        target = out or Path(name)
        if target.exists():
            raise OutputError(f"'{target}' exists already; name a new folder")
        whole = files[0] if len(files) == 1 else files
        net = models.create(name, checkpoint=whole, partial=partial, **options(set_))
        typer.echo(str(net.report))
        models.keep(net, target, kind=format_.value)
        typer.echo(f"written to {target} ({format_.value})")
