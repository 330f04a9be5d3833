"""A small but complete case, as the retina pipeline leaves it, in each kind of source file.

The eye is drawn, the numbers are made up. Findings carry the ids and units of the real pipeline.
"""

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from osler.record import (
    Case,
    Event,
    Heatmap,
    Image,
    Label,
    Laterality,
    Mask,
    Measurement,
    Origin,
    Passage,
    Point,
    Source,
)

Kind = Literal["jpeg", "png", "dicom-op", "dicom-sc", "dicom-grey"]
Grading = Literal["graded", "reject", "not-fundus"]

FIELD = Source("algorithm", "osler.retina.field", "0.1.0")
VESSELS = Source("bundle", "retina-vessels", "1.0.0")
ANATOMY = Source("bundle", "retina-anatomy", "1.0.0")
LESIONS = Source("bundle", "retina-lesions", "1.0.0")
GRADE = Source("bundle", "retina-grade", "1.0.0")
QUALITY = Source("bundle", "retina-quality", "1.0.0")
BIOMARKERS = Source("algorithm", "osler.retina.biomarkers", "0.1.0")
REPORT = Source("algorithm", "osler.retina.report", "0.1.0")

GRADES = {
    "0": "no diabetic retinopathy",
    "1": "mild non-proliferative",
    "2": "moderate non-proliferative",
    "3": "severe non-proliferative",
    "4": "proliferative",
}


def draw_eye(shape: tuple[int, int] = (96, 128)) -> NDArray[np.uint8]:
    """A round orange fundus with a bright disc, as ``(3, H, W)``."""
    rows, cols = np.indices(shape)
    height, width = shape
    radius = np.hypot(rows - height / 2, cols - width / 2) / (0.48 * height)
    disc = np.hypot(rows - height * 0.5, cols - width * 0.65) < 0.09 * height
    rng = np.random.default_rng(0)
    rgb = np.stack([190 - 60 * radius, 90 - 30 * radius, 40 - 10 * radius])
    rgb = rgb + rng.normal(0, 3, (3, *shape))
    rgb[:, disc] += 50
    rgb[:, radius > 1] = 0
    return np.clip(rgb, 0, 255).astype(np.uint8)


