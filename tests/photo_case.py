"""A realistic case on a real photograph of IDRiD, with the lesions that its experts drew.

Vessels are found by a crude filter and split at random, and the grade is made up: it is something
to look at, not something to believe. The measurements are made on these masks.
"""

from datetime import UTC, datetime
from functools import cache
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
    Origin,
    Point,
    Source,
)
from osler.retina.biomarkers import measure

FIELD = Source("algorithm", "osler.retina.field", "0.1.0")
QUALITY = Source("bundle", "retina-quality", "1.0.0")
ANATOMY = Source("bundle", "retina-anatomy", "1.0.0")
VESSELS = Source("bundle", "retina-vessels", "1.0.0")
ARTERY_VEIN = Source("bundle", "retina-artery-vein", "1.0.0")
LESIONS = Source("bundle", "retina-lesions", "1.0.0")
GRADE = Source("bundle", "retina-dr", "1.0.0")

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
    """A case on ``idrid-lesions/images/NAME.jpg``; its findings are shared with other calls."""
    made = _made(data, name)
    return Case(
        id=made.id, items=dict(made.items), findings=dict(made.findings), history=[*made.history]
    )


@cache
def _made(data: Path, name: str) -> Case:
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
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    cup = np.hypot(rows - row, cols - col) < 0.52 * radius
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
    for id, (title, short) in KINDS.items():
        mask(id, title, LESIONS, _read(folder / "masks" / short / f"{name}.png", shape))
    _add_grade(case)
    measure(case)
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    case.history.append(Event("retina.field", "osler 0.1.0", 0.06, at))
    case.history.append(Event("retina.vessels", "retina-vessels 1.0.0", 0.91, at))
    return case


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray(Picture.open(path)) > 0 if path.exists() else np.zeros(shape, bool)


def _crude_vessels(green: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    image = ndimage.gaussian_filter(green.astype(np.float32), 2)
    dark = ndimage.uniform_filter(image, 41) - image
    found = (dark > 5) & ndimage.binary_erosion(inside, iterations=25)
    pieces, _ = ndimage.label(found, np.ones((3, 3)))
    return (np.bincount(pieces.ravel()) > 900)[pieces] & found


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
    height, width = case.image("photo").shape
    heat = np.zeros((height, width), np.float32)
    for id in KINDS:
        finding = case.get(id, Mask)
        assert finding is not None
        heat += finding.mask
    heat = ndimage.gaussian_filter(heat[::4, ::4], 15)
    heat = np.kron(heat / max(float(heat.max()), 1e-6), np.ones((4, 4), np.float32))
    case.add(
        Heatmap(
            id="dr-heatmap", name="Where the grade comes from", source=GRADE, item="photo",
            values=heat[:height, :width].astype(np.float16), method="density of lesions",
            evidence=("dr-grade",),
        )
    )  # fmt: skip
