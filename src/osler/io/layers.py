"""How each finding with pixels is drawn, in one table for the overlay picture and the report."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from osler.record import Case, Finding, Heatmap, Mask, Point

Style = Literal["fill", "outlined", "line", "dashed", "cross", "heat"]
Group = Literal["lesions", "vessels", "anatomy", "grade", "other"]


@dataclass(frozen=True, slots=True)
class Layer:
    """How one finding is drawn.

    Attributes:
        id: the finding's id.
        colour: ``#rrggbb``.
        style: filled pixels, pixels with their outline, an outline only (whole or dashed), a
            cross, or a graded heat.
        group: the heading under which a reader finds its switch.
        shown: whether it is switched on when a report is opened.
    """

    id: str
    colour: str
    style: Style
    group: Group
    shown: bool = True


# From the bottom to the top. The colours keep apart on an orange retina and for readers with
# red-green deficiency: what could be mixed up differs in lightness too.
LAYERS: tuple[Layer, ...] = (
    Layer("dr-heatmap", "#ff7a00", "heat", "grade", shown=False),
    Layer("field", "#9aa7b0", "dashed", "anatomy", shown=False),
    Layer("zone-c", "#cfe0ea", "dashed", "anatomy", shown=False),
    Layer("zone-b", "#ffffff", "dashed", "anatomy", shown=False),
    Layer("vessels", "#8af0a0", "fill", "vessels"),
    Layer("vein", "#3f8cff", "fill", "vessels"),
    Layer("artery", "#ff3347", "fill", "vessels"),
    Layer("soft-exudates", "#35e8dc", "outlined", "lesions"),
    Layer("hard-exudates", "#fff14a", "outlined", "lesions"),
    Layer("haemorrhages", "#d79bff", "outlined", "lesions"),
    Layer("microaneurysms", "#ff6ad5", "outlined", "lesions"),
    Layer("disc", "#ffffff", "line", "anatomy"),
    Layer("cup", "#9ff0ff", "line", "anatomy"),
    Layer("fovea", "#ffffff", "cross", "anatomy"),
)

# For masks that no row above names.
_OTHERS = ("#a6e22e", "#ffb86c", "#66d9ef", "#f78fb3")


def layers_of(case: Case, *, item: str) -> Iterator[tuple[Layer, Finding]]:
    """The layers that this case can show on an item, with their findings, bottom to top.

    Args:
        case: the case.
        item: name of the image that the layers lie on.
    """
    drawable = {
        f.id: f
        for f in case.findings.values()
        if isinstance(f, Mask | Point | Heatmap) and f.item in (item, None)
    }
    known = {layer.id for layer in LAYERS}
    for number, finding in enumerate(f for f in drawable.values() if f.id not in known):
        style: Style = {Mask: "fill", Point: "cross", Heatmap: "heat"}[type(finding)]  # type: ignore[assignment]
        yield Layer(finding.id, _OTHERS[number % len(_OTHERS)], style, "other", False), finding
    for layer in LAYERS:
        if layer.id in drawable:
            yield layer, drawable[layer.id]


def rgb(colour: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers, 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
