"""A realistic case on a real photograph of IDRiD, with the lesions that its experts drew.

Vessels are found by a crude filter and split at random, and the grade is made up: it is something
to look at, not something to believe.
"""

# ruff: noqa: E501  (the table of numbers is read by its columns)

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy import ndimage

from osler.record import (
    Case,
    Event,
    Heatmap,
    Image,
    Label,
    Mask,
    Measurement,
    Origin,
    Point,
    Source,
)

FIELD = Source("algorithm", "osler.retina.field", "0.1.0")
QUALITY = Source("bundle", "retina-quality", "1.0.0")
ANATOMY = Source("bundle", "retina-anatomy", "1.0.0")
VESSELS = Source("bundle", "retina-vessels", "1.0.0")
ARTERY_VEIN = Source("bundle", "retina-artery-vein", "1.0.0")
LESIONS = Source("bundle", "retina-lesions", "1.0.0")
GRADE = Source("bundle", "retina-dr", "1.0.0")
BIOMARKERS = Source("algorithm", "osler.retina.biomarkers", "0.1.0")

KINDS = {
    "microaneurysms": ("Microaneurysms", "MA"),
    "haemorrhages": ("Haemorrhages", "HE"),
    "hard-exudates": ("Hard exudates", "EX"),
    "soft-exudates": ("Soft exudates", "SE"),
}
GRADES = {
    "0": "no diabetic retinopathy",
    "1": "mild NPDR",
    "2": "moderate NPDR",
    "3": "severe NPDR",
    "4": "proliferative",
}


def photo_case(data: Path, *, name: str = "IDRiD_35") -> Case:
    """A case on ``idrid-lesions/images/NAME.jpg``."""
    folder = data / "idrid-lesions"
    path = folder / "images" / f"{name}.jpg"
    array = np.moveaxis(np.asarray(Picture.open(path)), -1, 0)
    shape = array.shape[1:]
    origin = Origin(path=str(path), sha256="ab" * 32, format="jpeg")
    case = Case(id=name, items={"photo": Image("photo", array, "OP", origin=origin)})

    def mask(
        id: str, title: str, source: Source, pixels: NDArray[np.bool_], **more: object
    ) -> None:
        case.add(Mask(id=id, name=title, source=source, item="photo", mask=pixels, **more))  # type: ignore[arg-type]

    def label(id: str, title: str, source: Source, value: str, **more: object) -> None:
        case.add(Label(id=id, name=title, source=source, item="photo", value=value, **more))  # type: ignore[arg-type]

    inside = ndimage.binary_erosion(array[0] > 40, iterations=6)
    mask("field", "Field of view", FIELD, inside)
    label("photograph", "Kind of image", QUALITY, "fundus photograph", probability=0.998)
    label("quality", "Image quality", QUALITY, "usable", probability=0.71, flags=("blur",))

    disc = _read(folder / "masks" / "OD" / f"{name}.png", shape)
    rows, cols = np.nonzero(disc)
    row, col, radius = rows.mean(), cols.mean(), float(np.sqrt(disc.sum() / np.pi))
    cup = _ring(shape, row, col, 0, 0.52 * radius)
    mask("disc", "Optic disc", ANATOMY, disc)
    mask("cup", "Optic cup", ANATOMY, cup, flags=("pseudo-label",))
    side = "L" if col < shape[1] / 2 else "R"
    fovea = row + 0.3 * radius, col + (5 if side == "L" else -5) * radius
    case.add(Point(id="fovea", name="Fovea", source=ANATOMY, item="photo", position=fovea))
    label("laterality", "Eye", ANATOMY, side, probability=0.98, evidence=("disc", "fovea"))

    vessels = _crude_vessels(array[1], inside)
    pieces, count = ndimage.label(vessels & ~disc)
    artery = np.random.default_rng(1).random(count + 1)[pieces] > 0.5
    mask("vessels", "Retinal vessels", VESSELS, vessels)
    mask("artery", "Retinal arteries", ARTERY_VEIN, vessels & artery)
    mask("vein", "Retinal veins", ARTERY_VEIN, vessels & ~artery)
    mask("zone-b", "Zone B", BIOMARKERS, _ring(shape, row, col, 2 * radius, 3 * radius))
    mask("zone-c", "Zone C", BIOMARKERS, _ring(shape, row, col, 2 * radius, 5 * radius))
    for id, (title, short) in KINDS.items():
        mask(id, title, LESIONS, _read(folder / "masks" / short / f"{name}.png", shape))
    _add_measurements(case, radius, inside)
    _add_grade(case)
    for step, by, seconds in (("retina.field", "osler 0.1.0", 0.06), ("retina.vessels", "retina-vessels 1.0.0", 0.91)):  # fmt: skip
        case.history.append(Event(step, by, seconds, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)))
    return case


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray(Picture.open(path)).astype(bool) if path.exists() else np.zeros(shape, bool)


