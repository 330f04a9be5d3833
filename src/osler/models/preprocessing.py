"""What published weights expect of a picture, as data. No torch is needed.

The steps are named in the card in the order in which they are done, so nothing is guessed and
nothing is done twice. All of them work on ``(H, W, C)``.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from osler.errors import InputError

_RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "area": 4}


class Step(BaseModel):
    """One step; exactly one of the fields that say what is done.

    Attributes:
        resize: ``(height, width)`` without regard to the aspect.
        resize_short: length of the shorter side, pixels; the aspect is kept.
        resize_long: length of the longer side, pixels; the aspect is kept.
        interpolation: of these three, with antialiasing, as Pillow does it; ``area`` weighs by area
            where it shrinks and is bilinear where it enlarges; ``spline`` is scikit-image's cubic
            spline, cut to 8 bits without rounding.
        antialias: of the interpolation; without it, bilinear alone is known, as torch does it.
        rounding: of the side that keeps the aspect.
        centre_crop: side of the square that is cut from the centre, pixels.
        pad_square: value of the margin that makes it square, the picture in the centre.
        pad: side of the square that it is padded to with zeros at the right and the bottom.
        reverse: the channels in the opposite order, blue first, as OpenCV reads them.
        grey: one channel (``L`` as Pillow weighs it), repeated ``grey`` times.
        divide: by this number, in single precision.
        min_max: to 0 to 1 by the least and greatest value of all channels together.
        mean: subtracted from each channel,
        std: before it is divided by this.
        standardise: each channel of each picture to mean 0 and standard deviation 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resize: tuple[int, int] | None = None
    resize_short: int | None = None
    resize_long: int | None = None
    interpolation: Literal["nearest", "lanczos", "bilinear", "bicubic", "area", "spline"] = (
        "bilinear"
    )
    antialias: bool = True
    rounding: Literal["down", "nearest"] = "down"
    centre_crop: int | None = None
    pad_square: int | None = None
    pad: int | None = None
    reverse: bool | None = None
    grey: int | None = None
    divide: float | None = None
    min_max: bool | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    standardise: bool | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> "Step":
        done = {
            name
            for name in type(self).model_fields
            if name not in {"interpolation", "antialias", "rounding", "std"}
            and getattr(self, name) is not None
        }
        if len(done) != 1:
            raise ValueError(f"a step does one thing; this one does {sorted(done) or 'nothing'}")
        if (self.mean is None) != (self.std is None):
            raise ValueError("'mean' and 'std' come together")
        if not self.antialias and self.interpolation != "bilinear":
            raise ValueError("without antialiasing, the interpolation is bilinear")
        return self

    @property
    def side(self) -> int | None:
        """Side that it leaves, pixels; None where it changes no size."""
        if self.resize is not None:
            return max(self.resize)
        return self.resize_short or self.resize_long or self.centre_crop or self.pad

    def scaled(self, side: int, given: int) -> "Step":
        """The same step where ``given`` pixels become ``side``."""
        new: dict[str, Any] = {
            name: round(value * side / given)
            for name in ("resize_short", "resize_long", "centre_crop", "pad")
            if (value := getattr(self, name)) is not None
        }
        if self.resize is not None:
            new["resize"] = tuple(round(one * side / given) for one in self.resize)
        return self.model_copy(update=new)

    def apply(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Do it; ``(H, W, C)`` in and out."""
        h, w = picture.shape[:2]
        if (size := self.resized((h, w))) is not None:
            return self._resized(picture, size)
        if self.centre_crop is not None:
            return _cropped(picture, self.centre_crop)
        if self.pad_square is not None:
            return _squared(picture, self.pad_square)
        if self.pad is not None:
            if max(h, w) > self.pad:
                raise InputError(
                    f"a picture of {h} x {w} pixels does not fit {self.pad} x {self.pad}"
                )
            return np.pad(picture, ((0, self.pad - h), (0, self.pad - w), (0, 0)))
        if self.reverse is not None:
            return np.ascontiguousarray(picture[:, :, ::-1])
        if self.grey is not None:
            return _grey(picture, self.grey)
        return self._scaled(picture.astype(np.float32))

    def resized(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """``(H, W)`` after a step that resizes; None if this one does not."""
        if self.resize is not None or (self.resize_short or self.resize_long) is None:
            return self.resize
        side = self.resize_short or self.resize_long or 0
        part = min(size) if self.resize_short is not None else max(size)
        extra = 0.5 if self.rounding == "nearest" else 0.0
        h, w = (max(1, int(one * side / part + extra)) for one in size)
        return h, w

    def _resized(self, picture: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        if self.antialias:
            return _resized(picture, size, self.interpolation)
        return _sampled(picture, size)

    def _scaled(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.divide is not None:
            return values / np.float32(self.divide)
        if self.min_max is not None:
            low, high = values.min(), values.max()
            return np.asarray((values - low) / np.maximum(high - low, np.float32(1e-8)), np.float32)
        if self.standardise is not None:
            # in single precision, sums over a million pixels are wrong in the fourth digit
            exact = values.astype(np.float64)
            mean, std = exact.mean(axis=(0, 1)), exact.std(axis=(0, 1))
            return np.asarray((values - mean) / np.maximum(std, np.float32(1e-8)), np.float32)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.asarray((values - mean) / std, np.float32)


class Preprocessing(BaseModel):
    """The steps from a picture of 8 bits to what a network takes.

    Attributes:
        steps: in order.
        channels: of the result.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: tuple[Step, ...]
    channels: int = 3

    def for_size(self, side: int) -> "Preprocessing":
        """The same steps for a network that takes squares of another side.

        Args:
            side: pixels. The last step that says a size becomes this, and those before it change
                in proportion, so that a crop stays the same part of the picture.
        """
        sizes = [one.side for one in self.steps if one.side is not None]
        if not sizes or sizes[-1] == side:
            return self
        steps = tuple(one.scaled(side, sizes[-1]) for one in self.steps)
        return self.model_copy(update={"steps": steps})

    @property
    def keeps_frame(self) -> bool:
        """Whether the result shows the whole picture and nothing else, stretched or not."""
        return not any(
            step.centre_crop or step.pad or step.pad_square is not None for step in self.steps
        )

    def resized(self, ratio: float) -> "Preprocessing":
        """The same steps for a network built for pictures that are larger by this factor."""

        def scaled(step: Step) -> Step:
            changes: dict[str, Any] = {
                name: round(getattr(step, name) * ratio)
                for name in ("resize_short", "resize_long", "centre_crop", "pad")
                if getattr(step, name) is not None
            }
            if step.resize is not None:
                changes["resize"] = tuple(round(side * ratio) for side in step.resize)
            return step.model_copy(update=changes)

        return self.model_copy(update={"steps": tuple(map(scaled, self.steps))})

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(C, H, W)`` of 8 bits, 1 or 3 channels, to ``(channels, h, w)``.

        Raises:
            InputError: a picture of another type or number of channels.
        """
        if picture.ndim != 3 or picture.shape[0] not in (1, 3) or picture.dtype != np.uint8:
            raise InputError(
                f"preprocessing takes 8-bit pictures (1 or 3, H, W), not {picture.dtype} of shape "
                f"{picture.shape}"
            )
        values: NDArray[Any] = np.ascontiguousarray(picture.transpose(1, 2, 0))
        if values.shape[2] == 1 and self.channels == 3:
            values = np.repeat(values, 3, axis=2)
        for step in self.steps:
            values = step.apply(values)
        return np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)

    def placed(self, size: tuple[int, int]) -> tuple[int, int]:
        """``(H, W)`` of the part at the top left of the result that a picture of ``size`` fills.

        Raises:
            InputError: a step crops the picture or moves it, so that it fills no such part.
        """
        for step in self.steps:
            if step.centre_crop is not None or step.pad_square is not None:
                raise InputError("a picture that is cropped or moved has no place to point at")
            size = step.resized(size) or size
        return size


def _resized(picture: NDArray[Any], size: tuple[int, int], kind: str) -> NDArray[Any]:
    from PIL import Image as Pillow

    h, w = size
    if kind == "spline":
        return _splined(picture, size)
    if kind == "area" and (h > picture.shape[0] or w > picture.shape[1]):
        kind = "bilinear"
    resample = Pillow.Resampling(_RESAMPLING[kind])
    if picture.dtype == np.uint8 and picture.shape[2] == 3:
        return np.asarray(Pillow.fromarray(picture).resize((w, h), resample))
    kept = np.uint8 if picture.dtype == np.uint8 else np.float32
    drawn = [
        np.asarray(Pillow.fromarray(np.ascontiguousarray(one, kept)).resize((w, h), resample))
        for one in picture.transpose(2, 0, 1)
    ]
    return np.stack(drawn, axis=2)


def _splined(picture: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    from skimage.transform import resize

    drawn = resize(  # type: ignore[no-untyped-call]
        picture, size, order=3, preserve_range=True, anti_aliasing=True
    )
    return np.asarray(drawn).astype(np.uint8)


def _sampled(picture: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Bilinear between the nearest two pixels each way, however much smaller it becomes."""
    values = picture.astype(np.float32)
    for axis, new in enumerate(size):
        old = values.shape[axis]
        place = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new)
        place = np.clip(place - np.float32(0.5), 0, old - 1)
        low = place.astype(np.intp)
        part = (place - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        below = np.take(values, low, axis)
        above = np.take(values, np.minimum(low + 1, old - 1), axis)
        values = below + (above - below) * part
    return np.rint(values).astype(np.uint8) if picture.dtype == np.uint8 else values


def _cropped(picture: NDArray[Any], side: int) -> NDArray[Any]:
    h, w = picture.shape[:2]
    if min(h, w) < side:
        raise InputError(f"a picture of {h} x {w} pixels is smaller than the crop of {side}")
    top, left = round((h - side) / 2), round((w - side) / 2)
    return picture[top : top + side, left : left + side]


def _squared(picture: NDArray[Any], value: int) -> NDArray[Any]:
    h, w = picture.shape[:2]
    side = max(h, w)
    out = np.full((side, side, picture.shape[2]), value, picture.dtype)
    top, left = (side - h) // 2, (side - w) // 2
    out[top : top + h, left : left + w] = picture
    return out


def _grey(picture: NDArray[Any], channels: int) -> NDArray[Any]:
    from PIL import Image as Pillow

    if picture.shape[2] == 3:
        picture = np.asarray(Pillow.fromarray(picture).convert("L"))[:, :, None]
    return np.repeat(picture, channels, axis=2)
