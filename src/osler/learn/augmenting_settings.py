"""How training images are changed at random: the ``augment:`` section of a recipe.

Every change has a ``probability`` with which it befalls an image and a range from which its
strength is drawn. Lengths are in **pixels**; in volumes whose voxels are no cubes, in pixels of the
finest axis, so that a blur or a deformation is as wide in millimetres along every axis. Factors
are drawn evenly on a logarithmic axis, everything else evenly.

The presets follow nnU-Net's choice of changes and strengths (Isensee et al. 2021,
doi:10.1038/s41592-020-01008-z, supplementary note 4) where it has one.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Axis = Literal["depth", "height", "width"]
Share = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[float, Field(ge=0)]

FOLD_FREE: Final = 0.4  # of the distance of control points; Choi and Lee 2000, for three dimensions


class _Change(BaseModel):
    """A change and how often an image undergoes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    probability: Share

    @model_validator(mode="after")
    def _ranges(self) -> "_Change":
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, tuple) and all(isinstance(one, float) for one in value):
                low, high = value
                if low > high:
                    raise ValueError(f"{name} runs from {low} down to {high}; swap them")
                if name in ("factor", "gamma") and low <= 0:
                    raise ValueError(f"{name} starts at {low}; it must be above 0")
        return self


class Flip(_Change):
    """Mirrored, each axis for itself with the same probability.

    Attributes:
        axes: which may be mirrored; ``depth`` counts in volumes only. Leave out the axis from left
            to right where the side matters.
    """

    probability: Share = 0.5
    axes: tuple[Axis, ...] = ("depth", "height", "width")


class Quarter(_Change):
    """Turned in the plane by 90, 180 or 270 degrees, without interpolation.

    Images whose sides or spacings differ are turned by 180 degrees only.
    """

    probability: Share = 0.5


class Rotate(_Change):
    """Turned about the centre, in millimetres where the spacing is known.

    Attributes:
        in_plane: largest angle either way about the depth axis, degrees; the only one of pictures.
        through_plane: largest angle either way about the height and the width axis, degrees.
    """

    probability: Share = 0.2
    in_plane: float = Field(30.0, ge=0, le=180)
    through_plane: float = Field(30.0, ge=0, le=180)


class Scale(_Change):
    """Magnified about the centre.

    Attributes:
        factor: smallest and largest magnification.
        apart: each axis by a factor of its own.
    """

    probability: Share = 0.2
    factor: tuple[float, float] = (0.7, 1.4)
    apart: bool = False


class Translate(_Change):
    """Shifted.

    Attributes:
        share: largest shift either way along each axis, as share of the image's side.
    """

    probability: Share = 0.2
    share: Share = 0.1


class Elastic(_Change):
    """Bent by cubic B-splines (Rueckert et al. 1999, doi:10.1109/42.796284).

    Attributes:
        spacing: distance between control points, pixels.
        displacement: how far a control point moves at most along each axis, pixels; at most
            0.4 of ``spacing``, so that nothing folds (Choi and Lee 2000,
            doi:10.1006/gmod.2000.0531).
    """

    probability: Share = 0.2
    spacing: float = Field(32.0, gt=0)
    displacement: Length = 6.0

    @model_validator(mode="after")
    def _unfolded(self) -> "Elastic":
        if self.displacement > FOLD_FREE * self.spacing:
            raise ValueError(
                f"displacement is {self.displacement} pixels and control points are "
                f"{self.spacing} pixels apart, so tissue would fold; take at most "
                f"{FOLD_FREE * self.spacing:g}"
            )
        return self


class BiasField(_Change):
    """Multiplied by a smooth field, as of a receiving coil or of uneven light.

    Attributes:
        strength: largest change of the natural logarithm of the values either way.
    """

    probability: Share = 0.15
    strength: Length = 0.3


class Blur(_Change):
    """Out of focus.

    Attributes:
        sigma: smallest and largest standard deviation of the Gaussian, pixels.
    """

    probability: Share = 0.2
    sigma: tuple[Length, Length] = (0.5, 1.0)


class LowResolution(_Change):
    """Sampled more coarsely and interpolated back, as from a scanner with larger pixels.

    Attributes:
        factor: smallest and largest size of the coarse pixels, in pixels, at least 1.
        axes: which are sampled more coarsely.
    """

    probability: Share = 0.25
    factor: tuple[Annotated[float, Field(ge=1)], Annotated[float, Field(ge=1)]] = (1.0, 2.0)
    axes: tuple[Axis, ...] = ("depth", "height", "width")