def _ring(
    shape: tuple[int, ...], row: float, col: float, inner: float, outer: float
) -> NDArray[np.bool_]:
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(rows - row, cols - col)
    return (distance >= inner) & (distance < outer)


def _crude_vessels(green: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    image = ndimage.gaussian_filter(green.astype(np.float32), 2)
    dark = ndimage.uniform_filter(image, 41) - image
    found = (dark > 5) & ndimage.binary_erosion(inside, iterations=25)
    pieces, _ = ndimage.label(found, np.ones((3, 3)))
    return (np.bincount(pieces.ravel()) > 900)[pieces] & found


# id, name, value or the reason for none, unit, structure, region, evidence, flags
NUMBERS: tuple[tuple[str, str, float | str, str, str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("cdr.vertical", "Vertical cup-to-disc ratio", 0.52, "1", "", "", ("disc", "cup"), ("pseudo-label",)),
    ("cdr.horizontal", "Horizontal cup-to-disc ratio", 0.49, "1", "", "", ("disc", "cup"), ("pseudo-label",)),
    ("cdr.area", "Cup-to-disc area ratio", 0.27, "1", "", "", ("disc", "cup"), ("pseudo-label",)),
    ("tortuosity.artery", "Tortuosity of arteries", 0.084, "1", "artery", "", ("artery",), ()),
    ("tortuosity.vein", "Tortuosity of veins", 0.102, "1", "vein", "", ("vein",), ()),
    ("tortuosity.all", "Tortuosity of vessels", 0.095, "1", "all", "", ("vessels",), ()),
    ("median-diameter.artery", "Median diameter", 0.041, "{DD}", "artery", "", ("artery", "disc"), ()),
    ("median-diameter.vein", "Median diameter", 0.052, "{DD}", "vein", "", ("vein", "disc"), ()),
    ("density.artery", "Density", 4.21, "%", "artery", "", ("artery", "field"), ()),
    ("density.vein", "Density", 5.38, "%", "vein", "", ("vein", "field"), ()),
    ("density.all", "Density", 9.59, "%", "all", "", ("vessels", "field"), ()),
    ("fractal-dimension.artery", "Fractal dimension", 1.312, "1", "artery", "", ("artery",), ()),
    ("fractal-dimension.vein", "Fractal dimension", 1.334, "1", "vein", "", ("vein",), ()),
    ("fractal-dimension.all", "Fractal dimension", 1.437, "1", "all", "", ("vessels",), ()),
    ("bifurcations.all", "Bifurcations", 74.0, "1", "all", "", ("vessels",), ()),
    ("temporal-angle.artery", "Main temporal angle", "fewer than three circles agree", "deg", "artery", "", ("artery", "disc", "fovea"), ("few-votes",)),
    ("temporal-angle.vein", "Main temporal angle", 128.4, "deg", "vein", "", ("vein", "disc", "fovea"), ()),
    ("median-diameter.artery.zone-b", "Median diameter", 0.058, "{DD}", "artery", "zone B", ("artery", "zone-b"), ()),
    ("median-diameter.vein.zone-b", "Median diameter", 0.079, "{DD}", "vein", "zone B", ("vein", "zone-b"), ("zone-clipped",)),
    ("median-diameter.artery.zone-c", "Median diameter", 0.049, "{DD}", "artery", "zone C", ("artery", "zone-c"), ()),
    ("median-diameter.vein.zone-c", "Median diameter", 0.066, "{DD}", "vein", "zone C", ("vein", "zone-c"), ()),
    ("crae.knudtson", "CRAE (Knudtson)", 0.094, "{DD}", "artery", "zone B", ("artery", "disc", "zone-b"), ()),
    ("crve.knudtson", "CRVE (Knudtson)", 0.141, "{DD}", "vein", "zone B", ("vein", "disc", "zone-b"), ()),
    ("avr.knudtson", "AVR (Knudtson)", 0.667, "1", "", "zone B", ("crae.knudtson", "crve.knudtson"), ()),
    ("crae.hubbard", "CRAE (Hubbard)", "the formula is in µm and the file states no spacing", "um", "artery", "zone B", ("artery", "disc"), ()),
    ("crve.hubbard", "CRVE (Hubbard)", "the formula is in µm and the file states no spacing", "um", "vein", "zone B", ("vein", "disc"), ()),
    ("avr.hubbard", "AVR (Hubbard)", "the formula is in µm and the file states no spacing", "1", "", "zone B", (), ()),
)  # fmt: skip


def _add_measurements(case: Case, radius: float, inside: NDArray[np.bool_]) -> None:
    def add(
        id: str, name: str, value: float | str, unit: str, structure: str, region: str,
        evidence: tuple[str, ...], flags: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        case.add(
            Measurement(
                id=id, name=name, source=BIOMARKERS, item="photo",
                value=None if isinstance(value, str) else value,
                reason=value if isinstance(value, str) else "",
                unit=unit, structure=structure, region=region, evidence=evidence, flags=flags,
                method=f"{name}: one line that defines it [1]",
            )
        )  # fmt: skip

    for row in NUMBERS:
        add(*row)
    fovea = case.get("fovea", Point)
    assert fovea is not None
    for id, (title, _) in KINDS.items():
        finding = case.get(id, Mask)
        assert finding is not None
        count = ndimage.label(finding.mask, np.ones((3, 3)))[1]
        rows, cols = np.nonzero(finding.mask)
        away: float | str = "there are none"
        if count:
            away = float(np.hypot(rows - fovea.position[0], cols - fovea.position[1]).min())
            away = away / (2 * radius)
        area = 100 * float(finding.mask.sum() / inside.sum())
        quadrants = len({(r > fovea.position[0], c > fovea.position[1]) for r, c in zip(rows, cols, strict=True)})  # fmt: skip
        add(f"lesion-count.{id}", f"Number of {title}", float(count), "1", id, "", (id,))
        add(f"lesion-area.{id}", f"Area of {title}", area, "%", id, "", (id, "field"))
        add(f"lesion-fovea-distance.{id}", "Distance to the fovea", away, "{DD}", id, "", (id, "fovea"))  # fmt: skip
        add(f"lesion-quadrants.{id}", "Quadrants", float(quadrants), "1", id, "", (id, "fovea"))


def _add_grade(case: Case) -> None:
    case.add(
        Label(
            id="dr-grade", name="Diabetic retinopathy grade", source=GRADE, item="photo",
            value="2", probability=0.54,
            probabilities={"0": 0.02, "1": 0.14, "2": 0.54, "3": 0.25, "4": 0.05},
            prediction_set=("1", "2", "3"), coverage=0.9, meanings=GRADES, evidence=tuple(KINDS),
        )
    )  # fmt: skip
    case.add(
        Label(
            id="dr-referable", name="Referable diabetic retinopathy", source=GRADE, item="photo",
            value="yes", probability=0.84, probabilities={"no": 0.16, "yes": 0.84},
            evidence=("dr-grade",),
        )
    )  # fmt: skip
    case.add(
        Label(
            id="dme-risk", name="Risk of macular oedema", source=GRADE, item="photo",
            value="2", probability=0.66, probabilities={"0": 0.12, "1": 0.22, "2": 0.66},
            meanings={
                "0": "no hard exudate",
                "1": "hard exudates beyond one disc diameter of the fovea",
                "2": "hard exudates within one disc diameter of the fovea",
            },
            evidence=("hard-exudates", "fovea"),
        )
    )  # fmt: skip
    heat = np.zeros(case.image("photo").shape, np.float32)
    for id in KINDS:
        finding = case.get(id, Mask)
        assert finding is not None
        heat += finding.mask
    heat = ndimage.gaussian_filter(heat[::4, ::4], 15)
    heat = np.kron(heat / max(float(heat.max()), 1e-6), np.ones((4, 4), np.float32))
    case.add(
        Heatmap(
            id="dr-heatmap", name="Where the grade comes from", source=GRADE, item="photo",
            values=heat[: case.image("photo").shape[0], : case.image("photo").shape[1]].astype(np.float16),
            method="lesion density", evidence=("dr-grade",),
        )
    )  # fmt: skip
