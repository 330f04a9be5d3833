"""Measure a retina: turn its masks into numbers with a unit, a definition and their evidence.

Each number is either a value or the reason why it was not computed; none is guessed. What each
one means is in ``definitions.py`` and ``docs/biomarkers.md``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from osler.record import Case, Mask, Measurement, Source
from osler.retina.angles import CIRCLES, temporal_angle
from osler.retina.calibre import (
    WIDEST,
    Crossings,
    crossings_of,
    cvme,
    diameter_std,
    equivalent,
    hubbard,
    knudtson,
    segment_medians,
)
from osler.retina.definitions import REGIONS, STRUCTURES, definition, identifier
from osler.retina.fractal import dimensions
from osler.retina.graph import VesselGraph
from osler.retina.lesion_measures import Lesions, lesions_of
from osler.retina.scene import VESSELS, Scene, mask_of, set_scene
from osler.retina.tortuosity import distance_factors, measurable, windings
from osler.retina.zones import QUADRANTS, ZONES, disc_geometry

SOURCE = Source("algorithm", "osler.retina.biomarkers", "0.1.0")
LESIONS = ("microaneurysms", "haemorrhages", "hard-exudates", "soft-exudates")
FEWEST_SEGMENTS = 3
CURVATURE_SCALE = 0.03  # disc diameters: windings shorter than about six times this are smoothed
FLAT = 0.25  # curvature in 1/disc diameter below which a stretch counts as straight
_REGIONS = ("", *ZONES)
_RING = tuple(2.0 + 0.1 * i for i in range(11))  # disc radii, the circles of zone B

Result = float | str  # a value, or the reason why there is none


@dataclass(frozen=True, slots=True)
class _Row:
    """One result on its way into the case; ``on`` are ids of what it stands on."""

    measure: str
    structure: str
    result: Result
    on: tuple[str, ...]
    region: str = ""
    note: str = ""
    flags: tuple[str, ...] = ()


def measure(case: Case, *, item: str = "photo") -> None:
    """Add every measurement of the retina to a case, and its zones B and C.

    Reads the masks ``field``, ``disc``, ``cup``, ``vessels``, ``artery``, ``vein`` and those of
    the lesions, and the point ``fovea``, as far as they are there.

    Args:
        case: gets the masks ``zone-b`` and ``zone-c`` (where there is a disc) and the measurements.
        item: the photograph's name.

    Raises:
        InputError: there is no such image, a mask has another shape than the image, or the case
            has been measured before.
    """
    scene = set_scene(case, item=item)
    for name, mask in scene.zones.items():
        case.add(
            Mask(
                id=name,
                name=REGIONS[name].capitalize(),
                source=SOURCE,
                item=item,
                evidence=scene.evidence("disc", "field"),
                mask=mask,
                note="{:g} to {:g} disc radii from the disc's centre".format(*ZONES[name]),
            )
        )
    scene.ids = frozenset(case.findings)
    for rows in (_disc(case, scene), _vessels(scene), _lesions(case, scene)):
        for row in rows:
            case.add(_finding(row, scene, item))


def _finding(row: _Row, scene: Scene, item: str) -> Measurement:
    said = definition(row.measure, row.structure)
    where = ", ".join(p for p in (STRUCTURES[row.structure], REGIONS[row.region]) if p)
    reason = row.result if isinstance(row.result, str) else ""
    value = None if isinstance(row.result, str) else float(row.result)
    return Measurement(
        id=identifier(row.measure, row.structure, row.region),
        name=f"{said.name}, {where}" if where else said.name,
        source=SOURCE,
        item=item,
        evidence=scene.evidence(*row.on),
        flags=row.flags,
        note=row.note,
        value=value,
        unit=said.unit,
        method=said.method,
        reason=reason,
        structure=STRUCTURES[row.structure],
        region=REGIONS[row.region],
    )


def _divide(above: Result, below: Result) -> Result:
    """The quotient, or the first reason why there is none."""
    if isinstance(above, str):
        return above
    if isinstance(below, str):
        return below
    return above / below if below else "the value for the veins is 0"


def _add(one: Result, other: Result) -> Result:
    """The sum, or the first reason why there is none."""
    if isinstance(one, str):
        return one
    return other if isinstance(other, str) else one + other


def _scaled(pixels: Result, unit: Result, power: int = 1) -> Result:
    """A number of pixels in another unit of so many pixels (or of pixels to some power)."""
    if isinstance(pixels, str):
        return pixels
    return unit if isinstance(unit, str) else pixels / unit**power


def _diameter(scene: Scene) -> Result:
    return scene.disc if isinstance(scene.disc, str) else scene.disc.diameter


def _micrometre(scene: Scene) -> Result:
    """Pixels a micrometre."""
    return scene.um if isinstance(scene.um, str) else 1.0 / scene.um


def _disc(case: Case, scene: Scene) -> Iterator[_Row]:
    yield _Row("disc-diameter", "", _diameter(scene), ("disc",))
    axis = scene.axis
    length = axis if isinstance(axis, str) else axis.length
    yield _Row("disc-fovea-distance", "", _scaled(length, _diameter(scene)), ("disc", "fovea"))
    disc, cup = mask_of(case, "disc", scene.shape), mask_of(case, "cup", scene.shape)
    flags = case.findings["cup"].flags if "cup" in case.findings else ()
    outer = None if disc is None else disc_geometry(disc)
    inner = None if disc is None or cup is None else disc_geometry(cup & disc)
    for part in ("vertical", "horizontal", "area"):
        result: Result
        if outer is None:
            result = "no optic disc was found"
        elif inner is None:
            result = "no optic cup was found inside the disc"
        elif part == "vertical":
            result = inner.height / outer.height
        elif part == "horizontal":
            result = inner.width / outer.width
        else:
            result = (inner.radius / outer.radius) ** 2
        yield _Row("cdr", part, result, ("disc", "cup"), flags=flags)


def _vessels(scene: Scene) -> Iterator[_Row]:
    parts = {(s, r): _part(scene, graph, r) for s, graph in scene.graphs.items() for r in _REGIONS}
    yield from _by_region(scene, parts, "")
    for structure in VESSELS:
        yield from _overall(scene, structure, parts[structure, ""])
    yield from _equivalents(scene)
    for structure in ("artery", "vein"):
        on = (VESSELS[structure], "disc", "fovea")
        yield _Row("temporal-angle", structure, _angle(scene, structure), on)
    for region in ZONES:
        yield from _by_region(scene, parts, region)


def _part(scene: Scene, graph: VesselGraph | str, region: str) -> VesselGraph | str:
    """The graph inside a region, or why there is none."""
    if isinstance(graph, str) or not region:
        return graph
    inside = scene.usable[region]
    return inside if isinstance(inside, str) else graph.within(inside)


def _by_region(
    scene: Scene, parts: dict[tuple[str, str], VesselGraph | str], region: str
) -> Iterator[_Row]:
    """The measures that are given for the whole photograph and for each zone."""
    ring = ("disc", region) if region else ()
    size = _diameter(scene)
    by: dict[tuple[str, str], Result] = {}
    for structure, id in VESSELS.items():
        graph = parts[structure, region]
        wide, full = _median_diameter(graph), _density(scene, structure, region)
        by["tortuosity", structure] = _tortuosity(graph)
        by["median-diameter", structure] = wide
        by["density", structure] = full
        by["bifurcations", structure] = (
            graph if isinstance(graph, str) else float(len(graph.branchings()))
        )
        spread = graph if isinstance(graph, str) else diameter_std(graph)
        spread = "no diameter could be measured" if spread is None else spread
        scale = (id, "disc", *ring)
        yield _Row("tortuosity", structure, by["tortuosity", structure], (id, *ring), region)
        yield _Row("median-diameter", structure, _scaled(wide, size), scale, region)
        yield _Row("diameter-std", structure, _scaled(spread, size), scale, region)
        yield _Row("density", structure, full, (id, "field", *ring), region)
        yield _fractal(scene, structure, region)
    by["bifurcations", "all"] = _add(by["bifurcations", "artery"], by["bifurcations", "vein"])
    both = ("artery", "vein", *ring)
    for structure in VESSELS:
        on = both if structure == "all" else (structure, *ring)
        yield _Row("bifurcations", structure, by["bifurcations", structure], on, region)
    for name in ("tortuosity", "median-diameter", "density"):
        yield _Row(name, "ratio", _divide(by[name, "artery"], by[name, "vein"]), both, region)


def _overall(scene: Scene, structure: str, graph: VesselGraph | str) -> Iterator[_Row]:
    """The measures that are given for the whole photograph only."""
    id = VESSELS[structure]
    wide = _median_diameter(graph)
    yield _Row("median-diameter-um", structure, _scaled(wide, _micrometre(scene)), (id,))
    spread = graph if isinstance(graph, str) else cvme(graph)
    yield _Row(
        "diameter-cvme",
        structure,
        "no diameter could be measured" if spread is None else spread,
        (id,),
    )
    # on centrelines, as its source does: inside a thick vessel every dimension tends to 2
    found = graph if isinstance(graph, str) else dimensions(graph.centrelines(scene.shape))
    for name in ("information-dimension", "correlation-dimension"):
        result: Result
        if isinstance(found, str) or found is None:
            result = found or _TOO_SMALL
        else:
            result = found.d1 if name == "information-dimension" else found.d2
        yield _Row(name, structure, result, (id,))
    if structure != "all":
        yield from _curvatures(scene, structure, graph)


_TOO_SMALL = "the mask is empty or too small for four box sizes"


def _fractal(scene: Scene, structure: str, region: str) -> _Row:
    mask = scene.masks[structure]
    inside = scene.usable[region] if region else None
    result: Result
    if isinstance(mask, str):
        result = mask
    elif isinstance(inside, str):
        result = inside
    else:
        found = dimensions(mask if inside is None else mask & inside)
        result = _TOO_SMALL if found is None else found.d0
    on = (VESSELS[structure], region) if region else (VESSELS[structure],)
    return _Row("fractal-dimension", structure, result, on, region)


def _few(count: int) -> str:
    return f"only {count} vessel segments are long enough (at least {FEWEST_SEGMENTS} are needed)"


def _tortuosity(graph: VesselGraph | str) -> Result:
    if isinstance(graph, str):
        return graph
    values = distance_factors(graph.apart())
    return float(np.median(values)) if values.size >= FEWEST_SEGMENTS else _few(values.size)


def _median_diameter(graph: VesselGraph | str) -> Result:
    """In pixels."""
    if isinstance(graph, str):
        return graph
    values = segment_medians(graph)
    return float(np.median(values)) if values.size >= FEWEST_SEGMENTS else _few(values.size)


def _curvatures(scene: Scene, structure: str, graph: VesselGraph | str) -> Iterator[_Row]:
    on = (structure, "disc")
    size = _diameter(scene)
    missing = next((x for x in (graph, size) if isinstance(x, str)), "")
    found = None
    if not isinstance(graph, str) and not isinstance(size, str):
        graph = graph.apart()
        # a path shorter than the Gaussian is wide comes out straight
        scale = CURVATURE_SCALE * size
        keep = measurable(graph) & (graph.arcs >= 4.0 * scale)
        if keep.sum() < FEWEST_SEGMENTS:
            missing = _few(int(keep.sum()))
        else:
            found = windings(graph, scale=scale, flat=FLAT / size)
    # tau3, tau4 and tau6 are per pixel, tau5 and tau7 per squared pixel
    for number, power in {2: 0, 3: -1, 4: -1, 5: -2, 6: -1, 7: -2}.items():
        result: Result = missing
        if found is not None:
            result = _scaled(float(np.median(found.taus[number][keep])), size, power)
        yield _Row(f"tortuosity-tau{number}", structure, result, on)
    result = missing
    if found is not None:
        result = _scaled(float(np.median(found.density[keep])), size, -1)
    yield _Row("tortuosity-density", structure, result, on)


def _density(scene: Scene, structure: str, region: str) -> Result:
    """In per cent."""
    mask, field = scene.masks[structure], scene.field
    inside = scene.usable[region] if region else field
    for part in (mask, field, inside):
        if isinstance(part, str):
            return part
    assert isinstance(mask, np.ndarray)
    assert isinstance(inside, np.ndarray)
    whole = int(np.count_nonzero(inside))
    return 100.0 * int(np.count_nonzero(mask & inside)) / whole if whole else "the region is empty"


def _equivalents(scene: Scene) -> Iterator[_Row]:
    circles = {s: _zone_b(scene, s) for s in ("artery", "vein")}
    um = _micrometre(scene)
    both = ("artery", "vein", "disc", "zone-b")
    pixels = {s: _equivalent(c, kind=s) for s, c in circles.items()}
    absolute = {s: _equivalent(c, kind=s, um=scene.um) for s, c in circles.items()}
    for measure_name, kind in (("crae", "artery"), ("crve", "vein")):
        on = (kind, "disc", "zone-b")
        yield _Row(measure_name, "knudtson", _scaled(pixels[kind], _diameter(scene)), on)
        yield _Row(f"{measure_name}-um", "knudtson", _scaled(pixels[kind], um), on)
        yield _Row(measure_name, "hubbard", absolute[kind], on)
    yield _Row("avr", "knudtson", _divide(pixels["artery"], pixels["vein"]), both)
    yield _Row("avr", "hubbard", _divide(absolute["artery"], absolute["vein"]), both)


def _zone_b(scene: Scene, structure: str) -> list[Crossings] | str:
    graph, inside, disc = scene.graphs[structure], scene.usable["zone-b"], scene.disc
    for part in (graph, disc, inside):
        if isinstance(part, str):
            return part
    assert isinstance(graph, VesselGraph)
    assert not isinstance(disc, str)
    radii = [k * disc.radius for k in _RING]
    return crossings_of(graph, centre=disc.centre, radii=radii, reach=0.05 * disc.radius)


def _equivalent(
    circles: list[Crossings] | str, *, kind: str, um: float | str | None = None
) -> Result:
    """By Knudtson in pixels, or by Hubbard where ``um`` (micrometres a pixel) is given."""
    if isinstance(circles, str):
        return circles
    if isinstance(um, str):
        return f"Hubbard's constants are in micrometres, and {um}"
    if um is None:
        found = equivalent(circles, lambda widths: knudtson(widths, kind=kind))
    else:
        found = equivalent(circles, lambda widths: hubbard([um * w for w in widths], kind=kind))
    if isinstance(found, float):
        return found
    return (
        f"too few {STRUCTURES[kind]} cross zone B: {found} on the median circle ({WIDEST} are "
        "needed on half of the circles)"
    )


def _angle(scene: Scene, structure: str) -> Result:
    graph, axis, disc = scene.graphs[structure], scene.axis, scene.disc
    for part in (graph, disc, axis):
        if isinstance(part, str):
            return part
    assert isinstance(graph, VesselGraph)
    assert not isinstance(axis, str)
    assert not isinstance(disc, str)
    radii = [share * axis.length for share in CIRCLES]
    circles = crossings_of(graph, centre=disc.centre, radii=radii, reach=0.05 * disc.radius)
    angle = temporal_angle(circles, axis)
    return "fewer than three circles agree on a pair of arcades" if angle is None else angle


def _lesions(case: Case, scene: Scene) -> Iterator[_Row]:
    for kind in LESIONS:
        mask = mask_of(case, kind, scene.shape)
        if mask is None:
            missing = f"there is no mask of {STRUCTURES[kind]}"
            for name in _LESION_MEASURES:
                yield _Row(name, kind, missing, (kind,))
            continue
        yield from _lesion_rows(lesions_of(mask), kind, scene)


_LESION_MEASURES = (
    "lesion-count",
    "lesion-area",
    "lesion-area-px",
    "lesion-area-mm2",
    "lesion-fovea-distance",
    "lesion-quadrants",
)


def _lesion_rows(lesions: Lesions, kind: str, scene: Scene) -> Iterator[_Row]:
    size = _diameter(scene)
    um = scene.um
    yield _Row("lesion-count", kind, float(len(lesions)), (kind,))
    yield _Row("lesion-area", kind, _scaled(lesions.area, size, 2), (kind, "disc"))
    yield _Row("lesion-area-px", kind, lesions.area, (kind,))
    square = um if isinstance(um, str) else lesions.area * (um / 1000.0) ** 2
    yield _Row("lesion-area-mm2", kind, square, (kind,))
    fovea = scene.fovea
    away: Result
    if isinstance(fovea, str):
        away = fovea
    else:
        nearest = lesions.nearest(fovea)
        away = f"there are no {STRUCTURES[kind]}" if nearest is None else nearest
    yield _Row("lesion-fovea-distance", kind, _scaled(away, size), (kind, "fovea", "disc"))
    axis = scene.axis
    if isinstance(axis, str):
        yield _Row("lesion-quadrants", kind, axis, (kind, "disc", "fovea"))
        return
    held = lesions.quadrants(axis)
    yield _Row(
        "lesion-quadrants",
        kind,
        float(len(held)),
        (kind, "disc", "fovea"),
        note=", ".join(held) if held else f"none of the {len(QUADRANTS)} quadrants",
    )
