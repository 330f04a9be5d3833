"""What ``osler info`` and ``osler convert`` show."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from osler.io.inventory_words import count, facts
from osler.terminal import one_line

if TYPE_CHECKING:
    from osler.io.conversion import Conversion

_MOST_ROWS: Final = 200


def _stdout() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=140)


def print_inventory(found: Mapping[str, Any]) -> None:
    """An inventory as text."""
    console, found = _stdout(), _in_lines(found)

    def line(text: str = "") -> None:
        console.print(text, markup=False)

    line(_title(found))
    if "case" in found:
        _print_case(found["case"], line)
    elif "table" in found:
        _print_table(found["table"], console)
    elif found.get("cases"):
        _print_cases(found["cases"], console)
    for one in found.get("not_understood", ()):
        line(f"\n{one['count']} not read: {one['reason']}")
        for file in one["files"]:
            line(f"  {file}")
        if one["count"] > len(one["files"]):
            line(f"  and {one['count'] - len(one['files'])} more")


def _in_lines(found: Any) -> Any:
    """An inventory whose names each keep to their line."""
    if isinstance(found, str):
        return one_line(found)
    if isinstance(found, Mapping):
        return {_in_lines(key): _in_lines(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_in_lines(one) for one in found]
    return found


def _title(found: Mapping[str, Any]) -> str:
    if found["kind"] == "table":
        table = found["table"]
        size = f"{count(table['rows'], 'row')} x {count(len(table['columns']), 'column')}"
        return f"{found['path']}: {size}, a table of several cases"
    if found["kind"] == "file":
        return str(found["path"])
    cases = found["cases"]
    files = sum(case["files"] for case in cases)
    skipped = sum(one["count"] for one in found["not_understood"])
    text = f"{found['path']}: {count(len(cases), 'case')} in {count(files, 'file')}"
    return text + (f", {count(skipped, 'file')} not read" if skipped else "")


def _print_table(whole: Mapping[str, Any], console: Console) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in ("column", "type", "unit"):
        table.add_column(head, overflow="fold")
    table.add_column("missing", justify="right")
    for column in whole["columns"][:_MOST_ROWS]:
        table.add_row(
            column["name"], column["type"], column["unit"] or "–", f"{column['missing']:,}"
        )
    console.print(table)
    for words in whole["doubts"].values():
        console.print(f"doubt: {words}", markup=False)


def _print_cases(cases: Sequence[Mapping[str, Any]], console: Console) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("case", overflow="fold")
    table.add_column("files", justify="right")
    table.add_column("holds", overflow="fold")
    identity = any("patient_id" in case for case in cases)
    if identity:
        table.add_column("patient", overflow="fold")
    for case in cases[:_MOST_ROWS]:
        row = [case["id"], str(case["files"]), _holds(case)]
        table.add_row(*row, *([case.get("patient_id") or "–"] if identity else []))
    console.print(table)
    if len(cases) > _MOST_ROWS:
        console.print(f"and {len(cases) - _MOST_ROWS} more cases (--json lists all)")


def _holds(case: Mapping[str, Any]) -> str:
    series = [f"{s['modality'] or '?'} ({count(s['files'], 'file')})" for s in case["series"]]
    return ", ".join([*series, *(f"{name} x {n}" for name, n in case["formats"].items())])


def _print_case(case: Mapping[str, Any], line: Any) -> None:
    for name, value in case.get("identity", {}).items():
        line(f"  {name.replace('_', ' ')}: {value}")
    for item in case["items"]:
        line(f"\n{item['name']}  {_what(item)}")
        for name, value in facts(item):
            line(f"  {name + ':':<13}{value}")
    if case["findings"]:
        line("\nfindings")
    for kind, some in case["findings"].items():
        rest = ", …" if some["count"] > len(some["ids"]) else ""
        line(f"  {some['count']} {kind}: {', '.join(some['ids'])}{rest}")
    for words in case["doubts"].values():
        line(f"  doubt:       {words}")
    for one in case["left_out"]:
        line(f"\nnot read: {one['file']}\n  {one['reason']}")


def _what(item: Mapping[str, Any]) -> str:
    parts = [item["kind"]]
    if "modality" in item:
        parts.append(item["modality"])
    if "format" in item:
        files = f", {item['files']} files" if item["files"] > 1 else ""
        parts.append(f"({item['format']}{files})")
    return " ".join(parts)


def print_conversion(done: "Conversion", *, quiet: bool) -> None:
    """The files on stdout; on stderr what they have no place for, and what was not written."""
    told = Console(stderr=True, highlight=False, soft_wrap=True)
    if not quiet:
        console = _stdout()
        lost: dict[str, int] = {}
        for path, some in done.written:
            console.print(one_line(str(path)), markup=False)
            for one in some:
                lost[one] = lost.get(one, 0) + 1
        for one, number in lost.items():
            files = f" ({count(number, 'file')})" if len(done.written) > 1 else ""
            told.print(f"not kept{files}: {one}", markup=False)
    for name, reason in done.failed[:_MOST_ROWS]:
        told.print(one_line(f"osler: {name}: {reason}"), markup=False)
    if len(done.failed) > _MOST_ROWS:
        told.print(f"osler: and {len(done.failed) - _MOST_ROWS} more")
