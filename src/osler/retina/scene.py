"""What the measurements stand on: a case's masks and points, checked once, with reasons for gaps.

Anything that may be missing is either the thing or a ``str`` that says why it is not there; the
reason travels on into each measurement that needed it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from osler.errors import InputError
from osler.record import Case, Mask, Point
from osler.retina.definitions import REGIONS
from osler.retina.graph import VesselGraph, vessel_graph
from osler.retina.zones import (
    ZONES,
    Axis,
    BoolArray,
    Disc,
    axis_of,
    disc_geometry,
    share_cut_off,
    zone,
)

VESSELS = {"artery": "artery", "vein": "vein", "all": "vessels"}  # structure to finding
CUT_LIMIT = 0.2  # share of a zone outside the field, above which nothing is measured in it
PLAUSIBLE = (1.5, 4.0)  # disc diameters from disc to fovea; outside, one of the two is wrong


@dataclass(slots=True, eq=False)
class Scene:
    """A case's retina, ready to be measured.

    Attributes:
        shape: ``(H, W)`` of the photograph.
        field: field of view, ``(H, W)``.
        disc: the optic disc.
        fovea: ``(h, w)``, pixels.
        axis: from disc to fovea.
        um: micrometres a pixel.
        masks: structure to ``(H, W)``.
        graphs: structure to graph.
        zones: zone to the part of it in the field, ``(H, W)``.
        usable: zone to the same, or to the reason why nothing is measured in it.
        ids: ids of the findings that are there.
    """

    shape: tuple[int, int]
    field: BoolArray | str
    disc: Disc | str
    fovea: tuple[float, float] | str
    axis: Axis | str
    um: float | str
    masks: Mapping[str, BoolArray | str]
    graphs: Mapping[str, VesselGraph | str]
    zones: Mapping[str, BoolArray]
    usable: Mapping[str, BoolArray | str]
    ids: frozenset[str]

    def evidence(self, *ids: str) -> tuple[str, ...]:
        """Those of the ids that the case has, each once."""
        return tuple(dict.fromkeys(i for i in ids if i in self.ids))


def mask_of(case: Case, id: str, shape: tuple[int, int]) -> BoolArray | None:
    """The mask of a finding, or None where the case has none.

    Raises:
        InputError: it does not lie on the photograph's grid.
    """
    found = case.get(id, Mask)
    if found is None:
        return None
    if found.mask.shape != shape:
        raise InputError(
            f"mask '{id}' of case '{case.id}' has shape {found.mask.shape}, the photograph "
            f"{shape}; give masks in the native grid of their image"
        )
    return np.ascontiguousarray(found.mask, dtype=bool)


def set_scene(case: Case, *, item: str) -> Scene:
    """Gather what there is to measure in a case.

    Raises:
        InputError: there is no such image, it is not two-dimensional, or a mask has another shape.
    """
    image = case.image(item)
    if len(image.shape) != 2:
        raise InputError(f"image '{item}' of case '{case.id}' has shape {image.shape}; give (H, W)")
    shape = (image.shape[0], image.shape[1])
    field = _field(case, shape)
    disc = _disc(case, shape)
    fovea = _fovea(case, shape)
    masks = {s: _vessels(case, id, shape) for s, id in VESSELS.items()}
    zones, usable = _zones(shape, disc, field)
    return Scene(
        shape=shape,
        field=field,
        disc=disc,
        fovea=fovea,
        axis=_axis(disc, fovea),
        um=_micrometres(image.spacing),
        masks=masks,
        graphs={s: m if isinstance(m, str) else vessel_graph(m) for s, m in masks.items()},
        zones=zones,
        usable=usable,
        ids=frozenset(case.findings),
    )


def _field(case: Case, shape: tuple[int, int]) -> BoolArray | str:
    field = mask_of(case, "field", shape)
    return field if field is not None and field.any() else "no field of view was found"


def _disc(case: Case, shape: tuple[int, int]) -> Disc | str:
    mask = mask_of(case, "disc", shape)
    return (None if mask is None else disc_geometry(mask)) or "no optic disc was found"


def _fovea(case: Case, shape: tuple[int, int]) -> tuple[float, float] | str:
    point = case.get("fovea", Point)
    if point is None:
        return "no fovea was found"
    if len(point.position) != 2 or not np.isfinite(point.position).all():
        raise InputError(f"fovea of case '{case.id}' is at {point.position}; expected (h, w)")
    h, w = point.position
    if not (-0.5 <= h <= shape[0] - 0.5 and -0.5 <= w <= shape[1] - 0.5):
        return "the fovea lies outside the photograph"
    return h, w


def _axis(disc: Disc | str, fovea: tuple[float, float] | str) -> Axis | str:
    if isinstance(disc, str):
        return disc
    if isinstance(fovea, str):
        return fovea
    away = float(np.hypot(fovea[0] - disc.centre[0], fovea[1] - disc.centre[1])) / disc.diameter
    low, high = PLAUSIBLE
    axis = axis_of(disc, fovea)
    if axis is None or not low <= away <= high:
        return (
            f"disc and fovea are {away:.1f} disc diameters apart, which is not plausible "
            f"({low:g} to {high:g})"
        )
    return axis


def _micrometres(spacing: tuple[float, ...] | None) -> float | str:
    if spacing is None:
        return "the image does not state its pixel spacing"
    low, high = sorted(spacing)
    if not low > 0 or not np.isfinite(high):
        return f"the image states a pixel spacing of {spacing} mm, which cannot be"
    if high / low > 1.01:
        return "the image's pixels are not square"
    return 500.0 * (low + high)


def _vessels(case: Case, id: str, shape: tuple[int, int]) -> BoolArray | str:
    mask = mask_of(case, id, shape)
    kind = "vessel" if id == "vessels" else id
    return f"there is no {kind} mask" if mask is None else mask


def _zones(
    shape: tuple[int, int], disc: Disc | str, field: BoolArray | str
) -> tuple[dict[str, BoolArray], dict[str, BoolArray | str]]:
    missing = next((x for x in (disc, field) if isinstance(x, str)), None)
    if isinstance(disc, str) or isinstance(field, str):
        return {}, dict.fromkeys(ZONES, missing or "")
    seen: dict[str, BoolArray] = {}
    usable: dict[str, BoolArray | str] = {}
    for name in ZONES:
        seen[name] = zone(shape, disc, name) & field
        cut = share_cut_off(disc, name, pixels=int(np.count_nonzero(seen[name])))
        usable[name] = seen[name]
        if cut > CUT_LIMIT:
            usable[name] = (
                f"{REGIONS[name]} is cut off by the edge of the photograph: {100 * cut:.0f} % of "
                f"it is not seen (limit {100 * CUT_LIMIT:.0f} %)"
            )
    return seen, usable
