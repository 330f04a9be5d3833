"""How images of a case become an array: which items, on what grid, with which intensities."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from osler.errors import GeometryError, InputError
from osler.record import Case, Image
from osler.tasks.field import find_field
from osler.tasks.grid import Grid, grid_of, index_map, resampled
from osler.tasks.named_item import named_item
from osler.tasks.native_grid import resample
from osler.tasks.sampling import between
from osler.tasks.task import Settings

_FAR = 4.0  # ranges beyond the stated one in which values are still of its scale


class Intensity(Settings):
    """How stored values become what a network takes.

    Attributes:
        method: ``"range"`` maps ``range`` to 0 to 1; ``"z-score"`` takes mean and standard
            deviation of each channel of each image; ``"clip"`` clips to ``range`` and then takes
            ``mean`` and ``deviation``, as for CT.
        range: least and greatest value, in the item's units; ``[0, 1]`` leaves values as they are,
            and of any other range an image is refused whose values lie far beyond it.
        mean, deviation: of the clipped values over the teaching cases.
        foreground: z-scores are those of values above 0, such as a head in air.
    """

    method: Literal["range", "z-score", "clip"] = "range"
    range: tuple[float, float] = (0.0, 255.0)
    mean: float = 0.0
    deviation: Annotated[float, Field(gt=0)] = 1.0
    foreground: bool = False


class ImageInput(Settings):
    """Which images a network takes and how they are made alike.

    Attributes:
        items: names of the items (columns of the cohort), stacked as channels in the grid of the
            first.
        colour: the one item is a colour picture: three channels, grey ones repeated.
        frames: time frames of the one item, by number from 0, which become a channel each.
        size: ``([D,] H, W)`` to which everything is resized; None keeps sizes.
        spacing: ``(D, H, W)`` millimetres to which volumes are resampled; None keeps them.
        intensity: of every channel alike.
        field: of a photograph of the fundus, the box of its lit field alone, so that black borders
            and the camera's frame do not matter.
    """

    items: Annotated[list[str], Field(min_length=1)] = ["image"]
    colour: bool = False
    frames: list[Annotated[int, Field(ge=0)]] | None = None
    size: tuple[Annotated[int, Field(gt=0)], ...] | None = None
    spacing: (
        tuple[
            Annotated[float, Field(gt=0)],
            Annotated[float, Field(gt=0)],
            Annotated[float, Field(gt=0)],
        ]
        | None
    ) = None
    intensity: Intensity = Intensity()
    field: bool = False

    @property
    def channels(self) -> tuple[str, ...]:
        """What each channel holds."""
        if self.frames is not None:
            return tuple(f"{self.items[0]}, frame {n}" for n in self.frames)
        return ("red", "green", "blue") if self.colour else tuple(self.items)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.frames is not None and (self.colour or len(self.items) > 1 or not self.frames):
            raise ValueError("frames: one item that is no colour picture gives one frame or more")
        return self


def refuse_field(image: ImageInput) -> None:
    """Refuse a crop to the lit field where what is asked lies in the picture's own pixels.

    Raises:
        ValueError: the crop is asked for.
    """
    if image.field:
        raise ValueError(
            "image.field crops the picture, and masks, boxes and images lie in the pixels of the "
            "file; it is taken where an answer is about the whole picture"
        )


def images_of(case: Case, wanted: ImageInput) -> list[Image]:
    """The images that an input names.

    Raises:
        InputError: one is missing; the message names those there are.
    """
    images = {item.name for item in case.items.values() if isinstance(item, Image)}
    absent = [name for name in wanted.items if name not in images]
    if len(wanted.items) > 1 and absent:  # one image must not stand for several
        known = ", ".join(f"'{one}'" for one in sorted(images)) or "none"
        raise InputError(f"case '{case.id}' lacks the image '{absent[0]}'; its images: {known}")
    return [image_of(case, name) for name in wanted.items]


def image_of(case: Case, name: str) -> Image:
    """One image of a case; where the case has one image only, its name does not matter.

    Raises:
        InputError: it is missing.
    """
    return named_item(case, name, Image)


def encode_image(
    case: Case, wanted: ImageInput
) -> tuple[NDArray[np.float32], tuple[int, ...], Grid | None, Grid | None]:
    """The input array of a case.

    Returns:
        ``(C, [D,] H, W)`` float32; the shape of the first image; for volumes that were resampled
        to a spacing, their native grid and the network's (None and None else).

    Raises:
        InputError: an image is missing, has time frames, is a volume where pictures are taken (or
            the other way round), does not share the grid of the first, or holds values far beyond
            the range that the settings state.
        GeometryError: a spacing is asked for and a volume states none.
    """
    found = images_of(case, wanted)
    first = found[0]
    native = tuple(first.shape)
    if wanted.size is not None and len(native) != len(wanted.size):
        kinds = {2: "a picture", 3: "a volume"}
        seen, asked = (" x ".join(map(str, one)) for one in (native, wanted.size))
        raise InputError(
            f"case '{case.id}': image '{first.name}' is {kinds.get(len(native), 'no picture')} of "
            f"{seen}, and {kinds.get(len(wanted.size), 'an array')} of {asked} is taken"
        )
    source = target = None
    if wanted.spacing is not None and len(native) == 3:
        source = grid_of(first)
        target = resampled(source, wanted.spacing)
    planes = []
    for image in found:
        array = _channels(image, wanted, case)
        if wanted.field and array.ndim == 3:
            array = _in_field(array)
        array = adjusted(array, wanted.intensity)
        _refuse_other_scale(array, image, wanted.intensity, case)
        if len(found) > 1:
            array = _aligned(array, image, first, case)
        if source is not None and target is not None:
            array = resample(array, between(source, target))
        planes.append(array)
    out = np.concatenate(planes)
    if wanted.size is not None and tuple(out.shape[1:]) != tuple(wanted.size):
        out = resized(out, wanted.size)
    return np.ascontiguousarray(out, np.float32), native, source, target


def _refuse_other_scale(
    array: NDArray[np.float32], image: Image, intensity: Intensity, case: Case
) -> None:
    """Refuse values on another scale than the stated range, such as 16 bits where 8 are taken."""
    low, high = intensity.range
    if intensity.method != "range" or (low, high) == (0, 1) or not array.size:
        return  # 0 to 1 leaves values as they are
    least, most = float(array.min()), float(array.max())
    if least >= -_FAR and most <= 1 + _FAR:
        return
    wide = high - low
    raise InputError(
        f"case '{case.id}': image '{image.name}' holds values from {least * wide + low:g} to "
        f"{most * wide + low:g}, far beyond the range of {low:g} to {high:g} that becomes 0 to 1; "
        "in a recipe set settings.image.intensity to {range: [LEAST, GREATEST]}, or to "
        "{method: z-score} where images are of several depths"
    )


def part_of(image: Image, wanted: ImageInput, case: Case) -> tuple[slice, slice] | None:
    """The rows and columns of a photograph that a network sees; None where it sees all."""
    array = _channels(image, wanted, case) if wanted.field else None
    return None if array is None or array.ndim != 3 else _lit(array)


def _in_field(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The box of the lit field of a photograph ``(C, H, W)``, values 0 to 255."""
    return np.ascontiguousarray(array[:, *_lit(array)])


