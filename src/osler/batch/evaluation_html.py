"""An evaluation as one HTML page that needs nothing else.

Source: W3C Content Security Policy Level 3; the page has no script and asks for nothing.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from osler.batch.evaluation_figures import families, per_case

_TEMPLATES: Final = Path(__file__).parent / "templates"
_MOST_NAMED: Final = 40
_SUM: Final = "mean of labels"


def page(content: Mapping[str, Any], worst: Sequence[Mapping[str, Any]]) -> str:
    """The page as text.

    Args:
        content: of ``evaluation.json``.
        worst: of `osler.batch.evaluation_pictures.pictures`.
    """
    import jinja2

    room = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters |= {"number": number, "span": span, "chance": chance}
    style = _style()
    names = content["bundle"]["settings"].get("labels") or []
    main, labels, columns = by_label(content["figures"], names)
    return room.get_template("evaluation.html.j2").render(
        said=content,
        policy=_policy(style),
        style=style,
        badge=badge(content),
        warnings=warnings(content),
        main=main,
        shares=[one for one in main if _is_share(one)],
        labels=labels,
        columns=columns,
        whisker=whisker,
        subgroups=content["subgroups"],
        comparisons=content.get("comparisons", []),
        curves=content["curves"],
        line=line,
        worst=[{**one, "words": _words(one["row"], names)} for one in worst],
        most=_MOST_NAMED,
    )


def by_label(
    figures: Sequence[Mapping[str, Any]], known: Sequence[str] = ()
) -> tuple[list[Mapping[str, Any]], list[str], dict[str, dict[str, Mapping[str, Any]]]]:
    """Figures of the whole, and those of labels as a table.

    Figures are named ``"NAME, LABEL"`` where there are several labels.

    Args:
        figures: as they stand in ``evaluation.json``.
        known: the task's labels; without them whatever follows the last comma is one.

    Returns:
        The figures of the whole; the labels; name to label to figure.
    """
    split = [(*one["name"].rpartition(", ")[::2], one) for one in figures]
    named = [
        (head, tail, one)
        for head, tail, one in split
        if head and tail != _SUM and (not known or tail in known)
    ]
    labels = list(dict.fromkeys(tail for _, tail, _ in named))
    if len(labels) < 2:
        return list(figures), [], {}
    columns: dict[str, dict[str, Mapping[str, Any]]] = {}
    for head, tail, one in named:
        columns.setdefault(head, {})[tail] = one
    apart = {one["name"] for _, _, one in named}
    return [one for one in figures if one["name"] not in apart], labels, columns


def badge(content: Mapping[str, Any]) -> tuple[str, str]:
    """The class and the words of the mark beside the title."""
    leaks = content["leaks"]
    flattering = leaks["taught_are_judged"] or (leaks["same_cohort"] and leaks["no_record"])
    if flattering:
        return "reject", "cases that taught are judged"
    if warnings(content):
        return "usable", "read the doubts"
    return "good", "no case taught the bundle"


def warnings(content: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """What a reader must know before the figures: level, text, cases."""
    leaks = content["leaks"]
    out: list[tuple[str, str, list[str]]] = []
    if leaks["taught_are_judged"]:
        taught = [one["case"] for one in leaks["taught"]]
        text = f"{len(taught)} judged cases taught or tuned the bundle: the figures flatter it."
        out.append(("fault", text, taught))
    for name in leaks["no_record"]:
        if name in leaks["same_cohort"]:
            text = f"This is the cohort that '{name}' was taught with, and it keeps no record of "
            out.append(("fault", text + "which cases did; the figures may flatter it.", []))
        else:
            text = f"'{name}' keeps no record of what taught it, so cases that did cannot be told"
            text += f"; it was trained on {on}." if (on := trained_on(content, name)) else "."
            out.append(("doubt", text, []))
    for one in (content["bundle"], content["against"]):
        if one is not None and one.get("note"):
            out.append(("doubt", f"Of '{one['name']}': {one['note']}.", []))
    if content["left_out"]:
        named = [one["case"] for one in content["left_out"]]
        text = (
            f"{len(named)} cases could not be judged and are in no figure; the reasons are below."
        )
        out.append(("doubt", text, named))
    if leaks["twice"]:
        pairs = [" = ".join(one["cases"]) for one in leaks["twice"]]
        text = f"{len(pairs)} pictures stand under two patients, so the intervals are too narrow."
        out.append(("doubt", text, pairs))
    return out


def trained_on(content: Mapping[str, Any], name: str) -> str:
    """The data sets that a bundle's card says it was trained on."""
    for one in (content["bundle"], content["against"]):
        if one is not None and one["name"] == name:
            return ", ".join(one.get("trained_on", []))
    return ""


def number(value: float | None) -> str:
    """Three digits after the point below 10, fewer above; a dash for none."""
    if value is None:
        return "–"
    size = abs(value)
    return f"{value:.3f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:,.0f}"


def span(one: Mapping[str, Any]) -> str:
    """The interval's ends."""
    if one["low"] is None or one["high"] is None:
        return "no interval"
    return f"{number(one['low'])} to {number(one['high'])}"


def chance(p: float) -> str:
    """A p-value."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def whisker(one: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """Where value and interval lie on a common scale of 100: that of 0 to 1, or of all of them."""
    known = [v for o in others for v in (o["low"], o["value"], o["high"]) if v is not None]
    if one["value"] is None or not known:
        return None
    least, most = min(known), max(known)
    if least >= 0 and most <= 1:
        least, most = 0.0, 1.0
    least = min(least, 0.0) if least > 0 else least
    width = (most - least) or 1.0

    def place(value: float) -> str:
        return f"{100 * (value - least) / width:.2f}"

    low = one["low"] if one["low"] is not None else one["value"]
    high = one["high"] if one["high"] is not None else one["value"]
    return {"low": place(low), "value": place(one["value"]), "high": place(high)}


def line(xs: Sequence[float], ys: Sequence[float], *, low: float = 0.0, high: float = 1.0) -> str:
    """SVG path data of a curve in a square of 100, ``low`` at its foot and ``high`` at its top."""
    places = [
        f"{100 * x:.2f} {100 * (1 - (min(max(y, low), high) - low) / (high - low)):.2f}"
        for x, y in zip(xs, ys, strict=True)
    ]
    return "M" + "L".join(places)


def _is_share(one: Mapping[str, Any]) -> bool:
    """Whether a figure and its interval lie between 0 and 1."""
    ends = [one[key] for key in ("value", "low", "high")]
    return all(end is not None and 0 <= end <= 1 for end in ends)


def _words(row: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """What a case's row says, in a few words."""
    chances, truth = row.get("probability"), row.get("truth")
    if isinstance(chances, list) and isinstance(truth, int):
        names = labels if len(labels) == len(chances) else [str(k) for k in range(len(chances))]
        said = max(range(len(chances)), key=lambda k: float(chances[k]))
        return [f"is {names[truth]}, called {names[said]} at {100 * chances[said]:.0f} %"]
    numbers = families(per_case([dict(row)]))
    return [f"{name.replace('_', ' ')} {number(v[0])}" for name, v in numbers.items()][:4]


def _style() -> str:
    from osler import data, io

    shared = Path(str(io.__file__)).parent / "templates" / "report.css"
    check = Path(str(data.__file__)).parent / "templates" / "check.css"
    own = _TEMPLATES / "evaluation.css"
    return "\n".join(path.read_text(encoding="utf-8") for path in (shared, check, own))


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{digest}'"
    )
