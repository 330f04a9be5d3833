"""Cards of networks on a terminal."""

from rich.console import Console
from rich.table import Table

from osler.models.card import Card


def print_cards(cards: list[Card]) -> None:
    """A table, a row a network, under the name of its group."""
    console = Console()
    table = Table(box=None, pad_edge=False)
    for column in ("name", "answers", "takes", "parameters", "weights"):
        table.add_column(
            column, overflow="fold", justify="right" if column == "parameters" else "left"
        )
    group = ""
    for card in cards:
        if card.group != group:
            group = card.group
            table.add_row(f"[bold]{group}[/bold]")
        table.add_row(
            f"  {card.name}",
            ", ".join(card.answers),
            ", ".join(one.kind + ("?" if one.optional else "") for one in card.inputs),
            "" if card.parameters is None else _short(card.parameters),
            card.weights_licence or "none published",
        )
    console.print(table)
    console.print(f"{len(cards)} networks; 'osler models show NAME' tells more of one")


def print_card(card: Card) -> None:
    """All that a card says."""
    console = Console()
    console.print(f"[bold]{card.name}[/bold]  {card.title} ({card.group})", highlight=False)
    console.print(card.summary)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("answers", ", ".join(card.answers))
    for one in card.inputs:
        more = f"; {one.sizes}" if one.sizes else ""
        table.add_row(
            "takes",
            f"{one.name}: {one.kind} {one.shape}{more}"
            + ("; may be absent" if one.optional else ""),
        )
    table.add_row("gives", card.gives)
    if card.preprocessing:
        steps = [
            " ".join(
                f"{k} {v}"
                for k, v in step.model_dump(exclude_none=True, exclude_defaults=True).items()
            )
            for step in card.preprocessing.steps
        ]
        table.add_row("preprocessing", " → ".join(steps))
    if card.alternatives:
        chosen = f", by {', '.join(card.chosen_by)}" if card.chosen_by else ""
        table.add_row("or prepared as", ", ".join(card.alternatives) + chosen)
    table.add_row("options", ", ".join(f"{k}={v}" for k, v in card.options.items()) or "none")
    if card.parameters is not None:
        table.add_row("parameters", f"{card.parameters:,}")
    if card.gflops is not None:
        table.add_row("work", f"{card.gflops:g} thousand million multiply-adds for one sample")
    table.add_row("ONNX", "yes" if card.exportable else "no")
    if card.paper:
        table.add_row("paper", f"{card.paper.title} ({card.paper.year}), {card.paper.link}")
    if card.source:
        table.add_row("official code", f"{card.source} ({card.code_licence})")
    table.add_row("weights", card.weights or "none published")
    table.add_row("their licence", card.weights_licence or "–")
    for note in card.notes:
        table.add_row("note", note)
    console.print(table, highlight=False)


def _short(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count / 1e3:.0f} k"
