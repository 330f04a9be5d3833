"""A film for the quick look: some of its frames, and what is drawn on each of them."""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from osler.io.contour_trace import rings_of
from osler.io.view_drawn import rings_in
from osler.io.view_grid import COLOURS
from osler.record import Box, Contour, Finding, Image, Mask, Point

MOST_FRAMES: Final = 40
MOST_LAYERS: Final = 60
_WIDEST_FRAME: Final = 640
_MOST_POINTS: Final = 200_000
"""Of all lines of a film; what comes after them is left out, and the page says so."""

Ring = NDArray[np.float64]


def film_of(image: Image, findings: Sequence[Finding]) -> tuple[dict[str, Any], list[str]]:
    """What the page shows of a film, and the ids of the findings that are drawn on it.

    Args:
        image: ``(C, D, H, W)``.
        findings: masks of its shape, contours, boxes and points; heatmaps are passed over.
    """
    drawings = [(f, _planes(f, image)) for f in findings if not _is_heat(f)]
    taken = {plane for _, planes in drawings for plane in planes if 0 <= plane < image.shape[0]}
    chosen = _chosen(image.shape[0], sorted(taken))
    room, ids = _MOST_POINTS, list[str]()
    layers: list[dict[str, str]] = []
    paths: dict[int, list[dict[str, Any]]] = {plane: [] for plane in chosen}
    for finding, planes in drawings:
        rings = {plane: _rings(finding, image, plane) for plane in planes if plane in paths}
        room -= sum(len(ring) for some in rings.values() for ring in some)
        if room < 0 or len(layers) == MOST_LAYERS:
            continue
        number, colour = len(layers), COLOURS[len(layers) % len(COLOURS)]
        layers.append({"name": finding.name, "colour": colour})
        ids.append(finding.id)
        closed = not isinstance(finding, Contour) or finding.closed
        for plane, some in rings.items():
            kind = "place" if isinstance(finding, Point) else ""
            one = {"layer": number, "colour": colour, "kind": kind, "path": _path(some, closed)}
            paths[plane].append(one)
    whole = (slice(None), slice(None))
    frames = []
    for plane in chosen:
        pixels = image.region(slice(plane, plane + 1), *whole)[:, 0]
        picture = jpeg(np.moveaxis(pixels, 0, -1))
        frames.append({"number": plane + 1, "image": picture, "paths": paths[plane]})
    notes = []
    if len(chosen) < image.shape[0]:
        notes.append(f"{len(chosen)} of {image.shape[0]} frames are shown.")
    if len(ids) < len(drawings):
        notes.append(f"{len(drawings) - len(ids)} of {len(drawings)} findings are not drawn.")
    height, width = image.shape[1:]
    return {
        "frames": frames, "layers": layers, "note": " ".join(notes), "width": width,
        "height": height,
    }, ids  # fmt: skip


def _is_heat(finding: Finding) -> bool:
    return not isinstance(finding, Mask | Contour | Box | Point)


def _chosen(count: int, taken: Sequence[int]) -> list[int]:
    """Frames over the whole film, half of them such as have something drawn on them."""
    if count <= MOST_FRAMES:
        return list(range(count))
    kept = _spread(taken, MOST_FRAMES // 2)
    others = _spread(range(count), MOST_FRAMES - len(kept))
    return sorted({*kept, *others})


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    if len(numbers) <= most:
        return list(numbers)
    at = np.linspace(0, len(numbers) - 1, most).round().astype(int)
    return [numbers[i] for i in np.unique(at).tolist()]


def _planes(finding: Finding, image: Image) -> list[int]:
    """The frames that a finding is on."""
    if isinstance(finding, Mask):
        return [int(n) for n in np.flatnonzero(finding.mask.any((1, 2)))]
    if isinstance(finding, Box):
        return list(range(max(0, int(finding.start[0])), min(image.shape[0], finding.stop[0])))
    if isinstance(finding, Point):
        return [round(finding.position[0])]
    assert isinstance(finding, Contour)
    return sorted({_plane(ring) for ring in rings_in(finding, image) or ()})


def _plane(ring: Ring) -> int:
    return int(np.rint(np.nan_to_num(ring[:, 0].mean())))


def _rings(finding: Finding, image: Image, plane: int) -> list[Ring]:
    """What is drawn on one frame, ``(N, 2)`` of ``(h, w)`` in pixels each."""
    if isinstance(finding, Mask):
        return rings_of(finding.mask[plane])
    if isinstance(finding, Box):
        (top, left), (below, right) = finding.start[1:], finding.stop[1:]
        corners = [(top, left), (top, right), (below, right), (below, left)]
        return [np.array(corners, np.float64) - 0.5]
    if isinstance(finding, Point):
        return [np.array([finding.position[1:]], np.float64)]
    assert isinstance(finding, Contour)
    return [ring[:, 1:] for ring in rings_in(finding, image) or () if _plane(ring) == plane]


def _path(rings: Iterable[Ring], closed: bool) -> str:
    """SVG path data in pixels of the film; a single point becomes a dot."""
    path = ""
    for ring in rings:
        points = (np.nan_to_num(ring[:, ::-1]) + 0.5).round(1).tolist()
        end = "h0" if len(points) == 1 else "Z" * closed
        path += "M" + "L".join(f"{x:g} {y:g}" for x, y in points) + end
    return path


def jpeg(pixels: NDArray[Any]) -> str:
    """``(H, W, C)`` as the data address of a small JPEG; grey of more bits is stretched."""
    if pixels.dtype != np.uint8:
        plain = np.nan_to_num(pixels.astype(np.float32), posinf=0.0, neginf=0.0)
        low, high = (float(v) for v in np.percentile(plain, (0.5, 99.5)))
        scaled = (plain - low) / max(high - low, 1e-6)
        pixels = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    picture = Picture.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    picture.thumbnail((_WIDEST_FRAME, _WIDEST_FRAME))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
