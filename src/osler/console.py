"""What the command line shows: progress on stderr, tables on stdout."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer
from rich.console import Console
from rich.table import Table

from osler.terminal import counted, one_line

if TYPE_CHECKING:
    from osler.batch import Batch, Outcome
    from osler.bundles import Card
    from osler.bundles.card import Output
    from osler.learn.cross_validation import CrossValidated
    from osler.learn.fitting import Run
    from osler.learn.rehearsal import Rehearsal
    from osler.learn.rounds import Round

_DASH = "–"


class Progress:
    """A bar on a terminal, and a line on stderr for each case that failed.

    Args:
        shown: whether there is a bar at all; errors are always told.
    """

    def __init__(self, *, shown: bool) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._shown = shown and self._console.is_terminal
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def start(self, total: int) -> None:
        """Show the bar for so many cases."""
        if not self._shown:
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("reading"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[last]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("reading", total=total, last="")
        self._bar.start()

    def done(self, outcome: "Outcome") -> None:
        """Advance by one case; name it where it failed."""
        if outcome.error:
            self._tell(f"failed: {outcome.source}: {outcome.error}")
        if outcome.trace:
            self._tell(outcome.trace)
        if self._bar:
            self._bar.update(self._task, advance=1, last=outcome.case_id)

    def stopping(self) -> None:
        """Say that the run ends after the cases in hand."""
        self._tell("finishing the cases in hand; press Ctrl-C again to stop at once")

    def _tell(self, line: str) -> None:
        self._console.print(one_line(line, keep="\n\t"), markup=False)


def as_line(outcome: "Outcome", out: Path) -> dict[str, Any]:
    """An outcome as ``osler read --json`` prints it."""
    line: dict[str, Any] = {
        "case": outcome.case_id,
        "input": str(outcome.source),
        "status": outcome.status,
        "seconds": round(outcome.seconds, 3),
    }
    if outcome.status == "failed":
        return line | {"error": outcome.error}
    same = {"case", "file", "status", "error"}
    findings = {key: value for key, value in outcome.row.items() if key not in same}
    if outcome.draft:
        line["draft"] = outcome.draft
    return line | {"folder": str(out / outcome.case_id), "findings": findings}


def _stdout() -> Console:
    """Stdout; a file or pipe is as wide as a table needs."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=120)


def print_summary(batch: "Batch", out: Path) -> None:
    """The table of a run, and where to look next."""
    console = _stdout()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("case", overflow="fold", min_width=16)
    for head in ("status", "quality", "eye"):
        table.add_column(head)
    for head in ("DR", "90 % set", "referable", "CDR", "s"):
        table.add_column(head, justify="right", no_wrap=True)
    for outcome in batch.outcomes:
        table.add_row(outcome.case_id, outcome.status, *_cells(outcome.row), _seconds(outcome))
    if batch.outcomes:
        console.print(table)
    if batch.summary:
        console.print(f"\nsummary: {batch.summary}", markup=False, soft_wrap=True)
    reports = [out / o.case_id / "report.html" for o in batch.outcomes if o.status != "failed"]
    first = next((r for r in reports if r.is_file()), None)
    if first:
        console.print(f"report:  {first}", markup=False, soft_wrap=True)


def _cells(row: Mapping[str, Any]) -> list[str]:
    if row.get("photograph") not in (None, "", "fundus photograph"):
        return ["not a fundus photograph", *[_DASH] * 5]
    return [
        str(row.get("quality") or _DASH),
        str(row.get("laterality") or _DASH),
        str(row.get("dr_grade") or _DASH),
        str(row.get("prediction_set") or _DASH),
        _number(row.get("p_referable")),
        _number(row.get("cdr.vertical")),
    ]


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else _DASH


def _seconds(outcome: "Outcome") -> str:
    return f"{outcome.seconds:.1f}" if outcome.status == "read" else _DASH


def print_bundles() -> None:
    """A row for each bundle that ships."""
    from osler import bundles

    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in ("bundle", "version", "task", "labels", "licence"):
        table.add_column(head, overflow="fold")
    table.add_column("MB", justify="right")
    for name in bundles.names():
        card = bundles.load(name).card
        labels = "; ".join(_labels(output) for output in card.outputs if output.labels)
        size = sum(file.bytes for file in card.files.values()) / 1e6
        table.add_row(name, card.version, card.task, labels, card.licence, f"{size:.1f}")
    _stdout().print(table)


def _labels(output: "Output") -> str:
    return ", ".join(label.name for label in output.labels)


