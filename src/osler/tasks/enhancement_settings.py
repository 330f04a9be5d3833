"""The keys of enhancement, from which all else of it follows."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from osler.tasks.image_input import ImageInput, Intensity, refuse_field
from osler.tasks.task import Settings


class Degradation(Settings):
    """How a good image is made worse where the case has no worse one.

    Attributes:
        factor: pixels of each axis ``([D,] H, W)`` whose mean is one pixel of the input; one number
            for all axes alike.
        noise: standard deviation of Gaussian noise that is added after that, as the network sees
            values (1 is the whole range of ``method: range``).
        seed: another seed gives other noise; the noise of a case is always the same.
    """

    factor: Annotated[int, Field(gt=0)] | tuple[Annotated[int, Field(gt=0)], ...] = 1
    noise: Annotated[float, Field(ge=0)] = 0.0
    seed: int = 0


class EnhancementSettings(Settings):
    """The keys of enhancement.

    Attributes:
        image: which images go in, and with which intensities.
        target: the item that shall come out; None for the image itself, before ``degradation``.
        target_intensity: of the target; None takes the image's.
        degradation: how the image is made worse in teaching and judging. A case that is only
            answered about is taken as it is.
        patch: ``([d,] h, w)`` pixels of the input that the network sees at a time; of two axes for
            a volume, which is then taken slice by slice.
        overlap: share of a window that the next one covers too.
        residual: the network says what to add to the (enlarged) input.
        loss: mean absolute (``l1``) or mean squared (``l2``) difference.
        structure: weight of 1 less the structural similarity in windows of 7 pixels beside it.
        value_range: R of PSNR and SSIM, as the network sees values; None takes that of the
            intensity's range.
        above: pixels count, in judging, where the truth is above this in any channel, and patches
            that teach lie there; None counts all. Empty background flatters.
        mirror: axes (of the patch) over which patches that teach are mirrored half of the time.
        table: mean target value by input value over the teaching cases; None learns it.
    """

    image: ImageInput = ImageInput()
    target: str | None = None
    target_intensity: Intensity | None = None
    degradation: Degradation = Degradation()
    patch: tuple[Annotated[int, Field(gt=0)], ...] = (64, 64)
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    residual: bool = True
    loss: Literal["l1", "l2"] = "l1"
    structure: Annotated[float, Field(ge=0)] = 0.0
    value_range: Annotated[float, Field(gt=0)] | None = None
    above: float | None = None
    mirror: list[int] = []
    table: list[float] | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        refuse_field(self.image)
        if len(self.patch) not in (2, 3):
            raise ValueError("'patch' has two axes, or three")
        worse = self.degradation != Degradation()
        if (self.target is None) != worse:
            raise ValueError("'target' or 'degradation' says what is learnt; set one of them")
        factor = self.degradation.factor
        if not isinstance(factor, int) and len(factor) not in (2, 3):
            raise ValueError("'degradation.factor' is one number, or one for each axis")
        if any(not 0 <= axis < len(self.patch) for axis in self.mirror):
            raise ValueError(f"'mirror' names axes of the patch, 0 to {len(self.patch) - 1}")
        finer = factor != 1
        if finer and (self.image.size is not None or self.image.spacing is not None):
            raise ValueError("a finer grid needs the image's own: no 'image.size' or 'spacing'")
        if self.target is not None and self.image.colour:
            raise ValueError("a target is of one channel: no 'image.colour'")
        if self.wanted_intensity.method == "z-score" and self.value_range is None:
            raise ValueError("z-scores have no range of their own; set 'value_range'")
        return self

    @property
    def wanted_intensity(self) -> Intensity:
        """Of what comes out."""
        return self.target_intensity or self.image.intensity
