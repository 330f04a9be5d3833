"""The commands ``osler index`` and ``osler search``: what is like a text, a picture or a case."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from osler.cli_models import Set
from osler.errors import BundleError, RecipeError


class KindOf(StrEnum):
    """What an index holds."""

    IMAGE = "image"
    TEXT = "text"


Debug = Annotated[bool, typer.Option("--debug", help="Show where an unexpected error came from.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but errors.")]
Checkpoint = Annotated[
    list[Path] | None,
    typer.Option("--checkpoint", metavar="FILE", help="A network's weights; may be repeated."),
]


def index(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Pictures and reports: files, folders and globs; and tables of cases.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The index, new or one to add to.")
    ] = ...,  # type: ignore[assignment]
    encoder: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="NAME",
            help="What encodes: minilm, words or a BERT's folder (texts); a network (pictures, "
            "and texts if it takes them); a bundle  [default: as the index that is there]",
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    set_: Set = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="DIR", help="If it is not beside the checkpoint."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="COLUMN", help="A table's column of texts; repeatable."),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Keep a table's labels with its entries.")
    ] = False,
    names: Annotated[
        bool, typer.Option("--names", help="Keep patients' identifiers and names of cases.")
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="A new index in half the room; slower to search.")
    ] = False,
    approximate: Annotated[
        bool,
        typer.Option("--approximate", help='Also an approximate index; needs extra "retrieval".'),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare every byte of DIR with what was written.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Index pictures and texts, for 'osler search'.

    What is there already is passed over, so the same command adds what is new. The index names no
    patient, unless --names asks for it, and holds no text and no picture; it has paths of files.

    Exit status: 0 all were taken; 3 some failed (each is named); 2 wrong usage; 130 interrupted.
    """
    from osler.cli import _errors, _say, _status

    with _errors(debug=debug, asked=BundleError):
        from osler import console

        if check:
            from osler.language.index import Index

            made = Index.open(out)
            made.verify()
            typer.echo(f"{out}: {len(made)} entries, every byte as it was written")
            return
        if not inputs:
            raise RecipeError("say what to index: osler index INPUT... --out DIR --with NAME")
        from osler import cli_models
        from osler.batch import indexing

        with console.Progress(shown=not quiet) as progress:
            batch, made = indexing.index(
                inputs,
                out,
                ask=indexing.Ask(
                    encoder=encoder,
                    checkpoints=tuple(checkpoint or ()),
                    tokenizer=tokenizer,
                    options=cli_models.options(set_),
                    texts=tuple(text or ()),
                    labels=labels,
                    names=names,
                    dtype="float16" if half else "float32",
                    approximate=approximate,
                ),
                trace=debug,
                started=progress.start,
                told=progress.done,
                stopping=progress.stopping,
            )
        if not quiet:
            images = int((made.kinds == 0).sum())
            _say(f"{out}: {images} images and {len(made) - images} texts")
    raise typer.Exit(_status(batch))


def search(
    query: Annotated[
        str,
        typer.Argument(metavar="QUERY", help="A text, a picture, a report, or a case's folder."),
    ],
    at: Annotated[Path, typer.Option("--index", "-i", metavar="DIR", help="From 'osler index'.")],
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="How many to show.")] = 10,
    kind: Annotated[
        KindOf | None, typer.Option("--kind", help="Only pictures, or only texts.")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="QUERY is a text, not a file.")] = False,
    others: Annotated[
        bool,
        typer.Option("--others", help="Leave out QUERY itself and whatever is of its patient."),
    ] = False,
    coverage: Annotated[
        float,
        typer.Option(
            "--coverage", help="Share of queries that belong which are to be known as such."
        ),
    ] = 0.95,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Follow the graph of near neighbours, not all.")
    ] = False,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE.html", help="Also a page with pictures.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    checkpoint: Checkpoint = None,
    debug: Debug = False,
) -> None:
    """Look in an index for what is like a text, a picture or a case.

    The scores are cosines, not probabilities. "Nothing like this is in the index" is an answer:
    it comes where the query lies further from everything than entries do from each other.
    """
    from osler.cli import _errors, _say

    with _errors(debug=debug, asked=BundleError):
        from osler.batch import retrieving
        from osler.language.index import Index

        made = Index.open(at)
        found = retrieving.search(
            query,
            at,
            k=count,
            kind=None if kind is None else kind.value,
            how="text" if text else None,
            others=others,
            coverage=coverage,
            approximate=approximate,
            checkpoints=checkpoint or (),
            index=made,
        )
        if page is not None:
            from osler.batch.retrieving_page import write_page

            write_page(found, made, page)
        said = retrieving.as_json(found, made)
        if as_json:
            typer.echo(json.dumps(said, ensure_ascii=False, indent=2))
            return
        for doubt in said["doubts"]:
            _say(f"osler: {doubt}")
        from osler.batch.retrieving_page import words_of

        words = [words_of(hit.entry, made) for hit in found.hits]
        _print(said["nearest"], words)
        if page is not None:
            _say(f"written to {page}")


def _print(nearest: list[dict[str, Any]], words: list[str]) -> None:
    from osler.terminal import one_line

    for one, text in zip(nearest, words, strict=True):
        labels = ", ".join(f"{name}: {value}" for name, value in one.get("labels", {}).items())
        parts = (
            f"{one['rank']:>3}  {one['score']:.3f}  {one['kind']:<5}",
            one["file"] + (f" ({one['place']})" if "place" in one else ""),
            labels,
            f"“{text}”" if text else "",
            f"patient {one['patient']}" if "patient" in one else "",
            "the query itself" if one["same"] else "",
        )
        typer.echo(one_line("  ".join(part for part in parts if part)))