def _lit(array: NDArray[np.float32]) -> tuple[slice, slice]:
    h0, w0, h1, w1 = find_field(np.clip(array, 0, 255).astype(np.uint8)).box
    return slice(h0, h1), slice(w0, w1)


def _channels(image: Image, wanted: ImageInput, case: Case) -> NDArray[np.float32]:
    array = np.asarray(image.array, np.float32)
    if wanted.frames is not None:
        if max(wanted.frames) >= len(array):
            raise InputError(
                f"case '{case.id}': image '{image.name}' has {len(array)} time frames; frame "
                f"{max(wanted.frames)} was asked for, counted from 0"
            )
        return np.ascontiguousarray(array[wanted.frames])
    if image.times and array.ndim == 4 and len(array) > 1:
        raise InputError(
            f"case '{case.id}': image '{image.name}' has {len(array)} time frames; say which: "
            "settings.image.frames"
        )
    if wanted.colour:
        if len(array) not in (1, 3):
            raise InputError(
                f"case '{case.id}': image '{image.name}' has {len(array)} channels; a colour "
                "picture has 3 (or 1, which is repeated)"
            )
        return np.repeat(array, 3, axis=0) if len(array) == 1 else array
    if len(array) == 3 and array.ndim == 3:  # luminance of a colour file that holds a grey picture
        weights = np.array([0.299, 0.587, 0.114], np.float32)
        return np.asarray(np.tensordot(weights, array, 1)[None], np.float32)
    if len(array) != 1:
        raise InputError(
            f"case '{case.id}': image '{image.name}' has {len(array)} channels; 1 was expected "
            "(colour: true takes 3)"
        )
    return array


def _aligned(
    array: NDArray[np.float32], image: Image, first: Image, case: Case
) -> NDArray[np.float32]:
    """An image in the grid of the first: as it is where they share one, else resampled."""
    if image is first:
        return array
    if image.affine is None or first.affine is None or array.ndim != 4:
        if image.shape != first.shape:
            raise GeometryError(
                f"case '{case.id}': image '{image.name}' {image.shape} does not lie in the grid of "
                f"'{first.name}' {first.shape}, and no affine says how they lie"
            )
        return array
    here, there = grid_of(image), grid_of(first)
    if here.shape == there.shape and np.allclose(index_map(there, here), np.eye(4), atol=1e-3):
        return array
    return resample(array, between(here, there))


def adjusted(array: NDArray[np.float32], intensity: Intensity) -> NDArray[np.float32]:
    """Stored values ``(C, ...)`` as a network takes them; see `Intensity`."""
    if intensity.method == "range":
        low, high = intensity.range
        return np.asarray((array - np.float32(low)) / np.float32(high - low), np.float32)
    if intensity.method == "clip":
        low, high = intensity.range
        clipped = np.clip(array, np.float32(low), np.float32(high))
        return np.asarray(
            (clipped - np.float32(intensity.mean)) / np.float32(intensity.deviation), np.float32
        )
    out = np.empty_like(array, np.float32)
    for channel, values in zip(out, array, strict=True):
        used = values[values > 0] if intensity.foreground and (values > 0).any() else values
        mean, deviation = float(used.mean(dtype=np.float64)), float(used.std(dtype=np.float64))
        channel[...] = (values - np.float32(mean)) / np.float32(max(deviation, 1e-8))
    return out


def resized(array: NDArray[Any], size: Sequence[int]) -> NDArray[np.float32]:
    """``(C, [D,] H, W)`` at another size, linear; pictures are smoothed where they shrink.

    Pictures go through Pillow's bilinear filter, whose support grows with the reduction; volumes
    are interpolated between voxel centres with the outer faces kept together.
    """
    if array.ndim == 3:
        from PIL import Image as Pillow

        height, width = size
        planes = [
            np.asarray(
                Pillow.fromarray(np.asarray(plane, np.float32)).resize(
                    (width, height), Pillow.Resampling.BILINEAR
                )
            )
            for plane in array
        ]
        return np.stack(planes).astype(np.float32)
    from osler.tasks.sampling import same_extent

    depth, height, width = size
    here = (array.shape[1], array.shape[2], array.shape[3])
    return resample(np.asarray(array, np.float32), same_extent(here, (depth, height, width)))
