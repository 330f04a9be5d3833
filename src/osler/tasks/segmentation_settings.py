"""The keys of segmentation, from which all else of it follows."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from osler.tasks.image_input import ImageInput, refuse_field
from osler.tasks.segmentation_losses import Loss
from osler.tasks.task import Settings


class Planned(Settings):
    """What the automatic plan decided beside the settings' own keys; it is filled in, not set.

    Attributes:
        network: its name.
        options: of the network.
        batch: patches a step, where the recipe sets no ``learner.batch``.
        memory: that training is expected to need, GB.
        reasons: why, a sentence each.
    """

    network: str
    options: dict[str, Any]
    batch: int
    memory: float
    reasons: list[str]


class Measure(Settings):
    """A number of the whole case, from the volumes (areas) of its labels.

    ``size`` is the volume of ``of`` in millilitres (the area in mm² in pictures, pixels where no
    scale is known). ``share`` is the volume of ``of`` over that of ``to``; ``fall`` is by how much
    of ``of`` the volume of ``to`` is smaller, as an ejection fraction is, from the end of diastole
    to that of systole; ``height`` is the vertical extent of ``of`` over that of ``to``, in
    pictures, as a cup/disc ratio is. In all of them several labels count as the union of their
    voxels.

    Attributes:
        name: what a reader sees.
        kind: see above.
        of: labels.
        to: labels; none for a size.
    """

    name: str = Field(min_length=1)
    kind: Literal["share", "fall", "height", "size"] = "share"
    of: list[str] = Field(min_length=1)
    to: list[str] = []

    @model_validator(mode="after")
    def _two_sides(self) -> Self:
        if (self.kind == "size") == bool(self.to):
            raise ValueError("to: is named exactly where the kind is not 'size'")
        return self


class SegmentationSettings(Settings):
    """The keys of segmentation.

    Attributes:
        image: which images, on what grid and with which intensities.
        missing: any of several images may be missing; which are there is a further input of the
            network, ``present``, so it must be one that takes it, such as ``mmformer``.
        labels: names of the cohort's mask columns, in the order of the network's outputs.
        overlapping: labels may share voxels (a sigmoid each); else they exclude each other
            (softmax with a background).
        absent: what a missing mask means: the structure is ``none``, or ``unknown`` and the case
            does not teach that label (overlapping labels; of others with ``partial-labels``). None
            refuses such a case, unless its cell says ``none``.
        plan: ``auto`` finds spacing, intensity, patch, network and batch in the teaching cases
            (`osler.tasks.planning`); keys that are given stay as they are.
        memory: that a planned training may take, GB.
        width: channels of the first stage of a planned network.
        planned: what the plan decided; leave it out.
        prompt: the network is told by a ``box`` or a ``point`` what to mark (see
            `osler.tasks.segmentation_prompt`); one label.
        patch: ``([d,] h, w)`` voxels that the network sees at a time; None takes whole images.
        overlap: share of a window that the next one covers too.
        foreground: share of training patches that are centred on a labelled voxel.
        multiple: what the sides of images must be divisible by where no patch is set.
        largest_part: labels of which only the largest connected part stays.
        thin: labels of thin structures, such as vessels, which are also judged by clDice.
        measure: numbers of the whole case that follow from its masks.
        threshold: probability from which a voxel belongs to an overlapping label.
        loss: what is minimised: cross-entropy and soft ``dice``, or that with ``squared-dice`` (as
            MedSAM), ``half-dice`` (as TransUNet), ``generalised-dice``, ``weighted-dice`` (as
            mmFormer), ``cl-dice`` (of thin structures), or the ``dice-focal`` loss; see
            `osler.tasks.segmentation_losses`.
        dice: weight of its overlap beside cross-entropy.
        tolerance: millimetres (pixels where no scale is known) of the NSD.
        mirror: axes (of the patch) over whose flips the scores are averaged at inference.
    """

    image: ImageInput = ImageInput()
    missing: bool = False
    labels: list[str] = Field(min_length=1)
    overlapping: bool = False
    absent: Literal["none", "unknown"] | None = None
    plan: Literal["none", "auto"] = "none"
    memory: Annotated[float, Field(gt=0)] = 4.0
    width: Annotated[int, Field(gt=0)] = 32
    planned: Planned | None = None
    prompt: Literal["none", "box", "point"] = "none"
    patch: tuple[Annotated[int, Field(gt=0)], ...] | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.33
    multiple: Annotated[int, Field(gt=0)] = 32
    largest_part: list[str] = []
    thin: list[str] = []
    measure: list[Measure] = []
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    loss: Loss = "dice"
    dice: Annotated[float, Field(ge=0)] = 1.0
    tolerance: Annotated[float, Field(ge=0)] = 1.0
    mirror: list[int] = []

    @model_validator(mode="after")
    def _labels_exist(self) -> Self:
        refuse_field(self.image)
        named = {
            "largest_part": self.largest_part,
            "thin": self.thin,
            **{f"measure '{one.name}'": [*one.of, *one.to] for one in self.measure},
        }
        for key, labels in named.items():
            if unknown := [one for one in labels if one not in self.labels]:
                raise ValueError(f"{key} names {unknown}, not among settings.labels")
        if self.prompt != "none" and len(self.labels) != 1:
            raise ValueError("prompt: what is marked is told by the prompt; give one label")
        if self.missing and (len(self.image.items) < 2 or self.prompt != "none"):
            raise ValueError("missing: image.items names several images, and there is no prompt")
        if self.missing and self.plan != "none":
            raise ValueError(
                "missing: the plan asks that every case has every image; set plan: none"
            )
        return self
