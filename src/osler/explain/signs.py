"""The signs that were measured in a case: how many, in which quadrant, how near the fovea.

A sign counts where its centre lies. The quadrants meet at the centre of the optic disc, halved by
the line from disc to fovea and the line at a right angle to it, as ETDRS report 10 draws its fields
4 to 7 [1]_ (and as ``osler.retina.zones`` does).

References:
    .. [1] Early Treatment Diabetic Retinopathy Study Research Group, report 10, Ophthalmology
       98(5 Suppl):786-806, 1991.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.explain.knowledge import Node
from osler.record import Case, Mask, Point

QUADRANTS: Final = (
    "superior-temporal",
    "inferior-temporal",
    "superior-nasal",
    "inferior-nasal",
)
_HARDLY: Final = 0.05  # share of the field below which a quadrant is hardly in the picture


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The disc and the fovea, by which places are told.

    Attributes:
        disc: centre ``(h, w)``, pixels.
        fovea: ``(h, w)``, pixels.
        diameter: of the disc, pixels: of the circle of equal area.
        hardly: quadrants of which the photograph shows next to nothing.
    """

    disc: tuple[float, float]
    fovea: tuple[float, float]
    diameter: float
    hardly: tuple[str, ...] = ()

    def quadrants(self, points: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """``(N,)`` index into ``QUADRANTS`` of ``(N, 2)`` points ``(h, w)``."""
        along = np.subtract(self.fovea, self.disc)
        along = along / np.hypot(*along)
        upwards = np.array([-abs(along[1]), along[0] * np.sign(along[1])])
        away = np.asarray(points, np.float64) - self.disc
        below, nasal = away @ upwards < 0, away @ along < 0
        return np.asarray(below + 2 * nasal.astype(np.int64), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One sign in one case.

    Attributes:
        node: what it is in the graph.
        finding: id of the mask that shows it.
        count: connected parts (pixels that touch by an edge or a corner are one).
        quadrants: quadrant to count; empty where the quadrants cannot be told.
        distance: from the fovea to its nearest pixel, disc diameters; None where there is none or
            the fovea or the disc is not known.
        boxes: ``(top, left, bottom, right)`` of each part, ends exclusive, pixels.
        pixels: of all parts.
    """

    node: Node
    finding: str
    count: int
    quadrants: dict[str, int]
    distance: float | None
    boxes: tuple[tuple[int, int, int, int], ...]
    pixels: int


def frame_of(case: Case) -> Frame | str:
    """The disc and the fovea of a case, or why places cannot be told."""
    disc, fovea = case.get("disc", Mask), case.get("fovea", Point)
    if disc is None or not disc.mask.any():
        return "the optic disc was not found"
    if fovea is None:
        return "the fovea was not found"
    shape = disc.mask
    h, w = np.nonzero(_largest(shape))
    centre = (float(h.mean()), float(w.mean()))
    at = (float(fovea.position[0]), float(fovea.position[1]))
    if at[1] == centre[1]:
        return "the fovea lies straight above or below the disc, so that no side is temporal"
    frame = Frame(centre, at, 2 * float(np.sqrt(h.size / np.pi)))
    field = case.get("field", Mask)
    if field is None or not field.mask.any():
        return frame
    step = max(1, max(shape.shape) // 400)
    places = np.argwhere(field.mask[::step, ::step]) * float(step)
    shares = np.bincount(frame.quadrants(places), minlength=4) / len(places)
    hardly = tuple(q for q, share in zip(QUADRANTS, shares, strict=True) if share < _HARDLY)
    return Frame(frame.disc, frame.fovea, frame.diameter, hardly)


def seen(case: Case, node: Node, frame: Frame | str) -> Seen | None:
    """A sign in a case; None where no model looked for it."""
    from scipy import ndimage

    found = case.get(node.measured, Mask) if node.measured is not None else None
    if found is None or node.measured is None:
        return None
    mask = np.asarray(found.mask, bool)
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    parts = ndimage.find_objects(labels)
    boxes = tuple((p[0].start, p[1].start, p[0].stop, p[1].stop) for p in parts)
    quadrants: dict[str, int] = {}
    distance = None
    if not isinstance(frame, str):
        held = np.zeros(4, np.int64)
        if count:
            centres = np.array(
                ndimage.center_of_mass(mask, labels, range(1, count + 1)), np.float64
            )
            held = np.bincount(frame.quadrants(centres), minlength=4)
            away = np.argwhere(mask) - frame.fovea
            distance = float(np.hypot(away[:, 0], away[:, 1]).min()) / frame.diameter
        quadrants = {q: int(n) for q, n in zip(QUADRANTS, held, strict=True)}
    return Seen(node, node.measured, int(count), quadrants, distance, boxes, int(mask.sum()))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count < 2:
        return mask
    return np.asarray(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()))
