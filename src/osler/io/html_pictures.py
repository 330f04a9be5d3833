"""The report's pictures: the photograph as JPEG, each layer as a transparent PNG and an outline."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from osler.io.layers import Group, Layer, layers_of, rgb
from osler.io.masks import as_rgb
from osler.io.wording import name_of
from osler.record import Case, Heatmap, Image, Mask, Point

# Wide enough for a full screen; more would make the file too large to send by mail.
_WIDEST: Final = 1600
_QUALITY: Final = 85
_HEAT_WIDTH: Final = 400
_HEAT_LEVELS: Final = 32
_HOTTEST: Final = 150  # opacity, so that the retina is seen through the heat

# Four steps of opacity smooth an edge that was made smaller.
_ALPHA: Final = bytes((0, 85, 170, 255))
_PAD: Final = 2
_SHORT: Final = 24

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One layer, ready for the page. Lengths are in pixels of the report's photograph.

    Attributes:
        number: its place from the bottom, which names it in the page.
        id: the finding's id.
        name: what a reader calls it.
        colour: ``#rrggbb``.
        group: the heading of its switch.
        shown: whether it is switched on at first.
        dashed: whether the outline is dashed.
        image: data address of a transparent PNG, or empty.
        outline: SVG path data, or empty.
        cross: ``(x, y)`` of a point, or None.
        box: ``(left, top, width, height)`` round what is drawn; None for nothing or a heatmap.
    """

    number: int
    id: str
    name: str
    colour: str
    group: Group
    shown: bool
    dashed: bool = False
    image: str = ""
    outline: str = ""
    cross: tuple[float, float] | None = None
    box: Box | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to see, because nothing was found."""
        return not (self.image or self.outline or self.cross)


@dataclass(frozen=True, slots=True)
class Sheet:
    """The photograph as the page shows it: data address, width and height in pixels."""

    image: str
    width: int
    height: int


def sheet_of(photo: Image) -> Sheet:
    """The photograph as a JPEG of at most 1600 pixels in width."""
    width, height = _size(photo)
    picture = Picture.fromarray(as_rgb(photo))
    if picture.width != width:
        picture = picture.resize((width, height), Picture.Resampling.BOX, reducing_gap=2.0)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, subsampling="4:2:0")
    return Sheet(_address(buffer, "jpeg"), width, height)


def layers_drawn(case: Case, photo: Image, *, language: str) -> Iterator[Drawn]:
    """Each layer that the case has on this photograph, bottom to top."""
    size = _size(photo)
    artery = case.get("artery", Mask)
    split = artery is not None and bool(artery.mask.any())
    for number, (layer, finding) in enumerate(layers_of(case, item=photo.name)):
        # arteries and veins would be hidden under the same vessels in one colour
        shown = layer.shown and not (layer.id == "vessels" and split)
        about = (number, layer.id, name_of(finding, language=language), layer.colour, layer.group)
        if isinstance(finding, Mask) and finding.mask.shape == photo.shape:
            yield _draw_mask(finding.mask, layer, size, Drawn(*about, shown=shown))
        elif isinstance(finding, Heatmap) and finding.values.shape == photo.shape:
            yield Drawn(*about, shown=shown, image=_heat(finding.values, size))
        elif isinstance(finding, Point) and len(finding.position) == 2:
            scale = size[0] / photo.shape[1]
            y, x = ((v + 0.5) * scale for v in finding.position)
            yield Drawn(*about, shown=shown, cross=(round(x, 1), round(y, 1)))


def _size(photo: Image) -> tuple[int, int]:
    height, width = photo.shape
    scale = min(1.0, _WIDEST / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _address(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _draw_mask(mask: NDArray[np.bool_], layer: Layer, size: tuple[int, int], blank: Drawn) -> Drawn:
    if not mask.any():
        return blank
    small = Picture.fromarray(mask).convert("L").resize(size, Picture.Resampling.BOX)
    cover = np.asarray(small)
    if layer.group == "lesions":
        # a lesion smaller than a pixel of the page stays visible
        cover = np.where(cover > 0, np.maximum(cover, 128), 0).astype(np.uint8)
    rows, cols = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    box = int(cols[0]), int(rows[0]), int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1
    lined = layer.style in ("outlined", "line", "dashed")
    return Drawn(
        blank.number,
        blank.id,
        blank.name,
        blank.colour,
        blank.group,
        blank.shown,
        dashed=layer.style == "dashed",
        image=_fill(cover, layer.colour) if layer.style in ("fill", "outlined") else "",
        outline=_outline(cover, box) if lined else "",
        box=box,
    )


def _fill(cover: NDArray[np.uint8], colour: str) -> str:
    """A palette PNG of one colour in four steps of opacity."""
    steps = ((cover.astype(np.uint16) * 3 + 127) // 255).astype(np.uint8)
    picture = Picture.frombytes("P", (cover.shape[1], cover.shape[0]), steps.tobytes())
    picture.putpalette(rgb(colour) * len(_ALPHA))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", bits=2, transparency=_ALPHA, compress_level=6)
    return _address(buffer, "png")


def _heat(values: NDArray[np.float16], size: tuple[int, int]) -> str:
    """A palette PNG from clear over yellow to red."""
    width = min(size[0], _HEAT_WIDTH)
    shape = width, max(1, round(size[1] * width / size[0]))
    grey = Picture.fromarray(np.clip(values.astype(np.float32) * 255, 0, 255).astype(np.uint8))
    small = np.asarray(grey.resize(shape, Picture.Resampling.BOX))
    steps = (small.astype(np.uint16) * (_HEAT_LEVELS - 1) // 255).astype(np.uint8)
    picture = Picture.frombytes("P", shape, steps.tobytes())
    ramp = np.linspace(0, 1, _HEAT_LEVELS)
    colours = np.stack([np.full_like(ramp, 255), 225 * (1 - ramp), 40 * (1 - ramp)], axis=1)
    picture.putpalette(colours.astype(np.uint8).tobytes())
    alpha = (_HOTTEST * np.sqrt(ramp)).astype(np.uint8).tobytes()
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=alpha, compress_level=6)
    return _address(buffer, "png")


def _outline(cover: NDArray[np.uint8], box: Box) -> str:
    """SVG path data along the edge of what is covered at least half."""
    from skimage.measure import find_contours

    left, top, width, height = box
    part = np.pad(cover[top : top + height, left : left + width].astype(np.float32), _PAD)
    lines = []
    for contour in find_contours(part, 127.5):  # type: ignore[no-untyped-call]
        corners = contour[:-1]
        if len(corners) > _SHORT:
            # every other corner lies less than a pixel beside the line through its neighbours
            corners = corners[::2]
        # from row and column of pixel centres to x and y of the page
        points = (corners[:, ::-1] + (left, top) - _PAD + 0.5).round(1)
        lines.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points.tolist()) + "Z")
    return "".join(lines)
