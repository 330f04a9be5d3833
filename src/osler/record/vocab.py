"""The one place of coded concepts: finding ids to shared vocabularies.

A standard code stands here only where its meaning was checked in a source that can be named:

- ``[P]`` the concept dictionaries of pydicom 3.0 (DICOM PS3.16 Annexes B to D and O);
- ``[L]`` LOINC 2.80, answer list LL2117-1 "Eye.PX-diabetic retinopathy";
- ``[V]`` value sets of the HL7 guides on eye care and on DICOM SR, and of the eCQM
  "Diabetic Retinopathy" measures.

Everything else is of the scheme ``99OSLER``, with a value that can be read. A finding that these
tables do not know gets a ``99OSLER`` code made from its id, so a new one is never lost in
writing, only uncoded.
"""

import re
from dataclasses import dataclass

from osler.record.code import Code
from osler.record.item import Laterality

LOCAL = "99OSLER"
LOCAL_URL = "urn:oid:2.25.110519183583084517228381665918706432258"
"""The scheme ``99OSLER`` as a URI: a UUID-derived OID, since it belongs to no registered domain."""

SYSTEM_URLS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "RADLEX": "http://radlex.org",
    "UMLS": "http://terminology.hl7.org/CodeSystem/umls",
    "I10": "http://hl7.org/fhir/sid/icd-10",
    "UCUM": "http://unitsofmeasure.org",
    LOCAL: LOCAL_URL,
}
"""DICOM coding scheme designator to HL7 FHIR code system."""


def _local(value: str, meaning: str) -> Code:
    return Code(value, LOCAL, meaning)


# Categories of what is segmented (CID 7150) [P]
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
ABNORMALITY = Code("49755003", "SCT", "Morphologically Abnormal Structure")
SPATIAL = Code("309825002", "SCT", "Spatial and Relational Concept")

# Sites [P]; the sides of the eye [V]
EYE = Code("81745001", "SCT", "Eye")
RIGHT_EYE = Code("18944008", "SCT", "Right eye structure")
LEFT_EYE = Code("8966001", "SCT", "Left eye structure")
RETINA = Code("5665001", "SCT", "Retina")
OPTIC_DISC = Code("81016008", "SCT", "Optic nerve head")
FOVEA = Code("67046006", "SCT", "Fovea centralis")
ARTERY = Code("51114001", "SCT", "Artery")
VEIN = Code("29092000", "SCT", "Vein")
BLOOD_VESSEL = Code("59820001", "SCT", "Blood Vessel")
OPTIC_CUP = _local("optic-cup", "Optic cup")

# Laterality and answers [P]
LATERALITY = Code("272741003", "SCT", "Laterality")
RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")
YES = Code("373066001", "SCT", "Yes")
NO = Code("373067005", "SCT", "No")

# What a text says of a finding [P]
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
SUSPECTED = Code("415684004", "SCT", "Suspected")

# Lesions: only haemorrhage has a morphology in [P]. SNOMED CT codes microaneurysms of the retina
# as a disorder due to diabetes, which is more than a lesion says.
HAEMORRHAGE = Code("50960005", "SCT", "Hemorrhage")
MICROANEURYSM = _local("microaneurysm", "Retinal microaneurysm")
HARD_EXUDATE = _local("hard-exudate", "Hard exudate of retina")
SOFT_EXUDATE = _local("soft-exudate", "Soft exudate (cotton wool spot) of retina")

# Regions of the photograph
FIELD_OF_VIEW = _local("field-of-view", "Field of view of a photograph")
ZONE_B = _local("zone-b", "Zone B: annulus 2 to 3 disc radii")
ZONE_C = _local("zone-c", "Zone C: annulus 2 to 5 disc radii")

# Documents, devices and pictures [P]
FINDING = Code("121071", "DCM", "Finding")
IMPRESSION = Code("121073", "DCM", "Impression")
COMMENT = Code("121106", "DCM", "Comment")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # [V]
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
FUNDUS_CAMERA = Code("409898007", "SCT", "Fundus Camera")

REPORT = _local("retina-report", "Interpretation of a photograph of the retina")

# What the labels ask
PHOTOGRAPH_KIND = _local("photograph-kind", "Kind of photograph")
IMAGE_QUALITY = Code("111101", "DCM", "Image Quality")  # [P]
DR_GRADE = _local("icdr-grade", "International diabetic retinopathy severity")
DR_REFERABLE = _local("referable-dr", "Referable diabetic retinopathy")
DME_RISK = _local("dme-risk", "Risk of diabetic macular edema")
DIABETIC_RETINOPATHY = Code("4855003", "SCT", "Diabetic retinopathy")  # [V]
DIABETIC_MACULAR_OEDEMA = Code("312912001", "SCT", "Diabetic macular edema")  # [V]

# What a label can carry besides its value
PROBABILITY = Code("122157", "DCM", "Probability")  # [P]
PREDICTION_SET = _local("prediction-set", "Cannot be excluded")
DOUBT = _local("flag", "Named doubt")

