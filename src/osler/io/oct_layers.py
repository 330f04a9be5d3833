"""Boundaries of retinal layers that an OCT device has drawn.

A boundary is a ``Contour`` of the volume: for each B-scan a line of indices ``(d, h, w)``, or
``(h, w)`` where there is one B-scan, with ``h`` between pixels as the device gives it and 0 at the
centre of the first. Where the device found nothing the line is parted. ``heights`` makes a map of
it, in pixels or millimetres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.record import Contour, Image, Source

NAMES: Final = (
    "ILM", "BM", "RNFL", "GCL", "IPL", "INL", "OPL", "ONL", "ELM", "IOS", "OPT", "CHO", "VIT",
    "ANT", "PR1", "PR2", "RPE", "IPL+", "IPL-",
)  # fmt: skip
"""Heidelberg's names in the order of its files."""

MOST: Final = 64
"""Boundaries in a B-scan; more are no boundaries."""

_FARTHEST: Final = 1e6  # pixels: the greatest single-precision number stands for "not found"


@dataclass(frozen=True, slots=True)
class Boundary:
    """One boundary in all B-scans.

    Attributes:
        name: the device's.
        heights: ``(D, W)``, pixels from the top of each B-scan; anything great or not finite
            where there is none.
        by_hand: whether a person has moved it.
    """

    name: str
    heights: NDArray[np.float64]
    by_hand: bool = False


def name_of(number: int) -> str:
    """The device's name of a boundary, or its number where it has none here."""
    return NAMES[number] if 0 <= number < len(NAMES) else f"layer {number}"


def contours(
    boundaries: Sequence[Boundary], *, item: str, flat: bool, version: str = ""
) -> list[Contour]:
    """The boundaries that are drawn anywhere, as findings.

    Args:
        boundaries: with ``(D, W)`` alike.
        item: name of the volume.
        flat: whether it is one B-scan, ``(1, H, W)``.
        version: of the device's format.
    """
    found = []
    for one in boundaries:
        rings = [
            ring
            for d, line in enumerate(one.heights)
            for ring in _parted(line, None if flat else d)
        ]
        if rings:
            found.append(
                Contour(
                    id=f"{item}-{one.name.lower().replace(' ', '-')}",
                    name=f"Boundary {one.name}",
                    source=Source("algorithm", "Heidelberg Engineering HEYEX", version),
                    item=item,
                    rings=tuple(rings),
                    closed=False,
                    flags=("edited-by-hand",) if one.by_hand else (),
                )
            )
    return found


def _parted(line: NDArray[np.float64], d: int | None) -> list[NDArray[np.float64]]:
    """Stretches of a line without gaps, as indices."""
    with np.errstate(invalid="ignore"):
        there = np.abs(line) < _FARTHEST  # false for what is not finite
    where = np.flatnonzero(there)
    parts = np.split(where, np.flatnonzero(np.diff(where) > 1) + 1) if where.size else []
    rings = []
    for w in parts:
        columns = [line[w], w.astype(np.float64)]
        if d is not None:
            columns.insert(0, np.full(w.size, float(d)))
        rings.append(np.column_stack(columns))
    return rings


def heights(contour: Contour, oct: Image, *, millimetres: bool = False) -> NDArray[np.float64]:
    """A boundary as a map, so that the difference of two is a thickness.

    Args:
        contour: of ``contours``.
        oct: the volume that it is about.
        millimetres: along depth, instead of pixels.

    Returns:
        ``(D, W)``, or ``(1, W)`` of a single B-scan; NaN where there is no boundary.

    Raises:
        InputError: it is about another item, or the size of a pixel is not known.
    """
    if contour.item != oct.name or contour.frame:
        raise InputError(f"finding '{contour.id}' is no boundary in the image '{oct.name}'")
    depth = oct.spacing[-2] if oct.spacing else oct.header.get("depth_spacing_mm")
    if millimetres and not depth:
        raise InputError(f"image '{oct.name}' does not state the depth of a pixel; ask for pixels")
    count = oct.shape[0] if len(oct.shape) == 3 else 1
    out = np.full((count, oct.shape[-1]), np.nan)
    for ring in contour.rings:
        d = ring[:, 0].astype(int) if ring.shape[1] == 3 else 0
        out[d, ring[:, -1].astype(int)] = ring[:, -2]
    return out * float(depth or 0) if millimetres else out
