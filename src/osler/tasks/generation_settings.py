"""The keys of generation, from which all else of it follows."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from osler.tasks.generation_sampling import Diffusion
from osler.tasks.image_input import ImageInput, refuse_field
from osler.tasks.task import Settings


class Latent(Settings):
    """Diffusion in the codes of an autoencoder that learns beside it.

    Attributes:
        channels: of a code.
        widths: of the autoencoder's levels; between two of them the sides are halved.
        weight: of the codes' divergence from a Gaussian.
    """

    channels: Annotated[int, Field(gt=0)] = 3
    widths: Annotated[list[int], Field(min_length=1)] = [16, 32]
    weight: Annotated[float, Field(ge=0)] = 1e-4


class GenerationSettings(Settings):
    """The keys of generation.

    Attributes:
        image: what pictures are drawn; ``size`` is needed, and intensities are mapped to 0 to 1.
        label: the column that says what a picture is of.
        labels: its values; None takes those that teach.
        masks: names of masks that say where things are, in place of a label (``adversarial``).
        method: ``diffusion``, or ``adversarial``: a generator against a judge.
        diffusion: of ``diffusion``.
        latent: draws codes in place of pixels (``diffusion``).
        style: numbers that tell pictures of one kind apart (``adversarial``).
        count: pictures drawn for a case; the first is judged.
        seed: another seed draws others; a case's pictures are always the same.
    """

    image: ImageInput
    label: str | None = None
    labels: list[str] | None = None
    masks: list[str] = []
    method: Literal["diffusion", "adversarial"] = "diffusion"
    diffusion: Diffusion = Diffusion()
    latent: Latent | None = None
    style: Annotated[int, Field(gt=0)] = 32
    count: Annotated[int, Field(gt=0)] = 1
    seed: int = 0

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.image.size is None or len(self.image.size) != 2:
            raise ValueError("'image.size' says how large pictures are, height and width")
        if self.image.intensity.method != "range":
            raise ValueError("'image.intensity.method' is \"range\": pictures have ends")
        if (self.label is None) == (not self.masks):
            raise ValueError("'label' or 'masks' says what is drawn; set one of them")
        if self.masks:
            refuse_field(self.image)
        if self.masks and self.method != "adversarial":
            raise ValueError("'masks' need the method \"adversarial\"")
        if self.latent is not None and self.method != "diffusion":
            raise ValueError("'latent' needs the method \"diffusion\"")
        if self.latent is not None and any(side % self.shrink for side in self.image.size):
            raise ValueError(f"the sides of pictures are not divisible by {self.shrink}")
        if self.method == "adversarial" and self.image.size[0] != self.image.size[1]:
            raise ValueError("'image.size' is square for the method \"adversarial\"")
        return self

    @property
    def shrink(self) -> int:
        """How many times smaller the sides of a code are."""
        return 1 if self.latent is None else int(2 ** (len(self.latent.widths) - 1))
