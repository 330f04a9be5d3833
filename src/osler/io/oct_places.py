"""Where the B-scans of an OCT volume lie on its en-face image, and whether they may be trusted.

An OCT volume is ``(1, D, H, W)``: B-scans, depth, A-scans. ``header["bscans"]`` holds one line
``(h0, w0, h1, w1)`` for each B-scan, from its first to its last A-scan, in pixels of the en-face
image, 0 at the centre of its first pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.record import Source, Transform
from osler.record.item import Laterality

Line = tuple[float, float, float, float]

SOURCE: Final = Source("algorithm", "osler.io.oct")
_EVEN: Final = 0.04  # of the step: devices round positions, and follow the eye
_LATERALITY: Final[dict[str, Laterality]] = {"OD": "R", "OS": "L", "R": "R", "L": "L"}


@dataclass(frozen=True, slots=True)
class Scan:
    """How the B-scans of a volume lie to each other.

    Attributes:
        step: millimetres from one B-scan to the next, or None where they are not parallel at
            equal steps, or there is only one.
        flags: named doubts.
    """

    step: float | None
    flags: tuple[str, ...] = ()


def laterality_of(stated: str) -> tuple[Laterality | None, tuple[str, ...]]:
    """The eye, and a flag where the file does not state one."""
    eye = _LATERALITY.get(stated.strip("\0 ").upper())
    return eye, () if eye else ("laterality-not-stated",)


def scan_of(lines: NDArray[np.float64], *, stated: float | None = None) -> Scan:
    """Whether B-scans are parallel at equal steps.

    Args:
        lines: ``(D, 4)``, ``(y0, x0, y1, x1)`` of each in millimetres.
        stated: the step that the file states, in millimetres; None where it states none.
    """
    if len(lines) < 2:
        return Scan(None)
    steps = np.diff(lines.reshape(-1, 2, 2), axis=0)
    lengths = np.linalg.norm(steps, axis=2)
    step = float(lengths.mean())
    middle = steps.reshape(-1, 2).mean(axis=0)
    uneven = np.linalg.norm(steps - middle, axis=2).max(initial=0.0) > _EVEN * step
    if not np.isfinite(lines).all() or step == 0 or uneven:
        return Scan(None, ("bscans-unevenly-spaced",))
    if stated is not None and abs(stated - step) > _EVEN * step:
        return Scan(step, ("bscan-step-differs",))
    return Scan(step)


def enface_of(line: Line, width: int, w: float) -> tuple[float, float]:
    """Where an A-scan lies on the en-face image, ``(h, w)`` in its pixels.

    Args:
        line: of its B-scan, as in ``header["bscans"]``.
        width: A-scans in a B-scan.
        w: number of the A-scan, from 0; between two of them where it has a fraction.
    """
    part = w / (width - 1) if width > 1 else 0.0
    h0, w0, h1, w1 = line
    return h0 + part * (h1 - h0), w0 + part * (w1 - w0)


def nearest_ascan(
    lines: Sequence[Line], width: int, h: float, w: float
) -> tuple[int, float, float]:
    """The other way: which A-scan is nearest to a place on the en-face image.

    Args:
        lines: of the B-scans, as in ``header["bscans"]``, in any pattern.
        width: A-scans in each.
        h: row of the place, in pixels of the en-face image.
        w: its column.

    Returns:
        The B-scan ``d``, the A-scan ``w`` in it (with a fraction), and how far off the place lies,
        in pixels of the en-face image.

    Raises:
        InputError: there are no lines.
    """
    ends = np.array(lines, float).reshape(-1, 2, 2)
    if not len(ends):
        raise InputError("the places of the B-scans are not known")
    along = ends[:, 1] - ends[:, 0]
    square = (along**2).sum(axis=1)
    part = ((np.array([h, w]) - ends[:, 0]) * along).sum(axis=1)
    part = np.clip(np.divide(part, square, out=np.zeros_like(part), where=square > 0), 0.0, 1.0)
    off = np.linalg.norm(ends[:, 0] + part[:, None] * along - (h, w), axis=1)
    d = int(np.argmin(off))
    return d, float(part[d] * (width - 1)), float(off[d])


def transform_of(lines: Sequence[Line], width: int, *, item: str, target: str) -> Transform | None:
    """The map from an index ``(d, h, w)`` of the volume to ``(h, w)`` of the en-face image.

    None for a single B-scan: a line is no plane.

    Args:
        lines: of the B-scans, in pixels of the en-face image.
        width: A-scans in each.
        item: name of the volume.
        target: name of the en-face image.
    """
    if len(lines) < 2 or width < 2:
        return None
    first, last = np.array(lines[0]), np.array(lines[-1])
    down = (last[:2] - first[:2]) / (len(lines) - 1)
    across = (first[2:] - first[:2]) / (width - 1)
    matrix = np.zeros((3, 4))
    matrix[:2, 0], matrix[:2, 2], matrix[:2, 3], matrix[2, 3] = down, across, first[:2], 1.0
    return Transform(
        id=f"{item}-to-{target}", name="OCT volume to en-face image", source=SOURCE, item=item,
        matrix=matrix, target=target,
    )  # fmt: skip
