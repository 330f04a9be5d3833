"""Measuring in a case: places, distances, areas, and where lesions lie.

Lengths are in millimetres where the image states its scale, else in pixels; beside them in disc
diameters where the case has one. Nothing is estimated from a scale that no file states.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.record import Box, Case, Finding, Image, Mask, Measurement, Point

MOST_VOXELS: Final = 60_000_000
"""Most pixels or voxels of a mask that is measured."""

_MOST_PARTS: Final = 2000
_EIGHT: Final = np.ones((3, 3))


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Somewhere in an item.

    Attributes:
        name: what it is called in an answer.
        at: index ``(h, w)`` or ``(d, h, w)``, pixels.
        evidence: ids of the findings that say so; empty for a place that was given as numbers.
        pixels: mask of the structure, where it is one.
        item: the item's name, or None where it is not known.
    """

    name: str
    at: NDArray[np.float64]
    evidence: tuple[str, ...] = ()
    pixels: NDArray[np.bool_] | None = None
    item: str | None = None


def place(case: Case, said: str | tuple[float, ...]) -> Place:
    """The place of a finding, or of an index.

    Raises:
        InputError: there is no such finding, it has no place, or nothing was found of it.
    """
    if not isinstance(said, str):
        at = np.array(said, np.float64)
        if at.shape not in ((2,), (3,)) or not np.isfinite(at).all():
            raise InputError("a place is two or three finite numbers (h, w) or (d, h, w)")
        return Place(f"({', '.join(f'{x:g}' for x in at)})", at)
    finding = case.findings.get(said)
    if finding is None:
        raise InputError("the case has no finding of that id; list the findings to see which")
    if isinstance(finding, Mask):
        mask = mask_of(finding)
        if not mask.any():
            raise InputError(f"nothing was found of '{finding.id}', so it lies nowhere")
        return Place(finding.name, _centre(mask), (finding.id,), mask, finding.item)
    if isinstance(finding, Point):
        at = np.array(finding.position, np.float64)
        return Place(finding.name, at, (finding.id,), None, finding.item)
    if isinstance(finding, Box):
        at = (np.array(finding.start, np.float64) + np.array(finding.stop) - 1) / 2
        return Place(finding.name, at, (finding.id,), None, finding.item)
    raise InputError(f"'{finding.id}' is no structure with a place")


def mask_of(finding: Finding) -> NDArray[np.bool_]:
    """The pixels of a mask that is small enough to be measured.

    Raises:
        InputError: it is no mask, or too large.
    """
    if not isinstance(finding, Mask):
        raise InputError(f"'{finding.id}' is no mask")
    if int(np.prod(finding.shape, dtype=np.int64)) > MOST_VOXELS:
        raise InputError(f"'{finding.id}' has more than {MOST_VOXELS:,} voxels: not measured here")
    return np.asarray(finding.mask, bool)


def _centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    # axis by axis, so that no list of all places is needed
    total, out = int(np.count_nonzero(mask)), []
    for axis, size in enumerate(mask.shape):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        out.append(float((mask.sum(axis=others) * np.arange(size)).sum()) / total)
    return np.array(out)


def _spacing(case: Case, item: str | None, axes: int) -> NDArray[np.float64] | None:
    image = case.items.get(item or "")
    if item is None:
        images = [one for one in case.items.values() if isinstance(one, Image)]
        image = images[0] if len(images) == 1 else None
    if not isinstance(image, Image) or image.spacing is None or len(image.spacing) != axes:
        return None
    return np.array(image.spacing, np.float64)


def _disc_diameter(case: Case) -> Measurement | None:
    found = case.get("disc-diameter", Measurement)
    ok = found and found.value and found.unit == "[pix_i]" and not found.flags
    return found if ok else None


def distance(case: Case, one: Place, other: Place, *, edges: bool = False) -> Mapping[str, Any]:
    """How far two places are from each other.

    Args:
        case: that holds them.
        one: from here.
        other: to here.
        edges: between the nearest pixels of two structures instead of their centres.

    Raises:
        InputError: they lie in different images, or have another number of axes.
    """
    if one.item and other.item and one.item != other.item:
        raise InputError("the two lie in different images; a distance needs one image")
    if one.at.shape != other.at.shape:
        raise InputError("one is a place in a plane and the other in a volume")
    item = one.item or other.item
    spacing = _spacing(case, item, len(one.at))
    weight = np.ones(len(one.at)) if spacing is None else spacing
    if edges:
        length = _between_edges(one, other, weight)
    else:
        length = float(np.linalg.norm((one.at - other.at) * weight))
    out: dict[str, Any] = {
        "value": length,
        "unit": "[pix_i]" if spacing is None else "mm",
        "between": "nearest edges" if edges else "centres",
    }
    ruler = _disc_diameter(case)
    if ruler is not None and ruler.value and spacing is None and len(one.at) == 2:
        out["disc_diameters"] = length / ruler.value
        out["ruler"] = ruler.id
    return out


