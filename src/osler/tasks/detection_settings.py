"""The keys of detection, from which all else of it follows."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from osler.tasks.image_input import ImageInput, refuse_field
from osler.tasks.task import Settings


class DetectionSettings(Settings):
    """The keys of detection.

    Attributes:
        image: which images, on what grid and with which intensities.
        labels: names of the cohort's columns of boxes or masks; each connected part of a mask is
            an object.
        ignore: names of columns of boxes or masks in which nothing is taught or counted.
        absent: what an empty cell means: there is ``none``, or it is ``unknown`` and the case
            neither teaches nor judges that label. None refuses such a case, unless its cell says
            ``none``.
        merge: parts of a mask with a gap up to this are one; mm, pixels where no scale is known.
        smallest: parts of a mask with fewer voxels (of the native grid) are neither taught nor
            counted: not as missed, and what lies on them not as false alarms.
        patch: ``([d,] h, w)`` voxels that the network sees at a time; None takes whole pictures.
        overlap: share of a window that the next one covers too; half of what it makes in pixels
            is how far from a window's edge an object's centre can be relied on.
        foreground: share of training patches in which a box's centre lies, each label alike.
        stride: pixels a cell of the network's heatmap; of two objects of one label with their
            centres in one cell, or in neighbouring ones, one can be found at most.
        multiple: what the network wants sides to be divisible by.
        spread: standard deviation of a heatmap's peak, as a share of the box's sides.
        sizes: how sizes are learnt: ``l1`` of their logarithms, or ``giou`` of the boxes.
        weight: of sizes and offsets beside the heatmap's loss.
        nms: overlap (IoU) above which the lower of two boxes of a label goes.
        most: boxes of a label an image at most.
        least: probability, before calibration, below which nothing is a candidate.
        threshold: calibrated probability from which a candidate is said.
        iou: overlap from which a candidate hits, for average precision.
        hit: what hits for FROC and for calibration: a ``centre`` within the radius of an object
            (half of its longest side), or ``iou``.
        reach: least such radius, mm or pixels.
        unit: side of a usual box in pixels of the network's grid; found by itself.
        count: boxes a case at most; found by itself.
    """

    image: ImageInput = ImageInput()
    labels: list[str] = Field(min_length=1)
    ignore: list[str] = []
    absent: Literal["none", "unknown"] | None = None
    merge: Annotated[float, Field(ge=0)] = 0.0
    smallest: Annotated[int, Field(ge=1)] = 1
    patch: tuple[Annotated[int, Field(gt=0)], ...] | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.7
    stride: Annotated[int, Field(gt=0)] = 4
    multiple: Annotated[int, Field(gt=0)] = 16
    spread: Annotated[float, Field(gt=0)] = 0.1
    sizes: Literal["l1", "giou"] = "l1"
    weight: Annotated[float, Field(ge=0)] = 1.0
    nms: Annotated[float, Field(ge=0, le=1)] = 0.3
    most: Annotated[int, Field(gt=0)] = 100
    least: Annotated[float, Field(gt=0, lt=1)] = 0.02
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    iou: Annotated[float, Field(gt=0, le=1)] = 0.5
    hit: Literal["centre", "iou"] = "centre"
    reach: Annotated[float, Field(ge=0)] = 0.0
    unit: Annotated[float, Field(gt=0)] = 16.0
    count: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        refuse_field(self.image)
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels holds a name twice")
        if both := set(self.labels) & set(self.ignore):
            raise ValueError(f"{sorted(both)} stand in labels and in ignore")
        if self.patch is not None and any(side % self.multiple for side in self.patch):
            raise ValueError(f"the sides of patch must be divisible by multiple, {self.multiple}")
        if self.patch is None and (self.image.spacing or len(self.image.size or ()) == 3):
            raise ValueError("volumes need a patch, such as [48, 64, 64]")
        if self.multiple % self.stride:
            raise ValueError(f"multiple {self.multiple} must be divisible by stride {self.stride}")
        return self