# Measures [P]
FRACTAL_DIMENSION = Code("126050", "DCM", "Fractal Dimension")
LESION_COUNT = Code("246206008", "SCT", "Number of lesions")
AREA = Code("42798000", "SCT", "Area")


@dataclass(frozen=True, slots=True)
class Structure:
    """What a mask or point shows.

    Attributes:
        category: kind of thing, as DICOM CID 7150 sorts it.
        type: the thing itself.
        site: the body part that it is in.
        colour: sRGB for display, 0 to 255.
    """

    category: Code
    type: Code
    site: Code
    colour: tuple[int, int, int]


STRUCTURES = {
    "field": Structure(SPATIAL, FIELD_OF_VIEW, RETINA, (128, 128, 128)),
    "disc": Structure(ANATOMY, OPTIC_DISC, RETINA, (255, 221, 87)),
    "cup": Structure(ANATOMY, OPTIC_CUP, OPTIC_DISC, (255, 159, 28)),
    "fovea": Structure(ANATOMY, FOVEA, RETINA, (180, 120, 220)),
    "vessels": Structure(ANATOMY, BLOOD_VESSEL, RETINA, (102, 194, 165)),
    "artery": Structure(ANATOMY, ARTERY, RETINA, (228, 26, 28)),
    "vein": Structure(ANATOMY, VEIN, RETINA, (55, 126, 184)),
    "zone-b": Structure(SPATIAL, ZONE_B, RETINA, (200, 200, 200)),
    "zone-c": Structure(SPATIAL, ZONE_C, RETINA, (160, 160, 160)),
    "microaneurysms": Structure(ABNORMALITY, MICROANEURYSM, RETINA, (240, 2, 127)),
    "haemorrhages": Structure(ABNORMALITY, HAEMORRHAGE, RETINA, (153, 0, 0)),
    "hard-exudates": Structure(ABNORMALITY, HARD_EXUDATE, RETINA, (255, 255, 51)),
    "soft-exudates": Structure(ABNORMALITY, SOFT_EXUDATE, RETINA, (190, 186, 218)),
}
"""Finding id to what it shows."""

LABELS = {
    "photograph": PHOTOGRAPH_KIND,
    "quality": IMAGE_QUALITY,
    "laterality": LATERALITY,
    "dr-grade": DR_GRADE,
    "dr-referable": DR_REFERABLE,
    "dme-risk": DME_RISK,
}
"""Finding id of a label to the question that it answers."""

VALUES = {
    "laterality": {"R": RIGHT, "L": LEFT},
    "dr-grade": {  # [L]
        "0": Code("LA18643-9", "LN", "No apparent retinopathy"),
        "1": Code("LA18644-7", "LN", "Mild non-proliferative retinopathy"),
        "2": Code("LA18645-4", "LN", "Moderate non-proliferative retinopathy"),
        "3": Code("LA18646-2", "LN", "Severe non-proliferative retinopathy"),
        "4": Code("LA18648-8", "LN", "Proliferative retinopathy"),
    },
    "dr-referable": {"yes": YES, "no": NO},
    "dme-risk": {
        "0": _local("dme-0", "No hard exudate"),
        "1": _local("dme-1", "Hard exudate beyond one disc diameter of the fovea"),
        "2": _local("dme-2", "Hard exudate within one disc diameter of the fovea"),
    },
    "quality": {
        "good": _local("quality-good", "Good"),
        "usable": _local("quality-usable", "Usable"),
        "reject": _local("quality-reject", "Not gradable"),
    },
    "photograph": {
        "fundus photograph": _local("fundus-photo", "Fundus photograph"),
        "not a fundus photograph": _local("not-fundus-photo", "Not a fundus photograph"),
    },
}
"""Finding id of a label to the codes of its values."""

SAID = {"present": PRESENT, "absent": ABSENT, "possible": SUSPECTED}
"""What a text says of a finding, to its code."""

_CRAE = _local("crae", "Central retinal artery equivalent")
_CRVE = _local("crve", "Central retinal vein equivalent")
_DIAMETER = _local("median-diameter", "Median diameter of retinal vessels")

MEASURES = {
    "fractal-dimension": FRACTAL_DIMENSION,
    "information-dimension": _local("information-dim", "Information dimension of vessels"),
    "correlation-dimension": _local("correlation-dim", "Correlation dimension of vessels"),
    "lesion-count": LESION_COUNT,
    "lesion-area": AREA,
    "lesion-area-px": AREA,
    "lesion-area-mm2": AREA,
    "lesion-fovea-distance": _local("fovea-distance", "Least distance from the fovea"),
    "lesion-quadrants": _local("quadrants", "Number of quadrants with lesions"),
    "crae": _CRAE,
    "crae-um": _CRAE,
    "crve": _CRVE,
    "crve-um": _CRVE,
    "avr": _local("avr", "Arteriole-to-venule ratio"),
    "tortuosity": _local("tortuosity", "Tortuosity of retinal vessels"),
    **{
        f"tortuosity-tau{n}": _local(f"tortuosity-tau{n}", f"Tortuosity of retinal vessels, tau{n}")
        for n in range(2, 8)
    },
    "tortuosity-density": _local("tortuos-density", "Tortuosity density of retinal vessels"),
    "density": _local("vessel-density", "Density of retinal vessels"),
    "median-diameter": _DIAMETER,
    "median-diameter-um": _DIAMETER,
    "diameter-std": _local("diameter-std", "Standard deviation of vessel diameter"),
    "diameter-cvme": _local("diameter-cvme", "Relative variability of vessel diameter"),
    "temporal-angle": _local("temporal-angle", "Angle between the temporal arcades"),
    "bifurcations": _local("bifurcations", "Number of vessel bifurcations"),
    "disc-diameter": _local("disc-diameter", "Diameter of the optic disc"),
    "disc-fovea-distance": _local("disc-fovea", "Distance from optic disc to fovea"),
    "field-diameter": _local("field-diameter", "Diameter of the field of view"),
}
"""First part of a measurement's id to its concept."""

