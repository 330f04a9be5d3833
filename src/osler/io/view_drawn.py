"""Contours, boxes, points and heatmaps for the quick look, in the grid that the page shows.

The page draws lines over its planes by itself: a line that lies in a plane as it is, any other as
the points at which it goes through.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.io.dicom_placing import said
from osler.io.view_grid import COLOURS, gzipped
from osler.record import Box, Case, Contour, Finding, Heatmap, Image, Mask, Point

MOST_LINES: Final = 60
MOST_HEATS: Final = 6
_MOST_POINTS: Final = 200_000
"""Of all lines of an image; what comes after them is left out, and the page says so."""


def drawable(case: Case, image: Image) -> list[Finding]:
    """What can be drawn on an image besides masks: lines, boxes, points and heatmaps."""
    return [finding for finding in case.findings.values() if _on(finding, image)]


def _on(finding: Finding, image: Image) -> bool:
    if isinstance(finding, Contour):
        return rings_in(finding, image) is not None
    if not _about(finding, image):
        return False
    if isinstance(finding, Box):
        return _fits(finding.start, image)
    if isinstance(finding, Point):
        return _fits(finding.position, image)
    return isinstance(finding, Heatmap) and finding.values.shape == image.shape


def _about(finding: Finding, image: Image) -> bool:
    return finding.item in (image.name, None)


def _fits(place: Sequence[float], image: Image) -> bool:
    return len(place) == len(image.shape)


def rings_in(contour: Contour, image: Image) -> list[NDArray[np.float64]] | None:
    """The lines as indices of an image; None where they are not about it."""
    if not contour.rings:
        return None
    if contour.frame:
        if image.affine is None or said(image, "FrameOfReferenceUID") != contour.frame:
            return None
        to_index = np.linalg.inv(image.affine)
        found = [ring @ to_index[:3, :3].T + to_index[:3, 3] for ring in contour.rings]
        return [ring[:, 3 - len(image.shape) :] for ring in found]
    if not _about(contour, image) or not _fits(contour.rings[0][0], image):
        return None
    return list(contour.rings)


def lines_of(
    findings: Iterable[Finding], image: Image, steps: Sequence[int], *, first: int
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Lines for the page, and the findings that it has no room for.

    Args:
        findings: of ``drawable``.
        image: what they are about.
        steps: how many voxels of ``(D, H, W)`` become one on the page.
        first: how many colours are taken already.
    """
    out: list[dict[str, Any]] = []
    left: list[Finding] = []
    room = _MOST_POINTS
    for finding in findings:
        if isinstance(finding, Heatmap):
            continue
        shape = _shape(finding, image, np.array(steps, np.float64))
        room -= sum(len(ring) for ring in shape.get("rings", ()))
        if len(out) == MOST_LINES or room < 0:
            left.append(finding)
            continue
        colour = COLOURS[(first + len(out)) % len(COLOURS)]
        out.append({"name": finding.name, "colour": colour} | shape)
    return out, left


def _shape(finding: Finding, image: Image, steps: NDArray[np.float64]) -> dict[str, Any]:
    flat = (0.0,) * (3 - len(image.shape))
    if isinstance(finding, Box):
        start, stop = (
            np.array((*(flat if n == 0 else (1.0,) * len(flat)), *edge), np.float64)
            for n, edge in enumerate((finding.start, finding.stop))
        )
        ends = ((start / steps - 0.5), (stop / steps - 0.5))
        return {"kind": "box", "start": _plain(ends[0]), "stop": _plain(ends[1])}
    if isinstance(finding, Point):
        place = np.array([(*flat, *finding.position)], np.float64)
        return {"kind": "point", "closed": False, "rings": [_plain(_paged(place, steps))]}
    assert isinstance(finding, Contour)
    rings = []
    for ring in rings_in(finding, image) or ():
        deep = np.column_stack([np.zeros((len(ring), len(flat))), ring])
        rings.append(_plain(_paged(deep, steps)))
    return {"kind": "line", "closed": finding.closed, "rings": rings}


def _paged(index: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Indices of voxels as indices of the page's, each of which is ``steps`` wide."""
    paged: NDArray[np.float64] = (index + 0.5) / steps - 0.5
    return paged


def _plain(values: NDArray[np.float64]) -> Any:
    return np.nan_to_num(values).round(2).tolist()


def heats_of(
    findings: Iterable[Finding], image: Image, steps: Sequence[int]
) -> list[dict[str, str]]:
    """Heatmaps in the page's grid, 0 to 255; the hottest of the voxels that become one."""
    shape = (1,) * (3 - len(image.shape)) + image.shape
    out: list[dict[str, str]] = []
    for finding in findings:
        if isinstance(finding, Heatmap) and len(out) < MOST_HEATS:
            values = np.nan_to_num(finding.values.astype(np.float32)).reshape(shape)
            for axis, step in enumerate(steps):
                if step > 1:
                    starts = np.arange(0, shape[axis], step)
                    values = np.maximum.reduceat(values, starts, axis=axis)
            levels = (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
            out.append({"name": finding.name, "data": gzipped(levels.tobytes())})
    return out


def paths_of(
    findings: Iterable[Finding], image: Image, scale: float, *, first: int
) -> Iterator[tuple[str, str, str]]:
    """Name, colour and SVG path of lines and boxes on a picture.

    Args:
        findings: of ``drawable``; points and heatmaps are passed over.
        image: a flat one.
        scale: pixels of the page for one of the image.
        first: how many colours are taken already.
    """
    for number, finding in enumerate(f for f in findings if isinstance(f, Contour | Box)):
        if isinstance(finding, Box):
            (top, left), (below, right) = finding.start[-2:], finding.stop[-2:]
            corners = [(top, left), (top, right), (below, right), (below, left)]
            rings, closed = [np.array(corners, np.float64) - 0.5], True
        else:
            rings, closed = [r[:, -2:] for r in rings_in(finding, image) or ()], finding.closed
        path = ""
        for ring in rings:
            points = ((np.nan_to_num(ring[:, ::-1]) + 0.5) * scale).round(1).tolist()
            path += "M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z" * closed
        yield finding.name, COLOURS[(first + number) % len(COLOURS)], path


def _why(finding: Finding) -> str:
    if isinstance(finding, Heatmap):
        return "its image is not here or is a film"
    return "its image is not here, or has too much drawn on it"


def not_drawn(case: Case, shown: set[str]) -> list[tuple[str, str]]:
    """Name and reason of findings that have a place and are on no image of the page."""
    kinds = (Mask, Contour, Box, Point, Heatmap)
    return [
        (f.name, f"{type(f).__name__.lower()}, not drawn: {_why(f)}")
        for f in case.findings.values()
        if isinstance(f, kinds) and f.id not in shown
    ]
