"""Labels that do not lie on their images: masks of another size or place, points beyond them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from osler.data.cohort import Cohort, Row
from osler.data.locations import Location, boxes, exists, marked, place
from osler.data.opening import map_image
from osler.data.scanning import Scan
from osler.errors import OslerError

_SHIFT: Final = 0.5
"""Voxels by which a mask may lie beside its image before it is said."""


@dataclass(frozen=True, slots=True)
class LabelFault:
    """One label that cannot be right.

    Attributes:
        case: the case.
        label: its column.
        kind: it cannot be read, does not fit any image of the case, lies elsewhere in the patient,
            marks nothing, or leaves the image.
        text: the particulars.
    """

    case: str
    label: str
    kind: Literal["unreadable", "size", "place", "empty", "outside"]
    text: str = ""


def label_faults(cohort: Cohort, scans: Sequence[Scan], *, threads: int = 4) -> list[LabelFault]:
    """Look at every mask once, in the table's order; masks that are not there are left out.

    Args:
        cohort: the cases.
        scans: their images.
        threads: masks read at the same time.
    """
    seen: dict[str, list[Scan]] = {}
    for scan in scans:
        if not scan.error:
            seen.setdefault(scan.row.case_id, []).append(scan)
    with ThreadPoolExecutor(max(1, threads), "osler-masks") as pool:
        found = pool.map(
            lambda row: list(_faults(row, cohort, seen.get(row.case_id, []))), cohort.rows
        )
        return [fault for some in found for fault in some]


def _faults(row: Row, cohort: Cohort, images: Sequence[Scan]) -> Iterator[LabelFault]:
    maps: dict[Location, list[str]] = {}
    for name, text in row.labels.items():
        mark = marked(text, cohort.root)
        if mark is not None:
            if exists(mark.location):
                maps.setdefault(mark.location, []).append(name)
        elif images and _leaves(text, images[0].shape):
            size = " x ".join(map(str, images[0].shape))
            yield LabelFault(row.case_id, name, "outside", f"{text} in an image of {size}")
    for location, names in maps.items():
        yield from _of_map(row.case_id, location, names, images)


def _of_map(
    case: str,
    location: Location,
    names: Sequence[str],
    images: Sequence[Scan],
) -> Iterator[LabelFault]:
    try:
        image = map_image(location)
        values = image.array.max(axis=0)
    except OslerError as error:
        yield from (LabelFault(case, name, "unreadable", str(error)) for name in names)
        return
    under = next((scan for scan in images if scan.shape == values.shape), None)
    if under is None:
        if images:  # else the image is what cannot be read
            shapes = ", ".join(sorted({" x ".join(map(str, scan.shape)) for scan in images}))
            text = f"{' x '.join(map(str, values.shape))}, the image {shapes}"
            yield from (LabelFault(case, name, "size", text) for name in names)
        return
    shift = _shift(under.affine, image.affine, values.shape)
    if shift > _SHIFT:
        text = f"up to {shift:.1f} voxels away"
        yield from (LabelFault(case, name, "place", text) for name in names)
    if not (values > 0).any():  # of a map of several structures some may well be absent
        yield from (LabelFault(case, name, "empty") for name in names)


def _shift(
    one: NDArray[np.float64] | None, other: NDArray[np.float64] | None, shape: tuple[int, ...]
) -> float:
    """How far the corners of a mask lie from those of its image, in voxels of the image."""
    if one is None or other is None or len(shape) != 3:
        return 0.0
    ends = np.array(np.meshgrid(*[(0, size - 1) for size in shape], indexing="ij")).reshape(3, -1)
    corners = np.vstack([ends, np.ones(ends.shape[1])])
    try:
        back = np.linalg.solve(one, other @ corners)
    except np.linalg.LinAlgError:
        return 0.0
    return float(np.linalg.norm(back[:3] - ends, axis=0).max())


def _leaves(text: str, shape: tuple[int, ...]) -> bool:
    """Whether a point or a box is not within the image."""
    point = place(text)
    if point is not None:
        return len(point) == len(shape) and not all(
            -0.5 <= at <= size - 0.5 for at, size in zip(point, shape, strict=True)
        )
    return any(
        first < 0 or beyond > size
        for start, stop in boxes(text) or ()
        for first, beyond, size in zip(start, stop, shape[-len(start) :], strict=False)
    )