_CDR = {
    "vertical": _local("cdr-vertical", "Vertical cup-to-disc ratio"),
    "horizontal": _local("cdr-horizontal", "Horizontal cup-to-disc ratio"),
    "area": _local("cdr-area", "Cup-to-disc area ratio"),
}

METHODS = {
    "knudtson": _local("knudtson-2003", "Revised formulas of Knudtson et al. 2003"),
    "hubbard": _local("hubbard-1999", "Parr-Hubbard formulas, 1999"),
}
"""Part of a measurement's id that names a published method."""

UNITS = {
    "[pix_i]": Code("{pixels}", "UCUM", "pixels"),
    "[pix_i]2": Code("{pixels2}", "UCUM", "square pixels"),
    "{DD}": Code("{DD}", "UCUM", "disc diameters"),
    "{DD2}": Code("{DD2}", "UCUM", "square disc diameters"),
    "/{DD}": Code("/{DD}", "UCUM", "per disc diameter"),
    "/{DD2}": Code("/{DD2}", "UCUM", "per square disc diameter"),
    "1": Code("1", "UCUM", "no units"),
    "deg": Code("deg", "UCUM", "degree"),
    "rad": Code("rad", "UCUM", "radian"),
    "um": Code("um", "UCUM", "micrometer"),
    "mm": Code("mm", "UCUM", "millimeter"),
    "mm2": Code("mm2", "UCUM", "square millimeter"),
    "%": Code("%", "UCUM", "percent"),
}
"""Unit of a measurement to UCUM. UCUM has no pixel, so it is written as an annotation."""


def structure(id: str, name: str = "") -> Structure:
    """What the mask or point of this id shows."""
    known = STRUCTURES.get(id)
    return known or Structure(SPATIAL, local(id, name), EYE, (255, 255, 255))


def label(id: str, name: str = "") -> Code:
    """The question that the label of this id answers."""
    return LABELS.get(id) or local(id, name)


def value(id: str, value: str, meaning: str = "") -> Code:
    """The code of one value of the label of this id: ``dr-grade``, ``report.dr-grade.R``."""
    known = next((VALUES[part] for part in (id, *id.split(".")) if part in VALUES), SAID)
    return known.get(value) or local(f"{id}-{value}", meaning or value)


def measure(id: str, name: str = "") -> Code:
    """The concept of a measurement, by the first part of ``<measure>.<structure>[.<region>]``."""
    kind, _, rest = id.partition(".")
    if kind == "cdr" and rest in _CDR:
        return _CDR[rest]
    return MEASURES.get(kind) or local(kind, name)


def method(id: str) -> Code | None:
    """The published method that a measurement's id names, such as ``crae.knudtson``."""
    return next((METHODS[part] for part in id.split(".")[1:] if part in METHODS), None)


def region(id: str, name: str = "") -> Code | None:
    """The region that a measurement's id ends with or its ``region`` names, such as ``zone-b``."""
    for part in (id.rpartition(".")[2], name.strip().lower().replace(" ", "-")):
        if part in ("zone-b", "zone-c"):
            return STRUCTURES[part].type
    return None


def unit(unit: str) -> Code:
    """The UCUM code of a measurement's unit."""
    return UNITS.get(unit) or Code(unit, "UCUM", unit)


def side(laterality: Laterality) -> Code:
    """Right or left."""
    return {"R": RIGHT, "L": LEFT}[laterality]


def eye(laterality: Laterality | None) -> Code:
    """The eye of this side, or just an eye."""
    return {"R": RIGHT_EYE, "L": LEFT_EYE, None: EYE}[laterality]


def flag(name: str) -> Code:
    """A named doubt."""
    return local(name, name.replace("-", " ").capitalize())


def local(value: str, meaning: str = "") -> Code:
    """A concept of our own, its value kept to letters, digits, dots and dashes."""
    value = re.sub(r"[^A-Za-z0-9.]+", "-", value).strip("-") or "unnamed"
    return _local(value, (meaning or value)[:64])


def standard(code: Code) -> bool:
    """Whether the code is of a vocabulary that others share."""
    return code.scheme != LOCAL
