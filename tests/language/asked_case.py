"""A small case with places and numbers that are known, to be asked about."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from osler.record import (
    Case,
    Finding,
    Image,
    Label,
    Mask,
    Measurement,
    Origin,
    Point,
    Source,
    Table,
    Text,
)

BUNDLE = Source("bundle", "made-up", "1.0.0")
GRADES = {"0": "no apparent retinopathy", "1": "mild", "2": "moderate", "3": "severe", "4": "worst"}
HEADER = {
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "OKONKWO^ADAEZE"}]},
    "00100020": {"vr": "LO", "Value": ["MRN-4471209"]},
}


def asked_case(
    *,
    grade: str = "2",
    side: str = "R",
    haemorrhages: int = 2,
    text: str | None = None,
    day: int = 10,
    patient: str | None = "MRN-4471209",
) -> Case:
    """A right eye: disc at (100, 220), fovea at (100, 100), haemorrhages of 12 pixels above it."""
    rng = np.random.default_rng(0)
    photo = Image(
        "photo",
        rng.integers(0, 255, (3, 200, 300), dtype=np.uint8),
        modality="OP",
        acquired=datetime(2026, 3, day, tzinfo=UTC),
        origin=Origin("/somewhere/OKONKWO_ADAEZE.dcm", "0" * 64, "dicom", HEADER),
    )
    case = Case("one", patient_id=patient, items={"photo": photo})
    rows, columns = np.indices((200, 300))
    disc = (rows - 100) ** 2 + (columns - 220) ** 2 <= 20**2
    blood = np.zeros((200, 300), bool)
    for number in range(haemorrhages):
        blood[40:43, 80 + 20 * number : 84 + 20 * number] = True
    kept: list[Finding] = [
        Label(id="photograph", name="Kind", source=BUNDLE, value="fundus photograph",
              probabilities={"fundus photograph": 0.99, "not a fundus photograph": 0.01}),
        Label(id="quality", name="Image quality", source=BUNDLE, value="good",
              probabilities={"good": 0.9, "usable": 0.08, "reject": 0.02}),
        Mask(id="disc", name="Optic disc", source=BUNDLE, item="photo", mask=disc),
        Point(id="fovea", name="Fovea", source=BUNDLE, item="photo", position=(100.0, 100.0),
              probability=0.97),
        Label(id="laterality", name="Eye", source=BUNDLE, value=side,
              probabilities={"R": 0.98, "L": 0.02} if side == "R" else {"R": 0.02, "L": 0.98}),
        Mask(id="haemorrhages", name="Haemorrhages", source=BUNDLE, item="photo", mask=blood),
        Mask(id="soft-exudates", name="Soft exudates", source=BUNDLE, item="photo",
             mask=np.zeros((200, 300), bool)),
        Label(id="dr-grade", name="Diabetic retinopathy (ICDR)", source=BUNDLE, value=grade,
              probabilities={g: 0.6 if g == grade else 0.1 for g in "01234"},
              prediction_set=(grade, "3") if grade != "3" else ("3",), coverage=0.9,
              meanings=GRADES, evidence=("haemorrhages", "quality")),
        Label(id="dr-referable", name="Referable", source=BUNDLE,
              value="yes" if grade >= "2" else "no",
              probabilities={"yes": 0.9, "no": 0.1} if grade >= "2" else {"yes": 0.1, "no": 0.9}),
        Measurement(id="disc-diameter", name="Disc diameter", source=BUNDLE, value=40.0,
                    unit="[pix_i]", evidence=("disc",)),
        Measurement(id="cdr.vertical", name="Cup/disc ratio, vertical", source=BUNDLE,
                    value=0.4321, unit="1", flags=("pseudo-label",)),
        Measurement(id="avr.hubbard", name="Artery/vein ratio", source=BUNDLE, value=None,
                    unit="1", reason="the image does not state its pixel spacing"),
        Measurement(id="lesion-count.haemorrhages", name="Number, haemorrhages", source=BUNDLE,
                    value=float(haemorrhages), unit="1", evidence=("haemorrhages",)),
    ]  # fmt: skip
    for finding in kept:
        case.add(finding)
    if text is not None:
        case.items["report"] = Text("report", text)
        case.items["table"] = Table(
            "table", {"age": 61, "patient_name": "Okonkwo", "HbA1c": 7.2}, {"HbA1c": "%"}
        )
    return case


def on_disk(case: Case, folder: Path) -> Path:
    """The case as ``osler read`` writes it."""
    import osler

    return osler.write(case, folder, html=False)
