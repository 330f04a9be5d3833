"""A case by hand, with findings of every kind that reports speak of."""

import numpy as np

from osler.record import Case, Image, Label, Mask, Measurement, Point, Source

BY = Source("bundle", "test", "1")
GRADES = {
    "0": "no apparent retinopathy",
    "1": "mild non-proliferative retinopathy",
    "2": "moderate non-proliferative retinopathy",
    "3": "severe non-proliferative retinopathy",
    "4": "proliferative retinopathy",
}
RISKS = {
    "0": "no hard exudates seen",
    "1": "hard exudates beyond one disc diameter of the fovea",
    "2": "hard exudates within one disc diameter of the fovea",
}


def checked_case(*, grade: str = "2", side: str = "L") -> Case:
    """A left eye with a moderate retinopathy, or as it is asked for."""
    case = Case(id="made", patient_id="p")
    case.items["photo"] = Image("photo", np.zeros((3, 8, 8), np.uint8), modality="OP")

    def add(kind, id, name, **values):
        values.setdefault("item", "photo")
        case.add(kind(id=id, name=name, source=BY, **values))

    full, empty = np.ones((8, 8), bool), np.zeros((8, 8), bool)
    add(Label, "quality", "Image quality", value="good", probability=0.97)
    add(Label, "laterality", "Eye", value=side, probability=0.98)
    for id in ("disc", "artery", "vein"):
        add(Mask, id, id, mask=full)
    add(Mask, "cup", "Optic cup", mask=empty)
    add(Point, "fovea", "Fovea", position=(4.0, 4.0))
    for id in ("microaneurysms", "haemorrhages", "hard-exudates"):
        add(Mask, id, id.replace("-", " ").capitalize(), mask=full)
    add(Mask, "soft-exudates", "Soft exudates", mask=empty)
    for id, count, quadrants, far in (
        ("microaneurysms", 22, 3, 0.55),
        ("haemorrhages", 8, 4, 1.38),
        ("hard-exudates", 77, 4, 0.69),
    ):
        add(Measurement, f"lesion-count.{id}", "Number", value=float(count), unit="1")
        add(Measurement, f"lesion-quadrants.{id}", "Quadrants", value=float(quadrants), unit="1")
        add(Measurement, f"lesion-fovea-distance.{id}", "Distance", value=far, unit="{DD}")
    add(Measurement, "cdr.vertical", "Cup/disc ratio, vertical", value=0.4755, unit="1")
    add(Measurement, "cdr.horizontal", "Cup/disc ratio, horizontal", value=0.61, unit="1")
    add(Measurement, "tortuosity.artery", "Tortuosity, arteries", value=0.00898, unit="1")
    add(Measurement, "tortuosity.vein", "Tortuosity, veins", value=0.0101, unit="1")
    add(
        Measurement, "avr.knudtson", "Artery to vein ratio", value=None, unit="1",
        reason="too few veins: 5, and 6 are needed",
    )  # fmt: skip
    add(Measurement, "median-diameter-um.artery", "Median diameter", value=94.2, unit="um")
    probabilities = {str(i): p for i, p in enumerate((0.02, 0.06, 0.84, 0.06, 0.02))}
    add(
        Label, "dr-grade", "Diabetic retinopathy grade", value=grade, probabilities=probabilities,
        prediction_set=("1", "2", "3"), coverage=0.9, meanings=GRADES,
    )  # fmt: skip
    add(
        Label, "dme-risk", "Risk of macular oedema", value="2", probabilities={"2": 0.68},
        prediction_set=("0", "2"), coverage=0.9, meanings=RISKS,
    )  # fmt: skip
    add(Label, "dr-referable", "Referable diabetic retinopathy", value="yes", probability=0.87)
    add(Label, "glaucoma", "Glaucoma", value="no", probability=0.93)
    add(Measurement, "liver-volume", "Liver volume", value=1512.0, unit="mL")
    return case
