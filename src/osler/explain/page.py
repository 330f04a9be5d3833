"""The page: the map, its faithfulness beside it, and the path of evidence, in one file.

It has no script and asks for nothing (W3C Content Security Policy Level 3).
"""

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from osler.explain.alike import ALIKE
from osler.explain.explaining import WORDS, Explanation
from osler.explain.faithfulness import Curve
from osler.explain.pictures import address, hottest, layers

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES: Final = Path(__file__).parent / "templates"
_WIDTH, _HEIGHT = 320, 132  # of a chart
_SLICES: Final = 6

VERDICTS: Final = {
    "agrees": ("good", "The rules agree with the model"),
    "disagrees": ("reject", "The rules disagree with the model"),
    "cannot be confirmed": ("usable", "The rules cannot confirm the model"),
    "not graded": ("plain", "No model here grades it"),
}


def page(said: Explanation) -> str:
    """The explanation as one HTML page."""
    image = said.case.image(said.heatmap.item or "")
    style = "".join((_TEMPLATES / name).read_text("utf-8") for name in ("explanation.css",))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(
        said=said,
        style=style,
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'",
        pictures=_pictures(said, image),
        lesions=_lesions(said),
        method=WORDS[said.method],
        model=f"{said.heatmap.source.name} {said.heatmap.source.version}".strip(),
        charts=_charts(said),
        believed=_believed(said),
        alike_from=ALIKE,
        verdicts=VERDICTS,
        version=_version(),
        digest=image.origin.sha256 if image.origin else "",
    )


def _pictures(said: Explanation, image: Any) -> list[dict[str, str]]:
    if len(image.shape) == 2:
        base, veil = layers(image, said.heatmap)
        return [{"base": address(base), "veil": address(veil, kind="PNG", widest=500), "name": ""}]
    depths = image.shape[0]
    middle = hottest(said.heatmap)
    wanted = {middle, *(round((depths - 1) * k / (_SLICES - 1)) for k in range(_SLICES))}
    out = []
    for depth in sorted(wanted):
        base, veil = layers(image, said.heatmap, depth=depth)
        name = f"slice {depth + 1} of {depths}" + (", the hottest" if depth == middle else "")
        out.append(
            {
                "base": address(base, widest=400),
                "veil": address(veil, kind="PNG", widest=300),
                "name": name,
            }
        )
    return out


def _lesions(said: Explanation) -> str:
    """The picture of the evidence as a data address; empty where there is none."""
    if said.evidence is None:
        return ""
    from osler.explain.evidence_picture import evidence_picture

    return address(evidence_picture(said.case, item=said.heatmap.item or "photo"))


def _charts(said: Explanation) -> list[dict[str, Any]]:
    faithful = said.faithful
    everything = (
        *faithful.deletion.scores,
        *faithful.insertion.scores,
        *faithful.random_deletion.scores,
        *faithful.random_insertion.scores,
    )
    low, high = min(0.0, *everything), max(everything)
    return [
        {
            "name": "Deletion",
            "what": "the score while squares are taken away, the hottest first; a faithful map "
            "falls at once",
            "own": _line(faithful.deletion, low, high),
            "random": _line(faithful.random_deletion, low, high),
            "area": faithful.deletion.area,
            "random_area": faithful.random_deletion.area,
            "good": faithful.deletion_gain > 0,
            "top": high,
            "bottom": low,
            "better": "lower is better",
        },
        {
            "name": "Insertion",
            "what": "the score while squares are put back, the hottest first; a faithful map rises "
            "at once",
            "own": _line(faithful.insertion, low, high),
            "random": _line(faithful.random_insertion, low, high),
            "area": faithful.insertion.area,
            "random_area": faithful.random_insertion.area,
            "good": faithful.insertion_gain > 0,
            "top": high,
            "bottom": low,
            "better": "higher is better",
        },
    ]


def _line(curve: Curve, low: float, high: float) -> str:
    """Points of an SVG polyline."""
    span = max(high - low, 1e-9)
    return " ".join(
        f"{_WIDTH * share:.1f},{_HEIGHT * (1 - (score - low) / span):.1f}"
        for share, score in zip(curve.shares, curve.scores, strict=True)
    )


def _believed(said: Explanation) -> tuple[str, str]:
    """A class and a sentence: how far the map can be believed."""
    faithful = said.faithful
    last = said.random_weights[-1] if said.random_weights else None
    if not faithful.better_than_random:
        return "reject", "Do not rely on this map: a random order does as well or better"
    if last is not None and last.alike:
        return "usable", "Take this map with care: random weights give one much like it"
    if last is None or last.rank is None:
        return "usable", "Faithful; its dependence on what was learnt could not be tested"
    return "good", "Faithful, and not what random weights would show"


def _version() -> str:
    from osler import __version__

    return __version__


def _template() -> "Template":
    import jinja2

    room = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters["number"] = lambda value: f"{value:.3g}"
    room.filters["start"] = lambda text: text[:1].upper() + text[1:]
    return room.get_template("explanation.html.j2")