def fake_case(
    folder: Path,
    *,
    kind: Kind = "jpeg",
    laterality: Laterality | None = "R",
    shape: tuple[int, int] = (96, 128),
    grading: Grading = "graded",
    patient_id: str | None = None,
) -> Case:
    """Write a source file of this kind into ``folder`` and give the interpreted case.

    Args:
        folder: where the source file is written; it must exist.
        kind: what the source file is.
        laterality: the eye, or None where it was not found out.
        shape: ``(H, W)`` in pixels.
        grading: ``"reject"`` leaves out the grade, ``"not-fundus"`` everything but the field.
        patient_id: as in ``Case``.
    """
    array = draw_eye(shape)
    if kind == "dicom-grey":
        array = array[1:2]
    image = _source_file(folder, array, kind, patient_id, laterality)
    case = Case(id=f"eye-{kind}", patient_id=patient_id, items={"photo": image})
    case.history.append(
        Event("io.load", "osler 0.1.0", 0.01, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    )
    _add_checks(case, shape, grading)
    if grading != "not-fundus":
        _add_structures(case, shape, laterality)
        _add_measurements(case, laterality)
        if grading == "graded":
            _add_grade(case, shape, laterality)
    _add_statements(case, grading)
    return case


def _add_checks(case: Case, shape: tuple[int, int], grading: Grading) -> None:
    rows, cols = np.indices(shape)
    inside = np.hypot(rows - shape[0] / 2, cols - shape[1] / 2) < 0.48 * shape[0]
    case.add(Mask(id="field", name="Field of view", source=FIELD, item="photo", mask=inside))
    fundus = grading != "not-fundus"
    case.add(
        Label(
            id="photograph",
            name="Kind of image",
            source=QUALITY,
            item="photo",
            value="fundus photograph" if fundus else "not a fundus photograph",
            probability=0.98,
        )
    )
    reject = grading != "graded"
    case.add(
        Label(
            id="quality",
            name="Image quality",
            source=QUALITY,
            item="photo",
            value="reject" if reject else "good",
            probabilities={"good": 0.1, "usable": 0.2, "reject": 0.7}
            if reject
            else {"good": 0.8, "usable": 0.15, "reject": 0.05},
            flags=("blur", "underexposed") if reject else (),
        )
    )


def _disk(shape: tuple[int, int], row: float, col: float, radius: float) -> NDArray[np.bool_]:
    rows, cols = np.indices(shape)
    return np.asarray(np.hypot(rows - row * shape[0], cols - col * shape[1]) < radius * shape[0])


def _add_structures(case: Case, shape: tuple[int, int], laterality: Laterality | None) -> None:
    height, width = shape
    disc, cup = _disk(shape, 0.5, 0.65, 0.09), _disk(shape, 0.5, 0.65, 0.045)
    artery, vein = np.zeros(shape, bool), np.zeros(shape, bool)
    artery[height // 4 : height // 4 + 2, width // 4 : 3 * width // 4] = True
    vein[3 * height // 4 : 3 * height // 4 + 3, width // 4 : 3 * width // 4] = True
    annulus = _disk(shape, 0.5, 0.65, 0.27) & ~_disk(shape, 0.5, 0.65, 0.18)
    haemorrhage = _disk(shape, 0.6, 0.4, 0.02)
    empty = np.zeros(shape, bool)

    def mask(id: str, name: str, source: Source, pixels: NDArray[np.bool_], *flags: str) -> None:
        probabilities = np.where(pixels, 0.9, 0.05).astype(np.float16)
        case.add(
            Mask(
                id=id,
                name=name,
                source=source,
                item="photo",
                mask=pixels,
                probabilities=None if id.startswith("zone") else probabilities,
                laterality=laterality,
                flags=flags,
            )
        )

    mask("disc", "Optic disc", ANATOMY, disc)
    mask("cup", "Optic cup", ANATOMY, cup, "pseudo-label")
    case.add(
        Point(
            id="fovea",
            name="Fovea",
            source=ANATOMY,
            item="photo",
            position=(height * 0.52, width * 0.42),
            probability=0.94,
        )
    )
    if laterality:
        case.add(
            Label(
                id="laterality",
                name="Laterality",
                source=ANATOMY,
                item="photo",
                value=laterality,
                probability=0.97,
                evidence=("disc", "fovea"),
            )
        )
    mask("vessels", "Retinal vessels", VESSELS, artery | vein)
    mask("artery", "Retinal arteries", VESSELS, artery)
    mask("vein", "Retinal veins", VESSELS, vein)
    mask("zone-b", "Zone B", BIOMARKERS, annulus)
    mask("zone-c", "Zone C", BIOMARKERS, _disk(shape, 0.5, 0.65, 0.45) & ~disc)
    mask("microaneurysms", "Microaneurysms", LESIONS, _disk(shape, 0.4, 0.4, 0.012))
    mask("haemorrhages", "Haemorrhages", LESIONS, haemorrhage)
    mask("hard-exudates", "Hard exudates", LESIONS, _disk(shape, 0.55, 0.45, 0.02))
    mask("soft-exudates", "Soft exudates", LESIONS, empty)


# id, name, value, unit, structure, region, evidence
_NUMBERS: tuple[tuple[str, str, float | None, str, str, str, tuple[str, ...]], ...] = (
    ("tortuosity.artery", "Tortuosity", 1.083, "1", "artery", "", ("artery",)),
    ("tortuosity.vein", "Tortuosity", 1.071, "1", "vein", "", ("vein",)),
    (
        "median-diameter.vein.zone-b",
        "Median diameter",
        8.25,
        "[pix_i]",
        "vein",
        "zone B",
        ("vein",),
    ),
    ("crae.knudtson", "CRAE", 0.0871, "{DD}", "artery", "zone B", ("artery", "disc", "zone-b")),
    ("crve.knudtson", "CRVE", 0.1275, "{DD}", "vein", "zone B", ("vein", "disc", "zone-b")),
    ("crve.hubbard", "CRVE", None, "um", "vein", "zone B", ("vein", "disc", "zone-b")),
    ("avr.knudtson", "AVR", 0.683, "1", "", "zone B", ("crae.knudtson", "crve.knudtson")),
    ("fractal-dimension.all", "Fractal dimension", 1.41, "1", "all", "", ("vessels",)),
    ("density.artery", "Vessel density", 4.2, "%", "artery", "", ("artery", "field")),
    ("temporal-angle.vein", "Temporal angle", 121.5, "deg", "vein", "", ("vein", "fovea")),
    ("bifurcations.all", "Bifurcations", 31.0, "1", "all", "", ("vessels",)),
    ("cdr.vertical", "Vertical cup/disc ratio", 0.52, "1", "", "", ("disc", "cup")),
    ("cdr.area", "Cup/disc area ratio", 0.25, "1", "", "", ("disc", "cup")),
    ("lesion-count.microaneurysms", "Count", 1.0, "1", "", "", ("microaneurysms",)),
    ("lesion-count.soft-exudates", "Count", 0.0, "1", "", "", ("soft-exudates",)),
    ("lesion-area.hard-exudates", "Area", 0.02, "%", "", "", ("hard-exudates", "field")),
    (
        "lesion-fovea-distance.hard-exudates",
        "Distance to the fovea",
        0.61,
        "{DD}",
        "",
        "",
        ("hard-exudates", "fovea"),
    ),
    ("lesion-quadrants.haemorrhages", "Quadrants", 1.0, "1", "", "", ("haemorrhages", "fovea")),
)


def _add_measurements(case: Case, laterality: Laterality | None) -> None:
    for id, name, value, unit, structure, region, evidence in _NUMBERS:
        case.add(
            Measurement(
                id=id,
                name=name,
                source=BIOMARKERS,
                item="photo",
                value=value,
                unit=unit,
                structure=structure,
                region=region,
                method="Definition in one line [1]",
                reason="" if value is not None else "the image does not say its spacing in µm",
                laterality=laterality,
                evidence=evidence,
                flags=("few-vessels",) if id == "temporal-angle.vein" else (),
            )
        )


def _add_grade(case: Case, shape: tuple[int, int], laterality: Laterality | None) -> None:
    case.add(
        Label(
            id="dr-grade",
            name="Diabetic retinopathy grade",
            source=GRADE,
            item="photo",
            value="2",
            probability=0.71,
            probabilities={"0": 0.04, "1": 0.15, "2": 0.71, "3": 0.08, "4": 0.02},
            prediction_set=("1", "2"),
            coverage=0.9,
            meanings=GRADES,
            laterality=laterality,
            evidence=("microaneurysms", "haemorrhages"),
        )
    )
    case.add(
        Label(
            id="dr-referable",
            name="Referable diabetic retinopathy",
            source=GRADE,
            item="photo",
            value="yes",
            probability=0.81,
            probabilities={"no": 0.19, "yes": 0.81},
            laterality=laterality,
            evidence=("dr-grade",),
        )
    )
    case.add(
        Label(
            id="dme-risk",
            name="Risk of diabetic macular oedema",
            source=GRADE,
            item="photo",
            value="1",
            probability=0.6,
            probabilities={"0": 0.3, "1": 0.6, "2": 0.1},
            meanings={
                "0": "no hard exudate",
                "1": "hard exudate outside one disc diameter of the fovea",
                "2": "hard exudate within one disc diameter of the fovea",
            },
            laterality=laterality,
        )
    )
    rows, cols = np.indices(shape)
    values = np.exp(-((rows - shape[0] / 2) ** 2 + (cols - shape[1] / 2) ** 2) / 500)
    case.add(
        Heatmap(
            id="dr-heatmap",
            name="Where the grade comes from",
            source=GRADE,
            item="photo",
            values=values.astype(np.float16),
            method="occlusion",
            evidence=("dr-grade",),
        )
    )


def _add_statements(case: Case, grading: Grading) -> None:
    texts = {
        "graded": [
            ("quality", "The photograph is of good quality.", ("quality",)),
            ("findings", "Microaneurysms and haemorrhages – 1 quadrant.", ("microaneurysms",)),
            (
                "impression",
                "Moderate non-proliferative diabetic retinopathy (P ≈ 0.71); "
                "“mild” cannot be excluded at 90 %.",
                ("dr-grade",),
            ),
        ],
        "reject": [("quality", "The photograph cannot be graded: blur.", ("quality",))],
        "not-fundus": [("quality", "This is not a fundus photograph.", ("photograph",))],
    }[grading]
    for number, (section, text, evidence) in enumerate(texts, 1):
        case.add(
            Passage(
                id=f"statement-{number}",
                name="Statement",
                source=REPORT,
                item="photo",
                text=text,
                section=section,
                evidence=evidence,
            )
        )


def _source_file(
    folder: Path,
    array: NDArray[np.uint8],
    kind: Kind,
    patient_id: str | None,
    laterality: Laterality | None,
) -> Image:
    if kind.startswith("dicom"):
        path = folder / "source é.dcm"
        content, header = _dicom_bytes(array, kind, patient_id, laterality)
    else:
        import PIL.Image

        path = folder / ("source é.jpg" if kind == "jpeg" else "source é.png")
        buffer = io.BytesIO()
        picture = PIL.Image.fromarray(np.moveaxis(array, 0, -1))
        if kind == "jpeg":
            picture.save(buffer, "JPEG", quality=90)
            picture = PIL.Image.open(buffer)
            array = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
        else:
            picture.save(buffer, "PNG")
        content, header = buffer.getvalue(), {}
    path.write_bytes(content)
    origin = Origin(
        path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        format="dicom" if header else kind,
        dicom=header,
    )
    return Image(
        name="photo",
        array=array,
        modality="OT" if kind == "dicom-sc" else "OP",
        laterality=laterality if kind == "dicom-op" else None,
        acquired=datetime(2024, 5, 6, 7, 8, 9) if header else None,
        origin=origin,
    )


def _dicom_bytes(
    array: NDArray[np.uint8], kind: Kind, patient_id: str | None, laterality: Laterality | None
) -> tuple[bytes, dict[str, object]]:
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    is_op = kind == "dicom-op"
    ds = pydicom.Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1" if is_op else "1.2.840.10008.5.1.4.1.1.7"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[kind, "instance"])
    ds.StudyInstanceUID = generate_uid(entropy_srcs=[kind, "study"])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=[kind, "series"])
    ds.PatientName, ds.PatientID = "Müller^Jürgen", patient_id or "EYE-1"
    ds.PatientBirthDate, ds.PatientSex = "19600102", "M"
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20240506", "070809", "7"
    ds.ContentDate, ds.ContentTime = "20240506", "070809"
    ds.AccessionNumber, ds.ReferringPhysicianName = "A123", ""
    ds.SeriesNumber, ds.InstanceNumber = 3, 4
    ds.Modality = "OP" if is_op else "OT"
    if is_op:
        ds.AcquisitionDateTime = "20240506070809"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "", "COLOR"]
        ds.ImageLaterality = laterality or "U"
    else:
        ds.ConversionType = "DI"
    ds.SamplesPerPixel = len(array)
    ds.PhotometricInterpretation = "RGB" if len(array) == 3 else "MONOCHROME2"
    if len(array) == 3:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = array.shape[1:]
    if is_op:
        ds.NumberOfFrames = 1
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    header = ds.to_json_dict()
    ds.PixelData = np.ascontiguousarray(np.moveaxis(array, 0, -1)).tobytes()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue(), header
