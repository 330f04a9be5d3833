"""What MedSegX knows of a task: its modality, and where in the body it is. No torch is needed.

Facts of the published network: the rows of its embeddings by name. Names are as published, with
their slips of the pen, because files are called by them.
"""

import re
from dataclasses import dataclass

from osler.errors import RecipeError

MODALITIES = ("CBCT", "Colonos", "CT", "CTA", "Dermos", "Endos", "Fundus", "MRI", "US", "Xray")
ALIASES = {
    "colon": "Colonos",
    "colonoscopy": "Colonos",
    "dermoscopy": "Dermos",
    "endoscope": "Endos",
    "funduscopy": "Fundus",
}

PARTS = {
    "head&neck": ("head", "face", "neck"),
    "body": ("chest", "abdomen", "pelvis"),
    "skeleton": ("cranium&face", "cervix", "torso", "limb"),
    "vessel": ("vessel",),
    "skin": ("skin",),
}
"""Parts of the body and the regions of each; both in the order of their rows."""

ORGANS = {
    "brain": "head",
    "hippocampus": "head",
    "pituitary": "head",
    "eye": "face",
    "ear": "face",
    "nose": "face",
    "mouth": "face",
    "throat": "neck",
    "lymphnode": "neck",
    "thyroid": "neck",
    "parotid": "neck",
    "saliarygland": "neck",
    "lung": "chest",
    "trachea": "chest",
    "esophagus": "chest",
    "heart": "chest",
    "breast": "chest",
    "liver": "abdomen",
    "gallbladder": "abdomen",
    "pancreas": "abdomen",
    "spleen": "abdomen",
    "kidney": "abdomen",
    "adrenal": "abdomen",
    "stomach": "abdomen",
    "intestine": "abdomen",
    "bladder": "pelvis",
    "uterus": "pelvis",
    "prostate": "pelvis",
    "jawbone": "cranium&face",
    "cervicalspine": "cervix",
    "thoracicspine": "torso",
    "lumbarspine": "torso",
    "collarbone": "torso",
    "sacrum": "torso",
    "hip": "limb",
    "femur": "limb",
    "tibia": "limb",
    "vessel": "vessel",
    "skin": "skin",
}
"""Organs, in the order of their rows, and the region of each."""

_TASKS = """
brain: LeftCaudatum RightCaudatum VestibularSchwannoma BrainWholeTumor BrainCoreTumor
    BrainEnhancingTumor IntracranialHemorrhage IschemicStrokeLesion MultipleSclerosis
    WhiteMatterHyperintensity WhiteMatter GrayMatter CerebroSpinalFluid
hippocampus: Hippocampus
pituitary: Pituitary
eye: OpticCup OpticDisc
ear: RightInnerEar LeftMiddleEar
nose: GTVnx
mouth: Tooth Lip CavityOral BuccalMucosa
throat: Glottis PharynxCancer
lymphnode: GTVnd
thyroid: GlndThyroid ThyroidNodule
parotid: ParotidL
saliarygland: GindSubmandL
lung: LeftLung RightLung LungCancer COVID GroundGlassesOpacities Consolidation PleuraEffusion
    LungPneumothorax
trachea: Bronchus PulmonaryAirways
esophagus: Esophagus
heart: Heart LeftAtrium LVMyocardialEdema LVMyocardialScars LeftAtrialBloodChamber
    RightAtrialBloodChamber LeftVentricle RightVentricle LeftVentricularBloodChamber
    RightVentricularBloodChamber LeftVentricularMyocardium RightVentricularMyocardium NoReflow
    MyocardialInfarction MitralValve LeftVentricleEpicardium
breast: BreastCancer
liver: Liver LiverCancer
gallbladder: GallBladder
pancreas: Pancreas PancreasCancer
spleen: Spleen
kidney: LeftKidney RightKidney KidneyTumor
adrenal: LeftAdrenalGland RightAdrenalGland
stomach: Stomach
intestine: Duodenum Colon ColonCancer Rectum Intestine Polyp Instrument
bladder: Bladder
uterus: Uterus
prostate: Prostate ProstateCentralGland ProstatePeripheralZone ProstateTransitionalZone
    ProstateTumor
jawbone: Mandible
cervicalspine: CervicalSpine
collarbone: LeftCollarBone RightCollarBone CollarBone
thoracicspine: ThoracicSpine
lumbarspine: LumbarSpine
sacrum: Sacrum
hip: LeftHip RightHip
femur: FemurBone FemurCartilage
tibia: TibiaBone TibiaCartilage
vessel: RetinalVessel CarotidArteryRight CarotidVesselWall PulmonaryArtery PulmonaryEmbolism Aorta
    AscendingAorta TL FL FLT Postcava
skin: Skin
"""

UNSEEN = {
    "InterstitialThickening": "lung",
    "PulmonaryLibrosis": "lung",
    "FNH": "liver",
    "HCC": "liver",
    "Hemangioma": "liver",
    "ICC": "liver",
    "StomachCancer": "stomach",
}
"""Tasks whose organ is known but that have no row of their own."""


def _organs_of_tasks() -> dict[str, str]:
    out: dict[str, str] = {}
    organ = ""
    for word in _TASKS.split():
        if word.endswith(":"):
            organ = word[:-1]
        else:
            out[word] = organ
    return out


TASKS = _organs_of_tasks()
"""Tasks, in the order of their rows, and the organ of each."""

UNKNOWN = -1
"""The row of what is not known: the last one of tasks, none of organs, regions and parts."""


@dataclass(frozen=True, slots=True)
class Context:
    """Rows of the embeddings.

    Attributes:
        modality: of ``MODALITIES``.
        organs: of part, region and organ, each -1 where it is not known.
        task: of ``TASKS``, -1 for one that was never seen.
    """

    modality: int
    organs: tuple[int, int, int]
    task: int


def context_of(name: str) -> Context:
    """The context of a task by its name.

    Args:
        name: such as ``Fundus_OpticCup`` or ``CT_ThoracicSpine7``: the modality, and what is to be
            segmented; a number at its end does not matter. The second part may be unknown.

    Raises:
        RecipeError: the name has no known modality before ``_``.
    """
    before, _, task = name.partition("_")
    wanted = ALIASES.get(before.lower(), before)
    rows = {known.lower(): row for row, known in enumerate(MODALITIES)}
    if wanted.lower() not in rows or not task:
        raise RecipeError(
            f"a task of MedSegX is MODALITY_Task, such as Fundus_OpticCup, not '{name}'; the "
            f"modalities are {', '.join(MODALITIES)}"
        )
    task = re.sub(r"\d+$", "", task)
    organ = TASKS.get(task, UNSEEN.get(task))
    row = list(TASKS).index(task) if task in TASKS else UNKNOWN
    if organ is None:
        return Context(rows[wanted.lower()], (UNKNOWN, UNKNOWN, UNKNOWN), UNKNOWN)
    region = ORGANS[organ]
    part = next(part for part, regions in PARTS.items() if region in regions)
    regions = [one for some in PARTS.values() for one in some]
    places = (list(PARTS).index(part), regions.index(region), list(ORGANS).index(organ))
    return Context(rows[wanted.lower()], places, row)
