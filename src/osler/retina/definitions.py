"""What each retinal measurement is: its name, unit and one-line definition with its source.

The same table, with the conditions under which a value is not computed, is in
``docs/biomarkers.md``.
"""

from dataclasses import dataclass

SOURCES = {
    1: "Ortin Vela et al., Nat Commun 15, 2024",
    2: "Knudtson et al., Curr Eye Res 27, 2003",
    3: "Hubbard et al., Ophthalmology 106, 1999",
    4: "Zhou et al., AutoMorph, TVST 11, 2022",
    5: "Grisan et al., IEEE TMI 27, 2008",
    6: "Stosic and Stosic, IEEE TMI 25, 2006",
    7: "Wilkinson et al., Ophthalmology 110, 2003",
    8: "ETDRS report 10, Ophthalmology 98, 1991",
    9: "Hart et al., Int J Med Inform 53, 1999",
}

STRUCTURES = {
    "artery": "arteries",
    "vein": "veins",
    "all": "all vessels",
    "ratio": "artery to vein",
    "knudtson": "Knudtson",
    "hubbard": "Hubbard",
    "microaneurysms": "microaneurysms",
    "haemorrhages": "haemorrhages",
    "hard-exudates": "hard exudates",
    "soft-exudates": "soft exudates",
    "vertical": "vertical",
    "horizontal": "horizontal",
    "area": "area",
    "": "",
}
REGIONS = {"": "", "zone-b": "zone B", "zone-c": "zone C"}


@dataclass(frozen=True, slots=True)
class Definition:
    """One measure.

    Attributes:
        name: what a reader sees.
        unit: UCUM.
        formula: the definition in one line.
        sources: numbers in ``SOURCES``; empty for a definition of our own.
    """

    name: str
    unit: str
    formula: str
    sources: tuple[int, ...] = ()

    @property
    def method(self) -> str:
        """The definition with its sources spelt out."""
        said = "; ".join(f"[{n}] {SOURCES[n]}" for n in self.sources)
        return f"{self.formula} {said}".strip()


def _tau(number: int, unit: str, formula: str) -> tuple[str, Definition]:
    text = (
        f"median over segments of {formula}; curvature k at a scale of 0.03 disc diameters, "
        "arc length L, chord X"
    )
    return f"tortuosity-tau{number}", Definition(f"Tortuosity tau{number}", unit, text, (1, 9))


