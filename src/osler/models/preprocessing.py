"""What published weights expect of a picture, as data. No torch is needed.

The steps are named in the card in the order in which they are done, so nothing is guessed and
nothing is done twice. All of them work on ``(H, W, C)``.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from osler.errors import InputError

_RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


class Step(BaseModel):
    """One step; exactly one of the fields that say what is done.

    Attributes:
        resize: ``(height, width)`` without regard to the aspect.
        resize_short: length of the shorter side, pixels; the aspect is kept.
        resize_long: length of the longer side, pixels; the aspect is kept.
        interpolation: of these three, with antialiasing, as Pillow does it.
        centre_crop: side of the square that is cut from the centre, pixels.
        pad_square: value of the margin that makes it square, the picture in the centre.
        pad: side of the square that it is padded to with zeros at the right and the bottom.
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
    interpolation: Literal["nearest", "lanczos", "bilinear", "bicubic"] = "bilinear"
    centre_crop: int | None = None
    pad_square: int | None = None
    pad: int | None = None
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
            if name not in {"interpolation", "std"} and getattr(self, name) is not None
        }
        if len(done) != 1:
            raise ValueError(f"a step does one thing; this one does {sorted(done) or 'nothing'}")
        if (self.mean is None) != (self.std is None):
            raise ValueError("'mean' and 'std' come together")
        return self

    def apply(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Do it; ``(H, W, C)`` in and out."""
        h, w = picture.shape[:2]
        if self.resize is not None:
            return _resized(picture, self.resize, self.interpolation)
        if self.resize_short is not None or self.resize_long is not None:
            side = self.resize_short or self.resize_long or 0
            part = min(h, w) if self.resize_short is not None else max(h, w)
            size = (int(h * side / part), int(w * side / part))
            return _resized(picture, size, self.interpolation)
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
        if self.grey is not None:
            return _grey(picture, self.grey)
        return self._scaled(picture.astype(np.float32))

    def _scaled(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.divide is not None:
            return values / np.float32(self.divide)
        if self.min_max is not None:
            low, high = values.min(), values.max()
            return np.asarray((values - low) / np.maximum(high - low, np.float32(1e-8)), np.float32)
        if self.standardise is not None:
            mean, std = values.mean(axis=(0, 1)), values.std(axis=(0, 1))
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


def _resized(picture: NDArray[Any], size: tuple[int, int], kind: str) -> NDArray[Any]:
    from PIL import Image as Pillow

    h, w = size
    resample = Pillow.Resampling(_RESAMPLING[kind])
    if picture.dtype == np.uint8 and picture.shape[2] == 3:
        return np.asarray(Pillow.fromarray(picture).resize((w, h), resample))
    kept = np.uint8 if picture.dtype == np.uint8 else np.float32
    drawn = [
        np.asarray(Pillow.fromarray(np.ascontiguousarray(one, kept)).resize((w, h), resample))
        for one in picture.transpose(2, 0, 1)
    ]
    return np.stack(drawn, axis=2)


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
