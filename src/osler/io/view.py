"""A quick look at a case: one HTML file that needs nothing else and asks no other machine.

Styles and script stand in the file, and a content security policy with their digests keeps
everything else out [1].

[1] W3C Content Security Policy Level 3, https://www.w3.org/TR/CSP3/
"""

import base64
import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from osler.errors import OutputError
from osler.io.atomic_file import replacing
from osler.io.doubts import doubt
from osler.io.html_pictures import Drawn, layers_drawn, sheet_of
from osler.io.inventory import of_item
from osler.io.inventory_words import facts
from osler.io.view_drawn import drawable, heats_of, lines_of, not_drawn, paths_of
from osler.io.view_film import film_of
from osler.io.view_grid import MOST_MASKS, MOST_VOXELS, grid_of
from osler.io.view_signal import strips_of
from osler.record import (
    Box,
    Case,
    Contour,
    Finding,
    Heatmap,
    Image,
    Label,
    Markers,
    Mask,
    Measurement,
    Passage,
    Point,
    Risk,
    Signal,
    Table,
    Text,
)
from osler.terminal import counted

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES: Final = Path(__file__).parent / "templates"
_MOST_VALUES: Final = 500
_CORNER: Final = (20, 8)


def write_view(case: Case, path: str | Path) -> Path:
    """Write the page.

    Args:
        case: any case; its pixels are loaded.
        path: the HTML file, which appears whole or not at all.

    Returns:
        The path.

    Raises:
        OutputError: the file cannot be written.
        InputError: pixels cannot be read from their file.
    """
    path = Path(path)
    text = view(case)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    return path


def page_path(case: Case, out: Path | None, *, overwrite: bool = False) -> Path:
    """Where the page goes: as asked for, or into a new folder that only this user can read.

    Raises:
        OutputError: something lies there and is not to be replaced, or it is a folder.
    """
    if out is None:
        return Path(tempfile.mkdtemp(prefix="osler-view-")) / f"{case.id}.html"
    if out.is_dir():
        raise OutputError(f"'{out}' is a folder; give a name for the page, such as look.html")
    if out.exists() and not overwrite:
        raise OutputError(f"'{out}' lies there already; give another name, or --overwrite")
    return out


def view(case: Case) -> str:
    """A case as one HTML page."""
    import osler

    style, script = _text("view.css"), _text("view.js")
    drawn: set[str] = set()
    items = [_item(case, item, drawn) for item in case.items.values()]
    said = [row for f in case.findings.values() if (row := _statement(f))]
    left = [(name, reason, "") for name, reason in not_drawn(case, drawn)]
    return _template().render(
        case=case,
        items=items,
        statements=[*said, *left],
        left_out=case.left_out,
        style=style,
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src {_digest(style)}; "
        f"script-src {_digest(script)}; base-uri 'none'; form-action 'none'",
        version=osler.__version__,
    )


def _item(case: Case, item: Any, drawn: set[str]) -> dict[str, Any]:
    """What the page shows of an item; ``drawn`` gets the ids of what is drawn on it."""
    described = of_item(item)
    out: dict[str, Any] = {
        "name": item.name,
        "kind": described["kind"],
        "facts": [fact for fact in facts(described) if fact[0] != "doubt"],
        "doubts": [doubt(flag) for flag in item.flags],
    }
    if isinstance(item, Image):
        return out | _image(case, item, drawn)
    if isinstance(item, Signal):
        markers = [m for m in case.of(Markers) if m.item in (item.name, None)]
        strips, note = strips_of(item, markers)
        return out | {"show": "signal", "strips": strips, "note": note}
    if isinstance(item, Table):
        return out | _table(item)
    return out | _passages(item)