MEASURES: dict[str, Definition] = {
    "tortuosity/ratio": Definition("Tortuosity", "1", "tortuosity of arteries / of veins", (1,)),
    "median-diameter/ratio": Definition(
        "Median diameter", "1", "median diameter of arteries / of veins", (1,)
    ),
    "density/ratio": Definition("Vessel density", "1", "density of arteries / of veins", (1,)),
    "disc-diameter": Definition(
        "Disc diameter", "[pix_i]", "diameter of the circle with the disc's area: the ruler"
    ),
    "disc-fovea-distance": Definition(
        "Disc to fovea", "{DD}", "distance from the disc's centre to the fovea"
    ),
    "cdr": Definition(
        "Cup/disc ratio",
        "1",
        "extent of the cup over extent of the disc along image columns (vertical) or rows "
        "(horizontal), or ratio of areas; the cup is counted inside the disc only",
        (4,),
    ),
    "tortuosity": Definition(
        "Tortuosity",
        "1",
        "median over segments, cut at branchings, of arc length / chord length - 1 (tau1, distance "
        "factor)",
        (1,),
    ),
    **dict(
        (
            _tau(2, "rad", "integral of |k| ds"),
            _tau(3, "/{DD}", "integral of k^2 ds"),
            _tau(4, "/{DD}", "integral of |k| ds / L"),
            _tau(5, "/{DD2}", "integral of k^2 ds / L"),
            _tau(6, "/{DD}", "integral of |k| ds / X"),
            _tau(7, "/{DD2}", "integral of k^2 ds / X"),
        )
    ),
    "tortuosity-density": Definition(
        "Tortuosity density",
        "/{DD}",
        "median over segments of (n-1)/n * 1/L * sum(L_i/X_i - 1) over its n turns of one sign",
        (5,),
    ),
    "median-diameter": Definition(
        "Median diameter", "{DD}", "median over segments of the median diameter", (1,)
    ),
    "median-diameter-um": Definition(
        "Median diameter", "um", "median over segments of the median diameter", (1,)
    ),
    "diameter-std": Definition(
        "Diameter variability", "{DD}", "standard deviation of all point diameters", (1,)
    ),
    "diameter-cvme": Definition(
        "Relative diameter variability",
        "1",
        "mean |diameter - median| / median over all point diameters (CVMe)",
        (1,),
    ),
    "crae": Definition(
        "Central retinal artery equivalent",
        "{DD}",
        "six widest arteries in zone B, widest with narrowest: 0.88 sqrt(a^2 + b^2); median over "
        "11 circles",
        (2,),
    ),
    "crve": Definition(
        "Central retinal vein equivalent",
        "{DD}",
        "six widest veins in zone B, widest with narrowest: 0.95 sqrt(a^2 + b^2); median over "
        "11 circles",
        (2,),
    ),
    "crae-um": Definition(
        "Central retinal artery equivalent", "um", "as crae.knudtson, in micrometres", (2,)
    ),
    "crve-um": Definition(
        "Central retinal vein equivalent", "um", "as crve.knudtson, in micrometres", (2,)
    ),
    "crae/hubbard": Definition(
        "Central retinal artery equivalent",
        "um",
        "six widest arteries in zone B, widest with narrowest: "
        "sqrt(0.87 a^2 + 1.01 b^2 - 0.22 a b - 10.76), a < b; median over 11 circles",
        (3,),
    ),
    "crve/hubbard": Definition(
        "Central retinal vein equivalent",
        "um",
        "six widest veins in zone B, widest with narrowest: "
        "sqrt(0.72 a^2 + 0.91 b^2 + 450.05), a < b; median over 11 circles",
        (3,),
    ),
    "avr": Definition("Artery/vein ratio", "1", "CRAE / CRVE of the same formulas", (2, 3)),
    "density": Definition(
        "Vessel density", "%", "vessel pixels / pixels of the field of view (in the zone)", (1,)
    ),
    "temporal-angle": Definition(
        "Temporal angle",
        "deg",
        "angle at the disc between the widest vessels above and below the disc-fovea axis, 75 deg "
        "at least, on 6 circles at 0.45 to 0.55 of the disc-fovea distance; mean of those that "
        "agree within 15 deg",
        (1,),
    ),
    "bifurcations": Definition(
        "Bifurcations",
        "1",
        "nodes where three or more segments of one vessel type meet, those nearer than the vessel "
        "is wide merged; all = arteries + veins",
        (1,),
    ),
    "fractal-dimension": Definition(
        "Fractal dimension",
        "1",
        "box-counting dimension D0 of the mask, boxes of 2, 4, 8 ... pixels up to a quarter of "
        "its extent; depends on the pixel size",
        (6,),
    ),
    "information-dimension": Definition(
        "Information dimension",
        "1",
        "D1 of the centrelines, boxes as for the fractal dimension",
        (6,),
    ),
    "correlation-dimension": Definition(
        "Correlation dimension",
        "1",
        "D2 of the centrelines, boxes as for the fractal dimension",
        (6,),
    ),
    "lesion-count": Definition("Number", "1", "connected pieces (8 neighbours) of the mask", (7,)),
    "lesion-area": Definition("Area", "{DD2}", "area of the mask in squared disc diameters"),
    "lesion-area-px": Definition("Area", "[pix_i]2", "pixels of the mask"),
    "lesion-area-mm2": Definition("Area", "mm2", "area of the mask"),
    "lesion-fovea-distance": Definition(
        "Distance to the fovea", "{DD}", "from the fovea to the nearest pixel of the mask", (7,)
    ),
    "lesion-quadrants": Definition(
        "Quadrants affected",
        "1",
        "quadrants round the disc, parted along and across the disc-fovea axis, that hold the "
        "centre of a lesion",
        (7, 8),
    ),
}


def definition(measure: str, structure: str) -> Definition:
    """The definition of a measure, which may differ by structure."""
    return MEASURES.get(f"{measure}/{structure}") or MEASURES[measure]


def identifier(measure: str, structure: str, region: str = "") -> str:
    """A measurement's id, such as ``median-diameter.vein.zone-b``."""
    return ".".join(part for part in (measure, structure, region) if part)