class Noise(_Change):
    """With Gaussian noise.

    Attributes:
        deviation: smallest and largest standard deviation of the noise, in standard deviations
            of the image.
    """

    probability: Share = 0.1
    deviation: tuple[Length, Length] = (0.0, 0.3)


class Brightness(_Change):
    """Brighter or darker.

    Attributes:
        factor: smallest and largest number that the values are multiplied by.
        shift: smallest and largest number added, in standard deviations of the image.
    """

    probability: Share = 0.15
    factor: tuple[float, float] = (0.75, 1.25)
    shift: tuple[float, float] = (0.0, 0.0)


class Contrast(_Change):
    """With more or less contrast about the mean, within the range of values before.

    Attributes:
        factor: smallest and largest magnification of the distance from the mean.
    """

    probability: Share = 0.15
    factor: tuple[float, float] = (0.75, 1.25)


class Gamma(_Change):
    """Raised to a power within the range of values, mean and standard deviation kept.

    Attributes:
        gamma: smallest and largest exponent.
        inverted: share of the changes made to the negative of the image.
    """

    probability: Share = 0.3
    gamma: tuple[float, float] = (0.7, 1.5)
    inverted: Share = 0.25


class Augmentation(BaseModel):
    """All changes, in the order in which they are made; None leaves one out.

    In a recipe ``augment: standard`` takes a preset, and ``augment: {preset: standard, elastic:
    null, noise: {probability: 0.5}}`` takes one and changes it.

    Attributes:
        preset: what holds for the changes that are not given: ``none`` changes nothing, ``light``
            is for little data of stable geometry and for fine-tuning, ``standard`` is nnU-Net's.
        flip, quarter, rotate, scale, translate, elastic: in space; all but flips and quarter turns
            in one interpolation of the image.
        bias_field, blur, low_resolution, noise, brightness, contrast, gamma: of values.
        channels: whether values change in all channels alike or in each for itself, as suits
            several sequences of one examination.
        outside: what lies beyond the image when it is moved: its edge goes on, or zero.
        labels: how label maps are interpolated: the nearest voxel's, or the label whose indicator,
            interpolated linearly, is largest; smoother, and slower by the number of labels.
        planar_above: volumes whose coarsest axis is more than this many times coarser than the
            next are moved only within their slices; None moves them in all directions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Literal["none", "light", "standard"] = "none"
    flip: Flip | None = None
    quarter: Quarter | None = None
    rotate: Rotate | None = None
    scale: Scale | None = None
    translate: Translate | None = None
    elastic: Elastic | None = None
    bias_field: BiasField | None = None
    blur: Blur | None = None
    low_resolution: LowResolution | None = None
    noise: Noise | None = None
    brightness: Brightness | None = None
    contrast: Contrast | None = None
    gamma: Gamma | None = None
    channels: Literal["together", "apart"] = "together"
    outside: Literal["edge", "zero"] = "edge"
    labels: Literal["nearest", "linear"] = "nearest"
    planar_above: float | None = Field(3.0, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        """Fill in what the preset says; a change that is given in part keeps the rest of it."""
        if isinstance(given, str):
            given = {"preset": given}
        preset = given.get("preset") if isinstance(given, dict) else None
        if not isinstance(preset, str) or preset not in PRESETS:
            return given  # the field's own validation says what is wrong
        out = {**PRESETS[preset], **given}
        for name, options in PRESETS[preset].items():
            if isinstance(options, dict) and isinstance(given.get(name), dict):
                out[name] = {**options, **given[name]}
        return out


PRESETS: Final[dict[str, dict[str, Any]]] = {
    "none": {},
    "light": {
        "flip": {"axes": ("width",)},
        "rotate": {"probability": 0.5, "in_plane": 10.0, "through_plane": 5.0},
        "scale": {"probability": 0.5, "factor": (0.9, 1.1)},
        "noise": {"probability": 0.1, "deviation": (0.0, 0.1)},
        "brightness": {"probability": 0.15, "factor": (0.9, 1.1)},
        "contrast": {"probability": 0.15, "factor": (0.9, 1.1)},
    },
    "standard": {
        "flip": {},
        "rotate": {},
        "scale": {},
        "blur": {},
        "low_resolution": {},
        "noise": {},
        "brightness": {},
        "contrast": {},
        "gamma": {},
    },
}