def _image(case: Case, image: Image, drawn: set[str]) -> dict[str, Any]:
    masks = [m for m in case.of(Mask) if m.shape == image.shape and m.item in (image.name, None)]
    moving = len(image.shape) == 3 and image.shape[0] > 1
    colour = image.channel_count == 3 and image.dtype == np.uint8
    film = image.channel_count == 1 and len(image.times) == image.shape[0]
    others = drawable(case, image)
    if moving and (colour or film):
        shown, ids = film_of(image, [*masks, *others])
        drawn.update(ids)
        return {"show": "cine"} | shown
    if not moving and (colour or (image.channel_count == 1 and image.dtype == np.uint8)):
        drawn.update(f.id for f in (*masks, *others))
        return {"show": "picture"} | _picture(case, image, others)
    notes = []
    if image.channel_count > 1:
        notes.append(f"The first of {image.channel_count} channels is shown.")
    if len(masks) > MOST_MASKS:
        notes.append(f"The first {MOST_MASKS} of {len(masks)} masks are shown.")
    images = sum(isinstance(item, Image) for item in case.items.values())
    grid = grid_of(image, masks, most=min(MOST_VOXELS, 2 * MOST_VOXELS // images))
    grid["lines"], left = lines_of(others, image, grid["steps"], first=len(grid["masks"]))
    grid["heats"] = heats_of(others, image, grid["steps"])
    if left:
        notes.append(f"{len(left)} of {len(others)} contours, boxes and points are not shown.")
    drawn.update(f.id for f in (*masks, *others))
    if max(grid["steps"]) > 1:
        size = " x ".join(str(n) for n in grid["shape"])
        notes.append(f"Made smaller for the quick look: {size}.")
    if image.spacing is None:
        notes.append("No spacing is known: the proportions may be wrong.")
    data = json.dumps(grid, separators=(",", ":")).replace("<", "\\u003c")
    return {"show": "grid", "grid": grid, "data": data, "note": " ".join(notes)}


def _picture(case: Case, image: Image, others: Sequence[Finding]) -> dict[str, Any]:
    flat = image
    if len(image.shape) == 3:
        flat = replace(image, array=image.array[:, 0], spacing=None)
    sheet = sheet_of(flat)
    layers = [layer for layer in layers_drawn(case, flat, language="en") if not layer.empty]
    count = len(layers)
    paths = paths_of(others, image, sheet.width / image.shape[-1], first=count)
    layers += [
        Drawn(count + number, f"line-{number}", name, colour, "other", shown=True, outline=path)
        for number, (name, colour, path) in enumerate(paths)
    ]
    return {"sheet": sheet, "layers": layers, "note": ""}


def _table(table: Table) -> dict[str, Any]:
    rows = [
        (name, "–" if value is None else str(value), table.units.get(name, ""))
        for name, value in list(table.values.items())[:_MOST_VALUES]
    ]
    out: dict[str, Any] = {"show": "table", "rows": rows, "note": "", "corner": []}
    if len(table.values) > _MOST_VALUES:
        out["note"] = f"The first {_MOST_VALUES} of {len(table.values)} values are shown."
    if table.matrix is not None:
        down, across = _CORNER
        out["features"] = table.features[:across]
        out["corner"] = [
            (name, ["–" if np.isnan(v) else f"{v:g}" for v in line[:across]])
            for name, line in zip(table.samples[:down], table.matrix[:down], strict=False)
        ]
        samples, features = table.matrix.shape
        out["note"] = f"{samples:,} samples x {features:,} features; the first corner is shown."
    return out


def _passages(text: Text) -> dict[str, Any]:
    parts = list(text.sections.items()) or [("", text.text)]
    whole = text.text if text.sections else ""
    return {
        "show": "text", "parts": parts, "whole": whole, "language": text.language, "note": "",
    }  # fmt: skip


def _statement(finding: Finding) -> tuple[str, str, str] | None:
    """Name, value and source of a finding that is said, not drawn."""
    if isinstance(finding, Measurement):
        value = f"{finding.value:g} {finding.unit}" if finding.value is not None else finding.reason
    elif isinstance(finding, Label):
        value = finding.meaning
    elif isinstance(finding, Passage):
        value = finding.text
    elif isinstance(finding, Risk):
        value = f"{finding.value:.0%}"
    elif isinstance(finding, Markers):
        value = counted(len(finding.labels), "marker")
    elif isinstance(finding, Mask | Point | Contour | Box | Heatmap):
        return None  # drawn, or said to be not
    else:
        value = type(finding).__name__.lower()
    return finding.name, value, finding.source.name


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("view.html.j2")