def _between_edges(one: Place, other: Place, weight: NDArray[np.float64]) -> float:
    from scipy import ndimage
    from scipy.spatial import cKDTree

    def rim(where: Place) -> NDArray[np.float64]:
        if where.pixels is None:
            return where.at[None]
        inner = ndimage.binary_erosion(where.pixels)
        places = np.argwhere(where.pixels & ~inner).astype(np.float64)
        return places[:: max(1, len(places) // 200_000)]

    if one.pixels is not None and other.pixels is not None:
        if one.pixels.shape != other.pixels.shape:
            raise InputError("the two masks have different grids")
        if (one.pixels & other.pixels).any():
            return 0.0
    for inside, point in ((one, other), (other, one)):
        at = tuple(np.rint(point.at).astype(int))
        if inside.pixels is not None and point.pixels is None:
            within = all(0 <= a < n for a, n in zip(at, inside.pixels.shape, strict=True))
            if within and inside.pixels[at]:
                return 0.0
    near, _ = cKDTree(rim(other) * weight).query(rim(one) * weight)
    return float(np.min(near))


def area(case: Case, finding: Finding) -> Mapping[str, Any]:
    """How much a structure covers: pixels or voxels, and mm² or ml where the scale is known."""
    mask = mask_of(finding)
    count = int(np.count_nonzero(mask))
    spacing = _spacing(case, finding.item, mask.ndim)
    flat = mask.ndim == 2
    if spacing is None:
        return {"value": count, "unit": "[pix_i]2" if flat else "{voxels}"}
    size = float(np.prod(spacing)) * count
    return {"value": size if flat else size / 1000, "unit": "mm2" if flat else "mL"}


def diameter(case: Case, finding: Finding) -> Mapping[str, Any]:
    """The diameter of the circle (or ball) as large as a structure."""
    mask = mask_of(finding)
    count = int(np.count_nonzero(mask))
    spacing = _spacing(case, finding.item, mask.ndim)
    size = count * (1.0 if spacing is None else float(np.prod(spacing)))
    flat = mask.ndim == 2
    value = 2 * np.sqrt(size / np.pi) if flat else 2 * np.cbrt(3 * size / (4 * np.pi))
    return {
        "value": float(value),
        "unit": "[pix_i]" if spacing is None and flat else "{voxels}" if spacing is None else "mm",
        "method": f"of the {'circle' if flat else 'ball'} of the same size",
    }


def parts(finding: Finding) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The connected parts of a flat mask: ``(L,)`` pixels of each, ``(L, 2)`` their centres.

    Raises:
        InputError: it is no flat mask, or falls into too many parts.
    """
    from scipy import ndimage

    mask = mask_of(finding)
    if mask.ndim != 2:
        raise InputError(f"'{finding.id}' is a volume; its parts are not counted here")
    labels, count = ndimage.label(mask, structure=_EIGHT)
    if count > _MOST_PARTS:
        raise InputError(f"'{finding.id}' falls into more than {_MOST_PARTS:,} parts")
    index = np.arange(1, count + 1)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, index)).reshape(-1, 2)
    return sizes, centres


def largest(case: Case, finding: Finding) -> Mapping[str, Any]:
    """The largest of a structure's connected parts.

    Raises:
        InputError: nothing was found of it, or it is a volume.
    """
    sizes, centres = parts(finding)
    if not len(sizes):
        raise InputError(f"nothing was found of '{finding.id}'")
    top = int(np.argmax(sizes))
    spacing = _spacing(case, finding.item, 2)
    one = 1.0 if spacing is None else float(np.prod(spacing))
    return {
        "value": float(sizes[top]) * one,
        "unit": "[pix_i]2" if spacing is None else "mm2",
        "at": [round(float(x), 1) for x in centres[top]],
        "of": len(sizes),
    }


def where(case: Case, finding: Finding) -> Mapping[str, Any]:
    """Where a structure lies: its centre, and in a fundus photograph the sectors of the fovea.

    The nasal side is the one on which the optic disc lies; above is superior, which takes it that
    the photograph stands upright.
    """
    spot = place(case, finding.id)
    out: dict[str, Any] = {"centre": [round(float(x), 1) for x in spot.at], "unit": "[pix_i]"}
    fovea, disc = case.get("fovea", Point), case.get("disc", Mask)
    usable = fovea is not None and disc is not None and "fovea-implausible" not in fovea.flags
    if not usable or not isinstance(finding, Mask) or finding.id in ("disc", "cup", "field"):
        return out
    if len(finding.shape) != 2 or not disc.mask.any():  # type: ignore[union-attr]
        return out
    _, centres = parts(finding)
    middle = np.array(fovea.position, np.float64)  # type: ignore[union-attr]
    nasal = _centre(mask_of(disc)) - middle  # type: ignore[arg-type]
    nasal /= max(float(np.linalg.norm(nasal)), 1e-9)
    up = np.array([-abs(nasal[1]), nasal[0] * np.sign(nasal[1] or 1.0)])
    rest = centres - middle
    sectors: dict[str, int] = {}
    for along, above in zip(rest @ nasal, rest @ up, strict=True):
        name = f"{'superior' if above > 0 else 'inferior'}-{'nasal' if along > 0 else 'temporal'}"
        sectors[name] = sectors.get(name, 0) + 1
    return out | {"about": "fovea", "sectors": dict(sorted(sectors.items(), key=lambda s: -s[1]))}
