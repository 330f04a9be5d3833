"""What was removed, told without telling of anybody: JSON, a table of attributes, and a page."""

import csv
import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from osler.io.deidentification.one import Copied
from osler.io.deidentification.options import Options
from osler.io.deidentification.profile import EDITION
from osler.io.identity import version


def write(
    folder: Path,
    outcomes: Sequence[Copied],
    *,
    options: Options,
    why: Mapping[Path, tuple[str, str]],
    found: Mapping[str, Sequence[str]],
    checked: bool,
) -> Path:
    """Write ``report.json``, ``attributes.csv`` and ``report.html``.

    Args:
        folder: made where it is missing.
        outcomes: of every file.
        options: of the run.
        why: for each file without a copy, what stands for its name, and the reason.
        found: what the second pass found in copies, which were removed then.
        checked: whether there was a second pass.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = as_json(outcomes, options=options, why=why, found=found, checked=checked)
    (folder / "report.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    with (folder / "attributes.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, ("attribute", "action", "count"), lineterminator="\n")
        table.writeheader()
        table.writerows(told["attributes"])
    page = folder / "report.html"
    page.write_text(_page(told), "utf-8")
    return page


def as_json(
    outcomes: Sequence[Copied],
    *,
    options: Options,
    why: Mapping[Path, tuple[str, str]],
    found: Mapping[str, Sequence[str]],
    checked: bool,
) -> dict[str, Any]:
    """The whole report as JSON values."""
    copies = [o for o in outcomes if o.status == "copied"]
    total: Counter[tuple[str, str]] = Counter()
    for outcome in copies:
        total.update(outcome.counts)
    return {
        "osler": version(),
        "profile": f"DICOM PS3.15 {EDITION}, Basic Application Level Confidentiality Profile",
        "options": asdict(options),
        "codes": [{"scheme": "DCM", "code": c, "meaning": m} for c, m in options.codes()],
        "files": dict(sorted(Counter(o.status for o in outcomes).items())),
        "formats": dict(sorted(Counter(o.format for o in copies).items())),
        "second_pass": {
            "done": checked,
            "clean": checked and not found,
            "found": {place: list(kinds) for place, kinds in sorted(found.items())},
        },
        "attributes": [
            {"attribute": name, "action": action, "count": count}
            for (name, action), count in sorted(total.items())
        ],
        "copies": [
            {
                "file": o.place,
                "format": o.format,
                "sha256": o.sha256,
                "removed": sum(o.counts.values()),
                "notes": list(o.notes),
            }
            for o in sorted(copies, key=lambda o: o.place)
        ],
        "not_copied": [
            {"file": why[o.source][0], "status": o.status, "why": why[o.source][1]}
            for o in outcomes
            if o.status != "copied"
        ],
    }


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}td,th{text-align:left;padding:.2em .8em;"
    "border-bottom:1px solid #ddd;vertical-align:top}td.n{text-align:right}"
    "code{font-size:13px}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}"
)


def _page(told: Mapping[str, Any]) -> str:
    second = told["second_pass"]
    if not second["done"]:
        verdict = "There was no second pass."
    elif second["clean"]:
        verdict = "The second pass over all copies found nothing left."
    else:
        verdict = (
            f"The second pass found something in {len(second['found'])} copies; they were removed."
        )
    pieces = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>De-identification</title>",
        f"<style>{_STYLE}</style><h1>De-identification</h1>",
        f"<p>{_text(told['profile'])}. Osler {_text(told['osler'])}.</p><p><b>{verdict}</b></p>",
        _table(("files", "number"), told["files"].items()),
        "<h2>What was removed</h2>",
        _table(
            ("attribute", "what was done", "times"),
            ((a["attribute"], a["action"], a["count"]) for a in told["attributes"]),
        ),
        "<h2>Not copied</h2>",
        _table(
            ("stands for", "status", "why"),
            ((n["file"], n["status"], n["why"]) for n in told["not_copied"]),
        ),
        "<h2>Copies</h2>",
        _table(
            ("file", "format", "removed", "notes", "SHA-256"),
            (
                (c["file"], c["format"], c["removed"], "; ".join(c["notes"]), c["sha256"])
                for c in told["copies"]
            ),
        ),
        "</html>\n",
    ]
    return "\n".join(pieces)


def _table(heads: Sequence[str], rows: Any) -> str:
    head = "".join(f"<th>{_text(h)}" for h in heads)
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if isinstance(c, int) else ''}>{_text(c)}" for c in row)
        for row in rows
    )
    return f"<table><tr>{head}{body}</table>" if body else "<p>None.</p>"


def _text(value: Any) -> str:
    return html.escape(str(value))
