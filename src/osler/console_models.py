"""Cards of networks on a terminal."""

from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from osler.models.card import Card

_WIDE = 110  # columns from which licences are shown too


def print_cards(cards: list[Card]) -> None:
    """Under the name of each group a row a network, its name never broken."""
    console = Console()
    for group, some in groupby(cards, key=lambda card: card.group):
        console.print(f"[bold]{group}[/bold]", highlight=False)
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=27)
        table.add_column(no_wrap=True, justify="right", min_width=8)
        table.add_column(overflow="fold", min_width=40)
        if console.width >= _WIDE:
            table.add_column(overflow="ellipsis", no_wrap=True)
        for card in some:
            row = [
                f"  {card.name}",
                "" if card.parameters is None else _short(card.parameters),
                f"{_kinds(card)} → {', '.join(card.answers)}",
                _licence(card),
            ]
            table.add_row(*row[: len(table.columns)])
        console.print(table)
    console.print(
        f"{len(cards)} networks: parameters, what each takes → what it answers (where there is "
        "room, the licence of its weights too). 'osler models show NAME' tells more of one",
        highlight=False,
    )


def _kinds(card: Card) -> str:
    """What a network takes, each kind once; a question mark where all of a kind may be absent."""
    kinds: dict[str, bool] = {}
    for one in card.inputs:
        kinds[one.kind] = kinds.get(one.kind, True) and one.optional
    return ", ".join(kind + ("?" if optional else "") for kind, optional in kinds.items())


def _licence(card: Card) -> str:
    """The licence of the weights, without what is said of it at length."""
    said = card.weights_licence or "none published"
    for mark in (" (", ";", ":", ","):
        said = said.partition(mark)[0]
    return said


def print_card(card: Card) -> None:
    """All that a card says."""
    console = Console()
    console.print(f"[bold]{card.name}[/bold]  {card.title} ({card.group})", highlight=False)
    console.print(escape(card.summary), highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, said: str) -> None:
        table.add_row(name, escape(said))  # "[timm]" is text, no markup

    row("answers", ", ".join(card.answers))
    for one in card.inputs:
        more = f"; {one.sizes}" if one.sizes else ""
        row(
            "takes",
            f"{one.name}: {one.kind} {one.shape}{more}"
            + ("; may be absent" if one.optional else ""),
        )
    row("gives", card.gives)
    if card.preprocessing:
        steps = [
            " ".join(
                f"{k} {v}"
                for k, v in step.model_dump(exclude_none=True, exclude_defaults=True).items()
            )
            for step in card.preprocessing.steps
        ]
        row("preprocessing", " → ".join(steps))
    if card.alternatives:
        chosen = f", by {', '.join(card.chosen_by)}" if card.chosen_by else ""
        row("or prepared as", ", ".join(card.alternatives) + chosen)
    row("options", ", ".join(f"{k}={v}" for k, v in card.options.items()) or "none")
    if card.parameters is not None:
        row("parameters", f"{card.parameters:,}")
    if card.gflops is not None:
        row("work", f"{card.gflops:g} thousand million multiply-adds for one sample")
    row("ONNX", "yes" if card.exportable else "no")
    if card.paper:
        row("paper", f"{card.paper.title} ({card.paper.year}), {card.paper.link}")
    if card.source:
        row("official code", f"{card.source} ({card.code_licence})")
    row("weights", card.weights or "none published")
    row("their licence", card.weights_licence or "–")
    for note in card.notes:
        row("note", note)
    console.print(table, highlight=False)


def _short(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count / 1e3:.0f} k"