def print_card(card: "Card") -> None:
    """A bundle's card in words."""
    console = _stdout()

    def line(text: str = "") -> None:
        console.print(text, markup=False)

    line(f"{card.title}  ({card.name} {card.version}, {card.task}, {card.licence})")
    if card.description:
        line(card.description)
    line(f"\nFor: {card.intended_use}")
    for limit in card.limits:
        line(f"Not: {limit}")
    line()
    for output in card.outputs:
        line(f"Gives '{output.name}': {_labels(output) or output.description}")
    if card.data:
        line("\nMade and measured with:")
    for data in card.data:
        line(f"  {data.role}: {data.name}, {data.images} photographs, {data.licence}")
    if card.metrics:
        line("\nReaches:")
    for metric in card.metrics:
        interval = f" [{metric.low:.3f}, {metric.high:.3f}]" if metric.low is not None else ""
        line(f"  {metric.name} {metric.value:.3f}{interval} on {metric.images}: {metric.data}")


def print_run(run: "Run") -> None:
    """The figures of a run, on which cases they stand, and its bundle."""
    if run.metrics:
        typer.echo(run.metrics[0]["data"])
    _print_figures(run.metrics)
    for note in run.notes:
        typer.echo(f"note: {note}")
    if (run.bundle / "config.json").is_file():  # a language model, which is no bundle
        typer.echo(f"model: {run.bundle}")
        where = shlex.quote(f"transformers:{run.bundle}")
        typer.echo(f"ask it: osler ask CASE QUESTION --engine {where}")
    elif (run.bundle / "adapter_config.json").is_file():
        typer.echo(f"adapter: {run.bundle}")
    else:
        _print_bundle(str(run.bundle))


def print_rehearsal(tried: "Rehearsal") -> None:
    """What a recipe would do, and how long its steps would take here."""
    for name, (cases, patients) in tried.parts.items():
        typer.echo(f"{name}: {counted(cases, 'case')} of {counted(patients, 'patient')}")
    if len(tried.groups) > 1:
        each = ", ".join(f"{name} {count}" for name, count in tried.groups.items())
        typer.echo(f"of those that teach: {each}")
    typer.echo(f"network: {tried.network}, {tried.parameters:,} numbers that learn")
    for name, shape in tried.inputs.items():
        typer.echo(f"input: {name}, {tried.batch} x {' x '.join(map(str, shape)) or '1'}")
    whole = tried.steps * tried.seconds
    shown = f"{whole / 60:.0f} minutes" if whole >= 120 else f"{whole:.0f} seconds"
    typer.echo(
        f"time: {tried.seconds:.3g} s a step on {tried.device}, so {tried.steps:,} steps take "
        f"about {shown}, and validation comes on top"
    )
    if tried.strategies:
        typer.echo(f"not tried: what {', '.join(tried.strategies)} does beside such steps")
    if tried.left_out:
        typer.echo(
            f"left out: {counted(tried.left_out, 'conversation')}, of whose answer nothing fits "
            "into settings.length tokens"
        )
    if tried.kept is None:
        typer.echo("nothing was kept")
        return
    what = f"the {tried.kept.name} in {tried.kept}"
    typer.echo(f"nothing was kept but {what}, which the training takes from there")


def print_folds(done: "CrossValidated[Run, Any]", *, ensemble: bool) -> None:
    """The figures of all folds together with their spread, and where everything lies."""
    count = len(done.members)
    typer.echo(f"{len(done.left_out)} cases, each judged by the one of {count} runs without it")
    width = max((len(name) for name in done.figures), default=0)
    for name, value in done.figures.items():
        mean, deviation = done.spread(name)
        spread = f"  folds {mean:.3g} ± {deviation:.2g}" if math.isfinite(deviation) else ""
        shown = f"{value:.3g}" if math.isfinite(value) else "not defined"
        typer.echo(f"  {name:<{width}}  {shown}{spread}")
    folder = next(iter(done.members.values())).folder.parent
    typer.echo(f"intervals: {folder / 'cross-validation.json'}")
    if not ensemble:
        typer.echo(f"bundles: {folder / 'fold-*' / 'bundle'}")
        return
    typer.echo(f"the figures are those of its {count} members; nothing judged the ensemble itself")
    _print_bundle(str(folder / "bundle"))


def print_rounds(done: "Sequence[Round]") -> None:
    """The figures of each round, and where everything lies."""
    for one in done:
        typer.echo(f"{len(one.labelled)} labels")
        _print_figures(one.metrics)
    folder = done[-1].folder.parent
    typer.echo(f"to be labelled next: {', '.join(done[-1].chosen) or 'none is left'}")
    typer.echo(f"curve: {folder / 'rounds.json'}")
    typer.echo(f"bundles: {folder / 'round-*' / 'bundle'}")


def _print_figures(metrics: Sequence[Mapping[str, Any]]) -> None:
    width = max((len(one["name"]) for one in metrics), default=0)
    for one in metrics:
        bounds = ""
        if one.get("low") is not None:
            bounds = f"  ({100 * one['level']:g} %: {one['low']:.3g} to {one['high']:.3g})"
        typer.echo(f"  {one['name']:<{width}}  {one['value']:.3g}{bounds}")


def _print_bundle(folder: str) -> None:
    typer.echo(f"bundle: {folder}")
    typer.echo(f"ask it: osler predict {shlex.quote(folder)} INPUT --out DIR")
